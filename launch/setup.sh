#!/usr/bin/env bash
# Makes .venv where none is and installs the checkout into it; sourced by the other
# scripts. A second call finds the stamp and does nothing.
#   EXTRAS=test,cuda   extras of setup.py (default: test)
#   PYTHON=python3.11  the interpreter to make the environment from
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
extras=${EXTRAS:-test}
stamp=".venv/installed-$(cat setup.py pyproject.toml | cksum | cut -d' ' -f1)-$extras"
if [ ! -e "$stamp" ]; then
  python=${PYTHON:-python3}
  if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
    echo "error: $python is $("$python" --version 2>&1); Python 3.11 or newer is needed (set PYTHON)" >&2
    exit 2
  fi
  [ -x .venv/bin/python ] || "$python" -m venv .venv
  echo "Installing into .venv (a few minutes the first time)"
  .venv/bin/python -m pip install --quiet --disable-pip-version-check -e ".[$extras]"
  touch "$stamp"
fi
# Compiled programs are kept, so that a second run starts at once.
export JAX_COMPILATION_CACHE_DIR=${JAX_COMPILATION_CACHE_DIR:-$HOME/.cache/dsbs_jax}
