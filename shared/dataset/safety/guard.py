"""Looks for secrets and persons' data in the rows that would be written, and does what finetune.yaml says of them.

`report`: a row with a secret is bad, persons' data are told; `mask`: a word stands in the place of each, in what is
written, hashed and compared; `reject`: a row with either is bad. What is told is the kind and the place. Called by
`preparing/scan.py` for each batch of rows; one without anything costs its share of a look at all of their bytes.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from itertools import accumulate
from typing import TYPE_CHECKING

import msgspec
import xxhash

from shared.dataset.judging.rules import Fault, parse
from shared.dataset.reading.files import EXCERPT, FileFault
from shared.dataset.safety.search import ROUNDS, Found, beginning, masked, replaced, search

if TYPE_CHECKING:
    from shared.dataset.judging.checked import Checked
    from shared.dataset.spec.choices import Safety

_hash = xxhash.xxh3_64_intdigest
_decode = msgspec.json.Decoder().decode
_encode = msgspec.json.Encoder().encode


BLOCK = 512 * 1024
"""Bytes of rows that are searched together, at most."""
_ENOUGH = BLOCK // 2


class Guard:
    """Guards the rows of one file. `found` counts what it finds, by kind; `told`: faults of a rule in full."""

    def __init__(self, *, mode: Safety, file: str, part: str, told: int, found: Counter[str]) -> None:
        self._mode = mode
        self._file = file
        self._part = part
        self._told = max(told, 1)
        self._found = found
        self._counts: Counter[str] = Counter()

    def guarded(self, batches: Iterable[Checked]) -> Iterator[Checked]:
        """The batches, with what is found among their faults, and their rows masked or left out.

        Small ones are searched together: a search costs something, however little there is to search. Batches that came
        before an error are handed out before it is raised.
        """
        held: list[Checked] = []
        size = 0
        rest = iter(batches)
        while True:
            try:
                batch = next(rest, None)
            except FileFault:
                yield from self._looked_at(held)
                raise
            if batch is None:
                break
            held.append(batch)
            size += sum(map(len, batch.rows))
            if size >= _ENOUGH:
                yield from self._looked_at(held)
                held, size = [], 0
        yield from self._looked_at(held)

    def _looked_at(self, held: list[Checked]) -> list[Checked]:
        rows = held[0].rows if len(held) == 1 else [row for batch in held for row in batch.rows]
        begins = [0, *accumulate(len(row) + 1 for row in rows)]
        firsts = [0, *accumulate(len(batch.rows) for batch in held)]
        values: dict[int, dict[int, list[Found]]] = {}
        for each in _searched(rows, begins):
            at = bisect_right(begins, each.start) - 1
            of = bisect_right(firsts, at) - 1
            here = Found(each.kind, each.word, each.start - begins[at], each.end - begins[at])
            values.setdefault(of, {}).setdefault(at - firsts[of], []).append(here)
        for of, found in values.items():
            self._look(held[of], found)
        return held

    def _look(self, batch: Checked, found: Mapping[int, list[Found]]) -> None:
        """`found`: index of a row -> what it has."""
        bad: set[int] = set()
        for at, values in found.items():
            self._found.update(each.kind for each in values)
            if self._mode == "mask":
                self._tell(batch, at, "masked", values)
                batch.rows[at] = _masked(batch.rows[at], values)
                batch.hashes[at] = _hash(batch.rows[at])
                continue
            for secret in (True, False):
                some = [each for each in values if each.secret is secret]
                if not some:
                    continue
                rule = "secret" if secret else "personal_data_refused" if self._mode == "reject" else "personal_data"
                if rule != "personal_data":
                    bad.add(at)
                self._tell(batch, at, rule, some)
        if bad:
            batch.leave_out(bad)
        batch.faults.sort(key=lambda fault: fault.line)

    def _tell(self, batch: Checked, at: int, rule: str, values: list[Found]) -> None:
        self._counts[rule] += 1
        if self._counts[rule] > self._told:
            batch.more[rule] += 1
            return
        row = batch.rows[at]
        batch.faults.append(
            Fault(
                file=self._file,
                part=self._part,
                rule=rule,
                reason=_reason(row, values),
                excerpt=beginning(row, EXCERPT),
                **batch.where(at),
            )
        )


def _searched(rows: list[bytes], begins: list[int]) -> list[Found]:
    """What is found in rows that begin at these places; in blocks that stay in the processor's cache."""
    if begins[-1] <= BLOCK:
        return search(b"\n".join(rows))
    found: list[Found] = []
    first = 0
    while first < len(rows):
        end = max(first + 1, bisect_right(begins, begins[first] + BLOCK) - 1)
        base = begins[first]
        for each in search(b"\n".join(rows[first:end])):
            found.append(Found(each.kind, each.word, base + each.start, base + each.end))  # noqa: PERF401 - rare
        first = end
    return found


def _reason(row: bytes, values: list[Found]) -> str:
    """Of each kind where the first is, by message and character, and how many more there are."""
    firsts: dict[str, Found] = {}
    for each in values:
        firsts.setdefault(each.kind, each)
    counts = Counter(each.kind for each in values)
    told = []
    for kind, each in list(firsts.items())[:5]:
        more = f" (and {counts[kind] - 1:,} more)" if counts[kind] > 1 else ""
        told.append(f"{'an' if kind[0] in 'aeiAEIO' else 'a'} {kind}{_place(row, each)}{more}")
    return "; ".join(told)


def _place(row: bytes, value: Found) -> str:
    """Which message of a written row a value is in, and from which of its characters on."""
    before = row[: value.start]
    at = before.count(b'{"role":"')
    begin = before.rfind(b'"content":"')
    if not at or begin < before.rfind(b'{"role":"'):
        return f" in message {at}" if at else ""
    if b'"tool_calls":' in before[begin:]:
        return f" in a tool call of message {at}"
    try:
        text = _decode(before[begin + len('"content":') :] + b'"')
    except ValueError:
        return f" in message {at}"
    return f" in message {at} at character {len(text) + 1:,}"


def _masked(row: bytes, values: list[Found]) -> bytes:
    """The row with words in the places of the values. What is JSON in it, a tool's arguments, stays JSON."""
    if b'"tool_calls":' not in row:
        return masked(replaced(row, values))
    made = _decode(row)
    for message in made["messages"]:
        for call in message.get("tool_calls") or ():
            function = call.get("function", {})
            function["arguments"] = _masked_json(function.get("arguments", "").encode()).decode()
    return masked(_encode(made))


def _masked_json(data: bytes) -> bytes:
    """The same of JSON, of which no object has a key twice then; what is no JSON is left as it is."""
    for _ in range(ROUNDS):
        found = search(data)
        if not found or len(parse(data)) != 1:
            break
        made = replaced(data, found, in_json=True)
        data = made if len(parse(made)) == 1 else replaced(data, found, in_json=True, numbered=True)
    return data
