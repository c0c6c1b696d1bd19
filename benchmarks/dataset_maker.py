"""Makes the files that the dataset benchmark reads: chat rows like ultrachat_200k's, one in a thousand of them bad.

The same seed and size give the same bytes on every machine, so figures can be compared. Each bad row breaks one rule,
and each kind of bad row is there at least once. Three files of one content: `bad.jsonl`; `clean.jsonl` without the rows
that a reader with a fixed schema can't read at all; `clean.parquet`, the rows of that in groups of 1,000, as `datasets`
writes them. Called by `benchmarks.dataset`, in a process of its own, and by the tests.
"""

from __future__ import annotations

import hashlib
import json
import random
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

BAD_SHARE = 0.001
DUPLICATE_SHARE = 0.001
ROW_LIMIT = 8 * 1024 * 1024
GROUP_ROWS = 1000
FILES = {"jsonl": "bad.jsonl", "clean": "clean.jsonl", "parquet": "clean.parquet"}
_MEAN = 6000
_BATCH = 2000

_TEXT = """
the of and to in a is that for it as with on be by are this from or an at which you not have can more their has if they
will also one such these other but its may about when there use new first time many most like people each while into
using some need make our way between how work help different over through high water often important example process
system however data it's don't several during without being long small good world life both even create learn well very
after under information between various before health company understand experience family food school project research
language history community garden city morning story music travel culture energy question answer reason result
increase provide include develop consider improve reduce support changes level quality team student teacher market
balance simple careful patient local public early common natural social possible available specific effective
temperature mountain river kitchen letter window afternoon recipe sugar flour butter minutes oven mixture gently
compare describe explain suggest remember finally therefore although because instead together usually especially
"""
_WORDS = _TEXT.split()
_PHRASES = (
    'he said, "There is no hurry," and smiled',
    "the so-called “second reading” – an old habit –",
    "and/or the other way round",
    "at the café in Zürich, near the Schloßpark",
    "東京 and 大阪 in one week",
    "C:\\temp\\notes.txt",
    "about 25 °C (77 °F) 🙂",
    "for €1,200 a month",
    "naïve readers’ favourite",
    "`df.groupby(\"city\")['price'].mean()`",
)
_OPENINGS = ("Write", "Explain", "Can you summarise", "Describe in detail", "Give me ideas for", "What do you think of")


@dataclass(frozen=True, kw_only=True)
class Contents:
    """What a file holds: rows, bytes as JSON Lines, bad rows by rule, rows that repeat one."""

    rows: int
    size: int
    bad: Mapping[str, int]
    duplicates: int


@dataclass(frozen=True, kw_only=True)
class Made:
    """The files, in `folder`, and what is planted in them. The parquet file holds what `clean` holds."""

    folder: Path
    bad: Contents
    clean: Contents

    def path(self, kind: str) -> Path:
        """Where the file of a kind (jsonl, clean, parquet) is."""
        return self.folder / FILES[kind]

    def contents(self, kind: str) -> Contents:
        """What the file of a kind holds."""
        return self.bad if kind == "jsonl" else self.clean


def make(cache: Path, *, size: int, seed: int = 0) -> Made:
    """The files of about `size` bytes each as JSON Lines; made if `cache` has none of this size, seed and maker.

    A row beyond the limit of 8 MiB is always among them and comes on top of a small `size`.
    """
    maker = hashlib.sha256(Path(__file__).read_bytes()).hexdigest()[:8]
    folder = cache / f"dataset-{size // 1_000_000}mb-{seed}-{maker}"
    told = folder / "made.json"
    if not told.exists():
        unfinished = folder.with_name(folder.name + ".unfinished")
        shutil.rmtree(unfinished, ignore_errors=True)
        shutil.rmtree(folder, ignore_errors=True)
        unfinished.mkdir(parents=True)
        bad, clean = _write_lines(unfinished, size, random.Random(seed))
        _write_parquet(unfinished)
        (unfinished / told.name).write_text(json.dumps({"bad": asdict(bad), "clean": asdict(clean)}, indent=2))
        unfinished.rename(folder)
    held = json.loads(told.read_text())
    return Made(folder=folder, bad=Contents(**held["bad"]), clean=Contents(**held["clean"]))


