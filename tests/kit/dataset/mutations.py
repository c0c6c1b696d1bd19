"""Makes datasets go wrong: in their rows, in how these are written, in the bytes, in the container.

`text` gives a .jsonl or .json file, `csv_file` a .csv, `parquet` a table, `damage` spoils the bytes of whatever. All
draw from the `Random` that they are given, so that an input is known by its seed. Used by the fuzz tests.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import re
import struct
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

FORMATS = ("messages", "sharegpt", "alpaca", "prompt_completion", "prompt_response", "question_answer")

type Row = dict[str, Any]

# Content that looks like structure, or is on the edge of what is text.
TEXTS = (
    "Hi",
    "What is a tide?",
    "The moon pulls the sea.",
    '"role":"user"',
    '{"role": "assistant", "content": "no"}',
    '\\": ',
    "\\",
    '\\"',
    "}]}",
    "},{",
    "\n",
    " \t\n",
    "",
    "\u00a0",
    "\u2028",
    "\u2003x",
    "line\nbreak\r\nand\ttab",
    "na\u00efve caf\u00e9",
    "\u65e5\u672c\u8a9e",
    "\U0001f600 \U0001f468\u200d\U0001f469",
    "\ufeff",
    "\ufffd",
    "\x7f",
    "\x00",
    "a\x08b",
    "\x0c",
    "\x1b[31m",
    "\x1f",
    "\x80",
    "\x85",
    "\\u0000",
    "messages",
    "null",
    "x" * 300,
    "</s><|im_end|>",
    "a,b;c\td",
    "=1+1",
)
VALUES: tuple[Any, ...] = (None, True, False, 0, -1, 1.5, 1e300, "", "x", [], {}, [[]], [{}], {"a": 1}, ["x"], [None])
NAMES: list[str] = (  # noqa: SIM905 - a list of words reads better so
    "user assistant system tool User ASSISTANT human gpt chatgpt bing bard model chatbot function observation bot "
    "developer function_call assistant\u0000 \uff55ser"
).split(" ")
KEYS: list[str] = (  # noqa: SIM905 - the same
    "messages conversations conversation role content from value text instruction input output system history prompt "
    "completion response question answer tool_calls tools name weight id prompt_id Messages ROLE"
).split()

_RARE = (b"\xef\xbb\xbf", b"\x00", b"\xff", b"\xc0\xaf", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xe2\x80\xa8", b"\x80")
_BITS = (
    *_RARE,
    *(b"NaN", b"Infinity", b"-Infinity", b"1e999", b"-0", b"01", b"1." + b"0" * 20, b"9" * 400, b"1E+2", b"0x1"),
    *(
        b'"',
        b"'",
        b"\\",
        b"{",
        b"}",
        b"[",
        b"]",
        b",",
        b":",
        b"\n",
        b"\r\n",
        b"\r",
        b"\t",
        b" ",
        b"\x0b",
        b"\x0c",
        b"\n\n",
    ),
    *(
        b"\\u0000",
        b"\\u007f",
        b"\\b",
        b"\\f",
        b"\\ud800",
        b"\\udc00",
        b"\\ud83d\\ude00",
        b"\\uD83D",
        b"\\x41",
        b"\\u12",
    ),
    *(
        b"//x\n",
        b"/**/",
        b",]",
        b",}",
        b"null",
        b"true",
        b'"role":"user"',
        b'"messages":[]',
        b"\xc2\x85",
        b"\xe2\x80\xa9",
    ),
)


# Rows


def row(random: Random, form: str, turns: int | None = None) -> Row:
    """A good row of that format."""

    def text() -> str:
        return random.choice(TEXTS[:3]) + f" {random.randrange(1000)}"

    if form == "messages":
        return {"messages": _turns(random, text, "role", "content", ("user", "assistant"), turns)}
    if form == "sharegpt":
        who = (random.choice(("human", "user")), random.choice(("gpt", "assistant", "chatgpt", "model")))
        key = random.choice(("conversations", "conversations", "conversation"))
        said = random.choice(("value", "value", "content", "text"))
        more = {"system": random.choice(("", text()))} if random.random() < 0.2 else {}
        return {key: _turns(random, text, random.choice(("from", "from", "role")), said, who, turns), **more}
    if form == "alpaca":
        made: Row = {"instruction": text(), "input": random.choice(("", text())), "output": text()}
        return made | ({"system": random.choice(("", text()))} if random.random() < 0.2 else {})
    asked, said = form.split("_")
    if form == "prompt_completion" and random.random() < 0.2:
        return {
            asked: [{"role": "user", "content": text()}],
            said: [{"role": "assistant", "content": text()}],
        }
    return {asked: text(), said: text()}


def _turns(
    random: Random, text: Callable[[], str], role: str, said: str, who: tuple[str, str], turns: int | None
) -> list[Row]:
    made = [{role: who[at % 2], said: text()} for at in range(2 * (turns or random.randint(1, 3)))]
    return [*([{role: "system", said: text()}] if random.random() < 0.3 else []), *made]


MORE_FORMATS = ("dolly", "openorca", "query_response", "input_output", "instruction_answer", "user_assistant")
_PAIRS = {
    "dolly": ("instruction", "response"),
    "openorca": ("question", "response"),
    "alpaca": ("instruction", "output"),
}
_EXTRA = (
    *(
        "id",
        "source",
        "Language",
        "createdAt",
        "mood",
        "score",
        "weight",
        "label",
        "tools",
        "options",
        "images",
        "chosen",
    ),
    *("context", "history", "system", "system_prompt", "System Prompt", "input", "prompt", "question", "conversation"),
)
_EXTRA_OF_TURN = (
    "id",
    "weight",
    "train",
    "loss",
    "reasoning_content",
    "thinking",
    "name",
    "from",
    "value",
    "timestamp",
)
_HELD: tuple[Any, ...] = (
    None,
    "",
    "a text",
    "Hi",
    0,
    1,
    "0",
    "1",
    "true",
    True,
    False,
    [],
    {},
    [""],
    {"a": [None]},
    ["b"],
)


def fuller(random: Random, form: str) -> Row:
    """A row that has more than its format needs: keys that are read, and such as are not; in other spellings."""

    def text() -> str:
        return random.choice(TEXTS[:3]) + f" {random.randrange(1000)}"

    if form in FORMATS and form != "alpaca":
        made = row(random, form)
    else:
        asked, said = _PAIRS.get(form) or form.split("_")
        made = {asked: text(), said: text()}
    listed = next((each for each in made.values() if isinstance(each, list) and "prompt" not in made), None)
    if listed is None:
        made |= {key: text() for key in ("context", "input", "system_prompt") if random.random() < 0.2}
        if random.random() < 0.2:
            made["history"] = random.choice(([[text(), text()]], [], "", [{"role": "user", "content": text()}]))
        if random.random() < 0.1:
            made = {random.choice((key, key.capitalize(), key.upper(), f" {key}")): each for key, each in made.items()}
    for turn in listed or ():
        if random.random() < 0.1:
            turn |= {random.choice(_EXTRA_OF_TURN): random.choice(_HELD)}
        said = list(turn)[1]
        if random.random() < 0.1 and isinstance(turn[said], str):
            parts: list[Any] = [
                {"type": "text", "text": turn[said]},
                random.choice(({"text": text()}, text(), {"type": "text"})),
            ]
            turn[said] = random.choice((parts, parts[:1], [*parts, {"type": "image_url", "image_url": {"url": "x"}}]))
        who = next(iter(turn))
        if random.random() < 0.05 and isinstance(turn[who], str):
            turn[who] = random.choice((turn[who].upper(), turn[who].capitalize(), f"{turn[who]} "))
    if listed is not None and random.random() < 0.05:
        keys = list(listed[0])
        key = next(iter(made))
        made[key] = {each: [turn.get(each) for turn in listed] for each in keys}
    for _ in range(random.choice((0, 0, 1, 1, 2))):
        made.setdefault(random.choice(_EXTRA), random.choice((*_HELD, text())))
    return made


def with_tools(random: Random, value: Row) -> Row:
    """The row with a tool called and answering in some places, if it has a list of messages."""
    made: Row = json.loads(json.dumps(value))
    turns = next((each for each in made.values() if isinstance(each, list)), [])
    for at in range(len(turns) - 1, 0, -1):
        turn = turns[at]
        if not isinstance(turn, dict) or random.random() < 0.5:
            continue
        role, said = next(iter(turn)), list(turn)[-1]
        if turn[role] in ("assistant", "gpt", "chatgpt", "model"):
            # No draw of its own: what was found once is known by its draws.
            arguments = ('{"at": 1}', {"at": 1}, {"at": "1", "n": [2**70, 0.5]})[
                at % 3
            ]  # no draw: what was found once is known by its draws
            call = {"type": "function", "function": {"name": "look", "arguments": arguments}, "id": f"c{at}"}
            asks = {role: turn[role], said: random.choice((None, "", "Let me look.")), "tool_calls": [call]}
            answers = {role: "tool", said: random.choice(("12", "", "[]"))}
            if random.random() < 0.5:
                answers |= {"tool_call_id": f"c{at}", "name": "look"}
            turns[at:at] = [asks, *[answers] * random.choice((1, 1, 2))]
    return made


def spoil(random: Random, value: Row) -> Row:
    """The row with one thing in it changed: a wrong type, a key gone or added, a turn moved, odd text."""
    made: Row = json.loads(json.dumps(value))
    places: list[tuple[Any, Any]] = []

    def walk(inner: Any) -> None:
        for key in list(inner) if isinstance(inner, dict) else range(len(inner)) if isinstance(inner, list) else ():
            places.append((inner, key))
            walk(inner[key])

    walk(made)
    if not places:
        return {random.choice(KEYS): random.choice(VALUES)}
    holder, key = random.choice(places)
    kind = random.randrange(9)
    if kind == 0:
        holder[key] = random.choice(VALUES)
    elif kind <= 2:
        holder[key] = random.choice(TEXTS)
    elif kind == 3:
        holder[key] = random.choice(NAMES)
    elif kind == 4:
        del holder[key]
    elif kind == 5 and isinstance(holder, list):
        holder.insert(random.randint(0, len(holder)), random.choice([*holder, *VALUES]))
    elif kind == 6 and isinstance(holder, list):
        random.shuffle(holder)
    elif kind == 7 and isinstance(holder, dict):
        holder[random.choice(KEYS)] = holder.pop(key, None)
    elif isinstance(holder, dict):
        holder[random.choice(KEYS)] = random.choice((*VALUES, *TEXTS, *NAMES))
    return made


# How rows are written


def written(random: Random, value: Any, *, breaks: bool = False) -> str:
    """JSON, spelled in one of the ways that there are: escapes, white space, sometimes a key twice."""
    odd = random.random()
    space: tuple[str, ...] = ("", "", "", " ", "\t", "  ") + (("\n", "\r\n") if breaks else ())

    def gap() -> str:
        return random.choice(space) if odd < 0.5 else ""

    def text(value: str, share: float) -> str:
        made = []
        for letter in value:
            code = ord(letter)
            if random.random() < share:
                pair = letter.encode("utf-16-be", "surrogatepass")
                units = struct.unpack(f">{len(pair) // 2}H", pair)
                made.append("".join(f"\\u{unit:0{4}{random.choice('xX')}}" for unit in units))
            elif letter in '"\\' or code < 32:
                made.append(json.dumps(letter)[1:-1])
            elif letter == "/" and odd < 0.3:
                made.append("\\/")
            else:
                made.append(letter)
        return '"' + "".join(made) + '"'

    def put(value: Any) -> str:
        if isinstance(value, str):
            return text(value, random.choice((0, 0, 0, 0.1, 1)) if odd < 0.3 else 0)
        if isinstance(value, list):
            return "[" + gap() + (gap() + "," + gap()).join(put(each) for each in value) + gap() + "]"
        if isinstance(value, dict):
            pairs = list(value.items())
            if pairs and odd < 0.04:
                again = random.choice(pairs)
                pairs.insert(random.randint(0, len(pairs)), (again[0], random.choice([again[1], *VALUES])))
            return (
                "{"
                + gap()
                + (gap() + "," + gap()).join(
                    text(key, random.choice((0, 0, 0.3)) if odd < 0.2 else 0) + gap() + ":" + gap() + put(inner)
                    for key, inner in pairs
                )
                + gap()
                + "}"
            )
        return json.dumps(value)

    return put(value)


def text(random: Random, rows: Sequence[Row], *, array: bool = False, faults: int = 2) -> bytes:
    """A .jsonl (or .json) file of these rows with about that many things wrong, in rows, writing or bytes."""
    made = list(rows)
    lines = []
    for each in made:
        value = each
        while faults and random.random() < min(0.5, faults / (2 * len(made) + 2)):
            value = spoil(random, value)
        plain = random.random() < 0.4
        line = json.dumps(value, ensure_ascii=random.random() < 0.5) if plain else written(random, value, breaks=array)
        lines.append(line.encode("utf-8", "surrogatepass"))
    if array:
        gap = random.choice((b"", b" ", b"\n", b"\r\n", b"\n  "))
        data = b"[" + gap + (b"," + gap).join(lines) + gap + b"]" + random.choice((b"", b"\n"))
    else:
        end = random.choice((b"\n", b"\n", b"\n", b"\r\n"))
        data = end.join(lines) + random.choice((b"", end, end, b"\n\n", b" \n"))
        if random.random() < 0.05:
            data = b"\xef\xbb\xbf" + data
    for _ in range(random.randint(0, faults)):
        data = bent(random, data)
    return data


def bent(random: Random, data: bytes) -> bytes:
    """One change to the bytes of a text, of the kinds that editors, exports and broken transfers make."""
    if not data:
        return random.choice(_BITS)
    at = random.randrange(len(data))
    to = min(len(data), at + random.choice((1, 1, 2, 5, 40)))
    kind = random.randrange(18)
    if kind == 0:
        return data[:at] + bytes([data[at] ^ 1 << random.randrange(8)]) + data[at + 1 :]
    if kind <= 4:
        return data[:at] + random.choice(_BITS) + data[at:]
    if kind == 5:
        return data[:at] + random.choice(_BITS) + data[to:]
    if kind == 6:
        return data[:at] + data[to:]
    if kind == 7:
        return data[:to] + data[at:]
    if kind == 8:
        return data[:at]
    if kind == 9:
        other = random.randrange(len(data))
        return data[:at] + data[other : other + 60] + data[at:]
    if kind == 10:
        pieces = data.split(b"\n")
        one, two = random.randrange(len(pieces)), random.randrange(len(pieces))
        pieces[one], pieces[two] = pieces[two], pieces[one]
        return b"\n".join(pieces)
    if kind == 11:
        old, new = random.choice(
            (
                (b'"', b"'"),
                (b"\n", b"\r"),
                (b"\n", b"\n\n"),
                (b'"role"', b'"r\\u006fle"'),
                (b": ", b":\t"),
                (b"\\n", b"\\u000a"),
            )
        )
        return data.replace(old, new, random.choice((1, -1)))
    if kind == 12:
        deep = random.choice((3, 50, 3000))
        return data[:at] + random.choice((b"[" * deep, b'{"a":' * deep, b"[" * deep + b"]" * deep)) + data[at:]
    other = data.find(b":", at) + 1
    return (
        data[:other] + random.choice((b"null", b'"x"', b"[]", b"{}", b"1", b"NaN", b'"\\u0000"')) + b"," + data[other:]
    )


def _again(random: Random, data: bytes, at: int) -> bytes:
    """One more key in an object, or the same once more, or one key less and another twice, however it is spelled."""
    member = re.compile(rb'"([a-z]+)"([ \t]*):([ \t]*)("(?:[^"\\]|\\.)*"|[\[{0-9])')
    found = member.search(data, at) or member.search(data)
    if not found:
        return data
    name, value = found[1], found[4] if found[4][:1] == b'"' else b"null"
    if random.random() < 0.3:
        name = random.choice(KEYS).encode()
    if random.random() < 0.3:
        cut = random.randrange(len(name))
        name = name[:cut] + b"\\u%04x" % name[cut] + name[cut + 1 :]
    before, behind = (random.choice((b"", b"", b" ", b"\t", b"  ")) for _ in range(2))
    more = (
        b'"'
        + name
        + b'"'
        + before
        + b":"
        + behind
        + random.choice((value, b'"x"', b'"\\":"', b"null", b"{}", b'[":"]'))
    )
    start, end = found.span()
    if random.random() < 0.3 and data[end - 1 : end] == b'"':  # in its place
        return data[:start] + more + data[end:]
    if random.random() < 0.5 and data[end - 1 : end] == b'"':  # behind it
        return data[:end] + b"," + before + more + data[end:]
    return data[:start] + more + b"," + data[start:]


def damage(random: Random, data: bytes) -> bytes:
    """Some changes to the bytes of a container, of which most readers notice only some."""
    for _ in range(random.randint(1, 3)):
        if not data:
            break
        at = random.choice(
            (random.randrange(len(data)), random.randrange(min(20, len(data))), -random.randint(1, min(40, len(data))))
        )
        at %= len(data)
        to = at + random.choice((1, 1, 4, 30, 400))
        kind = random.randrange(6)
        if kind == 0:
            data = data[:at] + bytes([data[at] ^ 1 << random.randrange(8)]) + data[at + 1 :]
        elif kind == 1:
            data = data[:at] + random.randbytes(random.choice((1, 4, 30))) + data[at:]
        elif kind == 2:
            data = data[:at] + data[to:]
        elif kind == 3:
            data = data[:to] + data[at:]
        elif kind == 4:
            data = data[:at]
        else:
            data = data[:at] + b"\0" * len(data[at:to]) + data[to:]
    return data


def gzipped(random: Random, data: bytes) -> bytes:
    """The same, compressed, in one member or several."""
    cut = random.randrange(len(data) + 1) if random.random() < 0.3 else 0
    parts = (data[:cut], data[cut:]) if cut else (data,)
    return b"".join(gzip.compress(part, random.choice((0, 1, 6)), mtime=0) for part in parts)


def frames(random: Random, data: bytes) -> bytes:
    """The same, compressed with zstd, in one frame or several."""
    import pyarrow as pa

    cut = random.randrange(len(data) + 1) if random.random() < 0.3 else 0
    parts = (data[:cut], data[cut:]) if cut else (data,)
    return b"".join(pa.Codec("zstd").compress(part, asbytes=True) for part in parts)


# Tables


def csv_file(random: Random, rows: Sequence[Row], faults: int = 2) -> bytes:
    """A .csv of rows whose values are texts, with about that many things wrong."""
    names = list(dict.fromkeys(key for each in rows for key in each))
    out = io.StringIO(newline="")
    end = random.choice(("\n", "\r\n"))
    all_quoted = csv.writer(out, quoting=csv.QUOTE_ALL, lineterminator=end)
    writer = all_quoted if random.random() < 0.5 else csv.writer(out, lineterminator=end)
    writer.writerow(names)
    for each in rows:
        cells = [each.get(name, "") for name in names]
        if random.random() < min(0.5, faults / (2 * len(rows) + 2)):
            cells[random.randrange(len(cells))] = random.choice(TEXTS)
        if random.random() < faults / (4 * len(rows) + 4):
            cells = random.choice((cells[:-1], [*cells, "x"], cells[::-1]))
        writer.writerow(cells)
    data = out.getvalue().encode("utf-8", "surrogatepass")
    for _ in range(random.randint(0, faults)):
        data = bent(random, data)
    return data


def parquet(random: Random, rows: Sequence[Row], faults: int = 2) -> bytes:
    """A .parquet of these rows, in one of the types and layouts that writers choose, with about that many wrong."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    made: list[Row] = []
    for each in rows:
        value = each
        while faults and random.random() < min(0.5, faults / (2 * len(rows) + 2)):
            value = spoil(random, value)
        made.append(value)
    flat = [{k: v if isinstance(v, str) else json.dumps(v) for k, v in each.items()} for each in rows]
    table = None
    for choice in (made, rows, flat):  # Arrow has no type for some of what was changed
        try:
            table = pa.Table.from_pylist(choice, schema=_schema(pa, choice))
            pq.write_table(table.slice(0, 1), io.BytesIO())  # Parquet has no empty structs
            break
        except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError, TypeError, UnicodeEncodeError):
            continue
    assert table is not None
    for at, name in enumerate(table.column_names):
        column = table.column(at)
        if column.type != pa.string():
            continue
        if random.random() < 0.2:
            table = table.set_column(at, name, column.cast(pa.large_string()))
        elif random.random() < 0.2:
            table = table.set_column(at, name, column.dictionary_encode())
    if random.random() < 0.1:
        table = table.append_column("extra", pa.array(range(table.num_rows)))
    if random.random() < 0.05 and table.num_columns > 1:
        table = table.remove_column(random.randrange(table.num_columns))
    out = io.BytesIO()
    pq.write_table(
        table,
        out,
        row_group_size=random.choice((1, 3, 1000)),
        compression=random.choice(("snappy", "none", "gzip", "zstd")),
        use_dictionary=random.random() < 0.5,
        data_page_version=random.choice(("1.0", "2.0")),
    )
    return out.getvalue()


def _schema(pa: Any, rows: Sequence[Row]) -> Any:
    names = list(dict.fromkeys(key for each in rows for key in each))
    columns = {name: pa.array([each.get(name) for each in rows]) for name in names}
    return pa.schema([(name, column.type) for name, column in columns.items()])
