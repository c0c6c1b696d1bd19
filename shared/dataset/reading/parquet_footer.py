"""What a parquet file's footer and page headers say: row groups, where their columns lie, how large they say they are.

pyarrow ends the process, with no exception to catch, where it is asked for the metadata of a column whose footer
contradicts itself. So they are read here, from thrift's compact protocol, and before pyarrow sees them: it would take
gigabytes to hold a footer that was made for it. Used by `parquet`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from shared.dataset.reading.files import MIB, FileFault, size_text

DICTIONARY_PAGE = 2

_HELD = 256 * MIB  # the most that pyarrow may need to hold a footer
_DEEP = 32  # structs in structs; there are at most 7 in what the format knows
_CODECS = ("uncompressed", "snappy", "gzip", "lzo", "brotli", "lz4", "zstd", "lz4_raw")

# Types of thrift's compact protocol.
_BOOLS = (1, 2)
_VARINTS = (4, 5, 6)
_I32, _I64, _BINARY, _LIST, _STRUCT = 5, 6, 8, 9, 12
_WIDTHS = {3: 1, 7: 8}  # a byte, a double


@dataclass(frozen=True, slots=True)
class Column:
    """A column in a row group. `unpacked` and `stored` in bytes; `start` is where its first page lies in the file."""

    codec: str
    values: int
    unpacked: int
    stored: int
    start: int


@dataclass(frozen=True, slots=True)
class Group:
    """A row group, with all of the file's leaf columns in their order."""

    rows: int
    columns: tuple[Column, ...]


@dataclass(frozen=True, slots=True)
class Page:
    """The header of a page. `unpacked` and `stored` are the page's bytes without its header, which has `header`.

    `values`: how many it has, of a page with data.
    """

    kind: int
    unpacked: int
    stored: int
    header: int
    values: int = 0


class CutOffError(ValueError):
    """What should be a page's header ends too early to be one: there may be more of it."""


def read_footer(data: bytes, size: int) -> list[Group]:
    """The row groups of a file of `size` bytes whose footer (without its length and the magic) is `data`.

    Takes time in proportion to the footer. Raises FileFault not_parquet where it is damaged, encrypted, or says what
    can't be: sizes below zero, columns beyond the file's end.
    """
    found: dict[int, Any]
    try:
        found, _ = _Compact(data).struct(0, _FOOTER)
        if 8 in found:
            raise FileFault("not_parquet", "it is encrypted")
        groups: list[Group] = found[4]
    except (IndexError, KeyError, _Damaged) as error:
        raise FileFault("not_parquet", f"its footer can't be read: {_told(error)}") from None
    stored = 0
    for at, group in enumerate(groups):
        for each in group.columns:
            stored += each.stored
            if each.start + each.stored > size or stored > size:
                raise FileFault("not_parquet", f"its footer puts a column of row group {at} outside of the file")
    return groups


def read_page(data: bytes) -> Page:
    """The page header with which `data` begins. Raises ValueError where there is none."""
    try:
        found, end = _Compact(data).struct(0, _PAGE)
        values = sum(_natural(found.get(number, {}).get(1, 0)) for number in (5, 8))
        return Page(kind=found[1], unpacked=_natural(found[2]), stored=_natural(found[3]), header=end, values=values)
    except IndexError as error:
        raise CutOffError(f"its header can't be read: {_told(error)}") from None
    except (KeyError, _Damaged) as error:
        raise ValueError(f"its header can't be read: {_told(error)}") from None


class _Damaged(Exception):
    """It is not what the format knows, in words."""


def _told(error: IndexError | KeyError | _Damaged) -> str:
    match error:
        case KeyError():
            return f"field {error} is missing"
        case IndexError():
            return "it is cut off"
    return str(error)


def _natural(number: int) -> int:
    if number < 0:
        raise _Damaged(f"a size or a count is {number}")
    return number


