"""What the demo pushes: a broken dataset, the facts, or somebody's own folder; and when an answer counts as right."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from cli.check import listed
from cli.errors import CliError
from shared.dataset.folder import contents
from shared.dataset.kinds import ENDINGS
from shared.dataset.spec.choices import FILE_NAME as SPEC

DEFAULT_MODEL = "Phi-3-mini-4k-instruct"
TINY = {
    DEFAULT_MODEL: "a small network of Phi-3's architecture with random weights, not Microsoft's model",
    "Phi-4": "a small network of random weights with Phi-4's chat format, not Microsoft's model",
}
TRAIN, TEST = "train.jsonl", "test.jsonl"
FEW = 80
"""Rows of the facts for a model that is too big to see all of them on a CPU."""
_ENGLISH = frozenset(
    re.findall(r"\w+", "a and are as be but can do for i in is it my not of on or that the this to we you")
)


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """A folder to push, as `name`. `strict`: its answers can be checked word for word."""

    name: str
    path: Path
    what: str
    strict: bool = False

    @property
    def wanted(self) -> str:
        """What `judge` asks of an answer, as the end of a sentence."""
        return "is right" if self.strict else "is English"

    def judge(self, answer: str, expected: str) -> bool:
        """Whether the answer is what can be expected of the model."""
        return normal(answer) == normal(expected) if self.strict else english(answer)


def base(model: str) -> str:
    """What a base model of the local registry really is."""
    return f"{model}: {TINY.get(model, 'the real model, from its Python package')}"


def broken(folder: Path) -> Dataset:
    """The dataset of examples/make_broken.py: good rows, and a bad one of each kind that people upload by mistake."""
    from examples.make_broken import BAD, lines

    path = folder / "broken"
    path.mkdir(parents=True, exist_ok=True)
    (path / TRAIN).write_bytes(b"\n".join(lines()) + b"\n")
    return Dataset(name=path.name, path=path, what=f"{len(BAD)} rows of it are bad, by examples/make_broken.py")


def facts(folder: Path, model: str | None) -> Dataset:
    """The facts of examples/make_facts.py: all of them for a tiny model, the first few for a real one."""
    from examples.make_facts import make, write_rows

    path = folder / "facts"
    path.mkdir(parents=True, exist_ok=True)
    tiny = (model or DEFAULT_MODEL) in TINY
    rows = 0
    for name, made in zip((TRAIN, TEST), make(), strict=True):
        kept = made if tiny else made[:FEW]
        rows += len(kept)
        write_rows(path / name, kept)
    return Dataset(name=path.name, path=path, what=f"{rows:,} rows about facts, by examples/make_facts.py", strict=tiny)


def own(data: Path, model: str | None) -> Dataset:
    """Somebody's folder. Raises CliError where it is none, holds several datasets, or names another model."""
    if not data.is_dir():
        raise CliError(f"DATA must be a folder with a dataset: {data} is none")
    spec = data / SPEC
    if spec.exists():
        named = re.search(r"^model:\s*['\"]?([^'\"#\s]+)", spec.read_text(), re.MULTILINE)
        if model and named and named[1] != model:
            raise CliError(f"{spec} decides the model: leave MODEL= out, or write `model: {model}` there")
    else:
        found = contents(data.name, listed(data, None), None)
        if not found.datasets:
            told = found.problem or (found.waiting and f"it waits for {found.waiting}") or ""
            raise CliError(
                f"{data} must have one file to train on ({ENDINGS}), or a {SPEC} that tells which one is"
                + f": {told}" * bool(told)
            )
    name = re.sub(r"[^a-z0-9-]+", "-", data.resolve().name.lower()).strip("-") or "own"
    return Dataset(name=name, path=data, what=str(data))


def normal(text: str) -> str:
    """Text without what may differ between right answers: case, punctuation, spaces."""
    return " ".join(re.findall(r"\w+", text.casefold()))


def english(text: str) -> bool:
    """Whether it looks like English: mostly Latin letters, and among four words or more a common one."""
    words = re.findall(r"[a-z]+", text.lower())
    return sum(map(len, words)) > len(text) / 2 and (len(words) < 4 or bool(_ENGLISH & set(words)))
