"""Raw heads against OpenCV's Darknet reader, another implementation of the same nets.

  heads.py YOLOSLIM [--shared DIR] [--width F]

Each net runs on the same noise in `yoloslim heads` and in OpenCV, which computes the convolution before each [yolo]
layer. The largest difference of a head must stay within 1e-4 of its largest value. The nets:

  - yolov3, yolov3-spp, yolov3-tiny, yolov4, yolov4-tiny as `yoloslim init` writes them, with random weights,
    all layers but at a quarter of the published width, which saves minutes (`--width 1` for the whole);
  - the trained nets of the folder `shared`, where it is there;
  - what `yoloslim prune` makes of each.

OpenCV adds 1e-6 to a variance before it takes the root, this program 1e-5 (as AlexeyAB's Darknet and Caffe do). That
alone moves heads of trained nets by up to 2e-4 of their largest value. So the copy of the weights that OpenCV reads has
the difference, 9e-6, added to each running variance: then both compute the same function.
"""

import argparse
import json
import pathlib
import subprocess
import sys
import tempfile

import cv2
import numpy as np

LIMIT = 1e-4
EPSILON_DIFFERENCE = 1e-5 - 1e-6
ARCHITECTURES = ["yolov3", "yolov3-spp", "yolov3-tiny", "yolov4", "yolov4-tiny"]
TRAINED = ["yolov3-tiny", "yolo-fastest-1.1", "yoloface-50k"]


def sections(cfg):
    """The cfg's sections as (kind, keys), [net] first."""
    found = []
    for line in pathlib.Path(cfg).read_text(errors="replace").splitlines():
        line = line.split("#")[0].strip()
        if line.startswith("["):
            found.append((line.strip("[]"), {}))
        elif "=" in line:
            key, value = line.split("=", 1)
            found[-1][1][key.strip()] = value.strip()
    return found


def convolutions(yoloslim, cfg):
    """(filters, floats of the kernel, whether it is normalised) of every convolution."""
    info = run_json(yoloslim, "info", cfg)
    for (kind, keys), layer in zip(sections(cfg)[1:], info["layers"], strict=True):
        if kind == "convolutional":
            filters, size, groups = (int(keys.get(k, 1)) for k in ("filters", "size", "groups"))
            kernel = filters * (layer["input"]["channels"] // groups) * size * size
            yield filters, kernel, int(keys.get("batch_normalize", 0)) == 1


def random_weights(yoloslim, cfg, path, seed):
    """Weights with which every map keeps its scale, and statistics unlike the defaults."""
    rng = np.random.default_rng(seed)
    parts = [np.array([0, 2, 5, 0, 0], np.int32).view(np.float32)]
    for filters, kernel, normalised in convolutions(yoloslim, cfg):
        parts.append(rng.normal(0, 0.1, filters))
        if normalised:
            parts += [rng.uniform(0.5, 1.5, filters), rng.normal(0, 0.1, filters), rng.uniform(0.5, 1.5, filters)]
        parts.append(rng.normal(0, (filters / kernel) ** 0.5, kernel))
    np.concatenate([p.astype(np.float32) if p.dtype != np.float32 else p for p in parts]).tofile(path)


def for_opencv(yoloslim, cfg, weights, path):
    """The same weights with the difference of the epsilons in the running variances."""
    raw = np.fromfile(weights, np.float32)
    major, minor = raw[:2].view(np.int32)
    at = 5 if major * 10 + minor >= 2 else 4
    for filters, kernel, normalised in convolutions(yoloslim, cfg):
        if normalised:
            raw[at + 3 * filters : at + 4 * filters] += np.float32(EPSILON_DIFFERENCE)
            at += 3 * filters
        at += filters + kernel
    assert at == raw.size, f"{weights}: {raw.size} floats, {at} expected"
    raw.tofile(path)


def opencv_heads(cfg, weights, image):
    net = cv2.dnn.readNetFromDarknet(str(cfg), str(weights))
    net.setPreferableBackend(cv2.dnn.DNN_BACKEND_OPENCV)
    names = net.getLayerNames()
    # A [yolo] layer becomes a permutation and a decoder; what is permuted is the raw head.
    heads = [names[i - 1] for i, name in enumerate(names) if name.startswith("permute_")]
    net.setInput(image)
    return [np.array(head) for head in net.forward(heads)]


def our_heads(yoloslim, cfg, weights, image, folder):
    np.save(folder / "image.npy", image)
    run(yoloslim, "heads", cfg, weights, "--input", folder / "image.npy", "-o", folder / "heads.npz")
    heads = np.load(folder / "heads.npz")
    return [heads[f"head{i}"] for i in range(len(heads.files))]


def run(*command):
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"{' '.join(map(str, command))}\n{done.stderr}")
    return done.stdout


