#!/usr/bin/env bash
# Trains with T5X on all GPUs of this machine; after a failure it starts again from the
# last checkpoint. Beside the run: commit, arguments, packages, and T5X's config.gin.
#   RUN_DIR=runs/cqa bash launch/gpu_host.sh [--dry-run] --gin_file=t5x/train.gin \
#     --gin_file=sizes/base.gin …
#   RESTARTS  at most (default 3)
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source launch/commands.sh
: "${RUN_DIR:?}"
if [[ $RUN_DIR == *://* ]]; then
  echo "error: RUN_DIR is $RUN_DIR, expected a folder of this machine" >&2
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
  if ((left == 0)); then
    echo "error: it ended with status $status too often" >&2
    exit 1
  fi
  echo "it ended with status $status: going on from the last checkpoint"
  sleep "${WAIT_SECONDS:-10}"
done
