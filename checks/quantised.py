"""Quantised nets in ONNX Runtime: what `yoloslim quantize` predicts, and what onnxruntime's own quantiser makes.

  quantised.py YOLOSLIM [--shared DIR] [--demo DIR] [--images N] [--full CFG WEIGHTS YAML]

For each profile of `yoloslim quantize --scheme int8`:

  - onnx.checker accepts the file, and ONNX Runtime runs it;
  - its heads are those of our simulation. Sums are added in another order, so now and then a number near the middle of
    two steps is rounded the other way, and each of the 80 layers of a net multiplies that. So with the first FEW
    convolutions quantised the heads must agree to FEW_STEPS steps in the root mean square, a step being the 255th part
    of the range of that head in floating point (what 8 bits of the head itself would resolve). With all quantised they
    must agree to LIMIT_STEPS, and to LIMIT_SHARE of what quantisation moves the heads at all. The file is run operator by
    operator, as ONNX defines it; the figures of integer kernels are told beside it. On x86 without VNNI these saturate
    sums of two products, which `session.x64quantprecision` avoids;
  - the default of `quantize` has at least the mAP@0.5 of the better of onnxruntime's quantize_static with MinMax and with
    Percentile, on the same net, images and float layers, and moves the heads no more than that. For TensorRT those have
    symmetric activations too. On few images mAP is a rough figure: two ways that are as good differ by a point or two on 64,
    and which layers and codes are chosen differs from processor to processor, so it may be --margin lower;
  - what `quantize` says that mAP@0.5 loses is what the file loses in ONNX Runtime, to PREDICTION. Losses are compared, for
    our evaluation and this one resize images in their own ways;
  - the file for TensorRT has no codes but zero points: weights and biases are 32-bit numbers.

NNIE's codes are simulated only: nnie.py computes a net of three convolutions again, by the published formula.

Where the folder `shared` is, the net is yolo-fastest-1.1 on coco128, else the one of `yoloslim demo`. `--full` prints the
table of all calibrations with and without equalisation and bias correction instead.
"""

import argparse
import contextlib
import io
import itertools
import pathlib
import re
import shutil
import sys
import tempfile

import cv2
import numpy as np
import onnx
import onnxruntime
from heads import run, run_json, sections
from nnie import formula_agrees
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

LIMIT_STEPS = 4.0
LIMIT_SHARE = 0.5
FEW = 10
FEW_STEPS = 0.3
PROFILES = ["onnxruntime", "tensorrt"]
CALIBRATIONS = ["minmax", "percentile", "entropy", "mse"]
HEAD_IMAGES = 4
METHODS = [CalibrationMethod.MinMax, CalibrationMethod.Percentile]
# Sums that are rounded otherwise move some values to the next code, and with 64 images of 80 classes that moves mAP by as much as 0.02.
PREDICTION = 0.03


def letterbox(image, width, height):
    """The image on grey, [3, height, width], 0 to 1, and how to get back: (scale, left, top)."""
    rows, columns = image.shape[:2]
    scale = min(width / columns, height / rows)
    size = max(1, round(columns * scale)), max(1, round(rows * scale))
    left, top = (width - size[0]) // 2, (height - size[1]) // 2
    canvas = np.full((height, width, 3), 0.5, np.float32)
    canvas[top : top + size[1], left : left + size[0]] = cv2.resize(image, size)[:, :, ::-1] / np.float32(255)
    return canvas.transpose(2, 0, 1), (scale, left, top)


def label_file(image):
    return pathlib.Path(str(image).replace("images", "labels")).with_suffix(".txt")


