#!/usr/bin/env bash
# The tests, as three processes side by side: the end-to-end ones wait more than they compute, and are two of them.
# What these print comes last.
set -u
cd "$(dirname "$0")/.."
pytest=$1
mkdir -p .cache
later=(tests/e2e/test_[m-z]*.py)
not_later=("${later[@]/#/--ignore=}")

"$pytest" -m "e2e and not system" "${not_later[@]}" >.cache/e2e-1.log 2>&1 &
first=$!
"$pytest" -m "e2e and not system" "${later[@]}" >.cache/e2e-2.log 2>&1 &
second=$!
trap 'kill "$first" "$second" 2>/dev/null; wait' INT TERM
"$pytest" -m "not e2e or system"
rest=$?
wait "$first"
one=$?
wait "$second"
two=$?
cat .cache/e2e-1.log .cache/e2e-2.log
if [ "$rest" != 0 ]; then echo "test: failures above the end-to-end tests"; fi
exit $((rest || one || two))
