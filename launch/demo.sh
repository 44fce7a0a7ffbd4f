#!/usr/bin/env bash
# Compares standard finetuning with distilling step-by-step on the same generated
# examples, both from random weights. Takes six to seven minutes on two cores and writes
# runs/demo/.
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"
source launch/malloc.sh
exec .venv/bin/python -m dsbs_jax.experiments.demo --output_dir=runs/demo "$@"
