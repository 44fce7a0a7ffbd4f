#!/usr/bin/env bash
# Sets up glibc's malloc for training on a CPU; sourced by run.sh and demo.sh. A training
# step allocates and frees gigabytes. By default the process returns them to the kernel
# after each step, and the next step gets them back in about 300,000 page faults of 4 KiB.
# With these settings a process uses pages of 2 MiB and keeps the memory that it frees
# (benchmarks/README.md has the gain). Commands keep freed memory also without this script
# (dsbs_jax/malloc.py), but glibc takes huge pages only when a process starts. An
# existing GLIBC_TUNABLES is left unchanged; an empty one turns the settings off.
if [ "$(uname -s)" = Linux ]; then
  malloc=glibc.malloc.hugetlb=1:glibc.malloc.mmap_max=0
  malloc+=:glibc.malloc.trim_threshold=17179869184 # 16 GiB
  export GLIBC_TUNABLES=${GLIBC_TUNABLES-$malloc}
fi
