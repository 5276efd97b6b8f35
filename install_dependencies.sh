#!/usr/bin/env bash
# Makes .venv beside this script with everything the project needs, checks it, and prints the next command.
# Safe to run again: what is installed already stays. --extras adds ONNX, safetensors and TensorBoard, --dev also the
# tests' tools, --docs what builds the site, --cluster Ray; --cuda takes torch for NVIDIA GPUs (docs/install.md).
# Example: ./install_dependencies.sh --extras --dev
case "${1:-}" in -h | --help) sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$0"; exit ;; esac
set -euo pipefail
cd "$(dirname "$0")"

requirements=(-r requirements.txt)
for option in "$@"; do
  case "$option" in
    --extras) requirements+=(-r requirements-extras.txt) ;;
    --dev) requirements+=(-r requirements-dev.txt) ;;
    --docs) requirements+=(-r requirements-docs.txt) ;;
    --cuda) requirements+=("$(sed -n 's/^torch==\([0-9.]*\).*/torch===\1/p' requirements.txt)") ;;  # ===: no +cpu
    --cluster) requirements+=(-r requirements-cluster.txt) ;;
    *) echo "error: unknown option '$option' (known: --extras, --dev, --docs, --cluster, --cuda)" >&2; exit 2 ;;
  esac
done

python=""
candidates=(python3 python3.14 python3.13 python3.12 python3.11)
if [ -n "${PYTHON:-}" ]; then
  candidates=("$PYTHON")
fi
for candidate in "${candidates[@]}"; do
  if "$candidate" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 15))' 2>/dev/null; then
    python="$candidate"
    break
  fi
done
if [ -z "$python" ]; then
  echo "error: needs Python 3.11 to 3.14; install one, or name it: PYTHON=/path/to/python3.11 ./install_dependencies.sh" >&2
  exit 1
fi

stamp=.venv/installed-$( (cat install_dependencies.sh requirements*.txt; echo ${PYTHON:+"$PYTHON"} "$@") | cksum | cut -d' ' -f1)
if [ ! -e "$stamp" ]; then
  if ! "$python" -m venv .venv; then
    echo "error: cannot make .venv; on Debian: apt-get install python3-venv" >&2
    exit 1
  fi
  echo "installing into .venv (a few minutes the first time) ..."
  .venv/bin/python -m pip install -qq --disable-pip-version-check "${requirements[@]}"  # -qq: errors, no warnings
  .venv/bin/python -W ignore src/doctor.py
  touch "$stamp"
fi
echo "Ready. Next: .venv/bin/python src/main.py --config=hmf --env-config=battle"
