"""Checks the rows of one file: what is plainly good passes fast, anything else is judged by `rules`, in full.

A file's rows nearly all have the same keys. A decoder made for just those keys (`_Shape`) leaves texts as the bytes
they are, and a few looks at a whole block of rows as an array of bytes tell which rows need a closer one: where a key
might come twice, a text is written with unusual escapes, starts like a blank one, or might have control characters. The
fast way never accepts what the exact one would not: when in doubt it asks. Called by `prepare`.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from operator import attrgetter
from typing import Any

import msgspec
import numpy as np
import xxhash

from shared.dataset import formats
from shared.dataset.files import Broken, Elements, Limits, Records
from shared.dataset.formats import MESSAGES, SAYINGS, SHAREGPT, SHAREGPT_ROLES, SPEAKERS, Format
from shared.dataset.rules import (
    EXCERPT,
    ROLES,
    USUAL,
    Bad,
    Conversation,
    Facts,
    Fault,
    Message,
    ToolMessage,
    has_control,
    judge,
    judge_roles,
    kind,
    parse,
    usual_roles,
)
from shared.dataset.split import place, place_in_json

BLOCK = 512 * 1024
"""Bytes of rows looked at together: more would leave the processor's cache, less would cost more calls a row."""
MOST_SHAPES = 8
BYTES_A_TOKEN = 4
"""Of a written row, by estimate: English has a little more of them, other languages less."""

type _Messages = list[Message | ToolMessage]

_encode = msgspec.json.Encoder().encode
_text = msgspec.json.Decoder(str).decode
_hash = xxhash.xxh3_64_intdigest
_LF, _RETURN, _QUOTE, _COLON, _BACKSLASH, _SPACE, _DELETE = (np.uint8(ord(each)) for each in '\n\r":\\ \x7f')
_OPEN, _CLOSE = np.uint8(ord("{")), np.uint8(ord("}"))
_ZERO, _B, _F, _U = (np.uint8(ord(each)) for each in "0bfu")
_SEVEN, _FE = np.uint8(ord("7")), np.uint8(0xFE)
# After a backslash: what is not the usual way to write a text (\u and \/), or writes a control character.
_UNUSUAL = np.zeros(256, bool)
_UNUSUAL[[ord(each) for each in "u/bf"]] = True
_UNUSUAL_ESCAPE = re.compile(rb"\\[u/bf]")
# The first byte of a text that is certainly not blank: visible ASCII, but the quote that ends it and a backslash.
_VISIBLE = np.zeros(256, bool)
_VISIBLE[0x21:0x7F] = True
_VISIBLE[[_QUOTE, _BACKSLASH]] = False
_CALLS = frozenset(("tool_calls", "function_call"))
_PLAIN_ROLES = frozenset(("system", "user", "assistant"))


@dataclass(slots=True)
class Checked:
    """A batch of rows.

    `rows`, `hashes` (of what is written), `places` (of the first prompt), `turns` and `numbers` are of the good ones,
    `faults` of the others, of each rule the first in full, and the rest counted in `more`. `count`: of all; `lines`: of
    the file, where it has such. `groups`: number of a row group's first row -> the group's index.
    """

    rows: list[bytes] = field(default_factory=list)
    hashes: list[int] = field(default_factory=list)
    places: list[int] = field(default_factory=list)
    turns: list[int] = field(default_factory=list)
    numbers: list[int] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    more: Counter[str] = field(default_factory=Counter)
    count: int = 0
    lines: int = 0
    format: str = ""
    groups: dict[int, int] = field(default_factory=dict)
    where: Callable[[int], dict[str, Any]] = lambda _: {}
    """Where a good row is, by its index here, as fields of a Fault."""


