"""Datasets as people bring them, each with the verdict that is right: tests/dataset/cases.

`python -m tests.kit.dataset.cases` prints what `droptune check` says of each. A case is a folder: `set` is what
somebody would upload, verdict.json what has to be said of it (a Verdict). A name that begins with a dot is kept as
`dot.…`: a .gitattributes or .gitignore of a set must mean nothing to the repository.
"""

from __future__ import annotations

import io
import json
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import msgspec

from cli.__main__ import main
from tests.kit.paths import ROOT

CASES = ROOT / "tests/dataset/cases"
POINTS = 2
"""By how many points of all rows a part may differ from what was asked for, if that is not told."""


class Verdict(msgspec.Struct, forbid_unknown_fields=True):
    """What is right to say of a set.

    words: what must be in what is told, in whatever case. rows: of all files. near: percent of train, validation and
    test. written: texts in the first rows as they are trained on. places: lines that are among what is told.
    sentences: how many causes may be told, all in all. uncut: no part is cut from train. options: of the command.
    """

    verdict: Literal["accept", "refuse"]
    words: list[str] = []
    rows: int | None = None
    near: list[int] = []
    written: list[str] = []
    places: list[int] = []
    sentences: int | None = None
    uncut: bool = False
    options: list[str] = []


@dataclass(frozen=True, kw_only=True)
class Said:
    """What the command said: its exit code, what it told people, and its report (none where it never got so far)."""

    code: int
    told: str
    report: dict[str, Any]

    @property
    def sentence(self) -> str:
        """The verdict in a sentence."""
        lines = self.told.splitlines()
        found = (line for line in lines if line.startswith(("good  ", "bad  ")))
        return next(found, lines[-1] if lines else "")


def names() -> list[str]:
    """All cases."""
    return sorted(path.parent.name for path in CASES.glob("*/verdict.json"))


def verdict(name: str) -> Verdict:
    """What is right to say of a case."""
    return msgspec.json.decode((CASES / name / "verdict.json").read_bytes(), type=Verdict)


def laid_out(name: str, folder: Path) -> Path:
    """The set as somebody has it on disk, in `folder`."""
    place = folder / name
    for path in sorted((CASES / name / "set").rglob("*")):
        if path.is_file():
            inside = path.relative_to(CASES / name / "set")
            target = place.joinpath(
                *(part.removeprefix("dot") if part.startswith("dot.") else part for part in inside.parts)
            )
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)
    return place


def asked(place: Path, options: Sequence[str] = ()) -> Said:
    """What `droptune check` says of a folder."""
    code, told = _run(["check", str(place), *options])
    _, report = _run(["check", str(place), "--json", *options])
    return Said(code=code, told=told, report=json.loads(report) if report.startswith("{") else {})


def _run(arguments: list[str]) -> tuple[int, str]:
    out = io.StringIO()
    with redirect_stdout(out), redirect_stderr(out):
        code = main(arguments)
    return code, out.getvalue()


def wrong(right: Verdict, said: Said) -> Iterator[str]:
    """What is not as it should be."""
    found = "refuse" if said.code else "accept"
    if found != right.verdict:
        yield f"the verdict is {found}"
    told = " ".join(said.told.split()).lower()
    yield from (f"{word!r} is not told" for word in right.words if " ".join(word.split()).lower() not in told)
    report = said.report
    if right.rows is not None and report.get("rows") != right.rows:
        yield f"{report.get('rows')} rows were read, of {right.rows}"
    first = "\n".join(report.get("first_rows", ()))
    yield from (f"{text!r} is not in the first rows" for text in right.written if text not in first)
    lines = {fault["line"] for fault in report.get("faults", ())}
    yield from (f"line {line} is not told" for line in right.places if line not in lines)
    if right.sentences is not None and len(report.get("causes", ())) > right.sentences:
        yield f"{len(report['causes'])} sentences are told"
    if right.uncut and report.get("cut"):
        yield f"{report['cut']} were cut"
    yield from _far(right.near, report)


def _far(near: list[int], report: dict[str, Any]) -> Iterator[str]:
    parts = report.get("splits", {})
    told = report.get("uneven", {})
    for part, percent in zip(("train", "validation", "test"), near, strict=False):
        found = 100 * parts.get(part, 0) / max(sum(parts.values()), 1)
        if abs(found - percent) > POINTS and part not in told and not (part == "train" and told):
            yield f"{part} has {found:.3g} % of the rows, and not {percent} %"


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as scratch:
        for each in names():
            answer = asked(laid_out(each, Path(scratch)), verdict(each).options)
            print(f"{each:<34} {'refuse' if answer.code else 'accept'}  {answer.sentence[:220]}")  # noqa: T201
            for problem in wrong(verdict(each), answer):
                print(f"{'':<34} WRONG   {problem}")  # noqa: T201
