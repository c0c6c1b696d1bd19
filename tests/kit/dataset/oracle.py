"""The slow, obviously right checker: what each row of a file is, by the rules as they are documented.

Nothing of the product's code is used here. A file is read whole, with the standard library's json and csv and pyarrow's
`to_pylist`, one row after the other, and every rule is looked at for every row: a bad row comes with all the rules that
it breaks, since which of them is told first is the engine's to choose. What the rules leave open is marked `unsure`.
Used by the fuzz tests, the property tests and the tests over real files.
"""

from __future__ import annotations

import csv
import io
import itertools
import json
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tests.kit.dataset import saying

ROW = 8 * 1024 * 1024
HEAD = 64 * 1024  # of a file: by so much it is told what it is
DEEP = 100  # from this depth on a reader may give up

CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
SURROGATE = re.compile("[\ud800-\udfff]")

Note = saying.Note

type Turns = tuple[tuple[str, str | None], ...]


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """One row: `number` is its line (or its row, in a table). No rules: it is good, and `turns` are what it says.

    `notes`: what else is to be told of it, as `saying` has it.
    """

    number: int
    rules: frozenset[str] = frozenset()
    turns: Turns = ()
    notes: frozenset[saying.Note] = frozenset()
    unsure: bool = False


@dataclass(frozen=True, kw_only=True)
class File:
    """All rows of a file. `broken_at`: the number from which on it can't be read, if it can't. `opaque`: not one of
    its first lines is an object, so that it may be refused as a whole."""

    verdicts: tuple[Verdict, ...]
    format: str | None
    broken_at: int | None = None
    opaque: bool = False

    @property
    def good(self) -> list[Verdict]:
        """The rows that may be trained on."""
        return [each for each in self.verdicts if not each.rules and not each.unsure]

    @property
    def bad(self) -> list[Verdict]:
        """The rows that may not."""
        return [each for each in self.verdicts if each.rules and not each.unsure]


# JSON


class NotJson(ValueError):
    """It is not JSON; the second argument: an object before that place has a key twice."""


def _constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def parse(text: str) -> tuple[Any, bool]:
    """The value, and whether any object in it has a key twice. Raises ValueError (NotJson) or RecursionError."""
    twice = False

    def pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
        nonlocal twice
        made = dict(items)
        twice |= len(made) < len(items)
        return made

    def whole(digits: str) -> int:
        return int(digits) if len(digits) < 1000 else int(digits.strip("-0") != "")  # Python's own takes no more

    try:
        value = json.loads(text, object_pairs_hook=pairs, parse_constant=_constant, parse_int=whole)
    except ValueError as error:
        raise NotJson(str(error), twice) from None
    if any(SURROGATE.search(each) for each in strings(value)):
        raise NotJson("half of a surrogate pair", twice)
    return value, twice


