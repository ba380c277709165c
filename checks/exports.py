"""Exported nets in the runtimes that they are for, against our own heads.

  exports.py YOLOSLIM [--shared DIR] [--slim CFG WEIGHTS] [--only WORD] [--require-all]

Each net is exported to each format, opened by a foreign runtime and run on the same noise as `yoloslim heads`. The
largest difference of a head must stay within 1e-4 of its largest value. Ours are summed up directly: the sides of a decoded box are
exponentials, which blow up what faster convolutions round. Those are held to OpenCV by heads.py.

  onnx         ONNX Runtime, onnx.checker and OpenCV; decoded boxes and a batch of two images in ONNX Runtime
  caffe        OpenCV's Caffe reader, in several ways of writing upsampling, wide and uneven pools, and colours
  ncnn         PyPI's ncnn
  darknet      OpenCV's Darknet reader; where there is a program `darknet`, that too, on a picture
  safetensors  the numbers, one by one, against those of the weights file

The nets: trained ones of the folder `shared`, where it is there; yolov3, yolov3-spp, yolov3-tiny and yolov4-tiny as
`yoloslim init` writes them, at a quarter of the width, with random weights, whole and pruned to odd channel counts; two
made-up nets with the layers that these lack; and a net straight from `yoloslim slim` or `demo`, where one is given.

`export --check nnie` must find nothing against the nets that Caffe takes, and must refuse yolov4 for its mish, with the
advice. What was skipped is counted; with `--require-all` anything skipped is a failure.
"""

import argparse
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

import cv2
import ncnn
import numpy as np
import onnx
import onnxruntime
import safetensors.numpy

from heads import convolutions, our_heads, random_weights, run, run_json

LIMIT = 1e-4
TRAINED = ["yolov3-tiny", "yolo-fastest-1.1"]
DRAWN = ["yolov3", "yolov3-spp", "yolov3-tiny", "yolov4-tiny"]
# Ways of writing Caffe: each option is in at least one.
CAFFE = [
    [],
    ["--upsample", "deconvolution", "--spp", "chained", "--uneven-pool", "convolution", "--hp", "0,heads"],
    ["--color", "bgr", "--dialect", "svp_npu"],
]


CONVOLUTION = "[convolutional]\nbatch_normalize=1\nfilters={}\nsize={}\nstride={}\npad=1\nactivation={}\n"
HEAD = "[convolutional]\nfilters=21\nactivation=linear\n[yolo]\nmask=0,1,2\nanchors=8,8,16,16,32,32\nclasses=2\n"
# What the published nets lack. A head that is read on, and what Caffe can express of the rest; then all of it.
READ_ON = (
    CONVOLUTION.format(16, 3, 2, "leaky") + HEAD + "[route]\nlayers=1\n" + CONVOLUTION.format(16, 3, 2, "relu")
    + "[shortcut]\nfrom=-1\nactivation=leaky\n" + "[maxpool]\nsize=3\nstride=1\n" + HEAD
)
STRANGE = (
    CONVOLUTION.format(16, 3, 2, "mish") + HEAD + "[route]\nlayers=1\n" + CONVOLUTION.format(16, 3, 1, "swish")
    + "[avgpool]\n" + CONVOLUTION.format(16, 1, 1, "logistic") + "[scale_channels]\nfrom=-3\nactivation=linear\n"
    + "[reorg]\nstride=2\n" + CONVOLUTION.format(24, 3, 1, "leaky") + HEAD
)


class Skipped:
    """What could not be compared, told and counted."""

    def __init__(self):
        self.count = 0

    def __call__(self, what, why):
        self.count += 1
        print(f"{what}: skipped, {why}", flush=True)


class Upsample:
    """HiSilicon's layer, which OpenCV lacks: nearest neighbour."""

    def __init__(self, params, blobs):
        self.factor = int(params["stride"] if "stride" in params else params["scale"])

    def getMemoryShapes(self, inputs):
        images, channels, rows, columns = inputs[0]
        return [[images, channels, rows * self.factor, columns * self.factor]]

    def forward(self, inputs):
        return [np.ascontiguousarray(inputs[0].repeat(self.factor, 2).repeat(self.factor, 3))]


