#!/usr/bin/env bash
# Rehearses a pod launch on this machine: starts several processes of t5x.train with
# virtual CPU devices, connected like the hosts of a pod. If one process fails, the script
# stops all of them. On SIGTERM or Ctrl-C, or if a process has received SIGTERM, all
# processes save a checkpoint of the same step first. The same command then resumes from
# the last checkpoint. T5X must be installed in .venv (README.md). For example:
#   PROCESSES=2 DEVICES=2 bash launch/local_pod.sh --gin_file=t5x/train.gin … \
#     --gin.MODEL_PARALLEL_SUBMESH="(1, 2)"
#   PROCESSES=2  number of processes (default: 2)
#   DEVICES=2    virtual devices of each process (default: 2)
#   GRACE=60     seconds in which the processes must save a checkpoint (default: 60)
#   PYTHON       interpreter (default: .venv/bin/python)
#   LOGS         folder for the processes' output (default: a temporary folder)
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
processes=${PROCESSES:-2}
python=${PYTHON:-.venv/bin/python}
logs=${LOGS:-$(mktemp -d)}
grace=${GRACE:-60}
mkdir -p "$logs"
port=$("$python" -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
export JAX_PLATFORMS=cpu
export XLA_FLAGS="${XLA_FLAGS:-} --xla_force_host_platform_device_count=${DEVICES:-2}"

pids=()
# SIGKILL, because jax.distributed catches SIGTERM as a preemption notice: a process that
# waits for a lost peer would stay until the coordination service gives up (100 s).
kill_all() {
  trap - EXIT INT TERM
  kill -KILL "${pids[@]}" 2>/dev/null || true
  wait
}
# Lets the processes save. A second signal kills them.
stop_all() {
  trap 'exit 143' INT TERM
  echo "stopping: waiting at most $grace s for the processes to save (output in $logs)" >&2
  kill -TERM "${pids[@]}" 2>/dev/null || true
  local end=$((SECONDS + grace))
  while [ -n "$(jobs -pr)" ] && ((SECONDS < end)); do sleep 0.2; done
  if [ -n "$(jobs -pr)" ]; then
    echo "error: processes did not end within GRACE=$grace s; killing them" >&2
  fi
  echo "stopped; run the same command to resume from the last checkpoint" >&2
  exit 143
}
trap kill_all EXIT
trap stop_all INT TERM
for ((i = 0; i < processes; i++)); do
  "$python" -m t5x.train --gin_search_paths=gin "$@" --multiprocess_gpu \
    --coordinator_address="127.0.0.1:$port" --process_count="$processes" \
    --process_index="$i" >"$logs/$i.log" 2>&1 &
  pids+=($!)
  echo "process $i: pid ${pids[i]}, output in $logs/$i.log"
done
for ((left = processes; left > 0; left--)); do
  status=0
  wait -n -p finished "${pids[@]}" || status=$?
  if ((status == 143)); then stop_all; fi
  if ((status)); then
    echo "error: pid $finished failed with status $status; stopping all processes (output in $logs)" >&2
    exit 1
  fi
  # `wait -n` must not see a process that has finished already.
  for i in "${!pids[@]}"; do
    if [ "${pids[i]}" = "$finished" ]; then unset "pids[i]"; fi
  done
done
echo "all $processes processes finished"
