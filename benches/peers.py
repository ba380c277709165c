#!/usr/bin/env python3
"""Times yoloslim and its peers on the same work, in turn, in one run, and prints the ratios as a Markdown table.

  benches/peers.py PEERS [--yoloslim BINARY] [--rounds N] [--only NAME] [--json FILE]

PEERS is the folder of torch_darknet.py and runtimes.py, the executors of PyTorch, ONNX Runtime and OpenCV; the cfg files
are those of PEERS/../cfg. Run it by the Python that has torch, onnx, onnxscript, onnxruntime and opencv-python-headless
(4.x) installed, on an idle machine. Each round runs every program once; a program's figure is its least round, since other
work on the machine only ever adds time. Memory is the largest resident set of the process.
"""
import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

INFERENCE = ["yolov3", "yolov3-tiny", "slimyolov3-spp3-90"]
TRAINING = [("yolov3-tiny", 8), ("yolov3", 2), ("slimyolov3-spp3-90", 4)]
SIZE = "416"
# What a figure of ours may be at most, as a share of the fastest figure of the peer.
GOALS = {("infer", "yolov3"): 0.6, ("infer", "yolov3-tiny"): 0.8, ("infer", "slimyolov3-spp3-90"): 0.6, "train": 0.5, "memory": 0.7}


def run(command):
    """The process's standard output and its peak memory in MB."""
    with tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True)
        output = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
        if status != 0:
            errors.seek(0)
            sys.exit(f"{' '.join(map(str, command))}\n{errors.read()}")
    return output, usage.ru_maxrss / 1024


def documents(text):
    """The JSON documents in a text, one after the other."""
    decoder, at = json.JSONDecoder(), 0
    while (at := text.find("{", at)) >= 0:
        document, at = decoder.raw_decode(text, at)
        yield document


def least(figures, name, seconds, megabytes=None):
    best = figures.setdefault(name, {"seconds": seconds, "megabytes": megabytes})
    best["seconds"] = min(best["seconds"], seconds)
    if megabytes is not None:
        best["megabytes"] = min(best["megabytes"], megabytes)


def infer(options, cfg, figures):
    output, _ = run([options.yoloslim, "bench", "infer", cfg, "--size", SIZE, "--steps", "9", "--threads", "2", "--json"])
    least(figures, "yoloslim", next(documents(output))["s_median"])
    output, _ = run([sys.executable, options.peers / "runtimes.py", cfg, "--size", SIZE, "--steps", "9", "--threads", "2"])
    for document in documents(output):
        if "runtime" in document:
            least(figures, document["runtime"].split()[0], document["s_median"])


def train(options, cfg, batch, figures):
    common = [cfg, "--size", SIZE, "--batch", str(batch), "--steps", "4", "--threads", "2"]
    output, megabytes = run([options.yoloslim, "bench", "train", *common, "--json"])
    least(figures, "yoloslim", next(documents(output))["s_median"], megabytes)
    for layout in ([], ["--channels-last"]):
        output, megabytes = run([sys.executable, options.peers / "torch_darknet.py", "train", *common, *layout])
        least(figures, "torch", next(documents(output))["s_median"], megabytes)


def row(what, cfg, batch, figures):
    """The table row of one piece of work."""
    ours = figures["yoloslim"]
    peers = {name: figure["seconds"] for name, figure in figures.items() if name != "yoloslim"}
    against = "onnxruntime" if what == "infer" else "torch"
    ratio = ours["seconds"] / peers[against]
    goal = GOALS[("infer", cfg)] if what == "infer" else GOALS["train"]
    times = "; ".join(f"{name} {seconds * 1e3:.1f}" for name, seconds in peers.items())
    memory = "" if what == "infer" else (
        f"{ours['megabytes']:.0f} / {figures['torch']['megabytes']:.0f} = {ours['megabytes'] / figures['torch']['megabytes']:.2f}")
    return (f"| {what} {cfg}, batch {batch} | {ours['seconds'] * 1e3:.1f} | {times} | {ratio:.2f} of {against}'s | "
            f"{goal} | {memory} |")


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("peers", type=Path)
    arguments.add_argument("--yoloslim", default="target/release/yoloslim")
    arguments.add_argument("--rounds", type=int, default=3)
    arguments.add_argument("--only", default="", help="only work whose name contains this, e.g. 'train' or 'infer yolov3-tiny'")
    arguments.add_argument("--json", type=Path, help="write all figures to this file too")
    options = arguments.parse_args()
    cfgs = options.peers.resolve().parent / "cfg"
    work = [("infer", cfg, 1) for cfg in INFERENCE] + [("train", cfg, batch) for cfg, batch in TRAINING]
    work = [item for item in work if options.only in f"{item[0]} {item[1]}"]
    results = {item: {} for item in work}
    for number in range(options.rounds):
        for what, cfg, batch in work:
            print(f"round {number + 1} of {options.rounds}: {what} {cfg}", file=sys.stderr, flush=True)
            figures = results[what, cfg, batch]
            path = cfgs / f"{cfg}.cfg"
            infer(options, path, figures) if what == "infer" else train(options, path, batch, figures)
    print(f"| work ({SIZE}x{SIZE}, 2 threads) | yoloslim, ms | peers, ms | ratio | goal | peak memory, MB, ours / torch's |")
    print("|---|---|---|---|---|---|")
    for (what, cfg, batch), figures in results.items():
        print(row(what, cfg, batch, figures))
    if options.json:
        options.json.write_text(json.dumps([{"what": w, "cfg": c, "batch": b, "figures": f} for (w, c, b), f in results.items()], indent=1))


if __name__ == "__main__":
    main()