class Net:
    """A net in our files, an image, and our heads of it."""

    def __init__(self, yoloslim, name, cfg, weights, folder):
        self.yoloslim, self.name, self.cfg, self.weights, self.folder = yoloslim, name, cfg, weights, folder
        folder.mkdir(parents=True, exist_ok=True)
        size = run_json(yoloslim, "info", cfg)["input"]
        self.shape = (1, 3, size["height"], size["width"])
        self.image = np.random.default_rng(1).random(self.shape, np.float32)
        self.heads = our_heads(yoloslim, cfg, weights, self.image, folder)
        self.exports = 0

    def export(self, form, *options):
        """The folder with the files, and their name without extension."""
        self.exports += 1
        folder = self.folder / f"{form}{self.exports}"
        run(self.yoloslim, "export", self.cfg, self.weights, "--format", form, "-o", folder, *options)
        return folder, folder / pathlib.Path(self.cfg).stem


def difference(ours, theirs):
    """The largest difference of a head, as a share of its largest value."""
    assert len(ours) == len(theirs) > 0, f"{len(ours)} heads, the other runtime has {len(theirs)}"
    worst = 0.0
    for a, b in zip(ours, theirs):
        assert a.shape == b.shape, f"shapes {a.shape} and {b.shape}"
        found = float(np.abs(a - b).max() / np.abs(a).max())
        worst = max(worst, found if np.isfinite(found) else np.inf)
    return worst


def with_suffix(stem, suffix):
    return str(stem) + suffix


def session(path):
    onnx.checker.check_model(str(path), full_check=True)
    return onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])


def onnx_raw(net):
    _, stem = net.export("onnx")
    path = with_suffix(stem, ".onnx")
    yield "onnx, ONNX Runtime", difference(net.heads, session(path).run(None, {"images": net.image}))
    reader = cv2.dnn.readNetFromONNX(path)
    reader.setInput(net.image)
    yield "onnx, OpenCV", difference(net.heads, reader.forward([f"head{i}" for i in range(len(net.heads))]))


def onnx_batch(net):
    _, stem = net.export("onnx", "--dynamic-batch")
    both = session(with_suffix(stem, ".onnx")).run(None, {"images": np.concatenate([net.image[..., ::-1], net.image])})
    yield "onnx, the second of a batch", difference(net.heads, [head[1:] for head in both])


def onnx_decoded(net):
    folder, _ = net.export("onnx")
    description = json.loads(next(folder.glob("*.heads.json")).read_text())
    ours = np.concatenate([decode(h, raw, net.shape) for h, raw in zip(description["heads"], net.heads)], 1)
    _, stem = net.export("onnx", "--decode")
    [theirs] = session(with_suffix(stem, ".onnx")).run(["boxes"], {"images": net.image})
    # Sizes are powers of e: of random logits the largest would hide all others, or be infinite.
    sizes = lambda boxes: np.log(np.clip(boxes[..., 2:4], 1e-30, 1e30))
    parts = lambda boxes: [boxes[..., :2], sizes(boxes), boxes[..., 4:]]
    yield "onnx, decoded boxes", difference(parts(ours), parts(theirs))


def decode(head, raw, shape):
    """[1, anchors * rows * columns, 5 + classes]: centres, sizes and probabilities by Darknet's formulas."""
    rows, columns, classes, anchors = head["rows"], head["columns"], head["classes"], head["anchors"]
    t = raw.astype(np.float64).reshape(len(anchors), 5 + classes, rows, columns)
    p = t if head["new_coords"] else 1 / (1 + np.exp(-t))
    scale = head["scale_x_y"]
    x = (p[:, 0] * scale - (scale - 1) / 2 + np.arange(columns)) * shape[3] / columns
    y = (p[:, 1] * scale - (scale - 1) / 2 + np.arange(rows)[:, None]) * shape[2] / rows
    factor = (2 * t[:, 2:4]) ** 2 if head["new_coords"] else np.exp(t[:, 2:4])
    size = factor * np.array(anchors)[:, :, None, None]
    boxes = np.concatenate([x[:, None], y[:, None], size, p[:, 4:]], 1)
    return boxes.transpose(0, 2, 3, 1).reshape(1, -1, 5 + classes)


