"""How a file begins: whether it is of the kind that its name says, and in what form its rows are written.

Only the first bytes are looked at, so that a file of any size costs the same, and so that each process that reads a
piece of it comes to the same answer. A file of another kind is told in one sentence with what to do, instead of a
fault for each of its lines. Used by `unpacking`, `preparing/scan.py` and `preparing/parallel.py`.
"""

from __future__ import annotations

import json
import re
import shlex
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

from shared.dataset.kinds import Form, form_of, packing_of, renamed
from shared.dataset.reading.files import BOM, UTF16, FileFault

HEAD = 64 * 1024
"""Bytes that are looked at."""
NOT: dict[Form, str] = {
    ".jsonl": "not_json_lines",
    ".json": "not_json_array",
    ".csv": "not_csv",
    ".parquet": "not_parquet",
}
"""The rule that a file breaks whose content is not what its name says."""
GZIP, ZSTD, PARQUET = b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"PAR1"

_SPACE = b" \t\r\n"
_ARRAY = re.compile(rb"\[\s*(?:\{(?!\s*')|\]?\s*$)")  # of objects, or empty
_WORKBOOK = "it is an Excel workbook: save the sheet as CSV UTF-8 (.csv)"
_PACKED = "it is packed in a way that is not read: unpack it, and upload what is in it, or pack it with gzip"
_OBJECTS = "it holds a program's objects: write the rows as JSON Lines (.jsonl) or Parquet"
_MAGIC = (
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", _WORKBOOK),
    (b"SQLite format 3\0", "it is an SQLite database: export the table as .csv or .jsonl"),
    (b"%PDF-", "it is a PDF document: write its questions and answers as rows of a .jsonl file"),
    (b"{\\rtf", "it is a document (RTF): save it as plain text, one JSON object a line"),
    (b"BZh", _PACKED),
    (b"\xfd7zXZ\0", _PACKED),
    (b"7z\xbc\xaf\x27\x1c", _PACKED),
    (b"Rar!\x1a\x07", _PACKED),
    (b"\x04\x22\x4d\x18", _PACKED),
    (b"\xff\x06\0\0sNaPpY", _PACKED),
    (b"\x93NUMPY", _OBJECTS),
    (b"\x89HDF\r\n", _OBJECTS),
    (b"Obj\x01", "it is Avro, which is not read: write the rows as JSON Lines (.jsonl) or Parquet"),
    (b"ORC\x03", "it is ORC, which is not read: write the rows as JSON Lines (.jsonl) or Parquet"),
    (b"\x89PNG\r\n", "it is an image"),
    (b"\xff\xd8\xff", "it is an image"),
    (b"HTTP/1.", "it begins with the headers of a server's answer: download the file without them"),
    (b"HTTP/2", "it begins with the headers of a server's answer: download the file without them"),
    (
        b"version https://git-lfs.github.com/spec/",
        "it is a Git LFS pointer and not the file itself: run `git lfs pull`, and upload what it brings",
    ),
    (b"/annex/objects/", "it is a git-annex pointer and not the file itself: run `git annex get`"),
)
_ARROW = (
    'it is an Arrow file: write it as Parquet (with the library datasets: load_from_disk("FOLDER").to_parquet('
    '"train.parquet"))'
)
COLUMN_NAMES = frozenset(
    [
        *(
            "messages",
            "conversations",
            "conversation",
            "instruction",
            "input",
            "output",
            "prompt",
            "completion",
            "text",
        ),
        *("response", "question", "answer", "query", "context", "system", "system_prompt", "history"),
    ]
)
"""Names of columns that show a line to be a header."""


@dataclass(frozen=True, kw_only=True)
class Written:
    """How the rows of a text file are written, whatever its name says.

    `returns`: its lines end in carriage returns alone.
    """

    form: Form
    returns: bool = False


def peeked(chunks: Iterable[bytes]) -> tuple[bytes, Iterator[bytes]]:
    """The first HEAD bytes (all, of a shorter file), and the same chunks from the beginning."""
    rest = iter(chunks)
    held: list[bytes] = []
    size = 0
    fault: FileFault | None = None
    try:
        while size < HEAD and (chunk := next(rest, None)) is not None:
            held.append(chunk)
            size += len(chunk)
    except FileFault as error:  # it comes behind the bytes that came before it
        fault = error
    return b"".join(held)[:HEAD], _again(held, rest, fault)