def strings(value: Any) -> Iterator[str]:
    """Every string in a JSON value, keys included."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield key
            yield from strings(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from strings(inner)


def depth(text: str) -> int:
    """How deep brackets nest in it, strings left out (roughly, where the text is not JSON)."""
    deepest = now = 0
    for found in re.finditer(r'"(?:[^"\\]|\\.)*"|[\[{]|[\]}]', text):
        now += {"[": 1, "{": 1, "]": -1, "}": -1}.get(found[0], 0)
        deepest = max(deepest, now)
    return deepest


# Rows


def shows(row: dict[str, Any]) -> str | None:
    """The format that a row shows; in a row that could be of several, the first one."""
    names = saying.respelled(row)
    return saying.shows({name: row[key] for key, name in names.items()})


class Judge:
    """Rows of one dataset, in their order: the first one that shows a format sets it for all."""

    def __init__(self, *, tools: bool = False) -> None:
        self.format: str | None = None
        self._tools = tools

    def judge(self, number: int, row: Any, twice: bool = False) -> Verdict:
        """The verdict on a row that was JSON."""
        rules = {"duplicate_keys"} if twice else set()
        if not isinstance(row, dict):
            return Verdict(number=number, rules=frozenset(rules | {"not_object"}))
        names = saying.respelled(row)
        known = {name: row[key] for key, name in names.items()}
        shown = saying.shows(known)
        if shown is None:
            other = {"other_kind"} if self.format is None else set()  # no conversation, but perhaps known by its keys
            if {saying.letters(key) for key in row} & {*saying.QUESTIONS, *saying.ANSWERS}:
                other.add("blank_content")  # a question without an answer
            return Verdict(number=number, rules=frozenset(rules | {"no_messages"} | other))
        if not twice:
            self.format = self.format or shown
        if self.format and shown != self.format:
            if not saying.is_of(known, self.format):
                return Verdict(number=number, rules=frozenset(rules | {"mixed_formats"}))
            shown = self.format
        try:
            said = saying.read(row, shown, _cell)
            rules |= said.rules
            notes = set(said.notes)
            if said.turns is not None:
                rules.update(self._conversation(said.turns, said))
                notes = said.notes
        except RecursionError:
            return Verdict(number=number, unsure=True)
        if rules:
            return Verdict(number=number, rules=frozenset(rules))
        assert said.turns is not None
        roles = [role for role, _, _ in said.turns]
        if roles[0] == "assistant" or roles[:2] == ["system", "assistant"]:
            notes.add(("assistant_first", "rule", ""))
        turns = tuple((role, text) for role, text, _ in said.turns)
        return Verdict(number=number, turns=turns, notes=frozenset(notes))

    def _conversation(self, turns: list[saying.Turn], said: saying.Said) -> Iterator[str]:
        roles = [role for role, _, _ in turns]
        if not turns:
            yield "empty_messages"
            return
        for at, (role, text, message) in enumerate(turns):
            if role == saying.CALL:
                called = _cell(text)
                message = {**message, "tool_calls": [called] if isinstance(called, dict) else called}
                role, text = "assistant", None
                turns[at], roles[at] = (role, text, message), role
                if not self._tools:
                    yield "tool_turn"  # also where what is called can't be read
            if role not in ("system", "user", "assistant", "tool"):
                yield "unknown_role"
            calls, old = message.get("tool_calls"), message.get("function_call")
            if calls and old:
                said.note("message", "function_call", old, role)
            elif old:
                calls = [{"type": "function", "function": old}]
            of_tools = bool(role == "tool" or calls)
            if not of_tools:
                said.note("message", "name", message.get("name") or None, role)
            # A tool may answer nothing, and who calls one need not say anything.
            silent = self._tools and of_tools and (isinstance(text, str) or (text is None and bool(calls)))
            if not isinstance(text, str | None) and text != []:
                yield "not_text"
            elif (not isinstance(text, str) or not text or text.isspace()) and not silent:
                yield "blank_content"
            elif isinstance(text, str) and CONTROL.search(text):
                yield "control_character"
            if of_tools and not self._tools:
                yield "tool_turn"
            if calls and role != "assistant":  # no chat template has a form for that
                yield "tool_turn"
            if of_tools and self._tools and not _usual(message, calls):
                yield "tool_call"
        yield from _order(roles)


def _order(roles: list[Any]) -> Iterator[str]:
    if "assistant" not in roles:
        yield "no_assistant"
    if roles[-1] != "assistant":
        yield "last_not_assistant"
    if "system" in roles[1:]:
        yield "system_not_first"
    if "user" not in roles:
        yield "no_question"
    if any(a == b and a != "tool" for a, b in itertools.pairwise(roles)):
        yield "repeated_role"


def _cell(value: Any) -> Any:
    """A list that was written as a text into a cell; else what it was. RecursionError: a reader may give up on it."""
    if not isinstance(value, str):
        return value
    if depth(value) > DEEP:
        raise RecursionError
    try:
        found, twice = parse(value)
    except ValueError:
        return value
    return value if twice else found


def _usual(message: dict[str, Any], calls: Any) -> bool:
    """Whether what goes with a turn of tools is of the form that is taken."""
    if any(message.get(key) is not None and not isinstance(message[key], str) for key in ("tool_call_id", "name")):
        return False
    calls = _cell(calls)
    return not calls or (isinstance(calls, list) and all(map(_usual_call, calls)))


def _usual_call(call: Any) -> bool:
    """Whether a call is of the form that is taken: function with name and arguments, or these two alone."""
    if not isinstance(call, dict):
        return False
    held = {key: value for key, value in call.items() if value not in (None, "", [], {}) and key != "index"}
    about = call.get("function")
    if about is None and call.get("name") is not None:
        about = {"name": held.pop("name", None), "arguments": call.get("arguments")}
        held.pop("arguments", None)
    if not isinstance(about, dict) or not set(held) <= {"id", "type", "function"}:
        return False
    more = {key for key, value in about.items() if value not in (None, "", [], {})} - {"name", "arguments"}
    name, arguments, id_ = about.get("name"), about.get("arguments"), call.get("id")
    if more or not isinstance(name, str) or not name.strip() or not (id_ is None or isinstance(id_, str)):
        return False
    if call.get("type") not in (None, "function"):
        return False
    return (
        arguments is None
        or (isinstance(arguments, str) and (not arguments or _json_of_arguments(arguments)))
        or (isinstance(arguments, dict | list) and all(math.isfinite(number) for number in _floats(arguments)))
    )


def _floats(value: Any) -> Iterator[float]:
    if isinstance(value, float):
        yield value
    elif isinstance(value, dict | list):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from _floats(inner)


# Kinds of files


def _row(judge: Judge, number: int, data: bytes, limit: int) -> Verdict:
    """A line, or an element of an array."""
    if len(data) > limit:
        return Verdict(number=number, rules=frozenset({"row_too_large"}))
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return Verdict(number=number, rules=frozenset({"not_utf8"}))
    try:
        value, twice = parse(text)
    except NotJson as error:
        if (row := _despite(text)) is not None:
            return judge.judge(number, row)
        # What is wrong first may be told; a byte order mark before the row is passed over by some readers.
        twice = error.args[1] or text.startswith("\ufeff")
        return Verdict(number=number, rules=frozenset({"not_json", "duplicate_keys"} if twice else {"not_json"}))
    except RecursionError:
        return Verdict(number=number, rules=frozenset({"not_json"}), unsure=True)
    if depth(text) > DEEP:
        return Verdict(number=number, unsure=True)
    if twice and (row := _despite(text)) is not None:
        return judge.judge(number, row)
    return judge.judge(number, value, twice)


class _Items(list[Any]):
    """An object's keys and values."""