def caffe(net):
    for options in CAFFE:
        folder, stem = net.export("caffe", *options)
        check_names(with_suffix(stem, ".prototxt"))
        if "svp_npu" in options:
            assert "_report" not in pathlib.Path(with_suffix(stem, ".prototxt")).read_text(), "an ending of another compiler"
        reader = cv2.dnn.readNetFromCaffe(with_suffix(stem, ".prototxt"), with_suffix(stem, ".caffemodel"))
        reader.setPreferableBackend(cv2.dnn.DNN_BACKEND_OPENCV)
        reader.setInput(net.image[:, ::-1].copy() if "bgr" in options else net.image)
        blobs = [h["output"] for h in json.loads(next(folder.glob("*.heads.json")).read_text())["heads"]]
        # OpenCV calls the layer of an output as the output.
        known = reader.getLayerNames()
        theirs = reader.forward([b if b in known else last_writer(with_suffix(stem, ".prototxt"), b) for b in blobs])
        yield f"caffe {' '.join(options)}".strip(), difference(net.heads, theirs)


def layers(prototxt):
    """(name, tops) of each layer."""
    for text in pathlib.Path(prototxt).read_text().split("layer {")[1:]:
        yield re.search(r'name: "(.*)"', text)[1], re.findall(r'top: "(.*)"', text)


def last_writer(prototxt, blob):
    return [name for name, tops in layers(prototxt) if blob in tops][-1]


def check_names(prototxt):
    """Layers' names are short and mean nothing to the mapper but what was asked for."""
    names = [name for name, _ in layers(prototxt)]
    assert len(set(names)) == len(names), "two layers of one name"
    for name in names:
        assert len(name) <= 31 and not name.endswith(("_cpu", "_report")), name
        assert name.endswith("_hp") <= name.startswith("conv"), name
    for top in {top for _, tops in layers(prototxt) for top in tops}:
        assert len(top) <= 31 and not top.endswith(("_cpu", "_hp")), top


def ncnn_heads(net):
    _, stem = net.export("ncnn")
    reader = ncnn.Net()
    # As exact as the runtime can be.
    for option in ["use_fp16_packed", "use_fp16_storage", "use_fp16_arithmetic", "use_bf16_storage", "use_winograd_convolution"]:
        setattr(reader.opt, option, False)
    assert reader.load_param(with_suffix(stem, ".param")) == 0 and reader.load_model(with_suffix(stem, ".bin")) == 0
    theirs = []
    with reader.create_extractor() as extractor:
        extractor.input("data", ncnn.Mat(net.image[0]))
        for i in range(len(net.heads)):
            code, map_ = extractor.extract(f"head{i}")
            assert code == 0, f"head{i}: {code}"
            theirs.append(np.array(map_)[None])
    yield "ncnn", difference(net.heads, theirs)


def darknet(net):
    _, stem = net.export("darknet")
    reader = cv2.dnn.readNetFromDarknet(with_suffix(stem, ".cfg"), with_suffix(stem, ".weights"))
    reader.setPreferableBackend(cv2.dnn.DNN_BACKEND_OPENCV)
    names = reader.getLayerNames()
    reader.setInput(net.image)
    # A [yolo] layer becomes a permutation and a decoder; what is permuted is the raw head.
    theirs = reader.forward([names[i - 1] for i, name in enumerate(names) if name.startswith("permute_")])
    yield "darknet, OpenCV", difference(net.heads, [np.array(head) for head in theirs])


