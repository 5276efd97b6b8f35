#!/usr/bin/env bash
# Every table and figure of results/paper, of docs/credit.md and its pages, and of the published levels, from recorded runs
# (tools/paper_train.sh). Runs and policies that are missing are trained first.
# Example: tools/paper_figures.sh
source "$(dirname "$0")/common.bash"
tools/final.sh
for task in battle spread pursuit; do
    tools/scale.sh "$task"
done
for task in bar battle spread pursuit; do
    tools/credit.sh "$task"
done
tools/arena.sh
tools/populations.sh
tools/anchors.sh
