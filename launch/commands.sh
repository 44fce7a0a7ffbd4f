#!/usr/bin/env bash
# Sourced by the scripts that start long runs on other machines. Each command is printed,
# quoted, before it runs; with --dry-run as the first argument it is only printed. Remote
# commands get no environment variables except those that a script names.
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
# Prints a string as a Python literal, which gin reads too.
literal() { python3 -c 'import sys; print(repr(sys.argv[1]))' "$1"; }
commit=$(git rev-parse HEAD)
if [ -z "$dry" ] && [ -n "$(git status --porcelain --untracked-files=no)" ]; then
  echo "error: the checkout has uncommitted changes; commit them, because the run records its commit" >&2
  exit 2
fi
