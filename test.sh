#!/usr/bin/env bash
# Sets everything up and runs the checks and the tests; arguments go to pytest (-m slow runs the long ones).
# Example: ./test.sh tests/unit/config -k layers
case "${1:-}" in -h | --help) sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$0"; exit ;; esac
set -euo pipefail
cd "$(dirname "$0")"
./install_dependencies.sh --dev
.venv/bin/python -m ruff check .
.venv/bin/python -m ruff format --check .
.venv/bin/python -m mypy src tests tools
exec .venv/bin/python -m pytest --numprocesses auto --dist worksteal "$@"
