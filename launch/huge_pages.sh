#!/usr/bin/env bash
# Lets glibc's malloc use 2 MiB huge pages; sourced by run.sh and demo.sh. A training step
# on a CPU allocates and frees gigabytes: with 4 KiB pages it spends time in about 300,000
# page faults, with huge pages in about 6,000 (benchmarks/README.md). glibc reads the
# variable when a process starts, so Python code cannot set it for itself. An existing
# GLIBC_TUNABLES is left unchanged; an empty one turns huge pages off.
if [ "$(uname -s)" = Linux ]; then
  export GLIBC_TUNABLES=${GLIBC_TUNABLES-glibc.malloc.hugetlb=1}
fi
