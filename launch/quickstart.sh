#!/usr/bin/env bash
# Do learned features help a linear head that plays? On a machine that has only Python and pip:
# collects, pretrains, probes, evaluates and reports. The same command resumes an interrupted run.
#
#   bash launch/quickstart.sh                   # two games of MinAtar, three seeds: minutes
#   bash launch/quickstart.sh --game=Breakout   # a game of Atari, one seed: 13 minutes on 2 cores
#
# --workdir=DIR is where it writes; by default runs/quickstart, or runs/quickstart_GAME.
set -euo pipefail

workdir='' game=''
while [ $# -gt 0 ]; do
  case "$1" in
    --workdir=*) workdir="${1#*=}" ;;
    --game=*) game="${1#*=}" ;;
    --workdir | --game)
      [ $# -gt 1 ] || { echo "error: $1 needs a value" >&2; exit 1; }
      printf -v "${1#--}" %s "$2"
      shift
      ;;
    *)
      echo "error: unknown argument $1; expected --workdir=DIR or --game=NAME" >&2
      exit 1
      ;;
  esac
  shift
done
: "${workdir:=runs/quickstart${game:+_$game}}"
case "$workdir" in
  gs://*) echo "error: --workdir=$workdir: expected a local directory" >&2; exit 1 ;;
  "~"/*) workdir="$HOME/${workdir#"~/"}" ;;  # the shell expands it in no --workdir=~/...
  /*) ;;
  *) workdir="$PWD/$workdir" ;;
esac
source "$(dirname "$0")/setup.sh"

# As one types it in a shell, for the commands that are printed.
printf -v in_shell %q "$workdir"
printf -v python_in_shell %q "$python"

step() { printf '\n== %s\n' "$*" >&2; }

minatar() {
  step "collect, pretrain, evaluate and probe: two games, three seeds"
  "$python" -m pvn.suite --config=configs/suite_quickstart.py --workdir="$workdir" --jobs=2

  step "report"
  "$python" -m pvn.report --workdir="$workdir/report" --flagfile="$workdir/report.flags"

  cat <<EOF

features: $workdir/MinAtar/SpaceInvaders/0/pretrain/pvn/features

Try next, in $PWD:
  # the same for a game of Atari
  bash launch/quickstart.sh --game=Breakout
  # ten times the tasks
  $python_in_shell -m pvn.pretrain --config=configs/pretrain_minatar.py --config.num_tasks=1000 --config.candidates_per_task=1 --config.num_steps=5000 \\
    --config.dataset=$in_shell/MinAtar/SpaceInvaders/0/data/random --workdir=runs/tasks_1000
  # which settings matter, one factor at a time (configs/suite_minatar.py says how to make the
  # policies that it needs)
  $python_in_shell -m pvn.suite --config=configs/suite_minatar_ablation.py \\
    --workdir=results/minatar_greedy --dry_run
EOF
}

# Evaluation episodes are played at epsilon 0.05, because a greedy policy may wait until the time
# limit without starting the game.
evaluate() {
  local name="$1"
  shift
  "$python" -m pvn.evaluate --config=configs/evaluate.py --workdir="$workdir/$name" \
    --game="$game" --config.num_steps=40000 --config.eval_episodes=64 \
    --config.eval_epsilon=0.05 "$@"
}

probe() {
  "$python" -m pvn.probe --dataset="$workdir/data" --discount=0.95 --workdir="$workdir/probe" "$@"
}

atari() {
  step "1/5 collect: 50,000 steps of random play"
  "$python" -m pvn.collect --game="$game" --num_steps=50000 --dataset="$workdir/data"

  step "2/5 pretrain: a proto-value network, without rewards"
  "$python" -m pvn.pretrain --config=configs/pretrain.py --config.dataset="$workdir/data" \
    --workdir="$workdir/pvn"

  step "3/5 probe: do the features predict the value of a state?"
  local inputs="$workdir/eval,$workdir/eval_random,$workdir/eval_none"
  # Random play of a hard game may get no reward. Then there is no value to predict.
  if probe --features="$workdir/pvn" && probe --features=random --like="$workdir/pvn"; then
    inputs="$inputs,$workdir/probe"
  else
    echo "the probe failed: continuing without it" >&2
  fi

  step "4/5 evaluate: a linear head on reward interactions, then play"
  evaluate eval --features="$workdir/pvn"
  evaluate eval_random --features=random --like="$workdir/pvn"
  evaluate eval_none --features=none

  step "5/5 report"
  "$python" -m pvn.report --workdir="$workdir/report" --inputs="$inputs"

  cat <<EOF

features: $workdir/pvn/features

Try next, in $PWD:
  # better data: play with the learned policy
  $python_in_shell -m pvn.collect --game=$game --policy=$in_shell/eval --epsilon=0.05 --dataset=data/better
  # ten times the tasks
  $python_in_shell -m pvn.pretrain --config.dataset=$in_shell/data --config.num_tasks=5000 --workdir=runs/tasks_5000
  # the published linear evaluation: double Q by gradients, a million interactions
  $python_in_shell -m pvn.evaluate --config=configs/evaluate_published.py --features=$in_shell/pvn --workdir=runs/published
EOF
}

if [ -n "$game" ]; then atari; else minatar; fi
