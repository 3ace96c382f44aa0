#!/usr/bin/env bash
# Writes what packages hold besides the binaries: shell completions and man pages, into the directory given.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
out=${1:?usage: release-files.sh DIRECTORY}
rm -rf "$out"
mkdir -p "$out/completions" "$out/man"
for shell in bash zsh fish powershell; do
	go run . completion "$shell" >"$out/completions/etcdx.$shell"
done
go run ./scripts/gendocs -man "$out/man"
