"""Makes what is deployed to Azure: dist/app, and the same as dist/droptune-VERSION.zip.

`make package` calls it, from a fresh clone: it needs Python 3.13, pip and this folder. The libraries are those of
requirements.txt, by their hashes, for Linux on x86-64, whatever this machine is. Azure must not build it again
(`remoteBuild: false`): its builder has another Python. The steps are in scripts/package_tree.py. What must not leave
this machine is looked for by scripts/package_check.py, and without its consent there is no package.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from scripts import package_check, package_tree
from scripts.package_tree import LIBRARIES, PackageError
from scripts.setup import SetupError, cause, find_python

ROOT = Path(__file__).resolve().parent.parent
PYTHON = "3.13"
GLIBC = 34
"""The newest 2.x that a library may want; Azure's image for 3.13 has 2.36."""
# pip takes the list as it is: each older glibc that a wheel may have been built for has to be in it.
PLATFORMS = (
    *(f"manylinux_2_{minor}_x86_64" for minor in range(GLIBC, 4, -1)),
    *("manylinux2014_x86_64", "manylinux2010_x86_64", "manylinux1_x86_64"),
)
PIP = (
    *("install", "-q", "--disable-pip-version-check", "--no-input", "--no-deps", "--no-compile", "--require-hashes"),
    *("--only-binary", ":all:", "--python-version", PYTHON, "--implementation", "cp"),
    *(argument for platform in PLATFORMS for argument in ("--platform", platform)),
)
BEGUN = time.monotonic()


@dataclass(frozen=True)
class Built:
    """A finished package."""

    app: Path
    archive: Path


def say(text: str) -> None:
    """One line of progress, with the seconds since the start."""
    print(f"package {time.monotonic() - BEGUN:4.0f} s  {text}", flush=True)


def version(root: Path) -> str:
    """The version in pyproject.toml."""
    import tomllib  # of Python 3.11: not there yet where an older one looks for 3.13

    return str(tomllib.loads((root / "pyproject.toml").read_text())["project"]["version"])


def install(root: Path, target: Path, temporary: Path) -> None:
    """The libraries of requirements.txt into the folder `target`. Raises PackageError with pip's likely reason."""
    temporary.mkdir(parents=True)
    # Temporary files below the package's own folder: whatever would keep their path is found by it.
    environment = {**os.environ, "TMPDIR": str(temporary), "PIP_USER": "0"}
    command = [sys.executable, "-m", "pip", *PIP, "--target", str(target), "-r", str(root / "requirements.txt")]
    done = subprocess.run(command, env=environment, cwd=root, capture_output=True, text=True)
    if done.returncode:
        raise PackageError(cause(done.stdout + done.stderr))


def build(root: Path, dist: Path, install: Callable[[Path, Path, Path], None] = install) -> Built:
    """Makes the package of the sources in `root`. Raises PackageError; then none is there, not even an earlier one."""
    made = Built(dist / "app", dist / f"droptune-{version(root)}.zip")
    work = dist / ".work"
    for old in (made.app, work):
        shutil.rmtree(old, ignore_errors=True)
    made.archive.unlink(missing_ok=True)
    tree, packed = work / "app", work / "app.zip"
    try:
        package_tree.copy_ours(root, tree)
        say("libraries: started")
        install(root, tree / LIBRARIES, work / "tmp")
        package_tree.trim(tree / LIBRARIES)
        say("libraries: ready; compiling")
        package_tree.compile_all(tree)
        package_tree.settle_modes(tree)
        say("compiled; checking")
        wrong = package_check.faults(tree, builder=(root, dist))
        if wrong:
            raise PackageError("\n".join(["it is not fit to leave this machine:", *wrong[:50]]))
        say("checked; packing")
        package_tree.write_zip(tree, packed)
        tree.rename(made.app)
        packed.rename(made.archive)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return made


def described(made: Built) -> list[str]:
    """What there is now, for people: sizes, and the zip file's hash."""
    sizes = [path.stat().st_size for _, path in package_tree.files(made.app)]
    digest = hashlib.sha256(made.archive.read_bytes()).hexdigest()
    return [
        f"{made.app.parent.name}/{made.app.name}: {sum(sizes) / 1e6:.0f} MB in {len(sizes):,} files",
        f"{made.archive.parent.name}/{made.archive.name}: {made.archive.stat().st_size / 1e6:.1f} MB, sha256 {digest}",
    ]


def main() -> int:
    """Makes it. 0: it is there. 1: it is not, and the last lines said why."""
    try:
        if f"{sys.version_info[0]}.{sys.version_info[1]}" != PYTHON:
            # The .pyc are this Python's own, so it has to be the one that Azure runs.
            other = find_python(PYTHON)
            return subprocess.run([other, "-m", "scripts.package"], cwd=ROOT).returncode
        for line in described(build(ROOT, ROOT / "dist")):
            say(line)
    except (PackageError, SetupError) as error:
        print(f"package: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("package: interrupted; run it again", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
