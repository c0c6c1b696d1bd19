"""The unpacked package, and beside it, in a folder of its own, what Azure has outside of an app: worker and host.

What runs here gets a Python without any site-packages: an import finds the package, the worker's folder or the standard
library, or it fails. So neither this repository's shared/ nor the libraries of .venv can stand in for what is missing.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
import time
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.metadata import distribution
from pathlib import Path

from scripts.package_tree import FILES, FOLDERS, LIBRARIES
from scripts.setup import find_python
from tests.kit.paths import ROOT

# The stand-in for the host shares the worker's process, so what it needs is here, too.
OUTSIDE = ("azure-functions-runtime", "azure-functions-runtime-v1", "protobuf", "uvicorn", "starlette", "croniter")


@dataclass(frozen=True, kw_only=True)
class Azure:
    """`app`: the package, unpacked. `worker`: what is not in it. `scratch`: the process's home and temporary files."""

    app: Path
    worker: Path
    scratch: Path

    @property
    def python(self) -> list[str]:
        """The interpreter, without site-packages and without the folder it is started in."""
        return [sys.executable, "-S", "-P"]

    @property
    def paths(self) -> dict[str, str]:
        """Its environment: the app's libraries come first, as Azure has it."""
        return {
            "PYTHONPATH": os.pathsep.join([str(self.app / LIBRARIES), str(self.worker)]),
            "HOME": str(self.scratch),
            "TMPDIR": str(self.scratch),
        }

    def environment(self, extra: Mapping[str, str] | None = None) -> dict[str, str]:
        """The paths and `extra`, without what would keep Python from writing .pyc, or make it write them elsewhere."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
        return kept | dict(extra or {}) | self.paths


def sources(target: Path) -> Path:
    """A copy of the repository as a fresh clone has it: nothing that set-up makes."""
    made = shutil.ignore_patterns(".*", "__pycache__", "node_modules", "dist")
    target.mkdir(parents=True)
    for folder in (*FOLDERS, "scripts", "localcloud", "cli", "tests"):
        shutil.copytree(ROOT / folder, target / folder, ignore=made)
    for name in (*FILES, "Makefile", "pyproject.toml", "requirements.txt"):
        shutil.copy(ROOT / name, target / name)
    return target


def unpack(archive: Path, target: Path) -> Path:
    """As Azure does: times of its own, and nobody may write."""
    with zipfile.ZipFile(archive) as packed:
        packed.extractall(target)
    day = time.time() - 86_400
    for number, path in enumerate(sorted(target.rglob("*"), reverse=True)):
        os.utime(path, (day, day + number))
        path.chmod(0o555 if path.is_dir() else 0o444)
    target.chmod(0o555)
    return target


def worker_folder(target: Path, app: Path) -> Path:
    """Links to the local host and to OUTSIDE with all that these need, but nothing that the package has itself."""
    target.mkdir(parents=True)
    (target / "localcloud").symlink_to(ROOT / "localcloud")
    for name in _needed(OUTSIDE):
        installed = distribution(name)
        for top in sorted({file.parts[0] for file in installed.files or ()} - {"..", "__pycache__"}):
            if not (app / LIBRARIES / top).exists() and not (target / top).exists():
                (target / top).symlink_to(Path(str(installed.locate_file(top))))
    return target


def _needed(names: Iterable[str]) -> list[str]:
    wanted, found = list(names), list[str]()
    while wanted:
        name = wanted.pop(0)
        if name not in found:
            found.append(name)
            required = distribution(name).requires or ()
            wanted += [re.split(r"[^\w.-]", each)[0] for each in required if ";" not in each]
    return found


def state(folder: Path) -> dict[str, tuple[int, int, int]]:
    """What a write anywhere below the folder would change."""
    return {
        str(path.relative_to(folder)): (status.st_mode, status.st_size, status.st_mtime_ns)
        for path in (folder, *folder.rglob("*"))
        for status in [path.lstat()]
    }


def builders() -> dict[str, str]:
    """The environment of somebody who has Python 3.13 and nothing of this project."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV"))}
    return kept | {"PYTHON313": find_python("3.13")}