def _again(held: list[bytes], rest: Iterator[bytes], fault: FileFault | None) -> Iterator[bytes]:
    yield from held
    held.clear()
    if fault is not None:
        raise fault
    yield from rest


def written(name: str, head: bytes) -> Written:
    """How the rows of a text file are written that begins with `head`, unpacked.

    Raises FileFault, of the rule for files of that name, for one that is of another kind or broken as a whole. A file
    of JSON Lines with one good line among the first ones is none: what else is wrong with it is told by lines.
    """
    form = form_of(name) or ".jsonl"
    data = head.removeprefix(BOM)
    text = data.lstrip(_SPACE)
    lines = [line for each in re.split(rb"[\r\n]+", text) if (line := each.strip(_SPACE))]
    if len(head) >= HEAD:  # the last one may go on
        lines = lines[:-1]
    returns = form != ".csv" and b"\r" in data and b"\n" not in data  # the reader of tables knows all ends of lines
    if form == ".jsonl" and _ARRAY.match(text) and _is_array(text, lines):
        return Written(form=".json", returns=returns)
    if form == ".jsonl" or (form == ".json" and text.startswith(b"{") and len(lines) > 1):
        looked_at = lines if form == ".jsonl" else lines[:1]
        if any(line.startswith(b"{") and isinstance(_value(line), dict) for line in looked_at):
            return Written(form=".jsonl", returns=returns)
    what = foreign(name, head) or (_of_table if form == ".csv" else _of_json)(name, text, lines)
    if what:
        raise FileFault(NOT[form], what)
    return Written(form=form, returns=returns)


