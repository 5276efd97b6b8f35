#!/usr/bin/env bash
# Builds the documentation as a site, without a network: results/tmp/docs/site/index.html. Refreshes docs/hyperparameters.md.
# Example: tools/docs.sh
source "$(dirname "$0")/common.bash"
python=${PYTHON:-.venv/bin/python}
"$python" -c 'import material, mkdocstrings' 2>/dev/null || {
  echo "error: expected the packages of requirements-docs.txt. Install them: ./install_dependencies.sh --docs" >&2
  exit 2
}
export PYTHONPATH=src
"$python" tools/docs_pages.py
"$python" tools/docs_pages.py results/tmp/docs >/dev/null
NO_MKDOCS_2_WARNING=1 "$python" -m mkdocs build --strict --config-file results/tmp/docs/mkdocs.yml
echo "written: results/tmp/docs/site/index.html"
