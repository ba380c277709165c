"""Makes a folder of a VOC data set whose validation images are a part of its training images, so that what is chosen by
them can be reported on images that nothing was chosen by.

    python benches/hold_out.py ../shared/data/bccd 55 tune-bccd
"""

import random
import sys
from pathlib import Path

source, count, target = Path(sys.argv[1]).resolve(), int(sys.argv[2]), Path(sys.argv[3])
lists = target / "ImageSets" / "Main"
lists.mkdir(parents=True)
for entry in source.iterdir():
    if entry.name != "ImageSets":
        (target / entry.name).symlink_to(entry)
names = [line.strip() for line in (source / "ImageSets/Main/train.txt").read_text().splitlines() if line.strip()]
random.Random(7).shuffle(names)
for split, part in [("val", names[:count]), ("train", names[count:])]:
    (lists / f"{split}.txt").write_text("\n".join(sorted(part)) + "\n")