class Checker:
    """Checks the rows of one file. `format` is found out when it is not given. `told`: faults of a rule in full."""

    def __init__(
        self,
        *,
        file: str,
        part: str,
        facts: Facts,
        limits: Limits,
        seed: int,
        chosen: Format | None = None,
        told: int = 1000,
    ) -> None:
        self.format = chosen
        self._file = file
        self._part = part
        self._facts = facts
        self._limits = limits
        self._seed = seed
        self._shapes: list[_Shape] = []
        self._learned: set[tuple[frozenset[str], ...]] = set()
        self._told = max(told, 1)  # the first of a rule is always wanted: it may be one of the file
        self._refused: Counter[str] = Counter()

    def lines(self, chunks: Iterable[bytes], *, offset: int = 0) -> Iterator[Checked]:
        """Rows of JSON Lines, in chunks of any size; empty lines are none. Lines count from 1, bytes from `offset`."""
        line = 1
        held = bytearray()  # the beginning of a line whose end has not come
        size = 0  # of a line that is too large to be held
        for chunk in chunks:
            for start in range(0, len(chunk), BLOCK):
                piece = chunk[start : start + BLOCK]
                if size:
                    newline = piece.find(b"\n")
                    size += len(piece) if newline < 0 else newline
                    if newline < 0:
                        continue
                    yield self._too_large(line, offset, size, bytes(held))
                    line, offset, size = line + 1, offset + size + 1, 0
                    held.clear()
                    piece = piece[newline + 1 :]
                end = piece.rfind(b"\n") + 1
                if end:
                    block = bytes(held) + piece[:end] if held else piece[:end]
                    held[:] = piece[end:]
                    checked = self._block(block, line, offset)
                    yield checked
                    line, offset = line + checked.lines, offset + len(block)
                else:
                    held += piece
                if len(held) > self._limits.row:
                    size = len(held)
                    del held[4 * EXCERPT :]
        if size:
            yield self._too_large(line, offset, size, bytes(held))
        elif held:
            yield self._block(bytes(held) + b"\n", line, offset)

    def elements(self, batch: Elements) -> Checked:
        """Rows of a JSON array."""
        # A line break is white space there and nothing else; a tab says the same within a line.
        block = b"".join(each.replace(b"\n", b"\t") + b"\n" for each in batch.data)
        numbers, offsets = batch.numbers, batch.offsets
        look = _Look(block)
        checked, kept = self._rows(block, look, lambda at: {"line": numbers[at], "offset": offsets[at]})
        checked.numbers = [numbers[at] for at in kept]
        return checked

    def records(self, batch: Records) -> Checked:
        """Rows that come as objects."""
        checked = Checked(count=len(batch.rows))
        numbers, offsets, group, first = batch.numbers, batch.offsets, batch.row_group, batch.first_of_group
        kept: list[int] = []

        def where(at: int) -> dict[str, Any]:
            found: dict[str, Any] = {"line": numbers[at]}
            if offsets is not None:
                found["offset"] = offsets[at]
            if group is not None:
                found |= {"row_group": group, "row": numbers[at] - first + 1}
            return found

        def refuse(at: int, bad: Bad, beginning: str | None = None) -> None:
            if beginning is None:
                beginning = _beginning(batch.rows[at])
            self._refuse(checked, bad, beginning, where(at))

        made: list[tuple[int, bytes, _Messages]] = []
        for at, row in enumerate(batch.rows):
            if isinstance(row, Broken):
                refuse(at, (row.rule, row.reason), row.excerpt)
                continue
            messages = self._plain_messages(row) or self._judge(row)
            if isinstance(messages, tuple):
                refuse(at, messages)
                continue
            try:
                data = _encode(Conversation(messages))
            except UnicodeEncodeError:
                refuse(at, ("not_utf8", "a text has half of a surrogate pair"))
                continue
            if len(data) > self._limits.row:  # as what is written would be refused, if it were read again
                refuse(at, _size(len(data)))
                continue
            made.append((at, data, messages))
        unsure = _unusual_rows([data for _, data, _ in made])
        for index, (at, data, messages) in enumerate(made):
            if index in unsure and isinstance(bad := self._judge(batch.rows[at]), tuple):
                refuse(at, bad)
                checked.faults.sort(key=lambda fault: fault.line)
                continue
            kept.append(at)
            checked.numbers.append(numbers[at])
            self._keep(checked, data, _prompt(messages), len(messages))
        checked.where = lambda index: where(kept[index])
        checked.format = self.format.name if self.format else ""
        if group is not None:
            checked.groups[first] = group
        return checked

    def _block(self, block: bytes, line: int, offset: int) -> Checked:
        """The rows of a block of whole lines."""
        if offset == 0 and block.startswith(b"\xef\xbb\xbf"):
            block, offset = block[3:], offset + 3
        look = _Look(block)

        def where(at: int) -> dict[str, Any]:
            return {"line": line + at, "offset": offset + (look.ends[at - 1] + 1 if at else 0)}

        checked, kept = self._rows(block, look, where)
        checked.numbers = [line + at for at in kept]
        checked.lines = len(look.ends)
        return checked

    def _rows(self, block: bytes, look: _Look, where: Callable[[int], dict[str, Any]]) -> tuple[Checked, list[int]]:
        """The rows of a block, and which of its lines are good. `where` tells of a line where it is."""
        checked = Checked(count=len(look.ends))
        rows, hashes, places, turns = checked.rows, checked.hashes, checked.places, checked.turns
        kept: list[int] = []
        ascii_only = block.isascii()
        seed, shapes = self._seed, {shape.type: shape for shape in self._shapes}
        large = _larger(look.ends, self._limits.row) if len(block) > self._limits.row else frozenset()
        for at, row in enumerate(self._decode(block, look)):
            if row is not None and at not in large:
                shape = shapes[type(row)]
                try:
                    if not ascii_only:
                        line = block[look.ends[at - 1] + 1 if at else 0 : look.ends[at]]
                        if not line.isascii():
                            line.decode()  # the decoder looks at no text, kept or not
                    messages = shape.turns(row)
                    sure = (
                        look.keys[at] == shape.keys + shape.keys_a_turn * len(messages)
                        and at not in look.doubtful
                        and _plain_roles(roles := tuple([message.role for message in messages]))
                        and (
                            (at not in look.unusual and look.others[at] == shape.lists)
                            or _closely(messages, control=at in look.controls)
                        )
                    )
                except (LookupError, ValueError):  # UnicodeDecodeError and DecodeError are ValueErrors
                    sure = False
                if sure:
                    data = _encode(Conversation(messages))
                    rows.append(data)
                    hashes.append(_hash(data))
                    first = roles.index("user") if "user" in roles else 0
                    prompt = bytes(messages[first].content)
                    places.append(place_in_json(prompt, seed))
                    turns.append(len(messages))
                    kept.append(at)
                    continue
            begin = look.ends[at - 1] + 1 if at else 0
            data = block[begin : look.ends[at]]
            if len(data) > self._limits.row:  # also of white space: nobody holds so much to look whether it ends
                self._refuse(checked, _size(len(data)), excerpt(data), where(at))
            elif not data.strip(b" \t\r"):
                checked.count -= 1
            elif self._slow(checked, data, where, at):
                kept.append(at)
        checked.where = lambda index: where(kept[index])
        checked.format = self.format.name if self.format else ""
        return checked, kept

    def _decode(self, block: bytes, look: _Look) -> Sequence[Any]:
        """Each line's row in one of the shapes; None where none fits."""
        none = [None] * len(look.ends)
        if not self._shapes:
            return none
        if look.objects:
            try:
                rows: list[Any] = self._shapes[0].decode_lines(block)
                if len(rows) == len(none):
                    return rows
            except (ValueError, RecursionError):  # DecodeError is a ValueError
                pass
        return [self._decode_line(line) for line in block.split(b"\n")[:-1]]

    def _decode_line(self, line: bytes) -> Any:
        for at, shape in enumerate(self._shapes):
            try:
                row = shape.decode(line)
            except (ValueError, RecursionError):
                continue
            if at:
                self._shapes.insert(0, self._shapes.pop(at))
            return row
        return None

    def _slow(self, checked: Checked, data: bytes, where: Callable[[int], dict[str, Any]], at: int) -> bool:
        """Judges a line exactly; whether it is good."""
        parsed = parse(data)
        bad: Bad
        if len(parsed) == 2:
            bad = parsed
        else:
            row = parsed[0]
            messages = self._judge(row)
            if not isinstance(messages, tuple):
                self._keep(checked, _encode(Conversation(messages)), _prompt(messages), len(messages))
                self._learn(row)
                return True
            bad = messages
        rule = bad[0]
        self._refused[rule] += 1
        if self._refused[rule] > self._told:  # a block may hold a quarter of a million of them
            checked.more[rule] += 1
        else:
            self._refuse(checked, bad, excerpt(data), where(at))
        return False

    def _judge(self, row: object) -> _Messages | Bad:
        if not isinstance(row, dict):
            return "not_object", f"the row is {kind(row)}"
        if self.format is None:
            self.format = formats.shown(row)
        found = formats.conversation(row, self.format)
        return found if isinstance(found, tuple) else judge(found, self._facts)

    def _plain_messages(self, row: dict[str, Any]) -> _Messages | None:
        """The messages of a row that is an object, if they are plainly good but for control characters."""
        if self.format is not MESSAGES:
            return None
        made: _Messages = []
        try:
            for message in row["messages"]:
                content = message["content"]
                if len(message) != 2 or type(content) is not str or not content or content.isspace():
                    return None
                made.append(Message(message["role"], content))
            return made if _plain_roles(tuple([message.role for message in made])) else None
        except (LookupError, TypeError):
            return None

    def _learn(self, row: dict[str, Any]) -> None:
        """Makes a decoder for rows like this one, which is good."""
        if self.format and len(self._learned) < MOST_SHAPES and (keys := _keys(row, self.format)) not in self._learned:
            self._learned.add(keys)
            if shape := _shape(row, self.format):
                self._shapes.insert(0, shape)

    def _keep(self, checked: Checked, data: bytes, prompt: str, turns: int) -> None:
        checked.rows.append(data)
        checked.hashes.append(_hash(data))
        checked.places.append(place(prompt, self._seed))
        checked.turns.append(turns)

    def _refuse(self, checked: Checked, bad: Bad, excerpt: str, place: dict[str, Any]) -> None:
        rule, reason = bad
        fault = Fault(file=self._file, part=self._part, rule=rule, reason=reason, excerpt=excerpt, **place)
        checked.faults.append(fault)

    def _too_large(self, line: int, offset: int, size: int, beginning: bytes) -> Checked:
        checked = Checked(count=1, lines=1)
        self._refuse(checked, _size(size), excerpt(beginning), {"line": line, "offset": offset})
        return checked


