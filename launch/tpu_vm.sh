#!/usr/bin/env bash
# Trains with T5X on a TPU VM pod slice: requests the slice (queued resources), copies this
# commit to all its hosts, trains, and deletes the slice. After a preemption the script
# requests the slice again, and training resumes from the last checkpoint. After an error
# the slice is kept; the same command reuses it and resumes. RUN_DIR gets commit.txt,
# arguments.txt and packages.txt in addition to T5X's config.gin.
#   NAME=cqa ZONE=us-central2-b TYPE=v4-32 RUN_DIR=gs://bucket/cqa \
#     bash launch/tpu_vm.sh [--dry-run] --gin_file=t5x/train.gin --gin_file=sizes/base.gin …
#   VERSION          TPU software version (default: tpu-ubuntu2204-base)
#   PROJECT          Google Cloud project (default: the one gcloud is configured with)
#   SPOT=1           requests spot capacity: cheaper, may be preempted
#   KEEP=1           keeps the slice after the run
#   POLL_SECONDS=30  seconds between two checks of the slice's state (default: 30)
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source launch/commands.sh
: "${NAME:?}" "${ZONE:?}" "${TYPE:?}" "${RUN_DIR:?}"
where=(--zone="$ZONE" ${PROJECT:+--project="$PROJECT"})
# Text for the hosts' shells, which split it into words a second time: therefore %q.
printf -v arguments ' %q' --gin_search_paths=gin "$@" "--gin.MODEL_DIR=$(literal "$RUN_DIR")"
printf -v run_dir '%q/' "${RUN_DIR%/}"
upload="gcloud storage cp - $run_dir"
enter="cd dsbs_jax &&"
archive=${TMPDIR:-/tmp}/dsbs_jax-$commit.tar.gz

queue() { run gcloud compute tpus queued-resources "$1" "$NAME" "${where[@]}" "${@:2}"; }
on_worker() { run gcloud compute tpus tpu-vm ssh "$NAME" "${where[@]}" --worker="$1" --command="$2"; }

# Prints the state of the request, or nothing without a request. `run` prints the
# command in the first line, which is removed.
state() { [ -n "$dry" ] || queue describe --format='value(state.state)' 2>/dev/null | sed 1d; }

# Requests the slice if necessary and waits until it is active.
wait_for_slice() {
  while true; do
    case "$(state)" in
      ACTIVE) return ;;
      FAILED) echo "error: Google Cloud could not create the slice $NAME" >&2; exit 1 ;;
      SUSPENDED) queue delete --force --quiet ;;
      '') queue create --node-id="$NAME" --accelerator-type="$TYPE" \
        --runtime-version="${VERSION:-tpu-ubuntu2204-base}" ${SPOT:+--spot} ;;
    esac
    if [ -n "$dry" ]; then return; fi
    sleep "${POLL_SECONDS:-30}"
  done
}

# Installs the commit on all hosts, and writes what runs to RUN_DIR. The hosts' Python is
# older than 3.11, so uv installs one.
install="mkdir -p dsbs_jax && $enter tar -xzf ../dsbs_jax.tar.gz \
&& python3 -m pip install -q --user uv \
&& python3 -m uv venv -q --allow-existing --seed --python=3.11 .venv \
&& .venv/bin/python -m pip install -q -e '.[tpu,t5x]' \
&& .venv/bin/python -m pip install -q --no-deps -r launch/t5x.txt"
record="$enter echo $commit | ${upload}commit.txt \
&& printf '%s\n'$arguments | ${upload}arguments.txt \
&& .venv/bin/python -m pip freeze | ${upload}packages.txt"
prepare() {
  run git archive --format=tar.gz --output="$archive" "$commit" &&
    run gcloud compute tpus tpu-vm scp "$archive" "$NAME:dsbs_jax.tar.gz" "${where[@]}" --worker=all &&
    on_worker all "$install" &&
    on_worker 0 "$record"
}

# --multiprocess_gpu makes T5X call jax.distributed.initialize. Without addresses, JAX
# reads the slice's hosts from the slice's own metadata.
train() { on_worker all "$enter .venv/bin/python -m t5x.train --multiprocess_gpu$arguments"; }

# A preempted slice is reported as ACTIVE for some time, so the state is read repeatedly.
was_preempted() {
  local left
  for ((left = 5; left > 0; left--)); do
    if [ "$(state)" != ACTIVE ]; then return 0; fi
    sleep "${POLL_SECONDS:-30}"
  done
  return 1
}

while true; do
  wait_for_slice
  if prepare && train; then break; fi
  if was_preempted; then continue; fi
  echo "error: the run failed and the slice $NAME is still active; fix the cause and run the same command, or delete the slice" >&2
  exit 1
done
if [ -z "${KEEP:-}" ]; then queue delete --force --quiet; fi
