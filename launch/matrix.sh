#!/usr/bin/env bash
# All tests with several versions of Python and JAX, each in a virtual environment in .matrix/.
#
#   bash launch/matrix.sh python3.11:0.10.2 python3.13:0.12.0.1 [-- PYTEST ARGUMENTS]
#
# Each PYTHON:JAX names an interpreter and a release of jax; all else is as in requirements.txt. Tests
# that need an absent program are skipped, as in launch/test.sh. The end is a line for each; the exit
# status is 1 if any failed. A GPU machine: JAX_EXTRA=cuda13 installs jax[cuda13].
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

versions=()
while [ $# -gt 0 ] && [ "$1" != -- ]; do
  [[ "$1" == ?*:?* ]] || { echo "error: $1: expected PYTHON:JAX, such as python3.13:0.12.0.1" >&2; exit 2; }
  versions+=("$1")
  shift
done
[ $# -eq 0 ] || shift
[ "${#versions[@]}" -gt 0 ] || { sed -n '2,9s/^# \{0,1\}//p' "$0" >&2; exit 2; }

# Makes the virtual environment $3 of interpreter $1 with jax $2, unless it is there.
install() {
  { grep -v '^jax==' requirements.txt; echo "jax${JAX_EXTRA:+[$JAX_EXTRA]}==$2"; } >"$3.txt"
  cmp -s "$3.txt" "$3/installed-requirements.txt" && return
  "$1" -m venv --clear "$3" || return
  "$3/bin/python" -m pip install --quiet --disable-pip-version-check -r "$3.txt" || return
  cp "$3.txt" "$3/installed-requirements.txt"
}

lines=()
status=0
for version in "${versions[@]}"; do
  base="${version%%:*}" jax="${version#*:}"
  place=".matrix/${version//[:\/]/-}"
  mkdir -p .matrix
  if { install "$base" "$jax" "$place" && "$place/bin/python" -m pytest --numprocesses=auto \
      --dist=loadfile --no-loadscope-reorder "$@"; } 2>&1 | tee "$place.log"; then
    result="$(tail -1 "$place.log")"
  else
    status=1 result="FAILED: $(tail -1 "$place.log")"
  fi
  lines+=("$("$base" --version 2>&1 || echo "$base"), jax $jax: $result")
done
printf '%s\n' "${lines[@]}"
exit "$status"
