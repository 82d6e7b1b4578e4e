#!/usr/bin/env bash
# Runs every fuzz target of the module for a short while, one after the other.
#   test/fuzz.sh [TIME]     default 1000x each
# A count rather than a duration: a worker that is busy when the time is up can
# fail its target with "context deadline exceeded".
set -euo pipefail
cd "$(dirname "$0")/.."
time=${1:-1000x}
out=$(mktemp)
trap 'rm -f "$out"' EXIT
count=0
while IFS=: read -r file _ target; do
  pkg=./$(dirname "$file")
  target=${target#func }
  target=${target%%(*}
  if ! go test -run '^$' -fuzz "^$target\$" -fuzztime "$time" -fuzzminimizetime 100x "$pkg" >"$out" 2>&1; then
    cat "$out"
    echo "fuzz: $pkg $target failed" >&2
    exit 1
  fi
  count=$((count + 1))
done < <(git grep -n '^func Fuzz' -- '*_test.go' ':!test/')
echo "fuzz: $count targets, $time each, nothing found"
