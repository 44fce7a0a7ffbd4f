#!/usr/bin/env bash
# Runs the linter and the tests. Arguments go to pytest:
#   bash launch/test.sh                  all tests, about ten minutes on two cores
#   bash launch/test.sh -m "not slow"    the fast subset, under four minutes
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"
.venv/bin/ruff check .
.venv/bin/ruff format --check .
exec .venv/bin/python -m pytest "$@"
