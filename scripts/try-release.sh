#!/usr/bin/env bash
# Builds a snapshot release of what is committed, in a clone, installs its deb, and tries what it installed. Needs dpkg.
#
#   scripts/try-release.sh [-all] [-system] [-signed]
#
#   -all      for all systems, as a release does, not for this machine's kind only
#   -system   install it into this system and remove it again (needs root or sudo), not into a directory of its own
#   -signed   with SBOMs and a signature of the checksums, which is verified. Needs cosign and syft. The signature is that of a key made
#             for it and thrown away, and is in no public log: only the release workflow has the identity that a release is signed with.
#             Without it, no more is tried than that what would have been signed is what would be published.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

all='' system='' signed=''
for arg; do
	case $arg in
	-all) all=yes ;;
	-system) system=yes ;;
	-signed) signed=yes ;;
	*)
		echo "try-release: what is $arg? usage: try-release.sh [-all] [-system] [-signed]" >&2
		exit 64
		;;
	esac
done

ci=$PWD/.ci/run
arch=$(go env GOARCH)
work=$(mktemp -d)
installed=
as_root() { if (($(id -u) == 0)); then "$@"; else sudo "$@"; fi; }

# Where it is installed: a directory with a package database of its own, or the system.
root=$work/root
dpkg_() { dpkg --root="$root" --force-not-root --log=/dev/null "$@"; }
if [[ $system ]]; then
	root=
	dpkg_() { as_root dpkg "$@"; }
else
	mkdir -p "$root"/var/lib/dpkg/{updates,info,triggers}
	touch "$root"/var/lib/dpkg/{status,available}
fi

clean_up() {
	[[ -z $installed ]] || dpkg_ -r etcdx >/dev/null || true
	rm -rf "$work"
}
trap clean_up EXIT
die() {
	echo "try-release: $*" >&2
	exit 1
}

if dpkg_ -s etcdx >/dev/null 2>&1; then
	die "the package etcdx is installed on this machine: remove it first"
fi

git clone --quiet . "$work/clone"
cd "$work/clone"

config=$work/goreleaser.yml
cp .goreleaser.yml "$config"
[[ $all ]] || sed -i -e 's/^\( *goos:\).*/\1 [linux]/' -e "s/^\( *goarch:\).*/\1 [$arch]/" "$config"
if [[ $signed ]]; then
	skip=publish
	export COSIGN_PASSWORD=
	(cd "$work" && cosign generate-key-pair 2>/dev/null)
	sed -i "s|sign-blob, |&--key=$work/cosign.key, --tlog-upload=false, --use-signing-config=false, |" "$config"
else
	# Without cosign what would be signed is copied.
	skip=publish,sbom
	sed -i -e 's/cmd: cosign/cmd: cp/' -e 's/args: \[sign-blob.*/args: ["${artifact}", "${signature}"]/' "$config"
fi
"$("$ci" tool goreleaser)" release --snapshot --clean --skip="$skip" --config "$config"

echo "== the files"
(cd dist && sha256sum --check --quiet checksums.txt)
debs=(dist/etcdx_*_"$arch".deb)
archives=(dist/etcdx_*_linux_"$arch".tar.gz)
[[ -f ${debs[0]} && -f ${archives[0]} ]] || die "no deb or no archive for $arch in dist/"
for file in "${debs[0]}" "${archives[0]}"; do
	grep -q "  ${file#dist/}\$" dist/checksums.txt || die "$file is not in checksums.txt"
done
tar -tzf "${archives[0]}" >"$work/archive"
for name in etcdx etcdx-lab LICENSE README.md completions/etcdx.bash man/etcdx.1 man/etcdx-lock.1 docs/security.md; do
	grep -qE "^[^/]+/$name\$" "$work/archive" || die "${archives[0]} has no $name"
done

if [[ ! $signed ]]; then
	cmp dist/checksums.txt dist/checksums.txt.sigstore.json || die "checksums.txt was changed after it was signed"
else
	echo "== the signature and the SBOMs"
	verify=(cosign verify-blob --key "$work/cosign.pub" --insecure-ignore-tlog --bundle dist/checksums.txt.sigstore.json)
	"${verify[@]}" dist/checksums.txt
	sed 's/^./&0/' dist/checksums.txt >"$work/forged"
	if "${verify[@]}" "$work/forged" 2>/dev/null; then die "the signature is good for other checksums"; fi
	for archive in dist/*.tar.gz dist/*.zip; do
		[[ -f $archive ]] || continue
		grep -q '"spdxVersion"' "$archive.sbom.json" || die "$archive has no SBOM"
		grep -q 'go.etcd.io/etcd/client/v3' "$archive.sbom.json" || die "the SBOM of $archive does not name etcd's client"
		grep -q "  ${archive#dist/}.sbom.json\$" dist/checksums.txt || die "the SBOM of $archive is not in checksums.txt"
	done
fi

echo "== installed"
installed=yes
dpkg_ -i "${debs[0]}"
dpkg_ -L etcdx >"$work/files"
PATH=$root/usr/bin:$PATH
for command in etcdx etcdx-lab; do
	[[ $(command -v "$command") == "$root/usr/bin/$command" ]] || die "$command in the PATH is $(command -v "$command")"
done
etcdx version | tee "$work/version"
grep -q '^etcdx version: v' "$work/version" || die "the version is not that of a commit or a tag"
etcdx lab up --detach --members 1 --name try-release
(
	trap 'etcdx lab down --name try-release' EXIT
	eval "$(etcdx lab env --name try-release)"
	etcdx put try release
	[[ $(etcdx get try --print-value-only) == release ]]
	etcdx lock try -- etcdx put try again --fence
	etcdx member list
)

echo "== completion, as bash loads it"
# A shell that has read the file of the package knows the command and offers subcommands.
bash --norc -c '
	source "$1"/usr/share/bash-completion/completions/etcdx
	# Of the package bash-completion, which need not be installed here; in a real shell it looks at the line as this does.
	declare -F _get_comp_words_by_ref >/dev/null || _get_comp_words_by_ref() {
		words=("${COMP_WORDS[@]}") cword=$COMP_CWORD cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]}
	}
	complete -p etcdx
	COMP_LINE="etcdx compact-" COMP_POINT=14 COMP_WORDS=(etcdx compact-) COMP_CWORD=1 COMP_TYPE=9 COMPREPLY=()
	__start_etcdx
	printf "%s\n" "${COMPREPLY[@]}"
	[[ ${COMPREPLY[*]} == *compact-check* ]]' bash "$root"
for shell in bash zsh fish; do
	etcdx completion "$shell" >"$work/completion.$shell"
	[[ -s $work/completion.$shell ]] || die "no completion for $shell"
done
cmp "$work/completion.bash" "$root/usr/share/bash-completion/completions/etcdx"

echo "== man pages"
for page in etcdx etcdx-lock etcdx-watch etcdx-resume etcdx-compact-check; do
	file=$(grep -E "/man1/$page\.1(\.gz)?\$" "$work/files") || die "no man page $page"
	# Images without documentation do not unpack it, and have no man to read it with.
	if [[ -f $root$file ]] && command -v man >/dev/null; then man -l "$root$file" >/dev/null; fi
done

echo "== removed"
dpkg_ -r etcdx
installed=
while read -r file; do
	[[ ! -f $root$file ]] || die "$file was left behind"
done <"$work/files"
echo "ok"
