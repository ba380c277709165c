"""Opens the events of a demo run with TensorBoard's own reader and holds them to the run's record.

    checks/tensorboard_events.py RUN

RUN is a complete run of `slim` or `demo`.
"""

import io
import json
import math
import struct
import sys
from pathlib import Path

from tensorboard.backend.event_processing.event_accumulator import HISTOGRAMS, IMAGES, SCALARS, EventAccumulator


def check(condition: bool, words: str) -> None:
    if not condition:
        raise SystemExit(f"tensorboard: {words}")


def jpeg_size(data: bytes) -> tuple[int, int]:
    """Width and height in the frame header of a JPEG file."""
    stream = io.BytesIO(data[2:])
    while True:
        marker, length = struct.unpack(">HH", stream.read(4))
        if 0xFFC0 <= marker <= 0xFFC2:
            _, height, width = struct.unpack(">BHH", stream.read(5))
            return width, height
        stream.seek(length - 2, io.SEEK_CUR)


def check_stage(folder: Path, stage: dict) -> int:
    events = EventAccumulator(str(folder), size_guidance={SCALARS: 0, HISTOGRAMS: 0, IMAGES: 0})
    events.Reload()
    tags = events.Tags()
    check(tags["images"], f"{folder}: no pictures")
    for tag in tags["images"]:
        image = events.Images(tag)[-1]
        check(jpeg_size(image.encoded_image_string) == (image.width, image.height), f"{folder}: {tag} is another size")
    for name, key in [("loss/box", "box"), ("loss/objectness", "objectness"), ("loss/class", "class")]:
        values = [event.value for event in events.Scalars(name)] if stage["epochs"] else []
        wanted = [epoch["loss"][key] for epoch in stage["epochs"]]
        same = len(values) == len(wanted) and all(math.isclose(a, b, rel_tol=1e-5) for a, b in zip(values, wanted))
        check(same, f"{folder}: {name} is {values}, the record says {wanted}")
    for name in stage["epochs"][-1].get("distilled", {}) if stage["epochs"] else []:
        check(f"distillation/{name}" in tags["scalars"], f"{folder}: no loss of the teacher's {name}")
    if stage["epochs"]:
        layers = stage["epochs"][-1]["gammas"]["layers"]
        for layer in layers:
            histogram = events.Histograms(f"gamma/layer {layer['layer']:03}")[-1].histogram_value
            check(histogram.num == layer["channels"] == sum(histogram.bucket), f"{folder}: a histogram of {layer}")
    return len(tags["scalars"]) + len(tags["histograms"]) + len(tags["images"])


def main() -> None:
    run = Path(sys.argv[1])
    record = json.loads((run / "record.json").read_text())
    tags = [check_stage(run / stage["name"], stage) for stage in record["stages"]]
    check(len(tags) >= 4, "stages are missing")
    print(f"tensorboard: {sum(tags)} tags of {len(tags)} stages: ok")


if __name__ == "__main__":
    main()
