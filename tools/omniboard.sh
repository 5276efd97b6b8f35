#!/usr/bin/env bash
# Omniboard on this machine only:  tools/omniboard.sh [--results DIR]
# Shows the MongoDB behind $MONGO_URL; without it, a fresh embedded server that is given the recorded files.
# $PORT: where to listen (9000).
# Example: PORT=9001 tools/omniboard.sh --results results
case "${1:-}" in -h | --help) sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$0"; exit ;; esac
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
case "${1:-}" in
  "") results=$root/results ;;
  --results) results=$(realpath -m "${2:?--results: expected a folder}") ;;
  *) echo "error: expected --results DIR, got $*. See tools/omniboard.sh --help" >&2; exit 2 ;;
esac
cache=$root/results/tmp/omniboard
python=$root/.venv/bin/python

if ! command -v npm >/dev/null; then
  echo "error: Omniboard needs Node.js 18 or newer with npm; found no npm. Install it, or use: python src/runs.py" >&2
  exit 1
fi
if [ -z "${MONGO_URL:-}" ] && ! "$python" -c 'import nx_27017' 2>/dev/null; then
  echo "error: Omniboard without \$MONGO_URL needs the package nx-27017; install it: ./install_dependencies.sh" >&2
  exit 1
fi
if [ ! -d "$cache/node_modules/omniboard" ]; then
  echo "Installing Omniboard once, into $cache: a minute or two, about half a gigabyte."
  npm install --prefix "$cache" --no-audit --no-fund --loglevel=error omniboard@2.16.1
fi

page=$cache/node_modules/omniboard/web/build
cp "$root/tools/omniboard_defaults.js" "$page/"
grep -q omniboard_defaults "$page/index.html" ||
  sed -i 's|<head>|<head><script src="/omniboard_defaults.js"></script>|' "$page/index.html"

trap 'kill $(jobs -p) 2>/dev/null || true; wait; rm -rf "${database:-}"' EXIT
trap 'exit 130' INT TERM
if [ -z "${MONGO_URL:-}" ]; then
  database=$(mktemp -d)
  mongo_port=$("$python" -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
  "$python" "$root/tools/embedded_mongo.py" "$database" "$mongo_port" 2>"$cache/mongo.log" &
  until (: </dev/tcp/127.0.0.1/"$mongo_port") 2>/dev/null; do
    kill -0 $! 2>/dev/null || { echo "error: the embedded server does not start:" >&2; tail -n 3 "$cache/mongo.log" >&2; exit 1; }
    sleep 0.1
  done
  export MONGO_URL=mongodb://127.0.0.1:$mongo_port/sacred
  "$python" "$root/src/runs.py" push --results "$results" || true
  echo "Runs started with MONGO_URL=$MONGO_URL appear while they train."
fi

export MONGO_URI=$MONGO_URL PORT=${PORT:-9000}
node --require "$root/tools/omniboard_loopback.cjs" "$cache/node_modules/.bin/omniboard" &
wait $!
