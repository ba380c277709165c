#!/usr/bin/env python3
"""Holds ARCHITECTURE.md's table of rooms to the code: what a room of src/ uses, apart from its tests, must stand in the column
"knows of" of its row, every room must have a row, and no room may use itself by way of others.

    python checks/rooms.py
"""

import pathlib
import re
import sys

root = pathlib.Path(__file__).resolve().parent.parent
rows = re.findall(r"^\| (`src/.*?) \|.*\| (.*?) \|$", (root / "ARCHITECTURE.md").read_text(), re.M)
knows = {}
for rooms, known in rows:
    # Rooms of one row know each other.
    known = f"{known} {rooms}"
    for room in re.findall(r"`src/(?:(\w+)(?:\.rs|/)`|\w+/\w+/`)", rooms):
        if room:
            knows.setdefault(room, "")
            knows[room] += f" {known}"


def used_by(room):
    """The rooms that a room's files use, with one of the files each."""
    files = [root / "src" / f"{room}.rs", *sorted((root / "src" / room).rglob("*.rs"))]
    used = {}
    for file in filter(pathlib.Path.is_file, files):
        if file.stem in ("tests", "many_workers") or "tests" in file.parts:
            continue
        text = file.read_text().split("#[cfg(test)]\nmod tests {")[0]
        text = re.sub(r"#\[cfg\(test\)\]\n.*", "", text)
        text = re.sub(r"^\s*//.*$", "", text, flags=re.M)
        for name in re.findall(r"\b(?:crate|yoloslim)::(\w+)", text):
            used.setdefault(name, file.relative_to(root))
    return used


modules = {path.stem for path in (root / "src").iterdir() if path.stem not in ("lib", "main")}
complaints = [f"src/{room} has no row" for room in sorted(modules - set(knows))]
graph = {room: {name for name in used_by(room) if name in modules and name != room} for room in modules}


def reached(room):
    """All rooms that a room uses, by way of others too."""
    found, left = set(), set(graph[room])
    while left:
        name = left.pop()
        found.add(name)
        left |= graph[name] - found
    return found


complaints += [f"src/{room} uses itself by way of others" for room in sorted(modules) if room in reached(room)]
for room in sorted(modules & set(knows)):
    if "all of the above" in knows[room]:
        continue
    for name, file in sorted(used_by(room).items()):
        if name in modules and name != room and not re.search(rf"\b{name}\b", knows[room]):
            complaints.append(f"{file} uses {name}, of which the row of src/{room} knows nothing")
print("\n".join(complaints) or f"{len(knows)} rooms use what ARCHITECTURE.md says: ok")
sys.exit(bool(complaints))
