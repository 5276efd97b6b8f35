#!/usr/bin/env bash
# Accidents at random: kills, full disks, wrong bits, nonsense, a database that goes away, sweeps that die. Does them to
# real runs, counts how often the promise held, and brings docs/reliability.md up to date; exit code 1 when one was broken:
#   tools/torture.sh [--minutes M] [--seed S]
#   tools/torture.sh --trial NAME [...]         (one kind of accident; the page stays as it is)
# Example: tools/torture.sh --minutes 10 --seed 1
source "$(dirname "$0")/common.bash"
export PYTHONPATH=src:. OMP_NUM_THREADS=1

output=(--output docs/reliability/torture.md --page docs/reliability.md)
case " $* " in *" --trial"*) output=() ;; esac
exec "$python" -m tests.torture.torture "$@" "${output[@]}"