def _is_array(text: bytes, lines: list[bytes]) -> bool:
    """Whether a text that begins with a bracket is one array, and not rows that are lists, or a row that is broken."""
    if len(lines) > 2 and lines[2].startswith(b"{") and isinstance(_value(lines[1]), dict):
        return False
    if not lines or lines[0].endswith((b",", b"[", b"{")):
        return True
    return len(lines) == 1 and (len(text) > len(lines[0]) + HEAD // 2 or len(text.strip(_SPACE)) == len(lines[0]))


def _of_table(name: str, text: bytes, lines: list[bytes]) -> str:
    """What is wrong as a whole with a text that should be a table of cells, and what to do; "" where nothing is."""
    if text.startswith((b'{"', b"[{")) or (lines and lines[0] in (b"[", b"{")):
        kind, ending = ("a JSON array", ".json") if text[:1] == b"[" else ("JSON Lines", ".jsonl")
        return f"it is {kind}: rename it to {_as(name, ending)}"
    return ""


def _of_json(name: str, text: bytes, lines: list[bytes]) -> str:
    """What is wrong as a whole with a text that should hold JSON, and what to do; "" where nothing is."""
    if text.startswith(b"<"):
        return "it is XML or HTML and not JSON: look at what was downloaded"
    if re.match(rb"\[?\s*\{\s*'", text) and all(re.match(rb"[\[\]]|\{\s*'", line) for line in lines):
        return (
            "it is written as Python shows its objects, with single quotes: write each row with json.dumps(row), "
            "one a line"
        )
    if text.startswith(b"{") and form_of(name) == ".jsonl" and len(lines) > 1 and _spread(text, lines):
        own = shlex.quote(name.rpartition("/")[2])
        return (
            "an object is spread over several lines: write each on a line of its own (jq -c . "
            f"{own} > lines && mv lines {own} does it)"
        )
    if text[:1] not in (b"{", b"[") and lines:
        first = re.split(rb"[,;\t]", lines[0])
        named = COLUMN_NAMES.intersection(cell.strip(b' "').decode(errors="replace").lower() for cell in first)
        if (len(first) > 1 and len(named) > 1) or re.fullmatch(rb'"?sep=."?', lines[0]):
            return f"it is a table of cells (CSV): rename it to {_as(name, '.csv')}"
    return ""


def _spread(text: bytes, lines: list[bytes]) -> bool:
    """Whether the first object ends on another line than it begins on; no line is one."""
    try:
        _, end = json.JSONDecoder().raw_decode(text.decode(errors="replace"))
    except (ValueError, RecursionError):
        return lines[0] == b"{" and lines[1].startswith(b'"') and len(text) > HEAD - 16
    return b"\n" in text[:end] or b"\r" in text[:end]


def _value(line: bytes) -> Any:
    try:
        return json.loads(line.decode())  # of bytes it would guess an encoding
    except (ValueError, RecursionError):
        return None


def foreign(name: str, head: bytes) -> str:
    """What a file is that begins so, and what to do, if it is of a kind that can't be what its name says."""
    if what := next((what for magic, what in _MAGIC if head.startswith(magic)), ""):
        return what
    if head.startswith(GZIP):
        return _of_gzip(name, head)
    if head.startswith(ZSTD):
        return f"it is packed with zstd: rename it to {_packed(name, '.zst', form_of(name) or '.jsonl')}"
    if head.startswith(PARQUET):
        return "" if form_of(name) == ".parquet" else f"it is Parquet: rename it to {_as(name, '.parquet')}"
    if head.startswith(b"PK\x03\x04"):
        if b"xl/" in head or b"[Content_Types]" in head or form_of(name) == ".csv":
            return f"{_WORKBOOK}; if it is a zip archive, unpack it" if b"xl/" not in head else _WORKBOOK
        return "it is a zip archive: unpack it, and upload the files in it"
    if head.startswith((b"ARROW1\0\0", b"\xff\xff\xff\xff")):
        return _ARROW
    if re.match(rb"\x80[\x02-\x05][\x95\]}]", head):
        return _OBJECTS
    if head[257:262] == b"ustar":
        return "it is a tar archive: unpack it, and upload the files in it"
    if encoding := _wide(head):
        return f"it is {encoding}: save it as UTF-8 (PowerShell's > writes UTF-16)"
    if len(head) > 1 and not head.strip(b"\0"):
        return "it holds nothing but zeros: its copy or download broke off"
    begins = head.removeprefix(BOM).lstrip(_SPACE)[:256].lower()
    if re.match(rb"<!doctype html|<html|<head|<body", begins):
        return "it is an HTML page, of an error or a login perhaps: download the file itself"
    if begins.startswith(b"<?xml"):
        return "it is XML, the answer of a server perhaps: look at what was downloaded"
    return ""


def _of_gzip(name: str, head: bytes) -> str:
    try:
        inner = zlib.decompressobj(wbits=31).decompress(head, 1024)
    except zlib.error:
        inner = b""
    if inner[257:262] == b"ustar":
        return "it is an archive (.tar.gz): unpack it, and upload the files in it"
    if packing_of(name) == ".gz":
        return "it is packed with gzip twice: unpack it once"
    begins = inner.lstrip(_SPACE)
    form: Form = ".parquet" if inner.startswith(PARQUET) else form_of(name) or ".jsonl"
    if form == ".parquet" and begins[:1] in (b"{", b"["):
        form = ".jsonl"
    return f"it is packed with gzip: rename it to {_packed(name, '.gz', form)}"


def _packed(name: str, packing: str, form: Form) -> str:
    own = name[len(renamed(name, "")) :].removesuffix(packing_of(name))
    return renamed(name, (own if form == form_of(name) else form) + packing)


def _as(name: str, ending: str) -> str:
    """The name for a file of another kind, packed as it is."""
    return renamed(name, ending + packing_of(name)).rpartition("/")[2]


def _wide(head: bytes) -> Literal["", "UTF-16", "UTF-32"]:
    """The encoding of text in units of more than a byte, by its mark or by the zeros in it."""
    if b"\0" not in head:
        return ""
    if head.startswith((b"\xff\xfe\0\0", b"\0\0\xfe\xff")):
        return "UTF-32"
    if head.startswith(UTF16):
        return "UTF-16"
    sample = head[:256]
    zeros = [sample[at::4].count(0) * 4 / len(sample) if sample else 0.0 for at in range(4)]
    if len(sample) < 8 or not any(zeros):
        return ""
    if sum(each > 0.9 for each in zeros) == 3 and min(zeros) < 0.1:
        return "UTF-32"
    odd, even = min(zeros[1], zeros[3]), min(zeros[0], zeros[2])
    return (
        "UTF-16"
        if (odd > 0.6 and max(zeros[0], zeros[2]) < 0.2) or (even > 0.6 and max(zeros[1], zeros[3]) < 0.2)
        else ""
    )


def plain_ends(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """The same text with a line feed in place of each carriage return that stands alone: no byte moves."""
    held = b""
    for chunk in chunks:
        data = held + chunk
        held = b"\r" if data.endswith(b"\r") else b""  # half of a line's end, perhaps
        yield re.sub(rb"\r(?!\n)", b"\n", data[: len(data) - len(held)])
    if held:
        yield b"\n"
