#!/usr/bin/env bash
# The tests, as three processes side by side that share them out (tests/sharing.py). What the second and third print
# comes last; at the end it is seen that every test ran.
set -u
cd "$(dirname "$0")/.."
pytest=$1
python=$(dirname "$pytest")/python
mkdir -p .cache
MARGOD_TESTS_SHARED=$(mktemp -d .cache/shared-XXXXXX)
export MARGOD_TESTS_SHARED
trap 'rm -rf "$MARGOD_TESTS_SHARED"' EXIT

# Some machines' environments forbid it: then each of the two thousand processes of the tests compiles margod anew.
unset PYTHONDONTWRITEBYTECODE
"$python" -m compileall -q margod tests

others=()
for number in 2 3; do
  "$pytest" --override-ini console_output_style=classic >".cache/tests-$number.log" 2>&1 &
  others+=($!)
done
trap 'kill "${others[@]}" 2>/dev/null; wait' INT TERM
"$pytest" --override-ini console_output_style=classic
worst=$?
for number in 2 3; do
  wait "${others[number - 2]}" || worst=$?
  cat ".cache/tests-$number.log"
done
"$python" -m tests.sharing "$MARGOD_TESTS_SHARED" || worst=1
exit "$worst"
