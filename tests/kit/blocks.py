"""The command blocks of a page, run as a reader would paste them, and what they print held against what is shown.

A fence ```sh is a block of commands; a fence ```text that comes next, with no other fence between, is what it prints.
Words behind `sh` say what is different about a block:

- `set-up`: it prepares the reader's machine, and is not run; `long`: it takes minutes, and is not run either;
- `until`: a reader repeats it until it prints what is shown, and so is it run here;
- `exit-1`: the code it ends with, 0 otherwise.

Times, ids, ports, seconds and bars differ from run to run: both sides are compared without them. In what is shown,
`<word>` stands for a text within a line, and a line that is only `…` for any lines.

`python -m tests.kit.blocks PAGE` runs a page with real training, and writes what its blocks print where they show
something else. It is for whoever has changed what a command prints; read the difference before it is kept.
"""

from __future__ import annotations

import argparse
import difflib
import io
import os
import re
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

from cli.__main__ import main as command
from cli.__main__ import parser
from tests.kit.paths import ROOT

SKIPPED = frozenset({"set-up", "long"})
PATIENCE = 240.0
"""Seconds that a block may take; the longest trains."""
REPEATED = 120.0
"""Seconds for which a block with `until` is repeated."""
LOOKS = frozenset({"check", "compare", "lines", "models", "runs", "show", "status", "url", "watch"})
"""Commands that change nothing, and cost nothing."""


@dataclass(frozen=True, kw_only=True)
class Block:
    """A block of commands. `line`: where it begins, from 1; `shown`: what the page says it prints, None for nothing."""

    page: str
    line: int
    text: str
    words: frozenset[str] = frozenset()
    shown: str | None = None

    @property
    def skipped(self) -> bool:
        """Whether it is for readers alone."""
        return bool(self.words & SKIPPED)

    @property
    def code(self) -> int:
        """What it ends with."""
        return next((int(word.removeprefix("exit-")) for word in self.words if word.startswith("exit-")), 0)

    @property
    def where(self) -> str:
        """For messages."""
        return f"{self.page}:{self.line}"


@dataclass(frozen=True, kw_only=True)
class Fence:
    """Any block of code. `first`, `last`: the lines of its text, from 0, `last` being that of the closing fence."""

    info: str
    text: str
    first: int
    last: int
    indent: str


# Pages ---------------------------------------------------------------------------------------------------------------


def fences(page: str) -> Iterator[Fence]:
    """All blocks of code in the text of a page. Raises ValueError for one that is not closed."""
    lines = page.splitlines()
    opened: tuple[str, str, int] | None = None
    for number, line in enumerate(lines):
        found = re.fullmatch(r"( *)```([^`]*)", line)
        if found and opened is None:
            opened = found[1], found[2].strip(), number + 1
        elif found and opened and not found[2].strip():
            indent, info, first = opened
            text = "\n".join(each.removeprefix(indent) for each in lines[first:number])
            yield Fence(info=info, text=text, first=first, last=number, indent=indent)
            opened = None
    if opened:
        raise ValueError(f"the block at line {opened[2]} is not closed")


def blocks(page: str, name: str) -> list[Block]:
    """The blocks of commands, in order. Raises ValueError for a word that means nothing, and for outputs of nobody."""
    found: list[Block] = []
    before = ""
    for fence in fences(page):
        language, *words = fence.info.split() or [""]
        if language == "sh":
            for word in words:
                if word not in SKIPPED | {"until"} and not re.fullmatch(r"exit-\d+", word):
                    raise ValueError(f"{name}:{fence.first}: a block of commands knows no {word!r}")
            found.append(Block(page=name, line=fence.first, text=fence.text, words=frozenset(words)))
        elif language == "text":
            if before != "sh":
                raise ValueError(f"{name}:{fence.first}: no commands come before what is shown here")
            if not fence.text.replace("…", "").strip():
                raise ValueError(f"{name}:{fence.first}: what is shown says nothing")
            block = found.pop()
            found.append(Block(page=name, line=block.line, text=block.text, words=block.words, shown=fence.text))
        elif re.search(r"^(\$ )?(\./)?droptune ", fence.text, re.MULTILINE):
            raise ValueError(f"{name}:{fence.first}: commands stand in a block that is marked sh")
        before = language
    return found


def rewritten(page: str, printed: Mapping[int, str]) -> str:
    """The page with what the blocks that begin at these lines print, as it is shown."""
    lines = page.splitlines()
    for of, shown in reversed(list(pairwise(fences(page)))):
        if of.first in printed and shown.info == "text":
            fresh = [f"{shown.indent}{line}".rstrip() for line in printed[of.first].splitlines()]
            lines[shown.first : shown.last] = fresh
    return "\n".join(lines) + "\n"


