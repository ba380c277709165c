"""NNIE's logarithmic codes by the published formula, in double precision, against our simulation; for quantised.py."""

import json
import re

import numpy as np

from heads import random_weights, run

CFG = """[net]
width={width}
height={height}
[convolutional]
filters=8
size=3
stride=4
pad=1
activation=leaky
[convolutional]
filters=8
activation=leaky
[convolutional]
filters={channels}
activation=linear
[yolo]
mask=0
anchors=16,16
classes={classes}
"""


def rounded(x, z):
    """NNIE's codes of a tensor of numbers, as MQBench publishes them."""
    with np.errstate(divide="ignore"):
        place = np.round(16 * np.log2(np.abs(x)) - z)
    code = np.clip(place, np.where(x < 0, 1, 0), 127)
    small = (x > -(2 ** ((z + 1 - 16) / 16))) & (x < 2 ** ((z - 16) / 16))
    return np.where(small, 0.0, np.sign(x) * 2 ** ((code + z) / 16))


def place_of_code_0(x):
    return np.round(16 * np.log2(np.abs(x).max())) - 127


def formula_agrees(yoloslim, yaml, tensors, folder):
    """Whether `heads --quantisation` of a small net for NNIE is what the formula gives; the last layer has 16 bits."""
    folder.mkdir()
    classes = len(re.findall(r"^\s+(?:\d+:|-)", yaml.read_text(), re.MULTILINE))
    cfg, weights = folder / "net.cfg", folder / "net.weights"
    rows, columns = tensors.shape[2:]
    cfg.write_text(CFG.format(width=columns, height=rows, channels=5 + classes, classes=classes))
    random_weights(yoloslim, cfg, weights, seed=3)
    out = folder / "out"
    run(yoloslim, "quantize", cfg, weights, "--data", yaml, "--images", 4, "-o", out, "--scheme", "nnie", "--plain")
    grids = json.loads((out / "quantisation.json").read_text())
    np.save(folder / "x.npy", tensors)
    net = [out / "quantised.cfg", out / "quantised.weights", "--quantisation", out / "quantisation.json"]
    run(yoloslim, "heads", *net, "--input", folder / "x.npy", "-o", folder / "heads.npz")
    with np.load(folder / "heads.npz") as heads:
        found = heads["head0"]
    numbers = np.fromfile(weights, np.float32)[5:].astype(np.float64)
    take = lambda count: np.split(numbers, [count])
    value, layer = tensors.astype(np.float64), 0
    value = rounded(value, grids["image"]["log"]["z"])
    for filters, size, stride in [(8, 3, 4), (8, 1, 1), (5 + classes, 1, 1)]:
        bias, numbers = take(filters)
        kernel, numbers = take(filters * value.shape[1] * size * size)
        if layer < 2:
            kernel = rounded(kernel, place_of_code_0(kernel))
        pad = size // 2
        padded = np.pad(value, [(0, 0), (0, 0), (pad, pad), (pad, pad)])
        windows = np.lib.stride_tricks.sliding_window_view(padded, (size, size), (2, 3))[:, :, ::stride, ::stride]
        kernel = kernel.reshape(filters, -1, size, size)
        value = np.einsum("nchwij,ocij->nohw", windows, kernel) + bias[:, None, None]
        if layer < 2:
            value = np.where(value > 0, value, 0.1 * value)
        if (grid := grids["after"][layer]) is not None:
            value = rounded(value, grid["log"]["z"])
        layer += 1
    # A number near the middle of two steps may be rounded the other way, and moves the pixels that read it.
    same = float(np.mean(np.abs(found - value) <= 1e-4 * np.abs(value).max()))
    print(f"NNIE's formula {'agrees' if same >= 0.99 else 'DIFFERS'}: {same:.2%} of the numbers are the same", flush=True)
    return same >= 0.99
