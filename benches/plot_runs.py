#!/usr/bin/env python3
"""Draws what slim runs came to: mAP@0.5 against FLOPs, parameters and milliseconds, one SVG for each.

    plot_runs.py OUT LABEL=RUN[,RUN..] ..

A RUN is the folder of a `slim` run, or FOLDER:STAGE for another stage than its last; runs with one label are seeds or steps
of one line. Reads record.json only, and needs nothing beside Python.
"""

import json
import math
import pathlib
import sys

# Okabe and Ito's colours, told apart by colour-blind eyes too.
COLOURS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000"]
MEASURES = [
    ("flops", "BFLOPs an image", lambda stage: stage["bflops"]),
    ("params", "million parameters", lambda stage: stage["params"] / 1e6),
    ("milliseconds", "milliseconds an image on this machine", lambda stage: stage.get("milliseconds")),
]
WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 640, 400, 64, 150, 20, 52


def stage_of(run):
    """The record of a run's last stage, or of the one named after a colon."""
    folder, _, name = run.partition(":")
    stages = json.loads(pathlib.Path(folder, "record.json").read_text())["stages"]
    found = [stage for stage in stages if not name or stage["name"] == name]
    if not found:
        sys.exit(f"{run}: the record has no such stage; it has {', '.join(stage['name'] for stage in stages)}")
    return found[-1]


def ticks(low, high):
    """Round numbers from `low` to `high`, three to six of them."""
    rough = (high - low) / 5
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough)
    first = math.ceil(low / step)
    return [step * i for i in range(first, math.floor(high / step) + 1)]


def chart(series, label):
    """An SVG of `series`, a list of (name, [(x, y)])."""
    points = [point for _, line in series for point in line]
    x_high = max(x for x, _ in points) * 1.05
    y_low, y_high = min(y for _, y in points), max(y for _, y in points)
    y_low, y_high = max(0.0, y_low - 0.15 * (y_high - y_low + 0.02)), y_high + 0.1 * (y_high - y_low + 0.02)
    at_x = lambda x: LEFT + x / x_high * (WIDTH - LEFT - RIGHT)
    at_y = lambda y: HEIGHT - BOTTOM - (y - y_low) / (y_high - y_low) * (HEIGHT - TOP - BOTTOM)
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="13">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
    ]
    for y in ticks(y_low, y_high):
        out.append(f'<path d="M{LEFT} {at_y(y):.1f}H{WIDTH - RIGHT}" stroke="#ddd"/>')
        out.append(f'<text x="{LEFT - 8}" y="{at_y(y) + 4:.1f}" text-anchor="end">{y:.3g}</text>')
    for x in ticks(0.0, x_high):
        out.append(f'<text x="{at_x(x):.1f}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle">{x:.3g}</text>')
    out.append(f'<path d="M{LEFT} {HEIGHT - BOTTOM}H{WIDTH - RIGHT}" stroke="#444"/>')
    out.append(f'<text x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 12}" text-anchor="middle">{label}</text>')
    out.append(f'<text x="16" y="{HEIGHT / 2}" text-anchor="middle" transform="rotate(-90 16 {HEIGHT / 2})">mAP@0.5</text>')
    for number, (name, line) in enumerate(series):
        colour, line = COLOURS[number % len(COLOURS)], sorted(line)
        # Seeds of one net lie above each other: the line goes through their means.
        means = [(x, [y for at, y in line if at == x]) for x in sorted({x for x, _ in line})]
        path = " ".join(f"{at_x(x):.1f},{at_y(sum(ys) / len(ys)):.1f}" for x, ys in means)
        out.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-opacity="0.5"/>')
        out += [f'<circle cx="{at_x(x):.1f}" cy="{at_y(y):.1f}" r="4" fill="{colour}"/>' for x, y in line]
        y = TOP + 16 + 20 * number
        out.append(f'<circle cx="{WIDTH - RIGHT + 16}" cy="{y - 4}" r="4" fill="{colour}"/>')
        out.append(f'<text x="{WIDTH - RIGHT + 26}" y="{y}">{name}</text>')
    return "\n".join([*out, "</svg>\n"])


def main():
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    folder = pathlib.Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    lines = [argument.partition("=")[::2] for argument in sys.argv[2:]]
    stages = [(label, [stage_of(run) for run in runs.split(",")]) for label, runs in lines]
    for name, label, measure in MEASURES:
        series = [
            (title, [(measure(s), s["evaluation"]["map50"]) for s in found if measure(s) is not None])
            for title, found in stages
        ]
        path = folder / f"{name}.svg"
        path.write_text(chart([line for line in series if line[1]], label))
        print(f"wrote {path}")


if __name__ == "__main__":
    main()
