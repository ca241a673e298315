#!/usr/bin/env bash
# Submits a pretraining to the Kubernetes cluster of kubectl's current context, as a JobSet; the
# cluster needs JobSet 0.6 or newer. Flags are those of pvn.pretrain. Data and runs lie on gs://.
#
#   IMAGE=REGION-docker.pkg.dev/PROJECT/REPOSITORY/pvn bash launch/gke/submit.sh tpu \
#       --config.dataset=gs://bucket/pong --workdir=gs://bucket/runs/pong
#
# With --dry_run before tpu or gpu it prints the manifest instead. The same command after a failure
# needs `kubectl delete jobset NAME` first; the run then resumes.
set -euo pipefail

# Fill in, here or in the environment:
IMAGE="${IMAGE:-}"                               # made from launch/gke/Dockerfile
NAME="${NAME:-pvn}"                              # of the JobSet
NUM_HOSTS="${NUM_HOSTS:-}"                       # with GPUs (1); of a TPU slice by its topology
SERVICE_ACCOUNT="${SERVICE_ACCOUNT:-default}"    # of Kubernetes; may read and write the bucket
MAX_RESTARTS="${MAX_RESTARTS:-3}"                # after failures; preemptions do not count
TPU_TYPE="${TPU_TYPE:-tpu-v5-lite-podslice}"     # label cloud.google.com/gke-tpu-accelerator
TPU_TOPOLOGY="${TPU_TOPOLOGY:-4x4}"              # label cloud.google.com/gke-tpu-topology
CHIPS_PER_HOST="${CHIPS_PER_HOST:-4}"            # TPU chips
GPU_TYPE="${GPU_TYPE:-nvidia-l4}"                # label cloud.google.com/gke-accelerator
GPUS_PER_HOST="${GPUS_PER_HOST:-1}"

fail() { echo "error: $*" >&2; exit 1; }

dry_run=false
if [ "${1:-}" = --dry_run ]; then
  dry_run=true
  shift
fi
accelerator="${1:-}"
# shellcheck disable=SC2034 # read by name below
case "$accelerator" in
  tpu)
    # All pods on one slice, and no other JobSet there.
    ANNOTATIONS='{alpha.jobset.sigs.k8s.io/exclusive-topology: cloud.google.com/gke-nodepool}'
    NODE_SELECTOR="{cloud.google.com/gke-tpu-accelerator: $TPU_TYPE,"
    NODE_SELECTOR+=" cloud.google.com/gke-tpu-topology: $TPU_TOPOLOGY}"
    LIMITS="{google.com/tpu: $CHIPS_PER_HOST}"
    ;;
  gpu)
    ANNOTATIONS='{}'
    NODE_SELECTOR="{cloud.google.com/gke-accelerator: $GPU_TYPE}"
    LIMITS="{nvidia.com/gpu: $GPUS_PER_HOST}"
    ;;
  *) fail "expected launch/gke/submit.sh [--dry_run] tpu|gpu FLAGS" ;;
esac
shift
[ -n "$IMAGE" ] || fail "IMAGE: not set, expected the image that you made from launch/gke/Dockerfile"
[[ "$TPU_TOPOLOGY" =~ ^[1-9][0-9]*(x[1-9][0-9]*)+$ ]] ||
  fail "TPU_TOPOLOGY=$TPU_TOPOLOGY: expected numbers of chips, as in 4x4"
for name in CHIPS_PER_HOST GPUS_PER_HOST; do
  [[ "${!name}" =~ ^[1-9][0-9]*$ ]] || fail "$name=${!name}: expected a whole number, 1 or more"
done
hosts="${NUM_HOSTS:-1}"
if [ "$accelerator" = tpu ]; then
  chips=$((${TPU_TOPOLOGY//x/*}))
  hosts=$((chips / CHIPS_PER_HOST))
  [ $((hosts * CHIPS_PER_HOST)) = "$chips" ] ||
    fail "CHIPS_PER_HOST=$CHIPS_PER_HOST: does not divide the $chips chips of TPU_TOPOLOGY"
  [ "${NUM_HOSTS:-$hosts}" = "$hosts" ] ||
    fail "NUM_HOSTS=$NUM_HOSTS: expected $hosts, from TPU_TOPOLOGY and CHIPS_PER_HOST"
fi
NUM_HOSTS="$hosts"
[[ "$NUM_HOSTS" =~ ^[1-9][0-9]*$ ]] ||
  fail "NUM_HOSTS=$NUM_HOSTS: expected a whole number, 1 or more"
[[ "$MAX_RESTARTS" =~ ^[0-9]+$ ]] || fail "MAX_RESTARTS=$MAX_RESTARTS: expected a whole number"
case " $*" in
  *" --dry_run"* | *" -dry_run"*)
    fail "--dry_run: comes first, to print the manifest; pvn.pretrain has one for a run's size" ;;
esac
case " $*" in
  *" --workdir=gs://"*) ;;
  *) fail "--workdir: expected a folder on gs://, because pods have no disk that lasts" ;;
esac

# The flags as a list of JSON strings, which is YAML.
ARGUMENTS=
for argument in "$@"; do
  argument="${argument//\\/\\\\}"
  ARGUMENTS+="${ARGUMENTS:+, }\"${argument//\"/\\\"}\""
done
ARGUMENTS="[$ARGUMENTS]"

manifest="$(<"$(dirname "$0")/jobset.yaml")"
for name in IMAGE NAME NUM_HOSTS SERVICE_ACCOUNT MAX_RESTARTS ANNOTATIONS NODE_SELECTOR LIMITS \
  ARGUMENTS; do
  manifest="${manifest//"\${$name}"/"${!name}"}"
done
if "$dry_run"; then
  echo "$manifest"
else
  kubectl create --filename=- <<<"$manifest"
fi