def _json_of_arguments(text: str) -> bool:
    try:
        return isinstance(json.loads(text), dict | list)
    except (ValueError, RecursionError):
        return False


def _despite(text: str) -> dict[str, Any] | None:
    """The row, if all that is wrong with its JSON is NaN, or a key that comes twice, where nothing is read or meant."""
    try:
        items = json.loads(
            text,
            object_pairs_hook=_Items,
            parse_constant=lambda _: math.nan,
            parse_int=lambda digits: int(digits) if len(digits) < 1000 else 1,
        )
    except (ValueError, RecursionError):
        return None
    if not isinstance(items, _Items) or depth(text) > DEEP:
        return None
    names = saying.respelled({key: True for key, _ in items})
    keys = [key for key, _ in items]
    odd = {key for key, value in items if _odd(value) or keys.count(key) > 1}
    row: dict[str, Any] = _made(items)
    if any(names[key] in saying.KNOWN or saying.means(key) for key in odd) or any(
        SURROGATE.search(each) for each in strings(row)
    ):
        return None
    return row


def _odd(value: Any) -> bool:
    if isinstance(value, float):
        return math.isnan(value)
    if isinstance(value, _Items):
        keys = [key for key, _ in value]
        return len(set(keys)) < len(keys) or any(_odd(each) for _, each in value)
    return isinstance(value, list) and any(map(_odd, value))


