#!/usr/bin/env bash
# Lint, types and all tests, on a machine that has only Python and pip. Arguments go to pytest.
set -euo pipefail
source "$(dirname "$0")/setup.sh"

"$python" -m ruff check .
"$python" -m ruff format --check .
"$python" -m mypy
"$python" -m pytest --numprocesses=auto --dist=loadfile "$@"
