#!/usr/bin/env bash
# Pretrains on a slice of Cloud TPU VMs through the command line of Google Cloud: creates the slice
# if it does not exist, installs pvn as it is committed on all hosts, and runs one process on each.
# Flags are those of pvn.pretrain. Data and runs lie on gs://, because a slice loses its disks.
#
#   PROJECT=mine ZONE=us-west4-a bash launch/tpu/pretrain.sh \
#       --config.dataset=gs://bucket/pong --workdir=gs://bucket/runs/pong
#
# With --dry_run before the flags it prints the commands instead. The same command resumes the run.
# The slice is billed until you delete it; the last line says how. Ctrl-C here does not stop the
# processes there.
set -euo pipefail

# Fill in, here or in the environment:
PROJECT="${PROJECT:-}"                               # of Google Cloud
ZONE="${ZONE:-}"                                     # for example us-west4-a
TPU_NAME="${TPU_NAME:-pvn}"                          # of the slice
ACCELERATOR_TYPE="${ACCELERATOR_TYPE:-v5litepod-16}" # gcloud compute tpus accelerator-types list
RUNTIME="${RUNTIME:-v2-alpha-tpuv5-lite}"            # gcloud compute tpus versions list
# --spot is cheaper and may be preempted. Where there is no capacity, create the slice beforehand as
# a queued resource (gcloud compute tpus queued-resources create, with --node-id=$TPU_NAME).
CREATE_FLAGS="${CREATE_FLAGS:-}"
PYTHON_VERSION="${PYTHON_VERSION:-3.12}"             # installed on the hosts by uv

fail() { echo "error: $*" >&2; exit 1; }

dry_run=false
if [ "${1:-}" = --dry_run ]; then
  dry_run=true
  shift
fi
[ -n "$PROJECT" ] || fail "PROJECT: not set, expected a project of Google Cloud"
[ -n "$ZONE" ] || fail "ZONE: not set, expected a zone that has TPUs, as in us-west4-a"
case " $*" in
  *" --dry_run"* | *" -dry_run"*)
    fail "--dry_run: comes first, to print the commands; pvn.pretrain has one for a run's size" ;;
esac
case " $*" in
  *" --workdir=gs://"*) ;;
  *) fail "--workdir: expected a folder on gs://, because a slice loses its disks" ;;
esac
cd "$(dirname "$0")/../.."
"$dry_run" || command -v gcloud >/dev/null || fail "gcloud: not found; install the Google Cloud CLI"

# run COMMAND...: runs it, or prints it with --dry_run.
run() {
  if "$dry_run"; then
    echo "${*@Q}"
  else
    "$@"
  fi
}
tpu() { # tpu VERB ARGUMENT...
  run gcloud compute tpus tpu-vm "$@" --project="$PROJECT" --zone="$ZONE"
}
on_all_hosts() { tpu ssh "$TPU_NAME" --worker=all --command="$1"; }

state='' # of the slice; empty if it does not exist
"$dry_run" || state="$(tpu list --filter="name~(^|/)$TPU_NAME\$" --format='value(state)')"
delete="gcloud compute tpus tpu-vm delete $TPU_NAME --project=$PROJECT --zone=$ZONE --quiet"
case "$state" in
  READY) ;;
  '')
    # shellcheck disable=SC2086 # several flags
    tpu create "$TPU_NAME" --accelerator-type="$ACCELERATOR_TYPE" --version="$RUNTIME" $CREATE_FLAGS
    ;;
  *) fail "slice $TPU_NAME is $state, expected READY; wait, or delete it: $delete" ;;
esac

archive="$(mktemp -d)/pvn.tar.gz"
trap 'rm -r "$(dirname "$archive")"' EXIT
run git archive --output="$archive" HEAD
tpu scp "$archive" "$TPU_NAME:pvn.tar.gz" --worker=all
on_all_hosts "python3 -m pip install --quiet --user uv \
&& python3 -m uv python install --quiet $PYTHON_VERSION \
&& export PYTHON=\"\$(python3 -m uv python find $PYTHON_VERSION)\" \
&& mkdir -p pvn && tar -xzf pvn.tar.gz -C pvn && cd pvn && bash launch/setup.sh \
&& .venv/bin/python -m pip install --quiet jax[tpu]==\"\$(.venv/bin/python -c \
'from importlib.metadata import version; print(version(\"jax\"))')\""

status=0
on_all_hosts "cd pvn && exec .venv/bin/python -m pvn.pretrain$(printf ' %q' "$@")" || status=$?
echo "to delete the slice: $delete" >&2
exit "$status"
