# shellcheck shell=bash disable=SC2154 # $python
# Sourced by sweep.sh and slurm/sweep.sbatch: the jobs of a list file.
#
# A job is a line such as `pvn.pretrain --config.seed=1 --workdir=runs/a`. Blank lines and lines
# that begin with # are not jobs and do not count. Quotes and backslashes work as in a shell; $, *
# and ~ mean themselves. A first word that begins with `pvn.` is a command of pvn; any other first
# word is a program. A job that ended with status 0 leaves a file in LIST.done, named after its
# text, and is skipped from then on. To run it again, delete that file or edit the line.

# jobs_of LIST: its jobs, without blanks at both ends.
jobs_of() {
  sed -e 's/^[[:space:]]*//' -e 's/[[:space:]]*$//' -e '/^#/d' -e '/^$/d' "$1"
}

# count_jobs LIST: prints their number.
count_jobs() {
  [ -f "$1" ] || { echo "error: $1: no such file" >&2; return 1; }
  jobs_of "$1" | awk 'END { print NR }' # the last line may lack its newline
}

# split_words LIST TEXT: the words of a job, each followed by a zero byte.
split_words() {
  "$python" -c '
import shlex, sys
try:
    words = shlex.split(sys.argv[2])
except ValueError as error:
    sys.exit(f"error: {sys.argv[1]}: {error}: {sys.argv[2]}")
print(*words, sep="\0", end="\0")' "$@"
}

# run_job LIST NUMBER [PREFIX...]: runs a job, counted from 1, behind the words of PREFIX. Returns
# its exit status; 0 if it is finished, 1 if there is no such job.
run_job() {
  local list="$1" number="$2" words=() num_jobs job finished
  shift 2
  num_jobs="$(count_jobs "$list")" || return
  if [ "$number" -lt 1 ] || [ "$number" -gt "$num_jobs" ]; then
    echo "error: $list has $num_jobs jobs; there is no job $number" >&2
    return 1
  fi
  job="$(jobs_of "$list" | sed -n "${number}p")"
  finished="$list.done/$(printf %s "$job" | sha256sum | cut -c1-16)"
  if [ -f "$finished" ]; then
    echo "job $number is finished: $job" >&2
    return 0
  fi
  mapfile -t -d '' words < <(split_words "$list" "$job")
  [ "${#words[@]}" -gt 0 ] || return 1 # the message is out
  case "${words[0]}" in pvn.*) words=("$python" -m "${words[@]}") ;; esac
  echo "job $number: $job" >&2
  "$@" "${words[@]}" || return
  mkdir -p "$list.done"
  echo "$job" >"$finished.$$"
  mv "$finished.$$" "$finished"
}
