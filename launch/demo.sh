#!/usr/bin/env bash
# Standard finetuning and distilling step-by-step on the same generated examples, from
# random weights: six to seven minutes on two cores. Output: runs/demo/.
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"
exec .venv/bin/python -m dsbs_jax.experiments.demo --output_dir=runs/demo "$@"