def safetensors_numbers(net):
    _, stem = net.export("safetensors")
    arrays = safetensors.numpy.load_file(with_suffix(stem, ".safetensors"))
    infos = run_json(net.yoloslim, "info", net.cfg)["layers"]
    numbers = []
    for layer in (i for i, info in enumerate(infos) if f"layers.{i}.conv.weight" in arrays):
        normalised = ["bn.bias", "bn.weight", "bn.running_mean", "bn.running_var"]
        first = normalised if f"layers.{layer}.bn.weight" in arrays else ["conv.bias"]
        numbers += [arrays.pop(f"layers.{layer}.{part}").ravel() for part in [*first, "conv.weight"]]
    assert not arrays, f"left over: {list(arrays)}"
    raw = np.fromfile(net.weights, np.float32)
    major, minor = raw[:2].view(np.int32)
    theirs = raw[5 if major * 10 + minor >= 2 else 4 :]
    yield "safetensors, all numbers", difference([theirs], [np.concatenate(numbers)])


FORMATS = [onnx_raw, onnx_batch, onnx_decoded, caffe, ncnn_heads, darknet, safetensors_numbers]
# OpenCV's Darknet reader takes a head that is read on for another.
FORMATS_READ_ON = [onnx_raw, onnx_batch, onnx_decoded, caffe, ncnn_heads, safetensors_numbers]
# OpenCV reads no reorg from ONNX's SpaceToDepth with Darknet's order, and Caffe has no word for half of the layers.
FORMATS_STRANGE = [onnx_batch, onnx_decoded, ncnn_heads, safetensors_numbers]


def fits_the_chip(net):
    """Whether `--check nnie` finds nothing against a net."""
    command = [net.yoloslim, "export", net.cfg, net.weights, "--check", "nnie"]
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True)
    good = done.returncode == 0
    print(f"{net.name:28} {'--check nnie':90} {'nothing against it' if good else 'REFUSED: ' + done.stdout}", flush=True)
    return good


def mish_is_refused(yoloslim, folder):
    """Whether `--check nnie` ends with 1 for yolov4, and says what to do about its mish."""
    cfg, weights = folder / "yolov4.cfg", folder / "yolov4.weights"
    run(yoloslim, "init", "yolov4", "--classes", 2, "--size", 256, "--width", 0.25, "-o", cfg)
    random_weights(yoloslim, cfg, weights, seed=9)
    command = [yoloslim, "export", cfg, weights, "--check", "nnie"]
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True)
    told = "activation=mish is not on the chip" in done.stdout and "activation=leaky" in done.stdout
    good = done.returncode == 1 and told
    print(f"{'yolov4':28} {'--check nnie':90} {'refused, with advice' if good else 'NOT REFUSED: ' + done.stdout}", flush=True)
    return good


def compare(net, formats):
    good = fits_the_chip(net) if caffe in formats else True
    for form in formats:
        for what, worst in form(net):
            verdict = "agrees" if worst <= LIMIT else "DIFFERS"
            print(f"{net.name:28} {what:90} {verdict}: {worst:.1e}", flush=True)
            good &= worst <= LIMIT
    return good


def nets(options, folder, skipped):
    """(name, cfg, weights, formats) of all nets."""
    for name in TRAINED:
        cfg, weights = (options.shared / "weights" / f"{name}.{end}" for end in ("cfg", "weights"))
        if weights.is_file():
            yield f"{name} (trained)", cfg, weights, FORMATS
        else:
            skipped(f"{name} (trained)", f"{weights} isn't there")
    for i, name in enumerate(DRAWN):
        cfg, weights, slim = folder / f"{name}.cfg", folder / f"{name}.weights", folder / f"{name}-slim"
        run(options.yoloslim, "init", name, "--classes", 80, "--size", 256, "--width", 0.25, "-o", cfg)
        random_weights(options.yoloslim, cfg, weights, seed=i)
        yield name, cfg, weights, FORMATS
        run(options.yoloslim, "prune", cfg, weights, "--channels", "0.3", "-o", slim)
        odd = [n for n, _, _ in convolutions(options.yoloslim, slim / "slim.cfg") if n % 2]
        assert odd, f"{name}: no odd channel count is left to test"
        yield f"{name}, pruned", slim / "slim.cfg", slim / "slim.weights", FORMATS
    for name, layers, formats in [("read-on", READ_ON, FORMATS_READ_ON), ("strange", STRANGE, FORMATS_STRANGE)]:
        cfg, weights = folder / f"{name}.cfg", folder / f"{name}.weights"
        cfg.write_text(f"[net]\nwidth=64\nheight=32\nchannels=3\n{layers}")
        random_weights(options.yoloslim, cfg, weights, seed=7)
        yield f"made up: {name}", cfg, weights, formats
    if options.slim:
        yield "slimmed", *options.slim, FORMATS
    else:
        skipped("a net of `slim`", "none was given")


