"""Checks the rows of one file: what is plainly good passes fast, anything else is judged by `rules`, in full.

A file's rows nearly all have the same keys. A decoder made for just those keys (see `shapes`) leaves texts as the
bytes they are, and a few looks at a whole block of rows (see `look`, also for what must hold of a row) tell which rows
need a closer one. The fast way never accepts what the exact one would not: when in doubt it asks. Called by `scan`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import msgspec
import xxhash

from shared.dataset.judging import formats, malformed
from shared.dataset.judging.block import QUOTE, UNUSUAL_ESCAPE, VISIBLE, Look, larger, unusual_rows
from shared.dataset.judging.checked import Checked
from shared.dataset.judging.courses import Course, Courses
from shared.dataset.judging.damaged import suspect
from shared.dataset.judging.formats import MESSAGES, Format
from shared.dataset.judging.keys import MAPPED, Found, Noted, known, plain
from shared.dataset.judging.noting import beside, looked, note
from shared.dataset.judging.parsing import NOT_JSON, Bad, despite, parse
from shared.dataset.judging.plans import Plans
from shared.dataset.judging.rules import (
    Conversation,
    Facts,
    Fault,
    Message,
    ToolMessage,
    has_control,
    judge,
    kind,
)
from shared.dataset.judging.shapes import Shape, keys_of, shape_of
from shared.dataset.reading.files import EXCERPT, Broken, Elements, Limits, Records
from shared.dataset.safety.search import beginning
from shared.dataset.split import Places

BLOCK = 512 * 1024
"""Bytes of rows looked at together: more would leave the processor's cache, less would cost more calls a row."""
MOST_SHAPES = 8

type _Messages = list[Message | ToolMessage]

_encode = msgspec.json.Encoder().encode
_text = msgspec.json.Decoder(str).decode
_hash = xxhash.xxh3_64_intdigest


class _Good(msgspec.Struct, gc=False):
    """A good row: its messages, what is known of their roles, and what was found beside them."""

    messages: _Messages
    course: Course
    found: Sequence[Found] = ()


