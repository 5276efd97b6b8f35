# What the scripts beside it share; each reads it first: help, the project's folder, stop at the first error, options, and reports.
# shellcheck shell=bash
set -euo pipefail
case "${1:-}" in -h | --help) sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$0"; exit ;; esac
script=$(realpath "$0")
cd "$(dirname "$script")/.."
python=.venv/bin/python

refuse() { # MESSAGE: and how the script is called
    echo "error: $1. Usage:" >&2
    sed -n 's/^#  \( tools\/\)/\1/p; s/^# tasks:/   tasks:/p' "$script" >&2
    exit 2
}

for word in "$@"; do # a script that only said what it would train, or trained elsewhere, would report on what is here
    case $word in --dry-run | --results | --results=*) refuse "$word belongs to src/sweep.py alone" ;; esac
done

finished() { # EXPERIMENT [PATTERN]: the ids of its finished runs, or of those whose label is like that
    "$python" src/sweep.py "$1" --dry-run | sed -n "s/^finished as run \([0-9]*\) *${2:-.*}\$/\1/p"
}

has_policies() { # EXPERIMENT: whether its first finished run is here with policies
    local id
    id=$(finished "$1" | sed -n 1p)
    [ -n "$id" ] && [ -d "results/sacred/$id/checkpoints" ]
}

lost_policies() { # EXPERIMENT: whether its first finished run is here without policies, which archives of records do not hold
    local id
    id=$(finished "$1" | sed -n 1p)
    [ -n "$id" ] && [ ! -d "results/sacred/$id/checkpoints" ]
}

report() { # NAME FILE=WHERE ... -- OPTIONS OF src/report.py: a report in results/tmp/NAME, of which these files are kept
    local aside=results/tmp/$1 kept=() pair
    shift
    while [ "$1" != "--" ]; do
        kept+=("$1")
        shift
    done
    shift
    "$python" src/report.py "$@" --out "$aside"
    for pair in "${kept[@]}"; do
        cp "$aside/${pair%=*}" "${pair##*=}"
    done
}

fill() { # PAGE ...: brings the tables in pages up to date
    PYTHONPATH=src "$python" -c 'import sys; from pathlib import Path; from analysis.page import fill
for page in sys.argv[1:]: fill(Path(page))' "$@"
}
