#!/usr/bin/env python3
"""Builds what the Dockerfile builds, without an engine, and runs it with nothing of this machine around it.

    checks/dockerfile.py

The build's context is this checkout's tracked files but for those of .dockerignore. In a copy of it the build stage's
RUN lines are run as they stand. What the last stage copies must be there. Then the program must find all its shared
libraries among those of the base image, and run in a root that holds nothing but these. Where an engine answers, the
image itself is built and run instead.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# The shared libraries of gcr.io/distroless/cc-debian12.
BASE = {"linux-vdso.so.1", "libc.so.6", "libm.so.6", "libgcc_s.so.1", "libstdc++.so.6", "libpthread.so.0", "libdl.so.2", "librt.so.1"}


def check(condition, words):
    if not condition:
        sys.exit(f"dockerfile: {words}")


def instructions():
    """(word, rest) of each instruction."""
    text = (ROOT / "Dockerfile").read_text().replace("\\\n", " ")
    lines = [line.strip() for line in text.splitlines()]
    return [tuple(line.split(None, 1)) for line in lines if line and not line.startswith("#")]


def stages():
    """The instructions of each stage, by its name; the last is called `image`."""
    found, name = {}, None
    for word, rest in instructions():
        if word == "FROM":
            named = re.search(r"\s+AS\s+(\S+)$", rest)
            name = named[1] if named else "image"
            found[name] = []
        elif name:
            found[name].append((word, rest))
    return found


def context(folder):
    """Copies what an engine would be sent of a fresh clone."""
    ignored = [line.rstrip("/") for line in (ROOT / ".dockerignore").read_text().split()]
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    for name in filter(None, listed.split("\0")):
        if not any(name == rule or name.startswith(rule + "/") for rule in ignored):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name, follow_symlinks=False)


def build(stage, source):
    """Runs the build stage; gives the folder that `/source/target` stands for."""
    target = Path(os.environ.get("CARGO_TARGET_DIR", source / "target"))
    environment = os.environ | {"COMMIT": "0123456789ab", "CARGO_TARGET_DIR": str(target)}
    for word, rest in stage:
        if word == "RUN":
            subprocess.run(["sh", "-ec", rest], cwd=source, env=environment, check=True)
    return target


def copied(stage, source, target):
    """(file, path in the image) of each file that the last stage copies."""
    for word, rest in stage:
        if word != "COPY":
            continue
        *froms, to = [part for part in rest.split() if not part.startswith("--")]
        for path in froms:
            inside = path.removeprefix("/source/")
            file = target / inside.removeprefix("target/") if inside.startswith("target/") else source / inside
            check(file.is_file(), f"{path} isn't there to be copied")
            yield file, to + file.name if to.endswith("/") else to


def libraries(program):
    """The shared libraries that a program needs: name and path here."""
    text = subprocess.run(["ldd", program], check=True, capture_output=True, text=True).stdout
    found = re.findall(r"^\s*(\S+)(?: => (\S+))? \(0x", text, re.MULTILINE)
    return {Path(name).name: path or name for name, path in found}


def run_alone(files, entry, folder):
    """Runs the entry point where there is nothing but these files and the libraries they need."""
    for file, inside in files:
        place = folder / inside.lstrip("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(file, place)
    program = next(inside for _, inside in files if inside.endswith("/" + entry))
    needed = libraries(folder / program.lstrip("/"))
    strange = {name for name in needed if name not in BASE and not name.startswith("ld-linux")}
    check(not strange, f"the base image has no {', '.join(sorted(strange))}")
    for path in filter(os.path.isabs, needed.values()):
        place = folder / path.lstrip("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(os.path.realpath(path), place)
    # Looked for here, since the program is to run in an empty environment, without a PATH.
    places = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])
    wanted = ["chroot"] if os.geteuid() == 0 else ["unshare", "chroot"]
    tools = [shutil.which(tool, path=places) for tool in wanted]
    check(all(tools), f"one of {', '.join(wanted)} is missing, which shows that the program runs alone")
    enter = tools if len(tools) == 1 else [tools[0], "--map-root-user", tools[1]]
    done = subprocess.run([*enter, folder, program, "--version"], env={}, capture_output=True, text=True)
    check(done.returncode == 0, f"the program doesn't run alone: {done.stderr}")
    check("commit 0123456789ab" in done.stdout, f"the build argument COMMIT isn't in --version: {done.stdout}")


def engine():
    return shutil.which("docker") and subprocess.run(["docker", "info"], capture_output=True).returncode == 0


def main():
    if engine():
        build_it = ["docker", "build", "--quiet", "--build-arg", "COMMIT=0123456789ab", str(ROOT)]
        image = subprocess.run(build_it, check=True, capture_output=True, text=True).stdout.strip()
        run = ["docker", "run", "--rm", image, "--version"]
        check("0123456789ab" in subprocess.run(run, check=True, capture_output=True, text=True).stdout, "no commit")
        print("dockerfile: the image is built and runs: ok")
        return
    found = stages()
    check(list(found) == ["build", "image"], f"the stages are {list(found)}")
    [entry] = re.findall(r'^\["(\w+)"\]$', dict(found["image"])["ENTRYPOINT"])
    with tempfile.TemporaryDirectory() as temporary:
        source, alone = Path(temporary) / "source", Path(temporary) / "alone"
        context(source)
        target = build(found["build"], source)
        run_alone(list(copied(found["image"], source, target)), entry, alone)
    print("dockerfile: its commands build from the tracked files alone, and the program needs the base image's libraries: ok")


if __name__ == "__main__":
    main()
