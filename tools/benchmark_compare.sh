#!/usr/bin/env bash
# Did a change make anything slower? Measures two commits in turn, each by its own benchmark, and prints paired ratios:
#   tools/benchmark_compare.sh OLD [NEW] [-- OPTIONS OF src/benchmark.py]     (NEW: HEAD; rounds: ROUNDS=3)
# Example: tools/benchmark_compare.sh HEAD~1
source "$(dirname "$0")/common.bash"

commits=()
while [ $# -gt 0 ] && [ "$1" != "--" ]; do commits+=("$1"); shift; done
[ $# -eq 0 ] || shift
if [ ${#commits[@]} -lt 1 ] || [ ${#commits[@]} -gt 2 ]; then
  refuse "expected one or two commits"
fi
[ $# -gt 0 ] || set -- --agents 64 200 --seconds 6

python=$PWD/.venv/bin/python
scratch=$(mktemp -d)
cleanup() {
  for side in old new; do git worktree remove --force "$scratch/$side" 2>/dev/null || true; done
  rm -rf "$scratch"
}
trap cleanup EXIT

git worktree add --quiet --detach "$scratch/old" "${commits[0]}"
git worktree add --quiet --detach "$scratch/new" "${commits[1]:-HEAD}"

folders=()
for round in $(seq "${ROUNDS:-3}"); do
  for side in old new; do
    echo "round $round, $side" >&2
    "$python" "$scratch/$side/src/benchmark.py" --out "$scratch/$side-$round" "$@" >"$scratch/log" 2>&1 ||
      { cat "$scratch/log" >&2; exit 1; }
    folders+=("$scratch/$side-$round")
  done
done
"$python" src/benchmark.py --compare "${folders[@]}"
