"""What the demo uploads: a broken dataset, the facts, or somebody's own folder; and when an answer counts as right."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from cli.errors import CliError
from shared.dataset.folder import use_of
from shared.dataset.kinds import KINDS, kind_of
from shared.dataset.spec.choices import FILE_NAME as SPEC

DEFAULT_MODEL = "Phi-3-mini-4k-instruct"
TINY = {
    DEFAULT_MODEL: "a small network of Phi-3's architecture with random weights, not Microsoft's model",
    "Phi-4": "a small network of random weights with Phi-4's chat format, not Microsoft's model",
}
FEW = 80
"""Rows of the facts for a model that is too big to see all of them on a CPU."""
_ENGLISH = frozenset(
    re.findall(r"\w+", "a and are as be but can do for i in is it my not of on or that the this to we you")
)


@dataclass(frozen=True, kw_only=True)
class Upload:
    """Files for one folder of the container `datasets`. `strict`: its answers can be checked word for word."""

    folder: str
    files: tuple[Path, ...]
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


def broken(scratch: Path) -> Upload:
    """The dataset of examples/make_broken.py: good rows, and a bad one of each kind that people upload by mistake."""
    from examples.make_broken import BAD, lines

    path = scratch / "broken" / "train.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"\n".join(lines()) + b"\n")
    return Upload(folder="broken-example", files=(path,), what=f"{len(BAD)} rows of it are bad")


def facts(scratch: Path, model: str | None) -> Upload:
    """The facts of examples/make_facts.py: all of them for a tiny model, the first few for a real one."""
    from examples.make_facts import make, write_rows

    folder = scratch / "facts"
    folder.mkdir(parents=True, exist_ok=True)
    tiny = (model or DEFAULT_MODEL) in TINY
    rows = 0
    for name, made in zip(("train", "test"), make(), strict=True):
        kept = made if tiny else made[:FEW]
        rows += len(kept)
        write_rows(folder / f"{name}.jsonl", kept)
    return Upload(
        folder="facts",
        files=_files(folder, scratch, model),
        what=f"{rows} rows about facts, for {model or DEFAULT_MODEL}",
        strict=tiny,
    )


def own(data: Path, scratch: Path, model: str | None) -> Upload:
    """Somebody's folder, with a finetune.yaml that names `model` when it has none. Raises CliError."""
    if not data.is_dir():
        raise CliError(f"DATA must be a folder with a dataset: {data} is none")
    name = re.sub(r"[^a-z0-9-]+", "-", data.resolve().name.lower()).strip("-") or "own"
    return Upload(folder=name, files=_files(data, scratch, model), what=f"{data}, for {model or 'the model it names'}")


def normal(text: str) -> str:
    """Text without what may differ between right answers: case, punctuation, spaces."""
    return " ".join(re.findall(r"\w+", text.casefold()))


def english(text: str) -> bool:
    """Whether it looks like English: mostly Latin letters, and among four words or more a common one."""
    words = re.findall(r"[a-z]+", text.lower())
    return sum(map(len, words)) > len(text) / 2 and (len(words) < 4 or bool(_ENGLISH & set(words)))


def _files(data: Path, scratch: Path, model: str | None) -> tuple[Path, ...]:
    """The files to upload, the one to train on after the others: its run takes what is there by then."""
    uses = {path: use_of(path.name) for path in data.iterdir() if path.is_file() and kind_of(path.name)}
    files = sorted(uses, key=lambda path: (uses[path] == "train", path.name))
    parts = {part: [path.name for path in files if uses[path] == part] for part in ("train", "validation", "test")}
    spec = data / SPEC
    if spec.exists():
        if model and not re.search(rf"^model:\s*['\"]?{re.escape(model)}['\"]?\s*(#.*)?$", spec.read_text(), re.M):
            raise CliError(f"{spec} decides the model: leave MODEL= out, or write `model: {model}` there")
        return (*files, spec)
    if len(parts["train"]) != 1 or any(len(names) > 1 for names in parts.values()):
        raise CliError(
            f"{data} must have one file to train on ({', '.join(KINDS)}), or a {SPEC} that tells which one is"
        )
    if not model:
        return tuple(files)
    spec = scratch / SPEC
    spec.parent.mkdir(parents=True, exist_ok=True)
    spec.write_text(f"model: {model}\n" + "".join(f"{part}: {names[0]}\n" for part, names in parts.items() if names))
    return (*files, spec)