def _made(value: Any) -> Any:
    if isinstance(value, _Items):
        made: dict[str, Any] = {}
        for key, each in value:
            if key not in made or not saying.empty(_made(each)):
                made[key] = _made(each)
        return made
    if isinstance(value, list):
        return [_made(each) for each in value]
    return None if isinstance(value, float) and math.isnan(value) else value


def lines(data: bytes, *, tools: bool = False, limit: int = ROW) -> File:
    """A .jsonl file. Empty lines are no rows. One that begins as an array is read as one."""
    head = data[:HEAD].removeprefix(b"\xef\xbb\xbf")
    if b"\n" not in head:  # a line may end as it did on old Macs
        data = re.sub(rb"\r(?!\n)", b"\n", data)
    begin = head.lstrip(b" \t\r\n")
    first, *more = [line for each in re.split(rb"[\r\n]", begin) if (line := each.strip(b" \t"))] or [b""]
    apart = len(more) > 1 and more[1].startswith(b"{") and _object(more[0])  # without a comma
    if (
        not apart
        and re.match(rb"\[\s*(\{(?!\s*')|\]?\s*$)", begin)
        and (first.endswith((b",", b"[", b"{")) or not more)
    ):
        return array(data, tools=tools, limit=limit)
    judge = Judge(tools=tools)
    verdicts = [
        _row(judge, number, line, limit)
        for number, line in enumerate(data.removeprefix(b"\xef\xbb\xbf").split(b"\n"), 1)
        if line.strip(b" \t\r")
    ]
    opaque = not any(_object(line) for line in (first, *more))
    return File(verdicts=tuple(verdicts), format=judge.format, opaque=opaque)


def _object(line: bytes) -> bool:
    try:
        return line.startswith(b"{") and isinstance(json.loads(line.decode()), dict)
    except (ValueError, RecursionError):
        return False


def array(data: bytes, *, tools: bool = False, limit: int = ROW) -> File:
    """A .json file: an array of rows, or rows a line. What follows the first place that is not JSON is `broken_at`."""
    begin = [
        line.strip(b" \t") for line in re.split(rb"[\r\n]", data[:HEAD].removeprefix(b"\xef\xbb\xbf")) if line.strip()
    ]
    if len(begin) > 1 and begin[0].startswith(b"{") and _object(begin[0]):
        return lines(data, tools=tools, limit=limit)
    judge = Judge(tools=tools)
    verdicts: list[Verdict] = []
    data = data.removeprefix(b"\xef\xbb\xbf")
    if b"\n" not in data[:HEAD]:
        data = data.replace(b"\r", b"\n")
    # Bytes to characters one to one, so that a bad byte in one element leaves the places of the others alone.
    text = data.decode("latin-1")
    space = re.compile(r"[ \t\r\n]*")

    def skip(at: int) -> int:
        found = space.match(text, at)
        return found.end() if found else at

    def file(at: int | None = None) -> File:
        broken = None if at is None else text.count("\n", 0, at) + 1
        pythons = re.match(rb"[ \t\r\n]*\[[ \t\r\n]*\{'", data) is not None  # of which one sentence is said
        return File(verdicts=tuple(verdicts), format=judge.format, broken_at=broken, opaque=pythons)

    at = skip(0)
    if text[at : at + 1] != "[":
        return file(at)
    at = skip(at + 1)
    if text[at : at + 1] == "]":
        return file(None if skip(at + 1) == len(text) else skip(at + 1))
    while True:
        try:
            _, end = json.JSONDecoder().raw_decode(text, at)
        except (ValueError, RecursionError):
            return file(at)
        if text[at] not in '[{"' and text[end : end + 1] not in ("", ",", "]", " ", "\t", "\r", "\n"):
            return file(at)  # more than the number or the word that it begins with
        verdicts.append(_row(judge, text.count("\n", 0, at) + 1, data[at:end], limit))
        at = skip(end)
        if text[at : at + 1] == "]":
            return file(None if skip(at + 1) == len(text) else skip(at + 1))
        if text[at : at + 1] != ",":
            return file(at)
        at = skip(at + 1)


