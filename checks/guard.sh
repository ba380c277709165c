#!/usr/bin/env bash
# prune measures what it costs and refuses a net that has lost too much: on the baseline of a demo that has run.
# Usage: checks/guard.sh YOLOSLIM DEMO
set -euo pipefail
yoloslim="$1" demo="$2"
scratch="$(mktemp -d)"
trap 'rm -rf "$scratch"' EXIT
fail() { printf 'FAIL %s\n' "$1" >&2; cat "$scratch"/*.log >&2; exit 1; }
prune() { "$yoloslim" prune "$demo/run/baseline/result.cfg" "$demo/run/baseline/result.weights" --data "$demo/data/data.yaml" "$@"; }

if prune --target-flops 0.9 -o "$scratch/far" >"$scratch/far.log" 2>&1; then fail "a net that lost nearly all is refused"; fi
grep -Eq 'mAP@0.5 on validation images falls from 0\.[89][0-9]+ to 0\.[0-7][0-9]+' "$scratch/far.log" \
    || fail "it is told from where to where accuracy falls"
[ ! -e "$scratch/far" ] || fail "nothing is written"
prune --target-flops 0.9 --anyway -o "$scratch/anyway" >"$scratch/anyway.log" 2>&1 || fail "--anyway writes it"
[ -f "$scratch/anyway/slim.weights" ] || fail "the net is there"
prune --target-flops 0.05 --score taylor --max-drop 0.1 -o "$scratch/near" >"$scratch/near.log" 2>&1 || fail "a net that lost little is written"
echo "prune refuses what lost too much, and says from where to where"
