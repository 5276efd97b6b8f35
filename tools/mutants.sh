#!/usr/bin/env bash
# Would the tests find wrong code? Makes small changes one by one in a copy, runs the tests of their area, and brings
# docs/reliability.md up to date; exit code 1 when a change is not found:
#   tools/mutants.sh [WORD]          (only changes whose description or file contains it; the page stays as it is)
# Example: tools/mutants.sh vector_runner
source "$(dirname "$0")/common.bash"
export PYTHONPATH=src

output=(--output docs/reliability/mutants.md --page docs/reliability.md)
[ $# -eq 0 ] || output=()
exec "$python" -m tests.torture.mutate "$@" "${output[@]}"
