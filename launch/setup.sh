#!/usr/bin/env bash
# Creates .venv if it does not exist and installs the checkout into it. The other scripts
# source this file. A stamp file marks a finished installation; later calls skip it.
#   EXTRAS=test,cuda   extras of setup.py (default: test)
#   PYTHON=python3.11  interpreter that creates the environment (default: python3)
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
extras=${EXTRAS:-test}
stamp=".venv/installed-$(cat setup.py pyproject.toml | cksum | cut -d' ' -f1)-$extras"
if [ ! -e "$stamp" ]; then
  python=${PYTHON:-python3}
  if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
    echo "error: $python is $("$python" --version 2>&1), expected Python 3.11 or newer; set PYTHON" >&2
    exit 2
  fi
  [ -x .venv/bin/python ] || "$python" -m venv .venv
  echo "Installing into .venv (a few minutes the first time)"
  .venv/bin/python -m pip install --quiet --disable-pip-version-check -e ".[$extras]"
  touch "$stamp"
fi
# JAX reads compiled programs from this folder, so a second run starts faster.
export JAX_COMPILATION_CACHE_DIR=${JAX_COMPILATION_CACHE_DIR:-$HOME/.cache/dsbs_jax}
