#!/usr/bin/env python3
"""Times the net that a run of `yoloslim slim` began with and the slim one in ONNX Runtime, ncnn and OpenCV, side by side,
and prints the real speed-up beside the ratio of the operations as a Markdown table.

  benches/runtimes.py YOLOSLIM RUN [--size N] [--threads N] [--seconds S]

RUN is the run's folder. Run it by the Python of checks/requirements.txt, on an idle machine. Both nets take turns in each
runtime, one image at a time, until the seconds are over; a figure is the least, since other work on the machine only ever
adds time, and the median in brackets. The ratio is that of the least.
"""
import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import cv2
import ncnn
import numpy as np
import onnxruntime

WARM_UP = 3


def run(*command):
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"{' '.join(map(str, command))}\n{done.stderr}")
    return done.stdout


def in_onnxruntime(folder, stem, image, threads):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    # Both nets are there at the same time: threads of the one that waits must not spin on the cores.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = onnxruntime.InferenceSession(str(folder / f"{stem}.onnx"), options, providers=["CPUExecutionProvider"])
    return lambda: session.run(None, {"images": image})


def in_ncnn(folder, stem, image, threads):
    net = ncnn.Net()
    net.opt.num_threads = threads
    net.opt.openmp_blocktime = 0
    net.load_param(str(folder / f"{stem}.param"))
    net.load_model(str(folder / f"{stem}.bin"))
    heads = [h["output"] for h in json.loads((folder / f"{stem}.heads.json").read_text())["heads"]]

    def infer():
        with net.create_extractor() as extractor:
            extractor.input("data", ncnn.Mat(image[0]))
            for head in heads:
                extractor.extract(head)

    infer.net = net
    return infer


def in_opencv(folder, stem, image, threads):
    cv2.setNumThreads(threads)
    net = cv2.dnn.readNetFromONNX(str(folder / f"{stem}.onnx"))
    outputs = net.getUnconnectedOutLayersNames()

    def infer():
        net.setInput(image)
        net.forward(outputs)

    return infer


RUNTIMES = {
    f"ONNX Runtime {onnxruntime.__version__}": ("onnx", in_onnxruntime),
    f"ncnn {ncnn.__version__}": ("ncnn", in_ncnn),
    f"OpenCV {cv2.__version__}": ("onnx", in_opencv),
}


def turns(inferences, seconds):
    """The milliseconds of each, taken in turn."""
    times = [[] for _ in inferences]
    for infer in inferences:
        for _ in range(WARM_UP):
            infer()
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        for infer, own in zip(inferences, times):
            begin = time.perf_counter()
            infer()
            own.append((time.perf_counter() - begin) * 1e3)
    return times


def exported(options, cfg, weights, folder):
    """Folders of both formats."""
    folders = {}
    for form in ("onnx", "ncnn"):
        folders[form] = folder / form
        size = ["--size", options.size] if options.size else []
        run(options.yoloslim, "export", cfg, weights, "--format", form, "-o", folders[form], *size)
    return folders


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("yoloslim", type=Path)
    arguments.add_argument("run", type=Path)
    arguments.add_argument("--size", help="input size of both [default: the cfgs']")
    arguments.add_argument("--threads", type=int, default=2)
    arguments.add_argument("--seconds", type=float, default=8, help="for each runtime")
    options = arguments.parse_args()
    nets = [(options.run / "start.cfg", options.run / "baseline" / "result.weights"),
            (options.run / "slim.cfg", options.run / "slim.weights")]
    rows, sizes = [], []
    with tempfile.TemporaryDirectory() as temporary:
        folders = []
        for i, (cfg, weights) in enumerate(nets):
            folders.append((exported(options, cfg, weights, Path(temporary) / str(i)), cfg.stem))
            heads = next(folders[-1][0]["onnx"].glob("*.heads.json"))
            sizes.append(json.loads(heads.read_text())["input"])
        shape = (1, sizes[0]["channels"], sizes[0]["height"], sizes[0]["width"])
        image = np.random.default_rng(0).random(shape, np.float32)
        for name, (form, load) in RUNTIMES.items():
            inferences = [load(own[form], stem, image, options.threads) for own, stem in folders]
            times = turns(inferences, options.seconds)
            cells = " | ".join(f"{min(own):.1f} ({statistics.median(own):.1f})" for own in times)
            rows.append(f"| {name}, ms | {cells} | {min(times[0]) / min(times[1]):.2f} |")
    infos = [json.loads(run(options.yoloslim, "info", cfg, "--json")) for cfg, _ in nets]
    flops, params = ([info[key] for info in infos] for key in ("bflops", "params"))
    print(f"| {shape[3]}x{shape[2]}, {options.threads} threads | before | slim | ratio |\n|---|---|---|---|")
    print("\n".join(rows))
    print(f"| operations, BFLOPs at the cfg's size | {flops[0]:.2f} | {flops[1]:.2f} | {flops[0] / flops[1]:.2f} |")
    print(f"| parameters, millions | {params[0] / 1e6:.2f} | {params[1] / 1e6:.2f} | {params[0] / params[1]:.2f} |")


if __name__ == "__main__":
    main()
