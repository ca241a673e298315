#!/usr/bin/env bash
# Runs the jobs of a list on this machine, one after the other; launch/jobs.sh describes the list.
# The same command runs what is missing. With --count it only prints the number of jobs.
#
#   bash launch/sweep.sh [--count] jobs.txt
set -euo pipefail
source "$(dirname "$0")/jobs.sh"

count=false
if [ "${1:-}" = --count ]; then
  count=true
  shift
fi
[ $# = 1 ] || { echo "error: expected launch/sweep.sh [--count] LIST" >&2; exit 1; }
num_jobs="$(count_jobs "$1")"
if "$count"; then
  echo "$num_jobs"
  exit
fi
list="$(realpath "$1")"
source "$(dirname "$0")/setup.sh"

failed=()
for ((number = 1; number <= num_jobs; number++)); do
  status=0
  run_job "$list" "$number" || status=$?
  case "$status" in
    0) ;;
    130 | 143) exit "$status" ;; # asked to stop
    *) failed+=("$number") ;;
  esac
done
if [ "${#failed[@]}" -gt 0 ]; then
  echo "error: ${#failed[@]} of $num_jobs jobs failed: ${failed[*]}" >&2
  exit 1
fi
