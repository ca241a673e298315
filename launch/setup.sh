# shellcheck shell=bash
# Sourced by the other scripts, or run before jobs are submitted: makes .venv in the repository once,
# installs requirements.txt into it, and sets $python. Needs Python 3.11 or newer and pip;
# PYTHON=... chooses another interpreter.

cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit

setup() {
  local base="${PYTHON:-python3}"
  if ! "$base" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
    echo "error: $base is not Python 3.11 or newer; set PYTHON=/path/to/one" >&2
    return 1
  fi
  python="$PWD/.venv/bin/python"
  # The copy of requirements.txt is written last, so an interrupted installation is repeated.
  if ! cmp -s requirements.txt .venv/installed-requirements.txt; then
    echo "installing requirements.txt into .venv" >&2
    # An interrupted venv may lack pip. It is then made again.
    "$python" -m pip --version >/dev/null 2>&1 || "$base" -m venv --clear .venv ||
      return
    "$python" -m pip install --quiet --disable-pip-version-check -r requirements.txt || return
    cp requirements.txt .venv/installed-requirements.txt
  fi
}

setup
