#!/usr/bin/env bash
# Training by several processes over MPI: 2 and 3 of them against one, a run that is killed and goes on with another
# number of processes, one whose processes do not agree, and a build without MPI.
set -euo pipefail
cd "$(dirname "$0")/.."

missing=()
for package in openmpi-bin libopenmpi-dev libclang-dev; do
    dpkg --status "$package" >/dev/null 2>&1 || missing+=("$package")
done
if [ ${#missing[@]} -gt 0 ]; then
    sudo=""
    [ "$(id -u)" = 0 ] || sudo=sudo
    $sudo apt-get update -qq
    $sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
fi

scratch="$(mktemp -d)"
trap 'rm -rf "$scratch"' EXIT
target="$(cargo metadata --format-version 1 --no-deps | python3 -c 'import json, sys; print(json.load(sys.stdin)["target_directory"])')"
profile="${PROFILE:-release}"
cargo build --quiet --profile "$profile" --bin yoloslim
cp "$target/$profile/yoloslim" "$scratch/without"
cargo build --quiet --profile "$profile" --bin yoloslim --features mpi
cp "$target/$profile/yoloslim" "$scratch/with"
cd "$scratch"
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
passed=0
ok() { passed=$((passed + 1)); printf 'ok   %s\n' "$1"; }
fail() { printf 'FAIL %s\n' "$1" >&2; for log in *.log; do tail -n 20 "$log"; done >&2; exit 1; }

# 26 images: with batches of 12 the last holds 2, so that one of three workers has none.
python3 - <<'PY'
import random, struct, zlib
random.seed(1)
def png(path, size, boxes):
    row = lambda y: b"\0" + b"".join(
        bytes((230, 40, 60)) if any(a <= x < c and b <= y < d for a, b, c, d in boxes) else bytes((y, x, 90))
        for x in range(size))
    chunk = lambda kind, data: struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    raw = zlib.compress(b"".join(row(y) for y in range(size)))
    header = struct.pack(">IIBBBBB", size, size, 8, 2, 0, 0, 0)
    open(path, "wb").write(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", raw) + chunk(b"IEND", b""))
import os
for split, count in (("train", 26), ("val", 4)):
    os.makedirs(f"images/{split}"), os.makedirs(f"labels/{split}")
    for i in range(count):
        a, b, w, h = random.randrange(40), random.randrange(40), random.randrange(16, 50), random.randrange(16, 50)
        png(f"images/{split}/{i}.png", 96, [(a, b, a + w, b + h)])
        line = f"0 {(a + w / 2) / 96} {(b + h / 2) / 96} {w / 96} {h / 96}\n"
        open(f"labels/{split}/{i}.txt", "w").write(line)
open("data.yaml", "w").write("train: images/train\nval: images/val\nnc: 1\nnames: [box]\n")
PY
./with init yolov3-tiny --classes 1 --width 0.25 --size 96 -o net.cfg 2>/dev/null

train=(train net.cfg --data data.yaml --lr 0.0001 --epochs 4)
job() { local n="$1"; shift; exec timeout 120 mpirun --oversubscribe -n "$n" ./with --threads 1 "$@"; }

# Two runs end with the same weights, measured by how far these went, and have the same losses, but for rounding.
same() {
    python3 - "$1" "$2" <<'PY'
import array, json, sys
def numbers(file):
    raw = open(file, "rb").read()[20:]
    return array.array("f", raw[: len(raw) // 4 * 4])
def losses(run):
    return [v for e in json.load(open(f"{run}/record.json"))["stages"][0]["epochs"] for v in e["loss"].values()]
def apart(a, b):
    assert len(a) == len(b) > 0
    return max(abs(a - b) for a, b in zip(a, b))
one, many = (numbers(f"{run}/last.weights") for run in sys.argv[1:])
moved, off = apart(one, numbers(f"{sys.argv[1]}/start.weights")), apart(*map(losses, sys.argv[1:]))
print(f"     {sys.argv[2]}: weights moved by {moved:.1e} and differ by {apart(one, many):.1e}, losses by {off:.1e}")
sys.exit(apart(one, many) > 1e-4 * moved or off > 1e-3)
PY
}

./with --threads 1 "${train[@]}" --batch 12 -o one >one.log 2>&1 || fail "one process trains"
for n in 2 3; do
    (job "$n" "${train[@]}" --batch $((12 / n)) --sync-bn -o "of$n") >"of$n.log" 2>&1 || fail "$n processes train"
    same one "of$n" || fail "$n processes get what one gets"
    [ "$(grep -c '^epoch' "of$n.log")" = 4 ] || fail "one of $n processes prints"
    ok "$n processes train as one does"
done

mpirun_of() { pgrep -x mpirun -P "$1" || echo "$1"; }

# Starts a job of two in the folder that is its first argument, and waits for its first checkpoint; sets `job`.
begin() {
    (job 2 "${@:2}" -o "$1") >"$1.log" 2>&1 &
    job=$!
    until [ -f "$1/last.safetensors" ] || ! kill -0 "$job" 2>/dev/null; do sleep 0.05; done
}

# A worker that is killed, the leader or another, ends the job, and the checkpoint is whole: other numbers of processes go on from it.
for which in head tail; do
    begin "killed-$which" "${train[@]}" --batch 6 --sync-bn
    kill -KILL "$(pgrep -x with -P "$(mpirun_of "$job")" | "$which" -n 1)" || fail "a worker is there to be killed"
    if wait "$job"; then fail "a job with a killed worker fails"; fi
    grep -q 'signal 9' "killed-$which.log" || fail "the launcher tells of the killed worker"
done
mv killed-head killed
mv killed-tail killed-1
(job 3 train --resume killed) >resumed.log 2>&1 || fail "three processes go on"
./with --threads 1 train --resume killed-1 >resumed.log 2>&1 || fail "one process goes on"
same one killed || fail "three processes go on to what one gets"
same one killed-1 || fail "one process goes on to what one gets"
ok "a killed worker ends the job, and other numbers of processes go on to the same net"

# Ctrl-C ends all workers in good order: as many go on to the same bits, also taught and with the controller of the penalty.
taught=(train net.cfg one/last.weights --data data.yaml --lr 0.0001 --epochs 4 --sparsity auto --target-flops 0.3
    --teacher net.cfg one/last.weights)
for run in plain taught; do
    words=("${train[@]}" --sync-bn)
    [ "$run" = plain ] || words=("${taught[@]}")
    (job 2 "${words[@]}" --batch 6 -o "$run") >"$run.log" 2>&1 || fail "two processes train ($run)"
    begin "$run-stopped" "${words[@]}" --batch 6
    kill -INT "$(mpirun_of "$job")" || fail "a job is there to be stopped"
    if wait "$job"; then fail "a stopped job fails"; fi
    (job 2 train --resume "$run-stopped") >>"$run-stopped.log" 2>&1 || fail "two processes go on ($run)"
    cmp "$run/last.weights" "$run-stopped/last.weights" || fail "they go on to the same bits ($run)"
done
ok "a stopped job goes on to the same bits, taught and sparse too"

if (exec timeout 60 mpirun --oversubscribe -n 1 ./with "${train[@]}" -o apart : -n 1 ./with "${train[@]}" --seed 1 -o apart) \
    >apart.log 2>&1; then fail "workers with different options are refused"; fi
grep -q 'do not start from the same weights, options' apart.log || fail "the message says what differs"
if (job 2 train net.cfg --data missing.yaml -o missing) >missing.log 2>&1; then fail "missing data end the job"; fi
[ "$(grep -c 'error: worker' missing.log)" = 1 ] || fail "an error that all workers have is told once"
ok "workers that differ and errors of all end the job with a message"

if mpirun --oversubscribe -n 2 ./without "${train[@]}" -o never >never.log 2>&1; then fail "no MPI, no workers"; fi
grep -q -- '--features mpi' never.log && [ ! -e never ] || fail "a build without MPI says how to build"
if (job 2 info net.cfg) >info.log 2>&1; then fail "what is no training is refused"; fi
ok "several processes without MPI, or without shared work, are refused"

(job 2 slim net.cfg --data data.yaml --lr 0.0001 --batch 6 --baseline-epochs 2 --sparse-epochs 2 --fine-tune-epochs 2 \
    --target-flops 0.3 -o slim) >slim.log 2>&1 || fail "two processes slim"
[ -f slim/slim.weights ] && ./with info slim/slim.cfg slim/slim.weights >/dev/null || fail "the slim net is there"
ok "two processes carry out the whole pipeline"
echo "$passed passed, 0 failed"