class _Look:
    """What a block of lines, each with its end, shows as bytes, for each line by its index.

    `objects`: each line begins and ends with a brace, so that no value goes on from one line to the next (JSON has no
    object right behind another). `ends`: where the line break is. `keys`: how many keys the line's objects have, at
    least; exactly if the line is not `doubtful`. `others`: how many of their values are no texts. `unusual`: lines with
    a text that may be blank, or is written in an unusual way; `controls`: those of them that may have control
    characters.
    """

    def __init__(self, block: bytes) -> None:
        data = np.frombuffer(block, np.uint8)
        marked = data == _LF
        marked |= data == _COLON
        marked |= data == _BACKSLASH
        marks = np.flatnonzero(marked)  # going over all bytes costs most
        codes = data[marks]
        ends, colons, escapes = marks[codes == _LF], marks[codes == _COLON], marks[codes == _BACKSLASH]
        before = data[colons - 1]
        spaced = colons[before <= _SPACE]
        spaced = spaced[(data[spaced - 2] == _QUOTE) | (data[spaced - 2] <= _SPACE)]  # not one within a text
        # A key's colon stands behind a quote that is not escaped. (A text that begins with a colon looks like one.)
        colons = colons[before == _QUOTE]
        escaped = data[colons - 2] == _BACKSLASH
        # Behind two backslashes it may be a key's, behind one it is within a text.
        twice = colons[escaped & (data[colons - 3] == _BACKSLASH)]
        colons = colons[~escaped]
        lines = np.searchsorted(ends, colons)
        values = colons + 1
        values += data[values] == _SPACE
        texts = data[values] == _QUOTE
        escapes = escapes[_UNUSUAL[data[escapes + 1]]]
        starts = data[np.minimum(values + 1, len(data) - 1)]
        first, last = data[np.append(-1, ends)[:-1] + 1], data[ends - 1]
        last = np.where(last == _RETURN, data[np.maximum(ends - 2, 0)], last)
        self.objects = bool((first == _OPEN).all() and (last == _CLOSE).all())
        self.ends: list[int] = ends.tolist()
        self.keys: list[int] = np.bincount(lines, minlength=len(ends)).tolist()
        self.others: list[int] = np.bincount(lines[~texts], minlength=len(ends)).tolist()
        self.doubtful = _lines(ends, np.concatenate((spaced, twice)))
        self.controls = _lines(ends, _controls(block, data, escapes))
        self.unusual = _lines(ends, np.concatenate((escapes, values[texts & ~_VISIBLE[starts]]))) | self.controls


