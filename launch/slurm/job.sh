# shellcheck shell=bash disable=SC2034 # $python
# Sourced by the sbatch scripts in the root of the repository: sets $python, defines `step`.

python="$PWD/.venv/bin/python"
# Jobs do not install: the tasks of an array would do it at the same time.
if ! cmp -s requirements.txt .venv/installed-requirements.txt; then
  echo "error: $PWD/.venv lacks requirements; run 'bash launch/setup.sh' on the login node" >&2
  exit 1
fi
export SRUN_CPUS_PER_TASK="${SLURM_CPUS_PER_TASK:-1}" # srun does not inherit it

# step COMMAND...: runs a command as the tasks of one job step, and returns its exit status. 143
# means that the step was asked to stop before the time limit and has saved a checkpoint; the job
# then goes back to the queue. At a preemption, SLURM ends this shell and requeues the job itself.
step() {
  local status=0 job="$SLURM_JOB_ID"
  # --kill-on-bad-exit would signal a second time, in the middle of saving.
  srun --wait=90 "$@" || status=$?
  if [ "$status" = 143 ]; then
    # The plain id of a task may be that of its whole array.
    [ -z "${SLURM_ARRAY_JOB_ID:-}" ] || job="${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID"
    echo "asked to stop: requeueing job $job" >&2
    scontrol requeue "$job"
  fi
  return "$status"
}