def _column(chunk: dict[int, Any]) -> Column:
    if 8 in chunk:
        raise FileFault("not_parquet", "it is encrypted")
    found = chunk[3]
    start = found[9]
    if found.get(11):  # some writers leave it at 0
        start = min(start, found[11])
    codec = found[4]
    return Column(
        codec=_CODECS[codec] if 0 <= codec < len(_CODECS) else "unknown",
        values=_natural(found[5]),
        unpacked=_natural(found[6]),
        stored=_natural(found[7]),
        start=_natural(start),
    )


def _group(found: dict[int, Any]) -> Group:
    return Group(rows=_natural(found[3]), columns=tuple(found[1]))


@dataclass(frozen=True)
class _Shape:
    """A struct: the fields that matter, what to make of it (nothing: it is only passed over), what it costs to hold."""

    fields: Mapping[int, _Field]
    make: Callable[[dict[int, Any]], Any] | None = None
    cost: int = 100


type _Field = tuple[int, int, _Shape]
"""A field's type and, in a list, its values' type (0: no list); another type than this is not seen by readers."""

_ANY = _Shape({})


# Names are those of the format's own definition. Lists that are not used are here too: readers go by the type that they
# expect of a list's values and not by the one it states, so one that states another would not be read alike by all.
def _one(kind: int, shape: _Shape = _ANY) -> _Field:
    return kind, 0, shape


def _many(kind: int, shape: _Shape = _ANY) -> _Field:
    return _LIST, kind, shape


_META = _Shape(
    {
        1: _one(_I32),  # type
        2: _many(_I32),  # encodings
        3: _many(_BINARY),  # path_in_schema
        4: _one(_I32),  # codec
        5: _one(_I64),  # num_values
        6: _one(_I64),  # total_uncompressed_size
        7: _one(_I64),  # total_compressed_size
        8: _many(_STRUCT),  # key_value_metadata
        9: _one(_I64),  # data_page_offset
        11: _one(_I64),  # dictionary_page_offset
        13: _many(_STRUCT),  # encoding_stats
        16: _one(_STRUCT, _Shape({2: _many(_I64), 3: _many(_I64)})),  # size_statistics
        17: _one(_STRUCT, _Shape({2: _many(_I32)})),  # geospatial_statistics
    }
)
_CHUNK = _Shape({3: _one(_STRUCT, _META), 8: _one(_STRUCT)}, _column, cost=900)  # meta_data, crypto_metadata
_GROUP = _Shape({1: _many(_STRUCT, _CHUNK), 3: _one(_I64), 4: _many(_STRUCT)}, _group)
_FOOTER = _Shape(
    {
        2: _many(_STRUCT, _Shape({}, cost=2000)),  # schema
        4: _many(_STRUCT, _GROUP),  # row_groups
        5: _many(_STRUCT),  # key_value_metadata
        7: _many(_STRUCT),  # column_orders
        8: _one(_STRUCT),  # encryption_algorithm
    }
)
_DATA_PAGE = _Shape({1: _one(_I32)})  # num_values
_PAGE = _Shape(
    {
        1: _one(_I32),  # type
        2: _one(_I32),  # uncompressed_page_size
        3: _one(_I32),  # compressed_page_size
        5: _one(_STRUCT, _DATA_PAGE),  # data_page_header
        8: _one(_STRUCT, _DATA_PAGE),  # data_page_header_v2
    }
)