# What differs from run to run ----------------------------------------------------------------------------------------

_STYLE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_BAR = re.compile(r"[━╺╸]|\d ?%.*\b(?:loss|left)\b|\b(?:loss|left)\b.*\d ?%")
_SECOND = r"\d[\d.,]* ?(?:ms|s|sec|seconds?|min|minutes?)\b"
_VARIES: tuple[tuple[str, str], ...] = (
    (r"\b\d{4}-\d\d-\d\d[ T]\d\d:\d\d(?::\d\d)?(?:\.\d+)?(?: ?(?:Z|UTC|[+-]\d\d:?\d\d))?", "<time>"),
    (r"\b\d{4}-\d\d-\d\d\b", "<time>"),
    (r"\b\d\d:\d\d(?::\d\d)?(?:Z|\b)", "<time>"),
    (r"\bjust now\b|\b\d+ (?:s|min|h|d) ago\b", "<ago>"),
    (rf"\b{_SECOND}(?: {_SECOND})*", "<seconds>"),
    (r"(https?://(?:localhost|127\.0\.0\.1)):\d+", r"\1:<port>"),
    (r"\br[a-z2-7]{15}(?=-[1-9]|\b)", "<run>"),
    (r"\bl[a-z2-7]{15}\b", "<line>"),
    (r"(?<=[a-z0-9]-)[a-z2-7]{10}\b", "<hash>"),
    (r"\b(\w*loss):? +\d+\.\d+", r"\1 <loss>"),
    (r"\b(chrf|exact|rouge\w*) +\d+(?:\.\d+)?", r"\1 <score>"),
)


def blanked(text: str, folder: Path | None = None) -> str:
    """The text without what differs from run to run: `folder` is where it was run."""
    kept = []
    for line in _STYLE.sub("", text).split("\n"):
        line = line.rstrip("\r").rpartition("\r")[2].rstrip()  # a bar is drawn again and again over itself
        if line and not _BAR.search(line):
            kept.append(line)
    blank = "\n".join(kept)
    if folder:
        for place, name in ((str(folder.resolve()), "<folder>"), (str(folder), "<folder>"), (str(ROOT), "<droptune>")):
            blank = blank.replace(place, name)
    for pattern, name in _VARIES:
        blank = re.sub(pattern, name, blank)
    return blank


def difference(shown: str, printed: str, folder: Path | None = None) -> str:
    """What is printed otherwise than it is shown, line by line; "" for nothing."""
    wanted, found = (_evened(blanked(text, folder)) for text in (shown, printed))
    pattern = "".join(r"(?:.*\n)*?" if line == "…" else f"{_matcher(line)}\n" for line in wanted)
    if re.fullmatch(pattern, "".join(f"{line}\n" for line in found)):
        return ""
    return "\n".join(difflib.unified_diff(wanted, found, "shown", "printed", lineterm="", n=100))


def _evened(text: str) -> list[str]:
    """Columns are as wide as what was blanked."""
    return [re.sub(r"\s+", " ", line).strip() for line in text.splitlines()]


def _matcher(line: str) -> str:
    parts = re.split(r"(<[a-z][a-z ]*>|…)", line)
    return "".join(re.escape(part) if number % 2 == 0 else ".+?" for number, part in enumerate(parts))


# Running -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Done:
    """What became of commands: their exit code, and all they printed, in order."""

    code: int
    printed: str


