"""Files made to take a reader long, or to fill its memory: families of them, each of any size.

A family writes about `size` bytes as its reader sees them: of gzip, and of parquet that is packed, the unpacked ones
where a family is named `unpacked`. Nothing is drawn by chance, so a family's file is the same on every machine. Read by
`hostile_readers`, and by the tests that hold the readers to it.
"""

from __future__ import annotations

import gzip
import io
import itertools
import json
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO

MIB = 1024 * 1024
ROW = b'{"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]}\n'
HEADER = b"prompt,completion\nHi,Hello\n"
_NUMBERS = "0123456789abcdef"

type Maker = Callable[[BinaryIO, int], None]


@dataclass(frozen=True, kw_only=True)
class Family:
    """Files of one kind. `kind`: the ending of their names. `make` writes one of about `size` bytes."""

    kind: str
    make: Maker


FAMILIES: dict[str, Family] = {}


def _add(name: str, make: Maker) -> None:
    FAMILIES[name] = Family(kind="." + name.split(":", maxsplit=1)[0], make=make)


def _fill(file: BinaryIO, unit: bytes, size: int) -> None:
    """`unit` over and over in about `size` bytes: whole, but for one that is larger than a file may be."""
    block = unit * max(1, MIB // len(unit))
    left = size if len(unit) > 2 * MIB else size // len(unit) * len(unit)
    while left > 0:
        file.write(block[:left])
        left -= len(block)


def _repeat(unit: bytes, *, head: bytes = b"", tail: bytes = b"") -> Maker:
    """A file that is one unit over and over between a head and a tail."""

    def make(file: BinaryIO, size: int) -> None:
        file.write(head)
        _fill(file, unit, size)
        file.write(tail)

    return make


def _packed(unit: bytes, level: int = 6) -> Maker:
    """The same, as one member of gzip; `size` counts what it unpacks to."""

    def make(file: BinaryIO, size: int) -> None:
        with gzip.GzipFile(fileobj=file, mode="wb", compresslevel=level, mtime=0) as packed:
            _fill(packed, unit, size)  # type: ignore[arg-type]

    return make


def _each(row: Callable[[int], bytes]) -> Maker:
    """A file of rows that are all different."""

    def make(file: BinaryIO, size: int) -> None:
        for at in itertools.count():
            data = row(at)
            size -= len(data)
            if size < 0:
                return
            file.write(data)

    return make


def _user(content: bytes) -> bytes:
    return ROW.replace(b"Hi", content)


# JSON Lines -----------------------------------------------------------------------------------------------------------

_HALF = MIB // 2  # of a row that is long, but not too long


def _shapes(file: BinaryIO, size: int) -> None:
    """Rows of nine key sets in turn: no decoder that was made for rows like the last one fits the next."""
    rows = [ROW.replace(b"{", b'{"k%d": 1, ' % at, 1) for at in range(9)]
    _fill(file, b"".join(rows), size)


def _almost(file: BinaryIO, size: int) -> None:
    """Eight shapes are learned, then come rows that each of them takes until their last byte."""
    for at in range(8):
        file.write(ROW.replace(b"{", b'{"k%d": 1, ' % at, 1))
    _fill(file, ROW.replace(b"Hi", b"x" * 20000).replace(b"}]}", b'}], "z": [0]}'), size)


def _lines(unit: bytes, count: int, *, head: bytes = b"", tail: bytes = b"") -> bytes:
    return head + unit * count + tail + b"\n"


def _wide(at: int) -> bytes:
    keys = ", ".join(f'"k{at}x{key}": 0' for key in range(10000))
    return b"{" + keys.encode() + b"}\n"


def _talk(at: int) -> bytes:
    turns = '{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}'
    return f'{{"messages": [{", ".join([turns] * (500 + at % 7))}]}}\n'.encode()


for _name, _unit in {
    "blank lines": b"\n",
    "lines of one digit": b"1\n",
    "empty objects": b"{}\n",
    "lines of spaces": b" " * 99 + b"\n",
    "good rows, all the same": ROW,
    "bare CR": ROW[:-1] + b"\r",
    "NULs": b"\0" * 999 + b"\n",
    "not UTF-8": ROW.replace(b"Hi", b"\xff\xfe"),
    "half surrogates": _user(rb"\ud800" * 1000),
    "a half surrogate behind good ones": _user(rb"\ud83d\ude00" * 1000 + rb"\ud800"),
    "escapes": _user(rb"\u0041" * 1000),
    "backslashes": _user(rb"\\" * 3000),
    "colons behind quotes": _user(b'\\":' * 2000),
    "control characters": _user(b"\x7f" * 1000),
    "long numbers": _lines(b"7", _HALF, head=b'{"messages": ', tail=b"}"),
    "numbers that are hard to round": _lines(b"0", _HALF, head=b'{"messages": 9007199254740993.', tail=b"1}"),
    "small numbers of many digits": _lines(b"0", _HALF, head=b'{"messages": 0.', tail=b"1}"),
    "long exponents": _lines(b"9", _HALF, head=b'{"messages": 1e', tail=b"}"),
    "brackets that never close": _lines(b"[", 2000),
    "deep rows": _lines(b"[", 900, tail=b"]" * 900),
    "deep messages": _lines(b'{"a":', 400, head=b'{"messages": ', tail=b"0" + b"}" * 401),
    "rows of a megabyte": _user(b"x" * (MIB - len(ROW))),
    "messages that are lists": _lines(b"[],", MIB // 3, head=b'{"messages": [', tail=b"[]]}"),
    "messages that are objects": _lines(b'{"a":{}},', MIB // 9, head=b'{"messages": [', tail=b"{}]}"),
    "blank messages": _user(b" " * 5000),
    "a role that is an object": ROW.replace(b'"user"', b'{"a":' * 300 + b"0" + b"}" * 300),
    "a role of many keys": ROW.replace(
        b'"user"', b"{" + b",".join(b'"%d":0' % at for at in range(20000, 0, -1)) + b"}"
    ),
    "messages in a text": json.dumps({"messages": ROW.decode()[13:-2] * 1}).encode() + b"\n",
    "a text in a text": json.dumps({"messages": json.dumps(json.dumps("\\" * 5000))}).encode() + b"\n",
    "a history": json.dumps({"instruction": "a", "output": "b", "history": [["a", "b"]] * 9000}).encode() + b"\n",
    "a key twice, at the end": b'{"z": 0, ' + b", ".join(b'"k%d": 0' % at for at in range(9000)) + b', "z": 1}\n',
    "many empty keys": b"{" + b'"": 0, ' * 9000 + b'"": 0}\n',
}.items():
    _add(f"jsonl: {_name}", _repeat(_unit))
_add("jsonl: keys that are all different", _each(_wide))
_add("jsonl: shapes in turn", _shapes)
_add("jsonl: rows that fit to the last byte", _almost)
_add("jsonl: good rows, all different", _each(lambda at: _user(b"%d" % at)))
_add("jsonl: long conversations", _each(_talk))
_add("jsonl: one line", _repeat(b"x"))
_add("jsonl: one line of quotes", _repeat(b'"'))
_add("jsonl: one line of brackets", _repeat(b"["))
_add("jsonl: one row with one text", _repeat(b"x", head=ROW[:43], tail=ROW[44:]))
_add("jsonl: rows over the limit", _repeat(b"x" * (9 * MIB // 2) + b"y" * (9 * MIB // 2) + b"\n"))

# JSON arrays ----------------------------------------------------------------------------------------------------------

for _name, _unit in {
    "numbers of one digit": b"1,",
    "empty objects": b"{},",
    "empty objects, a line each": b"{}\n,\n",
    "spaces": b" ",
    "line breaks": b"\n",
    "commas": b",",
    "good rows": ROW[:-1] + b",",
    "texts of doubled backslashes": b'"' + rb"\\" * 499_990 + b'",',
    "texts of quotes": b'"' + rb"\"" * 499_990 + b'",',
    "texts of commas": b'"' + b"," * 999_990 + b'",',
    "texts of brackets": b'"' + b"[" * 999_990 + b'",',
    "numbers of a megabyte": b"7" * 999_990 + b",",
    "words of a megabyte": b"t" * 999_990 + b",",
    "lists in lists": b"[" * 900 + b"]" * 900 + b",",
    "lists of texts of quotes": b"[" + b'"\\"",' * 999 + b"0],",
    "rows with line breaks": ROW.replace(b" ", b"\n")[:-1] + b",",
}.items():
    _add(f"json: {_name}", _repeat(_unit, head=b"[", tail=b"0]"))
_add("json: one text of quotes", _repeat(rb"\"", head=b'["', tail=b'"]'))
_add("json: one text of backslashes", _repeat(rb"\\", head=b'["', tail=b'"]'))
_add("json: one text", _repeat(b"x", head=b'["', tail=b'"]'))
_add("json: one number", _repeat(b"7", head=b"[", tail=b"]"))
_add("json: one list of commas", _repeat(b"0,", head=b"[[", tail=b"0]]"))
_add("json: brackets that never close", _repeat(b"["))
_add("json: brackets that close too often", _repeat(b"]", head=b"["))
_add("json: spaces before the array", _repeat(b" ", tail=b"[]"))
_add("json: a text that never closes", _repeat(b"\\", head=b'["'))

# CSV ------------------------------------------------------------------------------------------------------------------

for _name, _unit in {
    "line breaks": b"\n",
    "bare CR": b"a,b\r",
    "CRs alone": b"\r",
    "NULs": b"\0,\0\n",
    "commas": b"," * 999 + b"\n",
    "quotes": b'""""\n',
    "doubled quotes in cells": b'"' + b'""' * 500 + b'",b\n',
    "doubled quotes in bare cells": b'a""' * 500 + b",b\n",
    "cells of many lines": b'"' + b"a\n" * 500 + b'",b\n',
    "cells of quotes and line breaks": b'"' + b'""\n' * 500 + b'",b\n',
    "short rows": b"a\n",
    "good rows": b"How are you?,Fine\n",
    "not UTF-8": b"\xff,b\n",
    "not UTF-8, in long cells": b"\xff" * 99999 + b",b\n",
    "cells of a megabyte": b"x" * MIB + b",b\n",
    "a quoted cell of a megabyte": b'"' + b'""' * (MIB // 2) + b'",b\n',
    "rows over the limit": b"x" * (9 * MIB) + b"\n",
    "messages in cells": b'a,"[' + b'{""a"": 1}, ' * 99 + b'0]"\n',
}.items():
    _add(f"csv: {_name}", _repeat(_unit, head=HEADER))
_add("csv: one cell of doubled quotes", _repeat(b'""', head=HEADER + b'a,"', tail=b'"\n'))
_add("csv: one bare cell of doubled quotes", _repeat(b'""', head=HEADER + b"a,b", tail=b"\n"))
_add("csv: one cell of quotes and line breaks", _repeat(b'""\n', head=HEADER + b'a,"', tail=b'"\n'))
_add("csv: one cell of line breaks", _repeat(b"\n", head=HEADER + b'a,"', tail=b'"\n'))
_add("csv: one cell of CRs", _repeat(b"\r", head=HEADER + b'a,"', tail=b'"\n'))
_add("csv: one cell", _repeat(b"x", head=HEADER + b"a,", tail=b"\n"))
_add("csv: one row of commas", _repeat(b",", head=HEADER, tail=b"\n"))
_add("csv: one row of quoted cells", _repeat(b'"",', head=HEADER, tail=b"\n"))
_add("csv: one row, then bare CR", _repeat(b"a,b\r", head=HEADER + b"x" * (9 * MIB) + b"\r"))
_add("csv: a quote that never closes", _repeat(b'x,"",y\n', head=HEADER + b'"'))
_add("csv: a header of commas", _repeat(b","))
_add("csv: a header of quotes", _repeat(b'"'))
_add("csv: a header of doubled quotes", _repeat(b'""', head=b'"', tail=b'"\n'))
_add("csv: line breaks before the header", _repeat(b"\n", tail=HEADER))


def _columns(file: BinaryIO, size: int) -> None:
    """A header of 100,000 columns, and rows with all of them."""
    header = ",".join(f"c{at}" for at in range(100_000)).encode() + b"\n"
    file.write(header)
    _fill(file, b"," * 99_999 + b"\n", size - len(header))


def _all_header(file: BinaryIO, size: int) -> None:
    """A header of as many columns as the size allows, each with another name."""
    _each(lambda at: b"%x," % at)(file, size)
    file.write(b"end\n")


_add("csv: 100,000 columns", _columns)
_add("csv: a header of different names", _all_header)

# gzip -----------------------------------------------------------------------------------------------------------------


def _members(content: Callable[[int], bytes], *, between: bytes = b"", unpacked: bool = False) -> Maker:
    """Members of gzip with `content`, one after the other; `size` counts stored bytes, or what they unpack to."""

    def make(file: BinaryIO, size: int) -> None:
        last, member = None, b""
        for at in itertools.count():
            data = content(at)
            if data != last:
                last, member = data, gzip.compress(data, 6, mtime=0) + between
            size -= len(data) if unpacked else len(member)
            if size < 0:
                return
            file.write(member)

    return make


def _flushed(file: BinaryIO, size: int) -> None:
    """Blocks of nothing: what a writer leaves that flushes without having written."""
    packer = zlib.compressobj(wbits=31)
    file.write(packer.compress(ROW))
    flush = packer.flush(zlib.Z_SYNC_FLUSH)
    file.write(flush)
    _fill(file, b"\0\0\0\xff\xff", size)
    file.write(packer.flush())


def _text(at: int) -> bytes:
    """A good row of text that packs about as well as text does."""
    return _user(b" ".join(b"%x" % (at * 7919 * word % 65521) for word in range(1, 60)))


_add("jsonl.gz: good rows, unpacked", _packed(ROW, 1))
_add("jsonl.gz: line breaks, unpacked", _packed(b"\n"))
_add("jsonl.gz: one line, unpacked", _packed(b"x"))
_add("jsonl.gz: one bracket after the other, unpacked", _packed(b"["))
_add("jsonl.gz: members of a row", _members(lambda _: ROW))
_add("jsonl.gz: members of a row, zeros between", _members(lambda _: ROW, between=b"\0"))
_add("jsonl.gz: members of nothing", _members(lambda _: b""))
_add("jsonl.gz: members of nothing, zeros between", _members(lambda _: b"", between=b"\0\0\0"))
_add("jsonl.gz: members of half a row", _members(lambda at: ROW[:40] if at % 2 else ROW[40:]))
_add("jsonl.gz: members of different rows", _members(_text))
_add("jsonl.gz: zeros behind the data", _repeat(b"\0", head=gzip.compress(ROW, mtime=0)))
_add("jsonl.gz: something behind the data", _repeat(b"x", head=gzip.compress(ROW, mtime=0)))
_add("jsonl.gz: empty blocks", _flushed)
_add("jsonl.gz: just below the ratio, unpacked", _members(lambda _: ROW + b"x" * 30000 + b"\n", unpacked=True))
_add("jsonl.gz: a bomb", _members(lambda _: b"x" * (4 * MIB)))
_add("jsonl.gz: a long name in the header", _repeat(b"n", head=b"\x1f\x8b\x08\x08" + b"\0" * 6))

# zstd -----------------------------------------------------------------------------------------------------------------

_ZST = b"\x28\xb5\x2f\xfd"
_WIDE = b"\x00\x88"  # of a frame's header: a window of 128 MiB, the widest that is unpacked


def _zst(data: bytes) -> bytes:
    import pyarrow as pa

    return bytes(pa.Codec("zstd").compress(data, asbytes=True))


def _frames(content: Callable[[int], bytes], *, between: bytes = b"", unpacked: bool = False) -> Maker:
    """Frames of zstd with `content`, one after the other; `size` counts stored bytes, or what they unpack to."""

    def make(file: BinaryIO, size: int) -> None:
        last, frame = None, b""
        for at in itertools.count():
            data = content(at)
            if data != last:
                last, frame = data, _zst(data) + between
            size -= len(data) if unpacked else len(frame)
            if size < 0:
                return
            file.write(frame)

    return make


def _blocks(head: bytes, block: bytes) -> Maker:
    """One frame of the same block over and over, which never ends."""
    return _repeat(block, head=_ZST + head)


_add("jsonl.zst: good rows, unpacked", _frames(lambda _: ROW * 5000, unpacked=True))
_add("jsonl.zst: line breaks, unpacked", _frames(lambda _: b"\n" * MIB, unpacked=True))
_add("jsonl.zst: frames of a row", _frames(lambda _: ROW))
_add("jsonl.zst: frames of nothing", _frames(lambda _: b""))
_add("jsonl.zst: frames to pass over", _frames(lambda _: b"", between=b"\x50\x2a\x4d\x18\0\0\0\0"))
_add("jsonl.zst: frames of half a row", _frames(lambda at: ROW[:40] if at % 2 else ROW[40:]))
_add("jsonl.zst: frames of different rows", _frames(_text))
_add("jsonl.zst: something behind the data", _repeat(b"x", head=_zst(ROW)))
_add("jsonl.zst: empty blocks", _blocks(_WIDE, b"\0\0\0"))
_add("jsonl.zst: blocks of one byte, repeated", _blocks(_WIDE, b"\x02\0\x10x"))
_add("jsonl.zst: just below the ratio, unpacked", _frames(lambda _: ROW + b"x" * 12000 + b"\n", unpacked=True))
_add("jsonl.zst: a bomb", _frames(lambda _: b"x" * (4 * MIB)))

# Parquet --------------------------------------------------------------------------------------------------------------


def _table(columns: Callable[[int], Mapping[str, Any]], **options: Any) -> Maker:
    """A parquet file of the columns that `columns` makes for a size."""

    def make(file: BinaryIO, size: int) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        out = io.BytesIO()
        pq.write_table(pa.table(dict(columns(size))), out, **({"store_schema": False} | options))
        file.write(out.getbuffer())

    return make


def _noise(size: int) -> bytes:
    """Bytes that hardly pack, the same each time."""
    from random import Random

    return Random(5).randbytes(size)


def _chats(size: int) -> dict[str, Any]:
    import pyarrow as pa

    text = _noise(MIB).hex()
    rows = [
        [
            {"role": "user", "content": text[at * 7919 % (2 * MIB - 500) :][:500]},
            {"role": "assistant", "content": text[at * 104729 % (2 * MIB - 500) :][:500]},
        ]
        for at in range(size // 1000)
    ]
    return {"messages": pa.array(rows)}


def _spelled(size: int) -> Iterator[str]:
    """Spellings of columns that a chat format reads, in capitals and small letters."""
    names = ("system_prompt", "conversations", "instructions", "conversation")
    for number in range(size):
        name, bits = names[number % 4], number // 4
        yield "".join(each.upper() if bits >> at & 1 else each for at, each in enumerate(name))


def _many_columns(size: int) -> dict[str, Any]:
    return {name: ["a"] for name in itertools.islice(_spelled(1 << 15), min(size // 600, 1 << 14))}


def _many_groups(file: BinaryIO, size: int) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.table({"prompt": ["a"], "completion": ["b"]})
    out = io.BytesIO()
    with pq.ParquetWriter(out, table.schema, store_schema=False, compression="none") as writer:
        while out.tell() < size * 2 // 5:
            writer.write_table(table)
    file.write(out.getbuffer())


def _wide_nulls(size: int) -> dict[str, Any]:
    import pyarrow as pa

    kind = pa.struct([(f"f{at}", pa.string()) for at in range(size // 1024)])
    return {"messages": pa.array([None] * 4000, kind)}


def _long_list(size: int) -> dict[str, Any]:
    """One row with a list of nulls, beside a text that makes up the size."""
    import pyarrow as pa

    values = pa.nulls(size * 4, pa.string())
    return {
        "messages": pa.ListArray.from_arrays(pa.array([0, len(values)], pa.int32()), values),
        "prompt": [_noise(size).hex()],
    }


def _one_page(size: int) -> dict[str, Any]:
    """Long texts that pack well, all on one page: each good for itself."""
    noise = _noise(MIB).hex()
    texts = [noise[: 2 * MIB * 60 // 64] + "x" * (5 * MIB) for at in range(max(1, size // MIB))]
    return {"prompt": texts, "completion": texts}


def _repeated(size: int) -> dict[str, Any]:
    import pyarrow as pa

    texts = pa.array([_noise(size // 2048 + 1).hex() for _ in range(1)])
    indices = pa.array([0] * 100_000, pa.int32())
    return {"prompt": pa.DictionaryArray.from_arrays(indices, texts), "completion": ["a"] * 100_000}


def _words(size: int) -> dict[str, Any]:
    import pyarrow as pa

    words = pa.array([f"{at:06x}" for at in range(size // 24)])
    indices = pa.array(list(range(size // 24)), pa.int32())
    return {"prompt": pa.DictionaryArray.from_arrays(indices, words), "completion": ["a"] * (size // 24)}


def _metadata(file: BinaryIO, size: int) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = pa.schema(
        {"prompt": pa.string(), "completion": pa.string()}, {b"k%d" % at: b"v" * 20 for at in range(size // 36)}
    )
    out = io.BytesIO()
    pq.write_table(pa.table({"prompt": ["a"], "completion": ["b"]}, schema=schema), out, store_schema=False)
    file.write(out.getbuffer())


def _bad_texts(size: int) -> dict[str, Any]:
    import pyarrow as pa

    bad = pa.array([b"caf\xe9 %d" % at for at in range(size // 20)], pa.binary()).view(pa.utf8())
    return {"prompt": bad, "completion": ["a"] * (size // 20)}


_add("parquet: conversations", _table(_chats, compression="none"))
_add(
    "parquet: conversations, one page", _table(_chats, compression="none", use_dictionary=False, data_page_size=1 << 30)
)
_add("parquet: conversations, tiny pages", _table(_chats, compression="none", data_page_size=1, write_batch_size=1))
_add("parquet: many columns", _table(_many_columns, compression="none"))
_add("parquet: many row groups", _many_groups)
_add("parquet: a struct of many nulls", _table(_wide_nulls))
_add("parquet: one row of nulls", _table(_long_list, compression="none", use_dictionary=False))
_add(
    "parquet: one page of long texts",
    _table(_one_page, compression="zstd", use_dictionary=False, data_page_size=1 << 30),
)
_add("parquet: one text that is repeated", _table(_repeated))
_add(
    "parquet: dictionaries that repeat nothing",  # in one row group: a second would have all the words once more
    _table(_words, compression="none", store_schema=True, row_group_size=1 << 30),
)
_add("parquet: much metadata", _metadata)
_add("parquet: texts that are not UTF-8", _table(_bad_texts, compression="none"))
