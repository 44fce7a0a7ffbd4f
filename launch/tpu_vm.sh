#!/usr/bin/env bash
# Trains with T5X on a TPU VM pod slice: asks for one (queued resources), puts this
# commit on all its hosts, trains, and gives it back. After a preemption it asks again
# and goes on from the last checkpoint. Beside the run: commit, arguments, packages, and
# T5X's config.gin.
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
state() { if [ -z "$dry" ]; then queue describe --format='value(state.state)' 2>/dev/null | tail -n 1; fi; }
slice() {
  if [ "$(state)" = ACTIVE ]; then return; fi
  queue create --node-id="$NAME" --accelerator-type="$TYPE" \
    --runtime-version="${VERSION:-tpu-ubuntu2204-base}" ${SPOT:+--spot}
  while [ -z "$dry" ]; do
    case "$(state)" in
      ACTIVE) return ;;
      FAILED) echo "error: the slice could not be made" >&2; exit 1 ;;
    esac
    sleep "${POLL_SECONDS:-30}"
  done
}
prepare() {
  run git archive --format=tar.gz --output="$archive" "$commit" &&
    run gcloud compute tpus tpu-vm scp "$archive" "$NAME:dsbs_jax.tar.gz" "${where[@]}" --worker=all &&
    on all "mkdir -p dsbs_jax && $enter tar -xzf ../dsbs_jax.tar.gz && python3 -m venv .venv && .venv/bin/pip install -q -e '.[tpu,t5x]' && .venv/bin/pip install -q --no-deps -r launch/t5x.txt" &&
    on 0 "$enter echo $commit | ${keep}commit.txt && printf '%s\n'$arguments | ${keep}arguments.txt && .venv/bin/pip freeze | ${keep}packages.txt"
}
while true; do
  slice
  # Without addresses, T5X joins the hosts as the slice's own metadata say.
  if prepare && on all "$enter .venv/bin/python -m t5x.train --multiprocess_gpu$arguments"; then break; fi
  if [ "$(state)" = ACTIVE ]; then echo "error: it failed, and the slice still stands" >&2; exit 1; fi
  echo "the slice was taken away: asking for another, to go on from the last checkpoint"
  queue delete --force --quiet
done
if [ -z "${KEEP:-}" ]; then queue delete --force --quiet; fi
