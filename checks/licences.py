#!/usr/bin/env python3
"""Holds the licence of everything that the program is built from to a list, and prints what is used.

    checks/licences.py [--table] [--notices FILE]

Fails on a package whose licence does not let a program under MIT or Apache-2.0 be given away in binary form. With --notices the
texts of all licences, as the packages bring them, are written to FILE, which belongs beside a binary that is given away.
"""

import json
import re
import subprocess
import sys
from pathlib import Path

ALLOWED = {
    "0BSD", "Apache-2.0", "Apache-2.0 WITH LLVM-exception", "BSD-2-Clause", "BSD-3-Clause", "BSL-1.0", "CC0-1.0", "ISC",
    "MIT", "MIT-0", "NCSA", "OFL-1.1", "Ubuntu-font-1.0", "Unicode-3.0", "Unlicense", "Zlib",
}


NOTICE = re.compile(r"(?i)(un)?licen[cs]e|copying|notice|copyright")


def allowed(expression):
    """Whether an SPDX expression can be met by the allowed licences alone: AND needs all, OR needs one."""
    words = re.findall(r"\(|\)|[^\s()/]+(?:\s+WITH\s+[^\s()]+)?|/", expression)
    python = [
        word if word in "()" else {"OR": "or", "/": "or", "AND": "and"}.get(word, str(word in ALLOWED)) for word in words
    ]
    return bool(eval(" ".join(python), {"__builtins__": {}}))


def packages():
    """What the program links: no packages that only tests or build scripts use."""
    run = ["cargo", "metadata", "--format-version", "1", "--locked", "--all-features"]
    metadata = json.loads(subprocess.run(run, check=True, capture_output=True).stdout)
    nodes = {node["id"]: node for node in metadata["resolve"]["nodes"]}
    todo, seen = list(metadata["workspace_members"]), set()
    while todo:
        package = todo.pop()
        if package in seen:
            continue
        seen.add(package)
        for dependency in nodes[package]["deps"]:
            if any(kind["kind"] is None for kind in dependency["dep_kinds"]):
                todo.append(dependency["pkg"])
    return sorted((p for p in metadata["packages"] if p["id"] in seen), key=lambda p: p["name"])


def notices(package):
    """The licence texts and notices of a package, under its name."""
    folder = Path(package["manifest_path"]).parent
    files = sorted(f for f in folder.iterdir() if f.is_file() and NOTICE.match(f.name))
    texts = [f.read_text(encoding="utf-8", errors="replace").strip() for f in files]
    head = f"{package['name']} {package['version']} ({package['license']})"
    return "\n\n".join([head, "-" * len(head), *(texts or ["The package brings no text of its licence."])])


def main():
    refused, by_licence = [], {}
    for package in packages():
        licence = package["license"] or "none given"
        by_licence.setdefault(licence, []).append(package["name"])
        if not package["license"] or not allowed(package["license"]):
            refused.append(f"{package['name']} {package['version']}: {licence}")
    if "--table" in sys.argv:
        for licence, names in sorted(by_licence.items(), key=lambda item: -len(item[1])):
            print(f"{licence}: {', '.join(sorted(set(names)))}")
    if "--notices" in sys.argv:
        path = Path(sys.argv[sys.argv.index("--notices") + 1])
        path.write_text("\n\n\n".join(notices(p) for p in packages() if p["source"]) + "\n", encoding="utf-8")
    if refused:
        sys.exit("licences that are not on the list:\n  " + "\n  ".join(refused))
    print(f"{sum(map(len, by_licence.values()))} packages, all under licences of the list")


if __name__ == "__main__":
    main()
