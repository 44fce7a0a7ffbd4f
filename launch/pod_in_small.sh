#!/usr/bin/env bash
# A pod in small, to rehearse a launch before a pod is rented: several processes of
# t5x.train on this machine, joined as the hosts of a pod are, with virtual CPU devices.
# Where one ends with an error, all end; the same command goes on from the last
# checkpoint. For example, with T5X in .venv (README.md):
#   PROCESSES=2 DEVICES=2 bash launch/pod_in_small.sh --gin_file=t5x/train.gin … \
#     --gin.MODEL_PARALLEL_SUBMESH="(1, 2)"
#   PROCESSES  processes (default 2)          DEVICES  devices of each (default 2)
#   PYTHON     default .venv/bin/python       LOGS     a folder for their output
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
processes=${PROCESSES:-2}
python=${PYTHON:-.venv/bin/python}
logs=${LOGS:-$(mktemp -d)}
mkdir -p "$logs"
port=$("$python" -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
export JAX_PLATFORMS=cpu
export XLA_FLAGS="${XLA_FLAGS:-} --xla_force_host_platform_device_count=${DEVICES:-2}"

pids=()
end_all() {
  trap - EXIT INT TERM
  kill -KILL "${pids[@]}" 2>/dev/null || true
  wait
}
trap end_all EXIT
trap 'exit 143' INT TERM
for ((i = 0; i < processes; i++)); do
  "$python" -m t5x.train --gin_search_paths=gin "$@" --multiprocess_gpu \
    --coordinator_address="127.0.0.1:$port" --process_count="$processes" \
    --process_index="$i" >"$logs/$i.log" 2>&1 &
  pids+=($!)
  echo "process $i is ${pids[i]}, its output $logs/$i.log"
done
for ((left = processes; left > 0; left--)); do
  status=0
  wait -n -p ended "${pids[@]}" || status=$?
  if ((status)); then
    echo "error: process $ended ended with status $status; the others are ended too" >&2
    exit 1
  fi
  for i in "${!pids[@]}"; do
    if [ "${pids[i]}" = "$ended" ]; then unset "pids[i]"; fi
  done
done
echo "all $processes processes ended well"
