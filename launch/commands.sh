#!/usr/bin/env bash
# Sourced by the scripts that start long runs elsewhere. Commands are printed, quoted,
# before they run; with --dry-run as the first argument they are only printed.
# Nothing of the environment is passed on but what a script names.
dry=
if [ "${1:-}" = --dry-run ]; then
  dry=1
  shift
fi
run() {
  printf '%q ' "$@"
  echo
  if [ -z "$dry" ]; then "$@"; fi
}
# A string as Python and gin write it.
literal() { python3 -c 'import sys; print(repr(sys.argv[1]))' "$1"; }
commit=$(git rev-parse HEAD)
if [ -z "$dry" ] && [ -n "$(git status --porcelain --untracked-files=no)" ]; then
  echo "error: there are changes that are not committed; what runs has to be a commit" >&2
  exit 2
fi
