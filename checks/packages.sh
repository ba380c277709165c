#!/usr/bin/env bash
# What a stranger gets: the packages as they would be published, and the program as `cargo install` builds it.
set -euo pipefail
cd "$(dirname "$0")/.."

scratch="$(mktemp -d)"
trap 'rm -rf "$scratch"' EXIT
fail() { printf 'FAIL %s\n' "$1" >&2; exit 1; }

# Packages that depend on no sibling that isn't published yet; the third can follow once these are. Uncommitted changes
# of a developer are packaged as they are.
for package in yoloslim-core yoloslim-kernels; do
    cargo publish --dry-run --locked --allow-dirty --package "$package" 2>"$scratch/log" || { cat "$scratch/log" >&2; fail "$package"; }
    if grep -i 'warning: manifest' "$scratch/log"; then fail "$package: its metadata are incomplete"; fi
    for file in README.md LICENSE-MIT LICENSE-APACHE; do
        cargo package --list --allow-dirty --package "$package" | grep -qx "$file" || fail "$package: $file is missing"
    done
    echo "ok   $package can be published"
done

# The program's own package can't be packaged before the other two are published; its metadata can be held to the same.
cargo metadata --no-deps --format-version 1 | python3 -c '
import json, sys
needed = ["description", "license", "documentation", "readme", "keywords", "categories", "rust_version"]
for package in json.load(sys.stdin)["packages"]:
    missing = [key for key in needed if not package[key]]
    assert not missing, (package["name"], missing)
'
echo "ok   the metadata of all packages are complete"

cargo install --quiet --locked --path . --root "$scratch/root" || fail "cargo install --path ."
version="$("$scratch/root/bin/yoloslim" --version)"
for word in yoloslim commit features target kernels; do
    grep -q "$word" <<<"$version" || fail "--version does not tell the $word: $version"
done
echo "ok   cargo install --path . gives: $(tr '\n' ' ' <<<"$version")"