def table_of_text(data: bytes, *, tabs: bool = False, tools: bool = False, limit: int = ROW) -> File:
    """A .csv file, or (`tabs`) a .tsv file: the standard library's reader over the whole of it, its first record the
    names of the columns."""
    judge = Judge(tools=tools)
    # What is not UTF-8 becomes half a surrogate pair, which is found again in the cell that it stands in.
    text = data.removeprefix(b"\xef\xbb\xbf").decode(errors="surrogateescape")
    if re.match(r'[ \t\r\n]*(\{"|\[\{|[\[{][ \t]*[\r\n])', text):
        return File(verdicts=(), format=None, broken_at=1)
    skipped = 0
    if told := re.match(r'[\r\n]*"?sep=([,;\t|])"?(?:\r\n|\r|\n|$)', text, re.IGNORECASE):
        skipped = len(re.findall("\r\n|\r|\n", told[0]))
        text = text[told.end() :]
    head = re.sub(r'"[^"]*"', "", re.split("[\r\n]", text.lstrip("\r\n"))[0])
    delimiter = told[1] if told else "\t" if tabs and "\t" in head else max(",;\t|", key=head.count)
    last = "\n\x01" if text and text[-1] not in "\r\n" else "\x01"
    reader = csv.reader(io.StringIO(text + last, newline=""), delimiter=delimiter, strict=True)
    csv.field_size_limit(1 << 30)
    verdicts = []
    begin = 1 + skipped
    header: list[str] | None = None
    records = []
    broken = None
    try:
        for record in reader:
            records.append((begin, record))
            begin = reader.line_num + 1 + skipped
        records.pop()  # the mark
    except csv.Error:  # text behind a quote, or a quote that is open at the end
        broken = begin
    for number, record in records:
        if not record or (header is None and not any(name.strip() for name in record)):
            continue
        if header is None:
            header = [name.strip() for name in record]
            named = [name for name in header if name]
            unread = any(SURROGATE.search(name) for name in header)
            if unread or not named or len(set(named)) < len(named) or _is_a_row(named):
                return File(verdicts=(), format=None, broken_at=number)
        elif any(SURROGATE.search(cell) for cell in record):
            verdicts.append(Verdict(number=number, rules=frozenset({"not_utf8", "wrong_columns"})))
        elif not any(record):
            continue
        elif (
            len(record) < len(header)
            or any(record[len(header) :])
            or any(cell for at, cell in enumerate(record[: len(header)]) if at and not header[at])
        ):
            verdicts.append(Verdict(number=number, rules=frozenset({"wrong_columns"})))
        else:
            verdicts.append(judge.judge(number, {k: v or None for k, v in zip(header, record, strict=False)}))
    return File(verdicts=tuple(verdicts), format=judge.format, broken_at=broken)


def _is_a_row(header: list[str]) -> bool:
    """Whether what should be the names of columns is what somebody said."""
    known = {key for keys in saying.FORMATS.values() for each in keys for key in each}
    known |= {"input", "system", "history", "query", "context", "system_prompt", "text"}
    return known.isdisjoint(name.lower() for name in header) and any(
        name[-1] in ".?!" or "\n" in name or len(name.split()) > 5 or re.search(".{100}", name) for name in header
    )


def table(data: bytes, *, tools: bool = False) -> File:
    """A .parquet file, whole, as Python objects. Raises pyarrow's errors where it can't be read."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    file = pq.ParquetFile(pa.BufferReader(data))
    # Row group by row group: where one is damaged, reading them all at once would move the rows of those behind it.
    rows = [row for at in range(file.num_row_groups) for row in file.read_row_group(at).to_pylist()]
    judge = Judge(tools=tools)
    return File(verdicts=tuple(judge.judge(at, row) for at, row in enumerate(rows, 1)), format=judge.format)