@dataclass(kw_only=True)
class Reader:
    """Somebody with a shell in a folder of his own, `droptune` on his PATH, and nothing else of this machine's."""

    folder: Path
    environment: dict[str, str] = field(default_factory=dict)
    _groups: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        home = self.folder / ".home"
        home.mkdir(parents=True, exist_ok=True)
        others = ("DROPTUNE_", "AZURE", "XDG_", "PYTEST_", "PYTHON")
        kept = {name: value for name, value in os.environ.items() if not name.startswith(others)}
        own = {
            "HOME": str(home),
            "LOGNAME": "ada",
            "USER": "ada",
            "COLUMNS": "80",
            "LC_ALL": "C.UTF-8",
            "NO_COLOR": "1",
        }
        own["PATH"] = f"{ROOT}:{os.environ.get('PATH', os.defpath)}"
        self.environment = kept | own | self.environment

    def run(self, commands: str, *, patience: float = PATIENCE) -> Done:
        """Commands for a shell, which stops at the first that fails. What they leave in the background runs on.

        Raises AssertionError with what they have printed, when they take longer.
        """
        with tempfile.TemporaryFile("w+") as output:  # no pipe: what runs in the background would hold it open
            process = subprocess.Popen(
                ["/bin/sh", "-ec", commands],
                cwd=self.folder,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            self._groups.append(process.pid)
            late = False
            try:
                process.wait(patience)
            except subprocess.TimeoutExpired:
                late = True
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
            output.seek(0)
            printed = output.read()
        if late:
            raise AssertionError(f"not done after {patience:.0f} s: {commands}\n{printed}")
        return Done(code=process.returncode, printed=printed)

    def follow(self, block: Block) -> tuple[Done, str]:
        """Runs a block as its words say. Returns what became of it, and what is wrong with that, "" for nothing."""
        deadline = time.monotonic() + REPEATED
        while True:
            done = self.run(block.text)
            wrong = self._wrong(block, done)
            if not wrong or "until" not in block.words or time.monotonic() > deadline:
                return done, wrong
            time.sleep(0.5)

    def _wrong(self, block: Block, done: Done) -> str:
        told = []
        if done.code != block.code:
            told.append(f"ends with {done.code}, not {block.code}:\n{done.printed}")
        if block.shown is not None and (other := difference(block.shown, done.printed, self.folder)):
            told.append(other)
        return "\n".join(f"{block.where}: {each}" for each in told)

    def leave(self) -> None:
        """Ends what the commands have left in the background, the local cloud first."""
        if (self.folder / ".droptune").exists():
            self.run("droptune local down", patience=60)
        for group in self._groups:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(group, signal.SIGTERM)
        self._groups.clear()


@contextmanager
def reading(folder: Path) -> Iterator[Reader]:
    """A reader in a fresh folder, who leaves nothing running."""
    folder.mkdir(parents=True, exist_ok=True)
    reader = Reader(folder=folder)
    try:
        yield reader
    finally:
        reader.leave()


def like_the_repository(folder: Path) -> Path:
    """A folder in which everything of the repository is, but nothing that was made by running it. Returns it."""
    folder.mkdir(parents=True)
    for path in ROOT.iterdir():
        if path.name not in (".droptune", ".git", "dist"):
            (folder / path.name).symlink_to(path)
    return folder


# The next command ----------------------------------------------------------------------------------------------------


def next_commands(printed: str) -> list[list[str]]:
    """The arguments of each command that a text tells to paste: after "next:", and in backticks."""
    found = re.findall(r"\bnext: +(?:\./)?(droptune [^\n`]+)|`(?:\./)?(droptune [^\n`]+)`", printed)
    return [shlex.split(after or ticked, comments=True)[1:] for after, ticked in found]


def parsed(arguments: list[str]) -> bool:
    """Whether the command knows these arguments. What is only for a help text, as `RUN`, is an argument, too."""
    silent = io.StringIO()
    with redirect_stderr(silent), redirect_stdout(silent):
        try:
            if arguments[0] == "local":  # which has a parser of its own
                command([*arguments, "--help"])
            else:
                parser().parse_args(arguments)
        except SystemExit as end:
            return not end.code
    return True


def only_looks(arguments: list[str]) -> bool:
    """Whether a command changes nothing."""
    return bool(arguments) and arguments[0] in LOOKS


# Writing -------------------------------------------------------------------------------------------------------------


def refreshed(page: Path, folder: Path, tell: Callable[[str], object]) -> str:
    """The page's text as its blocks print now. What a block that differs prints takes the place of what it shows."""
    text = page.read_text()
    printed: dict[int, str] = {}
    with reading(folder) as reader:
        for block in blocks(text, page.name):
            if block.skipped:
                continue
            done, wrong = reader.follow(block)
            tell(f"{block.where}: {wrong or 'as shown'}")
            if block.shown is not None and difference(block.shown, done.printed, folder):
                printed[block.line] = blanked(done.printed, folder)
    return rewritten(text, printed)


def main() -> None:
    """`python -m tests.kit.blocks PAGE`."""
    parser = argparse.ArgumentParser(description="Runs a page, and has it show what its commands print.")
    parser.add_argument("page", type=Path)
    page = parser.parse_args().page
    with tempfile.TemporaryDirectory() as folder:
        text = refreshed(page, Path(folder), lambda line: sys.stderr.write(f"{line}\n"))
    page.write_text(text)


if __name__ == "__main__":
    main()