def make_tiny_rows(path: Path, rows: int) -> Path:
    """A file of that many different good rows of 90 bytes: what is kept a row shows in the memory it takes."""
    with path.open("wb", buffering=1 << 20) as out:
        for begin in range(0, rows, _BATCH):
            line = b'{"messages":[{"role":"user","content":"%09d"},{"role":"assistant","content":"yes"}]}\n'
            out.write(b"".join([line % row for row in range(begin, min(begin + _BATCH, rows))]))
    return path


def _write_lines(folder: Path, size: int, chance: random.Random) -> tuple[Contents, Contents]:
    """Writes both JSON Lines files in one go."""
    count = max(size // _MEAN, 3 * len(_BAD))
    text = _Text(chance, paragraphs=min(200 + count, 6000))
    kinds = _kinds(round(count * BAD_SHARE), chance)
    bad_at = dict(zip(sorted(chance.sample(range(count), len(kinds))), kinds, strict=True))
    # Rows of the first half that rows of the second half repeat.
    halves = [sorted(set(half) - bad_at.keys()) for half in (range(count // 2), range(count // 2, count))]
    firsts, agains = (set(chance.sample(half, max(1, round(count * DUPLICATE_SHARE)))) for half in halves)
    kept: list[bytes] = []
    tallies = {"jsonl": _Tally(), "clean": _Tally()}
    with (
        (folder / FILES["jsonl"]).open("wb", buffering=1 << 20) as every,
        (folder / FILES["clean"]).open("wb", buffering=1 << 20) as readable,
    ):
        outs = {"jsonl": every, "clean": readable}
        for number in range(count):
            kind = bad_at.get(number)
            again = number in agains
            line = kept.pop() if again else text.row(number)
            if kind:
                line = kind.spoil(json.loads(line))
            elif number in firsts:
                kept.append(line)
            for name, out in outs.items():
                if name == "jsonl" or kind is None or kind.readable:
                    out.write(line + b"\n")
                    tallies[name].add(line, kind, again)
    return tallies["jsonl"].contents(), tallies["clean"].contents()


class _Tally:
    def __init__(self) -> None:
        self._rows = self._size = self._duplicates = 0
        self._bad: Counter[str] = Counter()

    def add(self, line: bytes, kind: _Kind | None, again: bool) -> None:
        self._rows += 1
        self._size += len(line) + 1
        self._duplicates += again
        if kind:
            self._bad[kind.rule] += 1

    def contents(self) -> Contents:
        return Contents(
            rows=self._rows, size=self._size, bad=dict(sorted(self._bad.items())), duplicates=self._duplicates
        )


def _write_parquet(folder: Path) -> None:
    """Writes the rows of clean.jsonl as parquet."""
    import msgspec
    import pyarrow as pa
    import pyarrow.parquet as pq

    decode = msgspec.json.Decoder().decode
    with (
        (folder / FILES["clean"]).open("rb") as lines,
        pq.ParquetWriter(folder / FILES["parquet"], schema(), compression="snappy") as writer,
    ):
        for group in _groups(lines, GROUP_ROWS):
            writer.write_table(pa.Table.from_pylist([decode(line) for line in group], schema=schema()))


def schema() -> Any:
    """The columns of ultrachat_200k, as an Arrow schema."""
    import pyarrow as pa

    message = pa.struct([("content", pa.string()), ("role", pa.string())])
    return pa.schema([("prompt", pa.string()), ("prompt_id", pa.string()), ("messages", pa.list_(message))])


def _groups(lines: Iterator[bytes], size: int) -> Iterator[list[bytes]]:
    group: list[bytes] = []
    for line in lines:
        group.append(line)
        if len(group) == size:
            yield group
            group = []
    if group:
        yield group


class _Text:
    """Rows put together from paragraphs that are made and escaped once: a gigabyte in seconds."""

    def __init__(self, chance: random.Random, paragraphs: int) -> None:
        self._chance = chance
        # Words follow Zipf's law, as in any language.
        weights = [1 / (rank + 2) for rank in range(len(_WORDS))]
        words = iter(chance.choices(_WORDS, weights, k=80 * paragraphs))
        self._sentences = [self._sentence(words) for _ in range(3 * paragraphs)]
        self._paragraphs = [_escaped(self._paragraph()) for _ in range(paragraphs)]

    def _sentence(self, words: Iterator[str]) -> str:
        chance = self._chance
        parts = [next(words) for _ in range(chance.randint(6, 26))]
        if chance.random() < 0.02:
            parts.insert(chance.randrange(len(parts)), chance.choice(_PHRASES))
        if len(parts) > 14:
            parts[7] += ","
        text = " ".join(parts)
        return text[0].upper() + text[1:] + chance.choice("....?!")

    def _paragraph(self) -> str:
        chance = self._chance
        kind = chance.random()
        if kind < 0.15:
            return "\n".join(f"{at}. {chance.choice(self._sentences)}" for at in range(1, chance.randint(3, 7)))
        if kind < 0.18:
            body = "".join(
                f'    print("{chance.choice(_WORDS)}", {at})\t# {chance.choice(_WORDS)}\n' for at in range(5)
            )
            return f"```python\ndef {chance.choice(_WORDS)}():\n{body}```"
        return " ".join(chance.choices(self._sentences, k=chance.randint(1, 6)))

    def row(self, number: int) -> bytes:
        """A good row: 2, 4, 6 or 8 turns that begin with the user's, now and then after a system message."""
        chance, choices = self._chance, self._chance.choices
        opening = f"{chance.choice(_OPENINGS)} {number}: {chance.choice(self._sentences)}"
        prompt = "\\n".join([_escaped(opening), *choices(self._paragraphs, k=int(chance.random() ** 3 * 4))])
        messages = ['{"content":"You are a helpful assistant.","role":"system"}'] if chance.random() < 0.05 else []
        question = prompt
        for _ in range(choices((1, 2, 3, 4), (2, 3, 3, 2))[0]):
            # Mostly one to six paragraphs, seldom thirty: the longest rows have ten times the mean.
            answer = "\\n\\n".join(choices(self._paragraphs, k=1 + int(min(chance.expovariate(0.165), 30.0))))
            messages.append(f'{{"content":"{question}","role":"user"}},{{"content":"{answer}","role":"assistant"}}')
            question = _escaped(chance.choice(self._sentences))
        identity = chance.randbytes(32).hex()
        return f'{{"prompt":"{prompt}","prompt_id":"{identity}","messages":[{",".join(messages)}]}}'.encode()


def _escaped(text: str) -> str:
    """The text within a JSON string, with the escaped slash that `datasets` writes."""
    return json.dumps(text, ensure_ascii=False)[1:-1].replace("/", "\\/")


# Bad rows -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class _Kind:
    """A kind of bad row: the rule that it breaks, whether a reader with a schema can read it, how a good row spoils."""

    rule: str
    readable: bool
    spoil: Callable[[dict[str, Any]], bytes]


def _line(row: object) -> bytes:
    return json.dumps(row, ensure_ascii=False, separators=(",", ":")).encode()


def _with(messages: Callable[[list[dict[str, Any]]], object]) -> Callable[[dict[str, Any]], bytes]:
    """The row with its messages (without a system message) turned into something else."""
    return lambda row: _line(row | {"messages": messages([m for m in row["messages"] if m["role"] != "system"])})


def _content(value: Callable[[str], object]) -> Callable[[dict[str, Any]], bytes]:
    """The row with another content of its second message, an answer."""
    return _with(lambda turns: [turns[0], turns[1] | {"content": value(turns[1]["content"])}, *turns[2:]])


def _long(text: str) -> str:
    return text * (ROW_LIMIT // len(text.encode()) + 1)


def _cut_word(line: bytes) -> bytes:
    """Latin-1 in a file of UTF-8, as an editor leaves it."""
    return line.replace(b'"content":"', b'"content":"caf\xe9 ', 1)


_SYSTEM = {"content": "Answer briefly.", "role": "system"}
_BAD: Sequence[_Kind] = (
    _Kind(rule="not_utf8", readable=False, spoil=lambda row: _cut_word(_line(row))),
    _Kind(rule="not_json", readable=False, spoil=lambda row: _line(row)[:-40]),
    _Kind(rule="not_json", readable=False, spoil=lambda row: _line(row)[:-1] + b",}"),
    _Kind(rule="not_json", readable=False, spoil=lambda row: _line(row) + _line(row)),
    _Kind(rule="not_json", readable=False, spoil=lambda row: _line(row).replace(b'"role":"user"', b'"role":user', 1)),
    _Kind(rule="not_object", readable=False, spoil=lambda row: _line(row["messages"])),
    _Kind(rule="not_object", readable=False, spoil=lambda row: _line(row["prompt"])),
    _Kind(rule="duplicate_keys", readable=False, spoil=lambda row: _line(row)[:-1] + b',"messages":[]}'),
    _Kind(rule="no_messages", readable=True, spoil=lambda row: _line(row | {"messages": None})),
    _Kind(rule="no_messages", readable=False, spoil=_with(lambda turns: turns[0]["content"])),
    _Kind(rule="empty_messages", readable=True, spoil=_with(lambda _: [])),
    _Kind(rule="message_not_object", readable=False, spoil=_with(lambda turns: [turn["content"] for turn in turns])),
    _Kind(rule="unknown_role", readable=True, spoil=_with(lambda turns: [turns[0] | {"role": "human"}, *turns[1:]])),
    _Kind(rule="unknown_role", readable=True, spoil=_with(lambda turns: [turns[0] | {"role": "narrator"}, *turns[1:]])),
    _Kind(rule="blank_content", readable=True, spoil=_content(lambda _: "")),
    _Kind(rule="blank_content", readable=True, spoil=_content(lambda _: " \n\t ")),
    _Kind(rule="blank_content", readable=True, spoil=_content(lambda _: None)),
    _Kind(rule="not_text", readable=False, spoil=_content(len)),
    _Kind(rule="no_assistant", readable=True, spoil=_with(lambda turns: turns[:1])),
    _Kind(rule="no_question", readable=True, spoil=_with(lambda turns: turns[1:2])),
    _Kind(rule="last_not_assistant", readable=True, spoil=_with(lambda turns: [*turns, turns[0]])),
    _Kind(rule="system_not_first", readable=True, spoil=_with(lambda turns: [turns[0], _SYSTEM, *turns[1:]])),
    _Kind(rule="repeated_role", readable=True, spoil=_with(lambda turns: [turns[0], *turns])),
    _Kind(rule="control_character", readable=True, spoil=_content(lambda text: text[:40] + "\0" + text[40:])),
    _Kind(rule="control_character", readable=True, spoil=_content(lambda text: "\x1b[1m" + text)),
)
_TOO_LARGE = _Kind(rule="row_too_large", readable=True, spoil=_content(_long))
RULES = sorted({kind.rule for kind in (*_BAD, _TOO_LARGE)})
READABLE_RULES = sorted({kind.rule for kind in (*_BAD, _TOO_LARGE) if kind.readable})


def planted(rows: int, seed: int) -> list[str]:
    """The rules that the bad rows of a file of so many rows break, in their order."""
    return [kind.rule for kind in _kinds(round(rows * BAD_SHARE), random.Random(seed))]


def _kinds(count: int, chance: random.Random) -> list[_Kind]:
    """Which bad rows there are, in their order: each kind in its turn, and one row beyond the limit."""
    # One such row is enough: more of them would make the file one of long rows.
    kinds = [_TOO_LARGE, *(_BAD[at % len(_BAD)] for at in range(max(count - 1, len(_BAD))))]
    chance.shuffle(kinds)
    return kinds
