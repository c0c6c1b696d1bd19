"""Looks through a finished package for what must not leave the builder's machine, and for what would not run on Azure.

Called at the end of scripts/package.py, which gives nothing out that has a fault.
"""

from __future__ import annotations

import importlib.util
import marshal
import re
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from types import CodeType

from scripts.package_tree import FILES, FOLDERS, FUNCIGNORE, LIBRARIES, SITE, files, unused

TOPS = frozenset({*FILES, *FOLDERS, FUNCIGNORE, LIBRARIES.split("/")[0], "__pycache__"})
_WRITTEN_BY_PIP = frozenset({"RECORD", "INSTALLER", "REQUESTED"})
_UNCHECKED = (0b01).to_bytes(4, "little")
_SECRETS = {
    "a storage key": rb"AccountKey=[A-Za-z0-9+/]{16}",
    "a key of a namespace": rb"SharedAccessKey(?:Name)?=[A-Za-z0-9+/]{8}",
    "a signature (SAS)": rb"[?&]sig=[A-Za-z0-9%+/]{16}|SharedAccessSignature[ =]+s[rv]=",
    "a private key": rb"-----BEGIN [A-Z ]*PRIVATE KEY",
    "an instrumentation key": rb"InstrumentationKey=[0-9a-fA-F]{8}-",
    "a token": rb"\b(?:hf_[A-Za-z0-9]{30}|gh[pousr]_[A-Za-z0-9]{30}|eyJ[\w-]{16,}\.eyJ[\w-]{16})",
    "a function key": rb"x-functions-key['\"]?\s*[:=]\s*['\"]?[A-Za-z0-9_/+-]{30}|[?&]code=[A-Za-z0-9_%/+-]{30}",
}
_Pattern = tuple[str, "re.Pattern[bytes]"]
SECRETS: Sequence[_Pattern] = [(what, re.compile(pattern)) for what, pattern in _SECRETS.items()]


def faults(tree: Path, *, builder: Sequence[Path], usual: Sequence[Path] | None = None) -> list[str]:
    """What is wrong with the package, a line each. `builder`: the folders in which it was built.

    These may be named nowhere. `usual`, the builder's home and folder of temporary files, are often everybody's (/root,
    /tmp), and libraries speak of them: what lies below them may not be named by what was made here.
    """
    usual = (Path.home(), Path(tempfile.gettempdir())) if usual is None else usual
    own = [_pattern(path, rb"(?![\w.-])") for path in _both(builder)]
    below = [_pattern(path, rb"/[\w.-]") for path in _both(usual) if len(path.parts) > 1]
    found = [f"{name} does not belong into the package" for name in sorted({p.name for p in tree.iterdir()} - TOPS)]
    for name, path in files(tree):
        if path.is_symlink():
            found.append(f"{name} is a link")
            continue
        data, ours = path.read_bytes(), not name.startswith(f"{LIBRARIES}/")
        found += (f"{name} holds {what}" for what in _named(data, own))
        if ours:
            found += (f"{name} holds {what}" for what in _named(data, (*SECRETS, *below)))
        elif path.suffix == ".pyc":
            # What the library's own text says is in its .pyc, too.
            said = set(_named(_source(path).read_bytes(), below)) if _source(path).is_file() else set()
            found += (f"{name} holds {what}" for what in _named(data, below) if what not in said)
        elif path.name in _WRITTEN_BY_PIP:
            found += (f"{name} holds {what}" for what in _named(data, below))
        if not ours and path.suffix != ".pyc" and unused(PurePosixPath(name).relative_to(LIBRARIES)):
            found.append(f"{name} is not needed on Azure")
        if path.suffix in (".py", ".pyc"):
            found += (f"{name}: {what}" for what in _compiled(tree, path))
    return found


def _compiled(tree: Path, path: Path) -> Iterator[str]:
    """What is wrong with a source's .pyc, or with a .pyc."""
    if path.suffix == ".py":
        if not Path(importlib.util.cache_from_source(str(path), optimization="")).is_file():
            yield "it is not compiled"
        return
    source, data = _source(path), path.read_bytes()
    if not source.is_file():
        yield "its source is missing"
    elif data[:4] != importlib.util.MAGIC_NUMBER:
        yield "another Python compiled it"
    elif data[4:8] != _UNCHECKED:
        yield "Python would compare it with its source, and take it for stale"
    elif data[8:16] != importlib.util.source_hash(source.read_bytes()):
        yield "it was compiled from another source"
    else:
        expected = f"{SITE}/{source.relative_to(tree).as_posix()}"
        wrong = {code for code in _paths(marshal.loads(data[16:])) if code != expected}  # noqa: S302 - just compiled here
        yield from (f"its code names {each}" for each in sorted(wrong))


def _source(path: Path) -> Path:
    """The source of a .pyc below __pycache__."""
    return path.parent.parent / f"{path.name.split('.')[0]}.py"


def _paths(code: CodeType) -> Iterator[str]:
    yield code.co_filename
    for inner in code.co_consts:
        if isinstance(inner, CodeType):
            yield from _paths(inner)


def _both(paths: Sequence[Path]) -> Iterator[Path]:
    """Each path as it is called and as it is: macOS has links on the way to its temporary files."""
    yield from dict.fromkeys(each for path in paths for each in (path.absolute(), path.resolve()))


def _pattern(path: Path, after: bytes) -> _Pattern:
    return f"the builder's path {path}", re.compile(re.escape(str(path).encode()) + after)


def _named(data: bytes, patterns: Sequence[_Pattern]) -> Iterator[str]:
    yield from (what for what, pattern in patterns if pattern.search(data))
