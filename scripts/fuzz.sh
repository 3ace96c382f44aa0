#!/usr/bin/env bash
# Runs every fuzz target of the module, one after the other, and ends with a line for each.
#
#   scripts/fuzz.sh [TIME [REGEXP]]   TIME for each target (default 10m); only targets whose name matches REGEXP
#
# Beside the time it took stands the processor time it got, for the system included and for building not: on a busy machine that is less.
#
# An input that a target fails on is kept under testdata/fuzz of its package, where every later go test tries it.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 1
time=${1:-10m}
wanted=${2:-.}
summary=() failed=0
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
log=$work/log

# used sets processor to the seconds that ended children have used so far. times counts those of the shell that it runs in: no pipe,
# no subshell.
used() {
	times >"$work/clock"
	processor=$(awk -F'[ms ]' 'NR == 2 { printf "%d\n", 60 * ($1 + $4) + $2 + $5 }' "$work/clock")
}

while read -r package dir; do
	listed=$(go test -list '^Fuzz' "$package" </dev/null) || {
		echo "$listed"
		exit 1
	}
	grep '^Fuzz' <<<"$listed" | grep -qE -- "$wanted" || continue
	go test -c -fuzz . -o "$work/test" "$package" || exit 1
	cache=$(go env GOCACHE)/fuzz/$package
	for target in $(grep '^Fuzz' <<<"$listed" | grep -E -- "$wanted"); do
		echo "== $package $target"
		verdict=ok
		used
		before=$processor
		(cd "$dir" && "$work/test" -test.run '^$' -test.fuzz "^$target\$" -test.fuzztime "$time" -test.fuzzcachedir "$cache" </dev/null 2>&1 | tee "$log") || {
			verdict=FAILED
			failed=1
		}
		used
		# "fuzz: elapsed: 1m0s, execs: 123 (4/sec), new interesting: 6 (total: 30)"
		counts=$(sed -n 's/^fuzz: elapsed: \([^,]*\), execs: \([0-9]*\) .*(total: \([0-9]*\)).*/\1, \2 executions, \3 inputs in the corpus/p' "$log" | tail -1)
		summary+=("$(printf '%-7s %-22s %s, %d s of processor (%s)' "$verdict" "$target" "${counts:-no counts}" "$((processor - before))" "${package#*/etcdx/}")")
	done
done < <(go list -f '{{if or .TestGoFiles .XTestGoFiles}}{{.ImportPath}} {{.Dir}}{{end}}' ./...)

echo
((${#summary[@]} > 0)) || {
	echo "no fuzz target matches $wanted" >&2
	exit 1
}
printf '%s\n' "${summary[@]}"
exit $failed