def _controls(block: bytes, data: np.ndarray, escapes: np.ndarray) -> np.ndarray:
    """Where in the block may be a control character, by its unusual escapes; raw ones, but U+007F, are no JSON."""
    code = data[escapes + 1]
    far = np.minimum(escapes + 4, len(data) - 1)
    low = (data[far - 2] == _ZERO) & (data[far - 1] == _ZERO) & ((data[far] & _FE == _ZERO) | (data[far] == _SEVEN))
    found = escapes[(code == _B) | (code == _F) | ((code == _U) & low)]
    return np.concatenate((found, np.flatnonzero(data == _DELETE))) if b"\x7f" in block else found


def _lines(ends: np.ndarray, marks: np.ndarray) -> frozenset[int]:
    """The indices of the lines that the marked bytes are in."""
    return frozenset(np.searchsorted(ends, marks).tolist()) if len(marks) else frozenset()


def _larger(ends: list[int], size: int) -> frozenset[int]:
    """The indices of the lines that have more than `size` bytes."""
    return frozenset(np.flatnonzero(np.diff(ends, prepend=-1) - 1 > size).tolist())


def _unusual_rows(rows: list[bytes]) -> frozenset[int]:
    """Which of the written rows may have control characters."""
    block = b"\n".join(rows) + b"\n"
    data = np.frombuffer(block, np.uint8)
    escapes = np.flatnonzero(data == _BACKSLASH)
    marks = _controls(block, data, escapes[_UNUSUAL[data[escapes + 1]]])
    return _lines(np.flatnonzero(data == _LF), marks) if len(marks) else frozenset()


