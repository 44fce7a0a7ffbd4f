#!/usr/bin/env bash
# Trains with T5X on all GPUs of this machine. After a failure it restarts the training,
# which resumes from the last checkpoint. RUN_DIR gets commit.txt, arguments.txt and
# packages.txt in addition to T5X's config.gin.
#   RUN_DIR=runs/cqa bash launch/gpu_host.sh [--dry-run] --gin_file=t5x/train.gin \
#     --gin_file=sizes/base.gin …
#   RESTARTS=3         largest number of restarts (default: 3)
#   WAIT_SECONDS=10    seconds before a restart (default: 10)
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source launch/commands.sh
: "${RUN_DIR:?}"
if [[ $RUN_DIR == *://* ]]; then
  echo "error: RUN_DIR is $RUN_DIR, expected a folder on this machine" >&2
  exit 2
fi
python=.venv/bin/python
write() { run bash -c 'printf "%s\n" "${@:2}" >"$1"' write "$RUN_DIR/$1" "${@:2}"; }

run env EXTRAS=cuda,t5x bash -c 'source launch/setup.sh'
run "$python" -m pip install --quiet --no-deps -r launch/t5x.txt
run mkdir -p "$RUN_DIR"
write commit.txt "$commit"
write arguments.txt "$@"
run bash -c '"$1" -m pip freeze >"$2"' freeze "$python" "$RUN_DIR/packages.txt"
for ((left = ${RESTARTS:-3}; ; left--)); do
  status=0
  run "$python" -m t5x.train --gin_search_paths=gin "$@" \
    "--gin.MODEL_DIR=$(literal "$(realpath -m "$RUN_DIR")")" || status=$?
  if ((status == 0)); then break; fi
  # Ctrl-C and SIGTERM: T5X has saved a checkpoint.
  if ((status == 130 || status == 143)); then exit "$status"; fi
  if ((left == 0)); then
    echo "error: training failed with status $status after ${RESTARTS:-3} restarts; run the same command to resume" >&2
    exit 1
  fi
  echo "training failed with status $status; restarting from the last checkpoint"
  sleep "${WAIT_SECONDS:-10}"
done
