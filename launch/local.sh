#!/usr/bin/env bash
# Starts N processes of one command on this machine, as one run of jax.distributed.
#
#   bash launch/local.sh 2 -- .venv/bin/python -m pvn.pretrain --workdir=runs/pong
#
# Process 0 prints as if it ran alone. Lines of the others are preceded by their number and go to
# stderr. When a process fails, the others get SIGTERM, and SIGKILL 30 s later (LOCAL_GRACE).
# SIGTERM and Ctrl-C are passed on to all; the script then waits for them. The exit status is that
# of the first process that failed.
#
# All processes see all GPUs. One process uses all GPUs of a machine and does not need this script.
set -euo pipefail

if ! [[ "${1:-}" =~ ^[1-9][0-9]*$ ]] || [ "${2:-}" != -- ] || [ $# -lt 3 ]; then
  echo "error: expected launch/local.sh N -- COMMAND, with N of 1 or more" >&2
  exit 1
fi
num_processes="$1"
shift 2

# A port below those that the system gives to clients.
port=$((20000 + RANDOM % 12000))
while (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; do
  port=$((20000 + RANDOM % 12000))
done
export JAX_COORDINATOR_ADDRESS="127.0.0.1:$port" JAX_NUM_PROCESSES="$num_processes"

number_lines() {
  trap '' INT TERM # until the last line
  local line
  while IFS= read -r line || [ -n "$line" ]; do printf '[%s] %s\n' "$1" "$line"; done
}

start() {
  export JAX_PROCESS_ID="$1"
  shift
  [ "$JAX_PROCESS_ID" != 0 ] || exec "$@"
  trap : INT TERM # wait for the command, which gets the signal too
  "$@" 2>&1 | number_lines "$JAX_PROCESS_ID" >&2
}

running=()
signal_all() {
  local pid
  for pid in "${running[@]}"; do kill -s "$1" -- "-$pid" 2>/dev/null || true; done
}

asked=false
trap 'asked=true; signal_all INT' INT
trap 'asked=true; signal_all TERM' TERM
set -m # each process leads a process group and may be interrupted
for ((i = 0; i < num_processes; i++)); do
  start "$i" "$@" </dev/null &
  running[i]=$!
done
set +m

status=0
kill_at=
while [ "${#running[@]}" -gt 0 ]; do
  for i in "${!running[@]}"; do
    if kill -0 "${running[i]}" 2>/dev/null; then continue; fi
    code=0
    wait "${running[i]}" 2>/dev/null || code=$?
    unset "running[i]"
    if [ "$code" != 0 ] && [ "$status" = 0 ]; then
      status="$code"
      if ! "$asked"; then
        echo "error: process $i ended with status $code" >&2
        signal_all TERM
        kill_at=$((SECONDS + ${LOCAL_GRACE:-30}))
      fi
    fi
  done
  if [ -n "$kill_at" ] && [ "$SECONDS" -ge "$kill_at" ]; then signal_all KILL; fi
  sleep 0.1 || true # Ctrl-C ends it
done
exit "$status"
