#!/usr/bin/env bash
# The tests, as two processes side by side: the end-to-end ones wait more than they compute. What they print comes last.
set -u
cd "$(dirname "$0")/.."
pytest=$1
mkdir -p .cache
log=.cache/e2e.log

"$pytest" -m "e2e and not system" >"$log" 2>&1 &
beside=$!
trap 'kill "$beside" 2>/dev/null; wait "$beside"' INT TERM
"$pytest" -m "not e2e or system"
rest=$?
wait "$beside"
end_to_end=$?
cat "$log"
if [ "$rest" != 0 ]; then echo "test: failures above the end-to-end tests"; fi
exit $((rest || end_to_end))
