#!/usr/bin/env bash
# Lint, types and all tests, on a machine that has only Python and pip. Arguments go to pytest.
set -euo pipefail
source "$(dirname "$0")/setup.sh"

# Installs SLURM and munge from Debian's packages. Fails with a line if that is not possible.
install_slurm() {
  local root=() packages=(munge slurm-client slurmctld slurmd)
  export PATH="$PATH:/usr/sbin" DEBIAN_FRONTEND=noninteractive
  if type munged slurmctld slurmd sbatch >/dev/null 2>&1; then return; fi
  command -v apt-get >/dev/null || { echo "there is no apt-get" >&2; return 1; }
  if [ "$(id -u)" != 0 ]; then
    root=(sudo -n env DEBIAN_FRONTEND=noninteractive)
    sudo -n true 2>/dev/null || { echo "installing needs root or sudo" >&2; return 1; }
  fi
  install() { "${root[@]}" apt-get install --yes --no-install-recommends "${packages[@]}"; }
  install >/dev/null 2>&1 || { "${root[@]}" apt-get update && install; } >/dev/null 2>&1 ||
    { echo "apt-get cannot install ${packages[*]}" >&2; return 1; }
}

"$python" -m ruff check .
"$python" -m ruff format --check .
"$python" -m mypy
install_slurm || echo "the tests of launch/slurm are skipped" >&2
"$python" -m pytest --numprocesses=auto --dist=loadfile --no-loadscope-reorder "$@"