class _Compact:
    """Thrift's compact protocol. IndexError where the data end too early."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._held = 0

    def struct(self, at: int, shape: _Shape, depth: int = 0) -> tuple[dict[int, Any], int]:
        """The struct's fields that matter, by their number, and where it ends."""
        if depth > _DEEP:
            raise _Damaged(f"more than {_DEEP} structs and lists are in one another")
        data = self._data
        fields = shape.fields
        found: dict[int, Any] = {}
        number = 0
        while (head := data[at]) & 0xF:
            kind = head & 0xF
            at += 1
            if head >> 4:
                number += head >> 4
            else:
                number, at = self.signed(at)
                if not 0 < number < 1 << 15:
                    raise _Damaged(f"it has a field {number}")
            field = fields.get(number)
            if field is None or field[0] != kind:
                at = self.over(at, kind, depth)
                continue
            if number in found:
                raise _Damaged(f"it has field {number} twice")
            if kind == _STRUCT:
                found[number], at = self.struct(at, field[2], depth + 1)
            elif kind == _LIST:
                found[number], at = self.listed(at, field, depth)
            else:
                found[number], at = self.signed(at)
                if kind == _I32 and not -1 << 31 <= found[number] < 1 << 31:
                    raise _Damaged(f"it has {found[number]} in a field of 32 bits")
        return found, at + 1

    def listed(self, at: int, field: _Field, depth: int) -> tuple[list[Any], int]:
        """What is made of a list's values, and where it ends."""
        _, kind, shape = field
        count, stated, begin = self.list_head(at)
        if count and kind != stated and not (kind in _VARINTS and stated in _VARINTS):
            raise _Damaged("it has a list of values of a wrong type")
        self._held += shape.cost * count
        if self._held > _HELD:
            raise _Damaged(f"it would take more than {size_text(_HELD)} to hold it")
        if shape.make is None:
            return [], self.over(at, _LIST, depth)
        at = begin
        made: list[Any] = []
        for _ in range(count):
            value, at = self.struct(at, shape, depth + 1)
            made.append(shape.make(value))
        return made, at

    def list_head(self, at: int) -> tuple[int, int, int]:
        """How many values a list has, of which type, and where they begin."""
        head = self._data[at]
        count, at = head >> 4, at + 1
        if count == 0xF:
            count, at = self.varint(at)
        if count > len(self._data) - at:
            raise IndexError
        return count, head & 0xF, at

    def over(self, at: int, kind: int, depth: int) -> int:
        """Where a value ends that doesn't matter. Most of a footer is passed over: this is written to be fast."""
        data = self._data
        if kind in _VARINTS:
            while data[at] > 0x7F:
                at += 1
            return at + 1
        if kind == _BINARY:
            length = data[at]
            at += 1
            if length > 0x7F:
                length, at = self.varint(at - 1)
            if length > len(data) - at:
                raise IndexError
            return at + length
        if depth > _DEEP:
            raise _Damaged(f"more than {_DEEP} structs and lists are in one another")
        if kind == _STRUCT:
            while head := data[at] & 0xF:
                at += 1
                if data[at - 1] < 0x10:
                    _, at = self.varint(at)
                if head in _VARINTS:
                    while data[at] > 0x7F:
                        at += 1
                    at += 1
                elif head not in _BOOLS:
                    at = self.over(at, head, depth + 1)
            return at + 1
        if kind == _LIST:
            count, inner, at = self.list_head(at)
            if inner in _VARINTS:
                for _ in range(count):
                    while data[at] > 0x7F:
                        at += 1
                    at += 1
                return at
            if inner in _BOOLS:
                return at + count
            for _ in range(count):
                at = self.over(at, inner, depth + 1)
            return at
        if kind in _BOOLS:  # a field's value is its type
            return at
        if kind in _WIDTHS:
            return at + _WIDTHS[kind]
        raise _Damaged(f"it has a value of type {kind}")

    def signed(self, at: int) -> tuple[int, int]:
        """A number of up to 64 bits, and where it ends."""
        number = self._data[at]
        at += 1
        if number > 0x7F:
            number, at = self.varint(at - 1)
        return (number >> 1) ^ -(number & 1), at

    def varint(self, at: int) -> tuple[int, int]:
        """A number of up to 64 bits that is not below zero, and where it ends."""
        data = self._data
        number = data[at] & 0x7F
        shift = 7
        while data[at] & 0x80:
            at += 1
            number |= (data[at] & 0x7F) << shift
            shift += 7
            if shift > 70:
                raise _Damaged("it has a number of more than 64 bits")
        if number >> 64:
            raise _Damaged("it has a number of more than 64 bits")
        return number, at + 1