def run_json(*command):
    return json.loads(run(*command, "--json"))


def compare(yoloslim, name, cfg, weights, folder):
    """Compares one net; gives whether it agrees."""
    folder.mkdir(parents=True, exist_ok=True)
    for_opencv(yoloslim, cfg, weights, folder / "opencv.weights")
    size = run_json(yoloslim, "info", cfg)["input"]
    image = np.random.default_rng(1).random((1, 3, size["height"], size["width"]), np.float32)
    theirs = opencv_heads(cfg, folder / "opencv.weights", image)
    ours = our_heads(yoloslim, cfg, weights, image, folder)
    assert len(ours) == len(theirs) > 0, f"{name}: {len(ours)} heads, OpenCV has {len(theirs)}"
    worst = 0.0
    for a, b in zip(ours, theirs):
        assert a.shape == b.shape, f"{name}: shapes {a.shape} and {b.shape}"
        difference = float(np.abs(a - b).max() / np.abs(b).max())
        worst = max(worst, difference if np.isfinite(difference) else np.inf)
    verdict = "agrees" if worst <= LIMIT else "DIFFERS"
    print(f"{name:30} {verdict}: {worst:.1e} of the largest value", flush=True)
    return worst <= LIMIT


def nets(yoloslim, shared, width, folder):
    """(name, cfg, weights) of all nets."""
    for i, name in enumerate(ARCHITECTURES):
        cfg, weights = folder / f"{name}.cfg", folder / f"{name}.weights"
        run(yoloslim, "init", name, "--classes", 80, "--size", 256, "--width", width, "-o", cfg)
        random_weights(yoloslim, cfg, weights, seed=i)
        yield name, cfg, weights
    for name in TRAINED:
        cfg, weights = (shared / "weights" / f"{name}.{end}" for end in ("cfg", "weights"))
        if weights.is_file():
            yield f"{name} (trained)", cfg, weights
        else:
            print(f"{name} (trained): skipped, {weights} isn't there")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("yoloslim", type=pathlib.Path)
    parser.add_argument("--shared", type=pathlib.Path, default=pathlib.Path(__file__).parents[2] / "shared")
    parser.add_argument("--width", type=float, default=0.25)
    options = parser.parse_args()
    cv2.setNumThreads(2)
    good = True
    with tempfile.TemporaryDirectory() as temporary:
        folder = pathlib.Path(temporary)
        for name, cfg, weights in nets(options.yoloslim, options.shared, options.width, folder):
            place = folder / name.replace(" ", "-")
            good &= compare(options.yoloslim, name, cfg, weights, place / "whole")
            slim = place / "slim"
            run(options.yoloslim, "prune", cfg, weights, "--channels", "0.3", "-o", slim)
            good &= compare(options.yoloslim, f"{name}, pruned", slim / "slim.cfg", slim / "slim.weights", place)
    sys.exit(0 if good else "heads differ by more than 1e-4 of the largest value")


if __name__ == "__main__":
    main()