def _plain_roles(roles: tuple[str, ...]) -> bool:
    known = _PLAIN_ROLES.issuperset(roles)  # looked at first: the cache is to keep no text of a dataset
    return known and (usual_roles if len(roles) <= USUAL else judge_roles)(roles) is None


def _closely(messages: Sequence[Any], *, control: bool) -> bool:
    """Whether the contents, in JSON, are texts that are not blank and, if `control`, have no control characters.

    Writes them the usual way. Raises DecodeError, a ValueError, where one is no text.
    """
    for message in messages:
        data = bytes(message.content)
        if data[0] == _QUOTE and _VISIBLE[data[1]] and not control and not _UNUSUAL_ESCAPE.search(data):
            continue
        content = _text(data)
        if not content or content.isspace() or (control and has_control(content)):
            return False
        message.content = msgspec.Raw(_encode(content))
    return True


def _prompt(messages: _Messages) -> str:
    """The first user's message, or the first message where there is none of a user."""
    found = next((message for message in messages if message.role == "user"), messages[0])
    return found.content or ""


def _size(size: int) -> Bad:
    return "row_too_large", f"the row has {size:,} bytes"


def _beginning(row: object) -> str:
    """How a row that came as an object begins, as JSON; nothing where JSON can't say it (half a surrogate pair)."""
    try:
        return excerpt(_encode(row))
    except (UnicodeEncodeError, TypeError, OverflowError, RecursionError):
        return ""


def excerpt(data: bytes) -> str:
    """How a row begins."""
    return data[: 4 * EXCERPT].decode(errors="replace")[:EXCERPT]


# Decoders for rows like one that was seen ----------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class _Shape:
    """A decoder for rows with just these keys. `keys` of the row itself and `keys_a_turn` are how many there are;
    `lists`: how many of the row's values are the list of messages. `turns` may raise LookupError or ValueError."""

    type: type
    decode: Callable[[bytes], Any]
    decode_lines: Callable[[bytes], list[Any]]
    turns: Callable[[Any], Sequence[Any]]
    keys: int
    keys_a_turn: int
    lists: int


