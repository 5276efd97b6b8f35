#!/usr/bin/env bash
# Would the tests find wrong code? Makes small changes one by one in a copy and runs the tests of their area; exit code 1
# when a change is not found:
#   tools/mutants.sh [WORD]          (only changes whose description or file contains it)
set -euo pipefail
cd "$(dirname "$0")/.."
python=.venv/bin/python
export PYTHONPATH=src

if [ $# -gt 0 ]; then
    exec "$python" -m tests.torture.mutate "$@"
fi
"$python" -m tests.torture.mutate --output docs/reliability/mutants.md
