"""Holds yoloslim's mAP against pycocotools on random data sets.

    cargo build --release -p yoloslim-core --example evaluate
    python tests/oracles/coco_map.py --binary target/release/examples/evaluate

The sets have crowds, negative images, absent classes, labels of all sizes, areas that differ from
their boxes, equal scores within and across images, and images with over a hundred detections.
Exits with 1 when a figure differs by more than 1e-6, or is there for one and not for the other.
"""

import argparse
import contextlib
import io
import json
import random
import subprocess
import sys
import tempfile
from pathlib import Path

from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

TOLERANCE = 1e-6
# The order of COCOeval.stats.
SUMMARY = [
    "map", "map50", "map75", "map_small", "map_medium", "map_large",
    "recall_1", "recall_10", "recall_100", "recall_small", "recall_medium", "recall_large",
]


def random_box(rng, whole):
    side = rng.choice([20, 32, 60, 96, 200])
    width, height = (max(1.0, side * rng.uniform(0.5, 1.5)) for _ in range(2))
    x, y = rng.uniform(0, 640 - width), rng.uniform(0, 480 - height)
    # Whole numbers put overlaps and areas just on the thresholds.
    return [float(int(v)) for v in (x, y, width, height)] if whole else [x, y, width, height]


def near(rng, box, whole):
    spread = rng.choice([0.02, 0.1, 0.3])
    x, y, width, height = box
    moved = [
        x + rng.gauss(0, spread) * width,
        y + rng.gauss(0, spread) * height,
        max(1.0, width * (1 + rng.gauss(0, spread))),
        max(1.0, height * (1 + rng.gauss(0, spread))),
    ]
    return [float(round(v)) for v in moved] if whole else moved


def random_set(seed):
    rng = random.Random(seed)
    whole = seed % 2 == 0
    # Coarse scores make ties; all are exact in single precision.
    levels = rng.choice([4, 16, 4096])
    categories = [{"id": 3 * c + 1, "name": f"class{c}"} for c in range(5)]
    images = [{"id": 7 * i + 2, "file_name": f"{i}.png", "width": 640, "height": 480} for i in range(rng.randint(1, 30))]
    annotations, results = [], []
    for image in rng.sample(images, len(images)):
        if rng.random() < 0.2:
            boxes = []
        else:
            boxes = [(random_box(rng, whole), rng.choice(categories[:4])["id"]) for _ in range(rng.randint(1, 12))]
        for box, category in boxes:
            area = box[2] * box[3] * (1 if rng.random() < 0.5 else rng.uniform(0.4, 1.0))
            crowd = int(rng.random() < 0.15)
            annotations.append({
                "id": len(annotations) + 1, "image_id": image["id"], "category_id": category,
                "bbox": box, "area": area, "iscrowd": crowd,
            })
            for _ in range(rng.choice([0, 1, 1, 2, 5 if crowd else 2])):
                results.append((image["id"], category, near(rng, box, whole)))
        crowded = rng.random() < 0.1
        for _ in range(300 if crowded else rng.randint(0, 5)):
            category = categories[0] if crowded else rng.choice(categories)
            results.append((image["id"], category["id"], random_box(rng, whole)))
    rng.shuffle(results)
    found = [
        {"image_id": i, "category_id": c, "bbox": b, "score": rng.randint(1, levels) / levels} for i, c, b in results
    ]
    return {"images": images, "annotations": annotations, "categories": categories}, found


def expected(truth_file, found):
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(str(truth_file))
        evaluation = COCOeval(truth, truth.loadRes(found), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    figures = {name: float(value) for name, value in zip(SUMMARY, evaluation.stats)}
    # precision is [threshold][recall][class][area][limit].
    precision = evaluation.eval["precision"]

    def mean(values):
        values = values[values > -1]
        return float(values.mean()) if values.size else -1.0

    figures["map50_small"] = mean(precision[0, :, :, 1, 2])
    for index in range(precision.shape[2]):
        for area, name in enumerate(["ap", "ap_small", "ap_medium", "ap_large"]):
            figures[f"class{index} {name}"] = mean(precision[:, :, index, area, 2])
        figures[f"class{index} ap50"] = mean(precision[0, :, index, 0, 2])
        figures[f"class{index} ap75"] = mean(precision[5, :, index, 0, 2])
    return figures


def measured(binary, truth_file, found_file):
    output = subprocess.run([binary, truth_file, found_file], check=True, capture_output=True, text=True).stdout
    evaluation = json.loads(output)
    figures = {name: evaluation[name] for name in [*SUMMARY, "map50_small"]}
    for result in evaluation["classes"]:
        for name in ["ap", "ap_small", "ap_medium", "ap_large", "ap50", "ap75"]:
            figures[f"{result['name']} {name}"] = result[name]
    return {name: -1.0 if value is None else value for name, value in figures.items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", required=True, help="the built example `evaluate` of yoloslim-core")
    parser.add_argument("--sets", type=int, default=60, help="how many random data sets")
    arguments = parser.parse_args()
    worst, failures, compared = 0.0, 0, 0
    with tempfile.TemporaryDirectory() as folder:
        truth_file, found_file = Path(folder, "truth.json"), Path(folder, "found.json")
        for seed in range(arguments.sets):
            truth, found = random_set(seed)
            if not found:
                continue
            truth_file.write_text(json.dumps(truth))
            found_file.write_text(json.dumps(found))
            ours = measured(arguments.binary, truth_file, found_file)
            for name, value in expected(truth_file, found).items():
                difference = abs(value - ours[name])
                worst, compared = max(worst, difference), compared + 1
                if not difference <= TOLERANCE:
                    failures += 1
                    print(f"set {seed}: {name} is {ours[name]}, pycocotools has {value}", file=sys.stderr)
    print(f"{compared} figures compared, {failures} differ, the largest difference is {worst:.1e}")
    return 1 if failures or not compared else 0


if __name__ == "__main__":
    sys.exit(main())
