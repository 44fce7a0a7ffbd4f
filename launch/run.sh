#!/usr/bin/env bash
# Runs a module of the project on this machine, for example
#   bash launch/run.sh dsbs_jax.train --gin_file=sizes/small.gin …
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"
source launch/malloc.sh
exec .venv/bin/python -m "$@"
