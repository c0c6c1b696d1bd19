"""The tree that is deployed: our own files, the libraries without what nothing runs, .pyc that stay valid, a zip file.

scripts/package.py puts these together; scripts/package_check.py looks at what came out. Nothing here depends on when,
where or by whom it is built: two builds of the same commit by the same Python are the same bytes.
"""

from __future__ import annotations

import concurrent.futures
import csv
import io
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

FILES = ("host.json", "function_app.py")
FOLDERS = ("functions", "shared")
DATA = ("shared/training/catalogue.json",)
"""Files of ours in there that are no Python."""
LIBRARIES = ".python_packages/lib/site-packages"
"""Where Azure's worker looks for an app's libraries."""
SITE = "/home/site/wwwroot"
"""Where Azure puts the app; what a traceback there names."""
FUNCIGNORE = ".funcignore"
_WHY_FUNCIGNORE = """\
# Nothing is to be left out. Without this file azd leaves out every __pycache__, and then each new instance compiles
# everything that it imports: the app is mounted read-only, so it can't keep what it has compiled.
"""

_UNUSED_FOLDERS = frozenset({"__pycache__", "tests", "include", "benchmarks"})
_UNUSED_FILES = frozenset({"conftest.py"})
_UNUSED_SUFFIXES = frozenset(".h .hpp .hh .pxd .pxi .pyx .pyi .a .c .cc .cpp .pc".split())  # noqa: SIM905
_UNUSED_METADATA = frozenset({"direct_url.json"})  # it names the folder or address that a library came from


_COMPILERS = 4


class PackageError(Exception):
    """There is no package. The text says why, and what to do."""


def copy_ours(root: Path, tree: Path) -> None:
    """Copies what is ours into the empty `tree`: Python and host.json, and nothing that merely lies about.

    Raises PackageError for any other file in our folders: it would be missing on Azure, or should not be there.
    """
    tree.mkdir(parents=True)
    for name in FILES:
        shutil.copyfile(root / name, tree / name)
    for folder in FOLDERS:
        for path in sorted((root / folder).rglob("*")):
            inside = path.relative_to(root)
            if path.is_dir() or any(part == "__pycache__" or part.startswith(".") for part in inside.parts):
                continue
            if (path.suffix != ".py" and inside.as_posix() not in DATA) or path.is_symlink():
                raise PackageError(f"{inside} is no Python file: remove it, or teach scripts/package_tree.py about it")
            (tree / inside).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, tree / inside)
    (tree / FUNCIGNORE).write_text(_WHY_FUNCIGNORE)


def unused(name: PurePosixPath) -> bool:
    """Whether nothing on Azure needs this file, by its path below the libraries' folder.

    Sources and .dist-info are needed: the job of a big dataset is made from them. Licences lie in .dist-info.
    """
    top = name.parts[0]
    if top.endswith(".dist-info"):
        return name.name in _UNUSED_METADATA
    return (
        top in ("bin", "share")
        or top.endswith("-stubs")
        or not _UNUSED_FOLDERS.isdisjoint(name.parts[:-1])
        or name.name in _UNUSED_FILES
        or name.suffix in _UNUSED_SUFFIXES
    )


def trim(libraries: Path) -> None:
    """Removes what is unused, and from each RECORD what is not there: it holds hashes of scripts that name a Python."""
    for path in sorted(libraries.rglob("*")):
        if path.is_file() and unused(PurePosixPath(path.relative_to(libraries).as_posix())):
            path.unlink()
    for folder, _, _ in os.walk(libraries, topdown=False):
        if not any(Path(folder).iterdir()):
            Path(folder).rmdir()
    for record in sorted(libraries.glob("*.dist-info/RECORD")):
        rows = [row for row in csv.reader(record.read_text(encoding="utf-8").splitlines()) if row]
        text = io.StringIO()
        kept = (row for row in sorted(rows) if ".." not in row[0].split("/") and (libraries / row[0]).is_file())
        csv.writer(text, lineterminator="\n").writerows(kept)
        record.write_text(text.getvalue(), encoding="utf-8")


def compile_all(tree: Path) -> None:
    """A .pyc beside each source, taken without a look at the source's time, which unpacking changes.

    The paths in it are those on Azure. Raises PackageError for a source that is no Python.
    """
    sources = sorted(str(path) for path in tree.resolve().rglob("*.py"))
    # Which process compiles what is fixed: texts that it has seen before decide whether equal sets become one.
    shares = [sources[first::_COMPILERS] for first in range(_COMPILERS)]
    with concurrent.futures.ThreadPoolExecutor(_COMPILERS) as pool:
        failed = [told for told in pool.map(lambda share: _compile(tree.resolve(), share), shares) if told]
    if failed:
        raise PackageError("\n".join(["not everything can be compiled:", *failed])[-2000:])


def _compile(tree: Path, sources: Sequence[str]) -> str:
    """Compiles them in one process, in their order. Returns what went wrong, or an empty text."""
    how = ["-q", "-f", "--invalidation-mode", "unchecked-hash", "-s", str(tree), "-p", SITE, "-i", "-"]
    # Nothing of a person's own: neither a PYTHONPYCACHEPREFIX or PYTHONOPTIMIZE, nor what site-packages would load.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    done = subprocess.run(
        [sys.executable, "-S", "-P", "-W", "ignore", "-m", "compileall", *how],
        input="".join(f"{source}\n" for source in sources),
        env={**environment, "PYTHONHASHSEED": "0", "PYTHONUTF8": "1"},
        capture_output=True,
        text=True,
        encoding="utf-8",
    )
    return (done.stdout + done.stderr).strip() if done.returncode else ""


def settle_modes(tree: Path) -> None:
    """Whatever the builder's umask is, Azure's user can read everything; azd keeps the modes of the folder."""
    for path in (tree, *tree.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)


def files(tree: Path) -> Iterator[tuple[str, Path]]:
    """Every file of the tree with its name in it, sorted by name."""
    found = ((path.relative_to(tree).as_posix(), path) for path in tree.rglob("*") if not path.is_dir())
    yield from sorted(found)


def write_zip(tree: Path, target: Path) -> None:
    """The tree as a zip file, the same bytes for the same content. What is for azd's own zip alone stays out."""
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, path in files(tree):
            if name == FUNCIGNORE:
                continue
            entry = zipfile.ZipInfo(name)  # of 1980, whenever it was built
            entry.create_system = 3  # Unix: otherwise the modes are not read
            entry.external_attr = 0o100644 << 16
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, path.read_bytes())