def darknet_program(options, folder, skipped):
    """Detections of Darknet's own program and ours on one picture: the same classes with the same percentages."""
    program, name = shutil.which("darknet"), "yolov3-tiny"
    cfg, weights = (options.shared / "weights" / f"{name}.{end}" for end in ("cfg", "weights"))
    picture = next(iter((options.shared / "data").glob("coco128/images/*/000000000110.jpg")), None)
    if not (program and weights.is_file() and picture):
        skipped("the program darknet", "it or the trained net or a picture isn't there")
        return True
    # A picture of the net's size: how it is made smaller isn't what is compared.
    cv2.imwrite(str(folder / "picture.png"), cv2.resize(cv2.imread(str(picture)), (416, 416)))
    run(options.yoloslim, "export", cfg, weights, "--format", "darknet", "-o", folder / "exported")
    names = options.shared / "weights" / "coco.names"
    (folder / "x.data").write_text(f"classes=80\nnames={names}\n")
    exported = folder / "exported" / name
    command = [program, "detector", "test", folder / "x.data", f"{exported}.cfg", f"{exported}.weights", folder / "picture.png"]
    done = subprocess.run([str(c) for c in [*command, "-thresh", "0.25", "-out", "drawn"]], capture_output=True, text=True, cwd=folder)
    theirs = sorted(re.findall(r"^(.+): (\d+)%", done.stdout, re.MULTILINE))
    found = json.loads(run(options.yoloslim, "detect", cfg, weights, folder / "picture.png", "--conf", "0.25", "--names", names, "--json"))
    ours = sorted((d["name"], d["score"] * 100) for d in found)
    same = len(ours) == len(theirs) > 0 and all(a[0] == b[0] and abs(a[1] - float(b[1])) <= 1 for a, b in zip(ours, theirs))
    verdict = f"agrees on all {len(ours)} detections" if same else f"DIFFERS: {theirs} and ours {ours}"
    print(f"{name}, the program darknet on {picture.name} {verdict}")
    return same


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("yoloslim", type=pathlib.Path)
    parser.add_argument("--shared", type=pathlib.Path, default=pathlib.Path(__file__).resolve().parents[2] / "shared")
    parser.add_argument("--slim", type=pathlib.Path, nargs=2, metavar=("CFG", "WEIGHTS"))
    parser.add_argument("--only", default="", help="nets whose name has this word")
    parser.add_argument("--require-all", action="store_true", help="fail where anything is skipped")
    options = parser.parse_args()
    os.environ["YOLOSLIM_CONVOLUTION"] = "direct"
    cv2.setNumThreads(2)
    cv2.dnn_registerLayer("Upsample", Upsample)
    good, skipped = True, Skipped()
    with tempfile.TemporaryDirectory() as temporary:
        folder = pathlib.Path(temporary)
        for name, cfg, weights, formats in nets(options, folder, skipped):
            if options.only in name:
                place = folder / "nets" / re.sub(r"\W+", "-", name)
                good &= compare(Net(options.yoloslim, name, cfg, weights, place), formats)
        good &= mish_is_refused(options.yoloslim, folder)
        good &= darknet_program(options, folder, skipped)
    print(f"{skipped.count} skipped")
    if skipped.count and options.require_all:
        sys.exit("something was skipped, and all was asked for")
    sys.exit(0 if good else "exports differ by more than 1e-4 of the largest value")


if __name__ == "__main__":
    main()
