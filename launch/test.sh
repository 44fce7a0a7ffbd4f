#!/usr/bin/env bash
# Runs the linter and the tests, in two processes. Arguments go to pytest:
#   bash launch/test.sh                  all tests of .ci/run
#   bash launch/test.sh -m "not slow"    the fast subset
#   bash launch/test.sh --scheduled      also the tests of the weekly job
#   bash launch/test.sh -n 0 -s          one process, which prints what tests print
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"
.venv/bin/ruff check .
.venv/bin/ruff format --check .
exec .venv/bin/python -m pytest -n 2 --dist worksteal "$@"
