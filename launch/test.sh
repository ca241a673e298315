#!/usr/bin/env bash
# Lint, types and all tests, on a machine that has only Python and pip. Arguments go to pytest.
set -euo pipefail
source "$(dirname "$0")/setup.sh"

# Installs Debian's packages. Fails with a line if that is not possible.
install_packages() {
  local root=()
  export DEBIAN_FRONTEND=noninteractive
  command -v apt-get >/dev/null || { echo "there is no apt-get" >&2; return 1; }
  if [ "$(id -u)" != 0 ]; then
    root=(sudo -n env DEBIAN_FRONTEND=noninteractive)
    sudo -n true 2>/dev/null || { echo "installing needs root or sudo" >&2; return 1; }
  fi
  get() { "${root[@]}" apt-get install --yes --no-install-recommends "$@"; }
  get "$@" >/dev/null 2>&1 || { "${root[@]}" apt-get update && get "$@"; } >/dev/null 2>&1 ||
    { echo "apt-get cannot install $*" >&2; return 1; }
}

install_slurm() {
  export PATH="$PATH:/usr/sbin"
  type munged slurmctld slurmd sbatch >/dev/null 2>&1 ||
    install_packages munge slurm-client slurmctld slurmd
}

install_chromium() {
  type chromium >/dev/null 2>&1 || install_packages chromium
}

"$python" -m ruff check .
"$python" -m ruff format --check .
"$python" -m mypy
install_slurm || echo "the tests of launch/slurm are skipped" >&2
install_chromium || echo "the tests of a report in a browser are skipped" >&2
"$python" -m pytest --numprocesses=auto --dist=loadfile --no-loadscope-reorder "$@"
