#!/usr/bin/env bash
# Runs every fuzz target of the module, one after the other, for the time given (default 1m each).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
time=${1:-1m}
go list -f '{{if or .TestGoFiles .XTestGoFiles}}{{.ImportPath}}{{end}}' ./... | while read -r package; do
	listed=$(go test -list '^Fuzz' "$package" </dev/null)
	for target in $(grep '^Fuzz' <<<"$listed" || true); do
		echo "== $package $target"
		go test -run '^$' -fuzz "^$target\$" -fuzztime "$time" "$package" </dev/null
	done
done