class Checker:
    """Checks the rows of one file. `format` is found out when it is not given. `told`: faults of a rule in full.

    `mapped`: keys that formats know -> the file's keys that are read as those. `ignored`: keys to be passed over.
    """

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
        mapped: Mapping[str, str] | None = None,
        ignored: Sequence[str] = (),
    ) -> None:
        self.format = chosen
        self._file = file
        self._part = part
        self._facts = facts
        self._limits = limits
        self._places = Places(seed)
        self._shapes: list[Shape] = []  # the one that fitted last comes first
        self._shape_of: dict[type, Shape] = {}
        self._learned: set[tuple[frozenset[str], ...]] = set()
        self._told = max(told, 1)  # the first of a rule is always wanted: it may be one of the file
        self._refused: Counter[str] = Counter()
        self._courses = Courses()
        self._last = False  # the row at hand is the file's last one, without a line's end
        self._ignored = frozenset(map(plain, ignored))
        self._plans = Plans(mapped or {}, self._ignored)

    def lines(self, chunks: Iterable[bytes], *, offset: int = 0) -> Iterator[Checked]:
        """Rows of JSON Lines, in chunks of any size; empty lines are none. Lines count from 1, bytes from `offset`.

        Each chunk costs something, whatever its size: `files.paged` makes chunks of a size that is worth it.
        """
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
                    # One copy; a slice and a sum would be two, of all bytes of the file.
                    block = b"".join((held, memoryview(piece)[:end]))
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
            self._last = True
            yield self._block(bytes(held) + b"\n", line, offset)

    def elements(self, batch: Elements) -> Checked:
        """Rows that come as JSON: of an array, or of a hub."""
        # A line break is white space there and nothing else; a tab says the same within a line.
        block = b"".join(each.replace(b"\n", b"\t") + b"\n" for each in batch.data)
        numbers, offsets = batch.numbers, batch.offsets
        look = Look(block)

        def where(at: int) -> dict[str, Any]:
            return {"line": numbers[at]} if offsets is None else {"line": numbers[at], "offset": offsets[at]}

        checked, kept = self._rows(block, look, where)
        checked.numbers = [numbers[at] for at in kept]
        return checked

    def records(self, batch: Records) -> Checked:
        """Rows that come as objects."""
        checked = Checked(count=len(batch.rows))
        numbers, offsets, group, first = batch.numbers, batch.offsets, batch.row_group, batch.first_of_group

        def where(at: int) -> dict[str, Any]:
            found: dict[str, Any] = {"line": numbers[at]}
            if offsets is not None:
                found["offset"] = offsets[at]
            if group is not None:
                found |= {"row_group": group, "row": numbers[at] - first + 1}
            return found

        def refuse(at: int, bad: Bad) -> None:
            self._refused[bad[0]] += 1
            if self._refused[bad[0]] > self._told:
                checked.more[bad[0]] += 1
            else:
                self._refuse(checked, bad, _beginning(batch.rows[at]), where(at))

        made: list[tuple[int, bytes, _Good]] = []
        for at, row in enumerate(batch.rows):
            if isinstance(row, Broken):
                refuse(at, (row.rule, row.reason))
                continue
            good = self._plain_messages(row) or self._judge(row)
            if isinstance(good, tuple):
                refuse(at, good)
                continue
            try:
                data = _encode(Conversation(good.messages))
            except UnicodeEncodeError:
                refuse(at, ("not_utf8", "a text has half of a surrogate pair"))
                continue
            if len(data) > self._limits.row:  # as what is written would be refused, if it were read again
                refuse(at, _size(len(data)))
                continue
            made.append((at, data, good))
        if unsure := unusual_rows([data for _, data, _ in made]):
            sure: list[tuple[int, bytes, _Good]] = []
            for index, (at, data, good) in enumerate(made):
                if index in unsure and isinstance(bad := self._judge(batch.rows[at]), tuple):
                    refuse(at, bad)
                else:
                    sure.append((at, data, good))
            checked.faults.sort(key=lambda fault: fault.line)
            made = sure
        kept = [at for at, _, _ in made]
        checked.numbers += [numbers[at] for at in kept]
        self._keep(checked, made, where)
        checked.where = lambda index: where(kept[index])
        checked.format = self.format.name if self.format else ""
        if group is not None:
            checked.groups[first] = group
        self._note_mapped(checked)
        return checked

    def _block(self, block: bytes, line: int, offset: int) -> Checked:
        """The rows of a block of whole lines."""
        if offset == 0 and block.startswith(b"\xef\xbb\xbf"):
            block, offset = block[3:], offset + 3
        look = Look(block)

        def where(at: int) -> dict[str, Any]:
            return {"line": line + at, "offset": offset + (look.ends[at - 1] + 1 if at else 0)}

        checked, kept = self._rows(block, look, where)
        checked.numbers = [line + at for at in kept]
        checked.lines = len(look.ends)
        return checked

    def _rows(self, block: bytes, look: Look, where: Callable[[int], dict[str, Any]]) -> tuple[Checked, list[int]]:
        """The rows of a block, and which of its lines are good. `where` tells of a line where it is."""
        checked = Checked(count=len(look.ends))
        rows, hashes, positions, turns = checked.rows, checked.hashes, checked.positions, checked.turns
        course_of = self._courses.of
        begun, begun_by = checked.begun, checked.begun_by
        kept: list[int] = []
        ascii_only = block.isascii()
        place, shapes = self._places.of_json, self._shape_of
        large = larger(look.ends, self._limits.row) if len(block) > self._limits.row else frozenset()
        for at, row in enumerate(self._decode(block, look)):
            if row is not None and at not in large:
                shape = shapes[type(row)]
                try:
                    if not ascii_only and not shape.whole:
                        line = block[look.ends[at - 1] + 1 if at else 0 : look.ends[at]]
                        if not line.isascii():
                            line.decode()  # the decoder looks at no text, kept or not
                    messages = shape.turns(row)
                    roles = tuple([message.role for message in messages])
                    course = course_of(roles)
                    if (
                        course
                        and course.plain
                        and look.keys[at] == shape.keys + (shape.keys_a_turn * len(row.turns) if shape.lists else 0)
                        and at not in look.doubtful
                        and (
                            (at not in look.unusual and look.others[at] == shape.lists)
                            or _closely(messages, control=at in look.controls)
                        )
                    ):
                        data = _encode(Conversation(messages))
                        if (not ascii_only or at in look.unusual) and not data.isascii():
                            data.decode()
                            if suspect(data):
                                checked.suspect.append(len(rows))
                    else:
                        course = None
                except (LookupError, ValueError):  # UnicodeDecodeError and DecodeError are ValueErrors
                    course = None
                if course:
                    rows.append(data)
                    hashes.append(_hash(data))
                    positions.append(place(messages, course.prompts, begun))
                    if course.begins:
                        begun_by += [len(rows) - 1] * (len(begun) - len(begun_by))
                    turns.append(len(messages))
                    kept.append(at)
                    if shape.unread or shape.unread_a_turn or course.led:
                        found = looked(row, shape, messages, roles)
                        if found:
                            note(checked.notes, found, self._ignored, partial(self._placed, where, at))
                    continue
            if self._line(checked, block[look.ends[at - 1] + 1 if at else 0 : look.ends[at]], where, at):
                kept.append(at)
        checked.where = lambda index: where(kept[index])
        checked.format = self.format.name if self.format else ""
        self._note_mapped(checked)
        return checked, kept

    def _decode(self, block: bytes, look: Look) -> Iterable[Any]:
        """Each line's row in one of the shapes; None where none fits."""
        if look.objects and self._shapes:
            try:
                rows: list[Any] = self._shapes[0].decode_lines(block)
                if len(rows) == len(look.ends):
                    return rows
            except (ValueError, RecursionError):  # DecodeError is a ValueError
                pass
        # One by one: a shape may be learned of any.
        return map(self._decode_line, block.split(b"\n")[:-1])

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

    def _line(self, checked: Checked, data: bytes, where: Callable[[int], dict[str, Any]], at: int) -> bool:
        """Judges a line that is not plainly good; whether it is good."""
        if len(data) > self._limits.row:  # also of white space: nobody holds so much to look whether it ends
            self._refuse(checked, _size(len(data)), excerpt(data), where(at))
            return False
        if not data.strip(b" \t\r"):
            checked.count -= 1
            return False
        return self._slow(checked, data, where, at)

    def _slow(self, checked: Checked, data: bytes, where: Callable[[int], dict[str, Any]], at: int) -> bool:
        """Judges a line exactly; whether it is good."""
        parsed = parse(data)
        if len(parsed) == 2 and (row := self._despite(data, parsed)) is not None:
            parsed = (row,)
        bad: Bad
        if len(parsed) == 2:
            bad = parsed
        else:
            row = parsed[0]
            good = self._judge(row)
            if not isinstance(good, tuple):
                self._keep(checked, [(at, _encode(Conversation(good.messages)), good)], where)
                self._learn(row)
                return True
            bad = good
        rule = bad[0]
        self._refused[rule] += 1
        if self._refused[rule] > self._told:  # a block may hold a quarter of a million of them
            checked.more[rule] += 1
        else:
            if rule == "not_json":
                bad = rule, malformed.told(data, bad[1], last=self._last)
            self._refuse(checked, bad, excerpt(data), where(at))
        return False

    def _despite(self, data: bytes, bad: Bad) -> dict[str, Any] | None:
        """The row, if NaN and keys that come twice are all that is wrong with it, where nothing is read or meant."""
        if bad[0] != "duplicate_keys" and not bad[1].endswith(NOT_JSON):
            return None
        found = despite(data)
        if found is None:
            return None
        row, keys = found
        names = self._plans.of(row | dict.fromkeys(keys, True)).names
        read = any(names.get(key) in formats.READ or known("row", key)[1] is not None for key in keys)
        return None if read else row

    def _judge(self, row: object) -> _Good | Bad:
        if not isinstance(row, dict):
            return "not_object", f"the row is {kind(row)}"
        plan = self._plans.of(row)
        read = plan.read(row)
        if self.format is None:
            self.format = formats.shown(read)
        found: list[Found] = []
        messages = formats.conversation(read, self.format, found, plan.own)
        if not isinstance(messages, tuple):
            messages = judge(messages, self._facts, found)
        if isinstance(messages, tuple):
            rule, reason = messages
            if rule in {"no_messages", "other_kind"} and (lacking := self._plans.lacking(row)):
                return "no_messages", f"{reason}; {lacking}, which map names, is not there"
            return messages
        assert self.format is not None  # noqa: S101 - a row without a format is bad
        roles = tuple([message.role for message in messages])
        course = self._courses.of(roles)
        assert course is not None  # noqa: S101 - as above
        return _Good(messages, course, [*found, *beside(row, plan, self.format, messages, roles)])

    def _plain_messages(self, row: dict[str, Any]) -> _Good | None:
        """The messages of a row that is an object, if they are plainly good but for control characters."""
        if self.format is not MESSAGES:
            return None
        plan = self._plans.of(row)
        if not plan.messages_alone:
            return None
        made: _Messages = []
        try:
            for message in row["messages"]:
                content = message["content"]
                if len(message) != 2 or type(content) is not str or not content or content.isspace():
                    return None
                made.append(Message(message["role"], content))
            roles = tuple([message.role for message in made])
            course = self._courses.of(roles)
            if not course or not course.plain:
                return None
            some = course.led or plan.unread(MESSAGES)
            return _Good(made, course, beside(row, plan, MESSAGES, made, roles) if some else ())
        except (LookupError, TypeError):
            return None

    def _learn(self, row: dict[str, Any]) -> None:
        """Makes a decoder for rows like this one, which is good."""
        if not self.format or len(self._learned) >= MOST_SHAPES:
            return
        plan = self._plans.of(row)
        keys = keys_of(row, plan, self.format)
        if plan.certain and keys not in self._learned:
            self._learned.add(keys)
            if shape := shape_of(row, plan, self.format):
                self._shapes.insert(0, shape)
                self._shape_of[shape.type] = shape

    def _keep(
        self, checked: Checked, made: list[tuple[int, bytes, _Good]], where: Callable[[int], dict[str, Any]]
    ) -> None:
        """Keeps good rows: each with its index in the batch, and as it is written."""
        place, begun, begun_by, positions = self._places.of, checked.begun, checked.begun_by, checked.positions
        for index, (at, data, good) in enumerate(made, len(checked.rows)):
            messages, course = good.messages, good.course
            positions.append(place(messages, course.prompts, begun))
            if course.begins:
                begun_by += [index] * (len(begun) - len(begun_by))
            if not data.isascii() and suspect(data):
                checked.suspect.append(index)
            if good.found:
                note(checked.notes, good.found, self._ignored, partial(self._placed, where, at))
        checked.turns += [len(good.messages) for _, _, good in made]
        rows = [data for _, data, _ in made]
        checked.rows += rows
        checked.hashes += map(_hash, rows)

    def _note_mapped(self, checked: Checked) -> None:
        for key in self._plans.met():
            checked.notes[MAPPED, "row", key] = Noted(1, {"file": self._file, "line": 1})

    def _placed(self, where: Callable[[int], dict[str, Any]], at: int) -> dict[str, Any]:
        return where(at) | {"file": self._file}

    def _refuse(self, checked: Checked, bad: Bad, excerpt: str, place: dict[str, Any]) -> None:
        rule, reason = bad
        fault = Fault(file=self._file, part=self._part, rule=rule, reason=reason, excerpt=excerpt, **place)
        checked.faults.append(fault)

    def _too_large(self, line: int, offset: int, size: int, beginning: bytes) -> Checked:
        checked = Checked(count=1, lines=1)
        self._refuse(checked, _size(size), excerpt(beginning), {"line": line, "offset": offset})
        return checked


def _closely(messages: Sequence[Any], *, control: bool) -> bool:
    """Whether the contents, in JSON, are texts that are not blank and, if `control`, have no control characters.

    Writes them the usual way. Raises DecodeError, a ValueError, where one is no text.
    """
    for message in messages:
        data = bytes(message.content)
        if data[0] == QUOTE and VISIBLE[data[1]] and not control and not UNUSUAL_ESCAPE.search(data):
            continue
        content = _text(data)
        if not content or content.isspace() or (control and has_control(content)):
            return False
        message.content = msgspec.Raw(_encode(content))
    return True


def _size(size: int) -> Bad:
    return "row_too_large", f"the row has {size:,} bytes"


def _beginning(row: object) -> str:
    """How a row that came as an object begins, as JSON; nothing where JSON can't say it (half a surrogate pair)."""
    try:
        return excerpt(row.excerpt.encode() if isinstance(row, Broken) else _encode(row))
    except (UnicodeEncodeError, TypeError, OverflowError, RecursionError):
        return ""


def excerpt(data: bytes) -> str:
    """How a row begins, with words in the place of secrets and persons' data."""
    return beginning(data, EXCERPT) if data else ""