def subset(yaml, count, folder):
    """A copy of a YOLO data set with at most `count` images a split, spread evenly; gives its YAML."""
    text = yaml.read_text()
    # Of a YAML like ours: one `key: value` a line, folders below its own.
    keys = dict(line.split(":", 1) for line in text.splitlines() if ":" in line and line[0] not in " #")
    for split in ("train", "val"):
        files = sorted(f for f in (yaml.parent / keys[split].strip()).iterdir() if f.suffix in (".jpg", ".png"))
        for file in files[:: -(-len(files) // count)]:
            to = folder / "images" / split / file.name
            for source, target in ((file, to), (label_file(file), label_file(to))):
                target.parent.mkdir(parents=True, exist_ok=True)
                if source.is_file():
                    shutil.copyfile(source, target)
    names = text[text.index("names:") :]
    (folder / "data.yaml").write_text(f"path: .\ntrain: images/train\nval: images/val\n{names}")
    return folder / "data.yaml"


class Split:
    """The images of one split of a data set of `subset`: [(input, geometry)] and COCO's ground truth."""

    def __init__(self, yaml, split, size):
        self.inputs, self.geometry, images, labels = [], [], [], []
        for number, file in enumerate(sorted((yaml.parent / "images" / split).iterdir()), 1):
            pixels = cv2.imread(str(file))
            rows, columns = pixels.shape[:2]
            tensor, geometry = letterbox(pixels, size["width"], size["height"])
            self.inputs.append(tensor)
            self.geometry.append(geometry)
            images.append({"id": number, "width": columns, "height": rows})
            text = label_file(file)
            for line in text.read_text().splitlines() if text.is_file() else []:
                kind, x, y, w, h = (float(v) for v in line.split()[:5])
                box = [(x - w / 2) * columns, (y - h / 2) * rows, w * columns, h * rows]
                labels.append({"id": len(labels) + 1, "image_id": number, "category_id": int(kind), "bbox": box,
                               "area": box[2] * box[3], "iscrowd": 0})
        kinds = [{"id": kind, "name": str(kind)} for kind in sorted({label["category_id"] for label in labels})]
        self.truth = COCO()
        self.truth.dataset = {"images": images, "annotations": labels, "categories": kinds, "info": {}}
        with contextlib.redirect_stdout(io.StringIO()):
            self.truth.createIndex()

    def map50(self, net, heads_of):
        """mAP@0.5 of a net whose heads `heads_of` gives for an input."""
        found = []
        for number, (tensor, geometry) in enumerate(zip(self.inputs, self.geometry), 1):
            found += [{"image_id": number, **d} for d in detections(net, heads_of(tensor[None]), geometry)]
        if not found:
            return 0.0
        with contextlib.redirect_stdout(io.StringIO()):
            judge = COCOeval(self.truth, self.truth.loadRes(found), "bbox")
            judge.evaluate()
            judge.accumulate()
            judge.summarize()
        return float(judge.stats[1])


class Net:
    """What decoding needs of a cfg."""

    def __init__(self, yoloslim, cfg):
        self.size = run_json(yoloslim, "info", cfg)["input"]
        self.heads = []
        for kind, keys in sections(cfg):
            if kind == "yolo":
                anchors = np.array([float(v) for v in keys["anchors"].split(",")]).reshape(-1, 2)
                mask = [int(v) for v in keys["mask"].split(",")]
                self.heads.append((anchors[mask], int(keys["classes"]), float(keys.get("scale_x_y", 1))))


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def detections(net, heads, geometry, least=0.005):
    """Boxes in pixels of the image, after non-maximum suppression at IoU 0.45."""
    boxes, scores, kinds = [], [], []
    scale, left, top = geometry
    for (anchors, classes, stretch), head in zip(net.heads, heads):
        rows, columns = head.shape[2:]
        t = head[0].reshape(len(anchors), 5 + classes, rows, columns)
        score = sigmoid(t[:, 4:5]) * sigmoid(t[:, 5:])
        anchor, kind, y, x = np.nonzero(score > least)
        pick = lambda channel: t[anchor, channel, y, x]
        shift = (stretch - 1) / 2
        cx = (x + sigmoid(pick(0)) * stretch - shift) / columns * net.size["width"]
        cy = (y + sigmoid(pick(1)) * stretch - shift) / rows * net.size["height"]
        w, h = np.exp(pick(2)) * anchors[anchor, 0], np.exp(pick(3)) * anchors[anchor, 1]
        boxes.append(np.stack([(cx - w / 2 - left) / scale, (cy - h / 2 - top) / scale, w / scale, h / scale], 1))
        scores.append(score[anchor, kind, y, x])
        kinds.append(kind)
    boxes, scores, kinds = (np.concatenate(parts) for parts in (boxes, scores, kinds))
    if not len(boxes):
        return
    keep = np.array(cv2.dnn.NMSBoxesBatched(boxes.tolist(), scores.tolist(), kinds.tolist(), least, 0.45)).ravel()
    for i in keep[:300].astype(int):
        yield {"category_id": int(kinds[i]), "bbox": boxes[i].tolist(), "score": float(scores[i])}


def session(file, integer=True):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 2
    options.log_severity_level = 3
    if integer:
        options.add_session_config_entry("session.x64quantprecision", "1")
    else:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    loaded = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    name = loaded.get_inputs()[0].name
    return lambda tensor: loaded.run(None, {name: tensor})


class Reader(CalibrationDataReader):
    def __init__(self, name, inputs):
        self.batches = iter([{name: tensor[None]} for tensor in inputs])

    def get_next(self):
        return next(self.batches, None)


def static(float_file, inputs, method, file, float_layers=(), symmetric=False):
    """onnxruntime's own quantiser, with our choices where it has them: weights a filter each, the same layers in float."""
    prepared = file.with_suffix(".prepared.onnx")
    quant_pre_process(str(float_file), str(prepared), skip_symbolic_shape=True)
    graph = onnx.load(prepared).graph
    heads = {output.name for output in graph.output}
    layer = lambda node: re.match(r"conv(\d+)", node.output[0])
    is_float = lambda node: node.output[0] in heads or layer(node) and int(layer(node)[1]) in float_layers
    float_nodes = [node.name for node in graph.node if node.op_type == "Conv" and is_float(node)]
    assert float_nodes, "the heads are convolutions"
    with contextlib.redirect_stdout(io.StringIO()):
        quantize_static(
            str(prepared), str(file), Reader(graph.input[0].name, inputs), quant_format=QuantFormat.QDQ, per_channel=True,
            activation_type=QuantType.QInt8, weight_type=QuantType.QInt8, nodes_to_exclude=float_nodes,
            calibrate_method=method, extra_options={"ActivationSymmetric": symmetric},
        )


def our_heads(yoloslim, folder, tensors, *extra):
    """The heads of the net that `quantize` wrote into `folder`."""
    np.save(folder / "x.npy", tensors)
    cfg, weights = folder / "quantised.cfg", folder / "quantised.weights"
    run(yoloslim, "heads", cfg, weights, "--input", folder / "x.npy", "-o", folder / "heads.npz", *extra)
    with np.load(folder / "heads.npz") as heads:
        return [heads[f"head{i}"] for i in range(len(heads.files))]


def rms(x):
    return float(np.sqrt(np.mean(np.square(x, dtype=np.float64))))


def relative(found, wanted):
    """Root mean square of the difference of all heads as a share of that of `wanted`."""
    difference = np.concatenate([(f - w).ravel() for f, w in zip(found, wanted)])
    return rms(difference) / rms(np.concatenate([w.ravel() for w in wanted]))


def stacked(heads_of, tensors):
    return [np.concatenate(parts) for parts in zip(*(heads_of(tensor[None]) for tensor in tensors))]


def agrees(yoloslim, folder, tensors):
    """Whether the file computes what our simulation says."""
    onnx.checker.check_model(onnx.load(folder / "quantised.onnx"), full_check=True)
    simulated = our_heads(yoloslim, folder, tensors, "--quantisation", folder / "quantisation.json")
    exact = our_heads(yoloslim, folder, tensors)
    plain = stacked(session(folder / "quantised.onnx", integer=False), tensors)
    integer = stacked(session(folder / "quantised.onnx"), tensors)
    good = True
    for i, (s, e, p, k) in enumerate(zip(simulated, exact, plain, integer)):
        step = float(e.max() - e.min()) / 255
        steps, moved = rms(p - s) / step, rms(s - e) / step
        fine = steps <= LIMIT_STEPS and steps <= LIMIT_SHARE * moved
        good &= fine
        print(f"  head{i} {'agrees' if fine else 'DIFFERS'}: {steps:.2f} steps from the simulation, integer kernels "
              f"{rms(k - s) / step:.2f}; quantisation moves it by {moved:.2f}", flush=True)
    return good


def quantise(yoloslim, cfg, weights, yaml, images, folder, *extra):
    return run_json(yoloslim, "quantize", cfg, weights, "--data", yaml, "--images", images, "-o", folder, *extra)


def quantise_first(yoloslim, cfg, weights, yaml, count, folder, *extra):
    """Quantises the first `count` convolutions alone; gives the ONNX file."""
    kinds = [kind for kind, _ in sections(cfg)[1:]]
    layers = [str(i) for i, kind in enumerate(kinds) if kind == "convolutional"]
    quantise(yoloslim, cfg, weights, yaml, 1, folder, "--plain", "--float-layers", ",".join(layers[count:]), *extra)
    return folder / "quantised.onnx"


def few_agree(yoloslim, cfg, weights, yaml, folder, profile, tensors):
    """Whether heads agree closely when few layers are quantised."""
    file = quantise_first(yoloslim, cfg, weights, yaml, FEW, folder, "--profile", profile)
    simulated = our_heads(yoloslim, folder, tensors, "--quantisation", folder / "quantisation.json")
    pairs = zip(stacked(session(file, integer=False), tensors), simulated)
    worst = max(rms(p - s) / (float(s.max() - s.min()) / 255) for p, s in pairs)
    print(f"  first {FEW} convolutions {'agree' if worst <= FEW_STEPS else 'DIFFER'}: {worst:.3f} steps", flush=True)
    return worst <= FEW_STEPS


def no_codes(file):
    """Whether a file has no numbers of 8 or 32 bits but zero points, and no operator on a bias."""
    graph = onnx.load(file).graph
    codes = [t for t in graph.initializer if t.data_type in (onnx.TensorProto.INT8, onnx.TensorProto.INT32)]
    strange = [t.name for t in codes if not t.name.endswith(".zero") or np.any(onnx.numpy_helper.to_array(t))]
    strange += [node.name for node in graph.node if "QuantizeLinear" in node.op_type and ".bias" in node.input[0]]
    strange += [node.name for node in graph.node if "Dequantize" in node.op_type and ".bias" in node.output[0]]
    print(f"  no codes but zero points{': NOT SO, ' + ', '.join(strange[:5]) if strange else ''}", flush=True)
    return not strange


def check(yoloslim, cfg, weights, yaml, images, margin, folder):
    """All comparisons on one net; gives whether they hold."""
    yaml = subset(yaml, images, folder / "data")
    net = Net(yoloslim, cfg)
    train, val = (Split(yaml, split, net.size) for split in ("train", "val"))
    float_file = quantise_first(yoloslim, cfg, weights, yaml, 0, folder / "float")
    tensors = np.stack(val.inputs[:HEAD_IMAGES])
    wanted = stacked(session(float_file), tensors)
    float_map = val.map50(net, session(float_file))
    print(f"float: mAP@0.5 {float_map:.4f}", flush=True)
    good = True
    for profile in PROFILES:
        place = folder / profile
        report = quantise(yoloslim, cfg, weights, yaml, images, place, "--profile", profile)
        ours = session(place / "quantised.onnx")
        our_map, our_error = val.map50(net, ours), relative(stacked(ours, tensors), wanted)
        layers = [layer["layer"] for layer in report["float_layers"]]
        theirs = []
        for method in METHODS:
            static(float_file, train.inputs, method, folder / "static.onnx", layers, profile == "tensorrt")
            heads_of = session(folder / "static.onnx")
            theirs.append((val.map50(net, heads_of), relative(stacked(heads_of, tensors), wanted)))
            print(f"quantize_static {method.name}: mAP@0.5 {theirs[-1][0]:.4f}, heads move by {theirs[-1][1]:.1%}", flush=True)
        better = our_map >= max(m for m, _ in theirs) - margin and our_error <= min(e for _, e in theirs)
        print(f"{profile}, {len(layers)} layers in float: mAP@0.5 {our_map:.4f}, heads move by {our_error:.1%}"
              f"{'' if better else ': WORSE'}", flush=True)
        predicted, lost = report["before"]["map50"] - report["after"]["map50"], float_map - our_map
        foreseen = abs(predicted - lost) <= PREDICTION
        print(f"  loss {'as foreseen' if foreseen else 'NOT AS FORESEEN'}: {lost:.4f}, foretold {predicted:.4f}", flush=True)
        good &= agrees(yoloslim, place, tensors) and better and foreseen
        if profile == "tensorrt":
            good &= no_codes(place / "quantised.onnx")
        good &= few_agree(yoloslim, cfg, weights, yaml, folder / f"few-{profile}", profile, tensors)
    return good & formula_agrees(yoloslim, yaml, tensors, folder / "nnie")


def full(yoloslim, cfg, weights, yaml, images, folder):
    """The table of all calibrations, equalisation and bias correction, beside quantize_static's methods."""
    yaml = subset(yaml, images, folder / "data")
    net = Net(yoloslim, cfg)
    train, val = (Split(yaml, split, net.size) for split in ("train", "val"))
    float_file = quantise_first(yoloslim, cfg, weights, yaml, 0, folder / "float")
    tensors = np.stack(val.inputs[:HEAD_IMAGES])
    wanted = stacked(session(float_file), tensors)

    def row(name, file):
        heads_of = session(file)
        moved = relative(stacked(heads_of, tensors), wanted)
        print(f"{name:58} {val.map50(net, heads_of):.4f} {moved:8.1%}", flush=True)

    row("float", float_file)
    for method in (CalibrationMethod.MinMax, CalibrationMethod.Percentile, CalibrationMethod.Entropy):
        static(float_file, train.inputs, method, folder / "static.onnx")
        row(f"quantize_static {method.name}", folder / "static.onnx")
    for profile, calibration in itertools.product(PROFILES, CALIBRATIONS):
        for extra in ([], ["--equalise"], ["--bias-correction"], ["--equalise", "--bias-correction"]):
            place = folder / "ours"
            told = ["--plain", "--profile", profile, "--calibration", calibration, *extra]
            quantise(yoloslim, cfg, weights, yaml, images, place, *told)
            row(" ".join([profile, calibration, *extra]), place / "quantised.onnx")
            shutil.rmtree(place)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("yoloslim", type=pathlib.Path)
    parser.add_argument("--shared", type=pathlib.Path, default=pathlib.Path(__file__).parents[2] / "shared")
    parser.add_argument("--demo", type=pathlib.Path, help="the folder of `yoloslim demo`, for where there is no shared one")
    parser.add_argument("--images", type=int, default=64, help="images that calibrate, and that measure")
    parser.add_argument("--margin", type=float, default=0.02)
    parser.add_argument("--full", nargs=3, type=pathlib.Path, metavar=("CFG", "WEIGHTS", "YAML"))
    options = parser.parse_args()
    cv2.setNumThreads(2)
    with tempfile.TemporaryDirectory() as temporary:
        folder = pathlib.Path(temporary)
        if options.full:
            return full(options.yoloslim, *options.full, options.images, folder)
        weights, yaml = options.shared / "weights", options.shared / "data/coco128/coco128.yaml"
        if yaml.is_file():
            files = weights / "yolo-fastest-1.1.cfg", weights / "yolo-fastest-1.1.weights", yaml
        elif options.demo:
            best = options.demo / "run/baseline"
            files = best / "best.cfg", best / "best.weights", options.demo / "data/data.yaml"
        else:
            sys.exit("give --shared or --demo")
        good = check(options.yoloslim, *files, options.images, options.margin, folder)
    sys.exit(0 if good else "quantised nets differ from what was predicted, or are worse than quantize_static's")


if __name__ == "__main__":
    main()
