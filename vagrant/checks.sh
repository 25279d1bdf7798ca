#!/bin/bash
# Runs the make targets named, all of them whatever fails, and closes with a summary.
#
#   vagrant/checks.sh TARGET...
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

rows=()
failed=0
for target in "$@"; do
    printf '\n--- %s\n' "$target"
    started=$SECONDS
    if make --no-print-directory "$target"; then result=ok; else result=FAILED failed=$((failed + 1)); fi
    rows+=("$(printf '%-12s %-6s %5d s' "$target" "$result" $((SECONDS - started)))")
done

printf '\n--- summary\n'
printf '%s\n' "${rows[@]}"
if [ "$failed" -gt 0 ]; then
    echo "$failed of $# failed"
    exit 1
fi
echo "all $# in order, $SECONDS s"
