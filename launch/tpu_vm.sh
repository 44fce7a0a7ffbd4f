#!/usr/bin/env bash
# Trains with T5X on a TPU VM pod slice: asks for one (queued resources), puts this
# commit on all its hosts, trains, and gives it back. After a preemption it asks again
# and goes on from the last checkpoint, as the same command does after an error. Beside
# the run: commit, arguments, packages, and T5X's config.gin.
#   NAME=cqa ZONE=us-central2-b TYPE=v4-32 RUN_DIR=gs://bucket/cqa \
#     bash launch/tpu_vm.sh [--dry-run] --gin_file=t5x/train.gin --gin_file=sizes/base.gin …
#   VERSION  TPU software (default tpu-ubuntu2204-base)    PROJECT  Google Cloud's
#   SPOT=1   cheaper, may be preempted                     KEEP=1   keeps the slice
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source launch/commands.sh
: "${NAME:?}" "${ZONE:?}" "${TYPE:?}" "${RUN_DIR:?}"
where=(--zone="$ZONE" ${PROJECT:+--project="$PROJECT"})
printf -v arguments ' %q' --gin_search_paths=gin "$@" "--gin.MODEL_DIR=$(literal "$RUN_DIR")"
printf -v beside '%q/' "${RUN_DIR%/}"
keep="gcloud storage cp - $beside"
enter="cd dsbs_jax &&"
archive=${TMPDIR:-/tmp}/dsbs_jax-$commit.tar.gz

queue() { run gcloud compute tpus queued-resources "$1" "$NAME" "${where[@]}" "${@:2}"; }
on() { run gcloud compute tpus tpu-vm ssh "$NAME" "${where[@]}" --worker="$1" --command="$2"; }
# Of the request; nothing where there is none.
state() { [ -n "$dry" ] || queue describe --format='value(state.state)' 2>/dev/null | sed 1d; }
slice() {
  while true; do
    case "$(state)" in
      ACTIVE) return ;;
      FAILED) echo "error: the slice could not be made" >&2; exit 1 ;;
      SUSPENDED) queue delete --force --quiet ;;
      '') queue create --node-id="$NAME" --accelerator-type="$TYPE" \
        --runtime-version="${VERSION:-tpu-ubuntu2204-base}" ${SPOT:+--spot} ;;
    esac
    if [ -n "$dry" ]; then return; fi
    sleep "${POLL_SECONDS:-30}"
  done
}
# With a Python of its own: that of the hosts is older than 3.11.
prepare() {
  run git archive --format=tar.gz --output="$archive" "$commit" &&
    run gcloud compute tpus tpu-vm scp "$archive" "$NAME:dsbs_jax.tar.gz" "${where[@]}" --worker=all &&
    on all "mkdir -p dsbs_jax && $enter tar -xzf ../dsbs_jax.tar.gz && python3 -m pip install -q --user uv && python3 -m uv venv -q --allow-existing --seed --python=3.11 .venv && .venv/bin/python -m pip install -q -e '.[tpu,t5x]' && .venv/bin/python -m pip install -q --no-deps -r launch/t5x.txt" &&
    on 0 "$enter echo $commit | ${keep}commit.txt && printf '%s\n'$arguments | ${keep}arguments.txt && .venv/bin/python -m pip freeze | ${keep}packages.txt"
}
while true; do
  slice
  # Without addresses, T5X joins the hosts as the slice's own metadata say.
  if prepare && on all "$enter .venv/bin/python -m t5x.train --multiprocess_gpu$arguments"; then break; fi
  # One that is taken away is still ACTIVE for a while.
  for ((left = 5; left > 0; left--)); do
    if [ "$(state)" != ACTIVE ]; then continue 2; fi
    sleep "${POLL_SECONDS:-30}"
  done
  echo "error: it failed, and the slice still stands" >&2
  exit 1
done
if [ -z "${KEEP:-}" ]; then queue delete --force --quiet; fi