def _keys(row: dict[str, Any], chosen: Format) -> tuple[frozenset[str], ...]:
    """The keys of a good row and of its first message: rows that share them share a decoder."""
    turns = next((row[key] for key in chosen.list_keys if isinstance(row.get(key), list)), ())
    return (frozenset(row), *(frozenset(turn) for turn in turns[:1]))


def _names(row: dict[str, Any], chosen: Format) -> Iterator[str]:
    for keys in _keys(row, chosen):
        yield from keys


def _shape(row: dict[str, Any], chosen: Format) -> _Shape | None:
    """A decoder for rows like this good one; None where none would be exact."""
    if any(not key.isprintable() or '"' in key or "\\" in key for key in _names(row, chosen)):
        return None
    if chosen is SHAREGPT and "system" in row:
        return None
    if chosen.list_keys:
        there = [key for key in chosen.list_keys if key in row]
        turns = row[there[0]] if len(there) == 1 else None
        if not isinstance(turns, list):
            return None
        # Turns that need no change are written as they were read: as a message, the role first.
        keys = sorted(turns[0], key=lambda key: key == "content")
        speakers = [key for key in (("role",) if chosen is MESSAGES else SPEAKERS) if key in keys]
        sayings = [key for key in (("content",) if chosen is MESSAGES else SAYINGS) if key in keys]
        if len(speakers) != 1 or len(sayings) != 1 or not _CALLS.isdisjoint(keys):
            return None
        turn = _struct(keys, {speakers[0]: ("role", str), sayings[0]: ("content", msgspec.Raw)})
        made = _struct(list(row), {there[0]: ("turns", list[turn])})  # type: ignore[valid-type]
        if chosen is MESSAGES and len(keys) == 2:
            to_messages: Callable[[Any], Sequence[Any]] = attrgetter("turns")
        else:
            names = {role: role for role in ROLES} if chosen is MESSAGES else SHAREGPT_ROLES
            to_messages = partial(_from_turns, names=names)
        per, lists = len(keys), 1
    else:
        named = {chosen.question: "question", chosen.answer: "answer", chosen.more: "more"}
        named |= {"system": "system", "history": "history"}
        made = _struct(list(row), {key: (name, msgspec.Raw) for key, name in named.items() if key in row})
        to_messages = partial(_from_texts, has=frozenset(name for key, name in named.items() if key in row))
        per, lists = 0, 0
    decoder = msgspec.json.Decoder(made)
    return _Shape(
        type=made,
        decode=decoder.decode,
        decode_lines=decoder.decode_lines,
        turns=to_messages,
        keys=len(row),
        keys_a_turn=per,
        lists=lists,
    )


def _struct(keys: list[str], fields: dict[str, tuple[str, Any]]) -> Any:
    """A struct with just these keys; those not in `fields` are skipped over."""
    chosen = [fields.get(key, (f"other{at}", msgspec.Raw)) for at, key in enumerate(keys)]
    rename = {name: key for key, (name, _) in zip(keys, chosen, strict=True)}
    return msgspec.defstruct("Row", chosen, rename=rename, forbid_unknown_fields=True, gc=False)


def _from_turns(row: Any, names: Mapping[str, str]) -> list[Message]:
    return [Message(names[turn.role], turn.content) for turn in row.turns]


def _from_texts(row: Any, has: frozenset[str]) -> list[Message]:
    question = row.question
    messages = []
    if "history" in has and bytes(row.history) not in (b"null", b"[]", b'""'):
        raise ValueError("a history is judged the slow way")
    if "system" in has and bytes(row.system) not in (b"null", b'""'):
        messages.append(Message("system", row.system))
    if "more" in has and (more := bytes(row.more)) not in (b"null", b'""'):
        text = bytes(question)
        if text[:1] != b'"' or more[:1] != b'"':
            raise ValueError("no texts")
        question = msgspec.Raw(text[:-1] + b"\\n\\n" + more[1:] if len(text) > 2 else more)
    messages += [Message("user", question), Message("assistant", row.answer)]
    return messages
