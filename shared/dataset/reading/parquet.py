"""Parquet: rows out of a file of columns, in memory that depends neither on the file nor on its row groups.

Writers put a million rows into one row group, a gigabyte of text, so pages are read as they are needed and rows are
made a few megabytes at a time. A file that says one size and unpacks to another is stopped: by what its footer says, by
what the headers of its pages say, by how long the values of its dictionaries are before they are repeated, and by what
came out. Read by `preparing/scan.py` and, for files of a hub, by `hub_files`.
"""

from __future__ import annotations

import io
import struct
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from shared.dataset.judging.formats import READ, spelled
from shared.dataset.judging.keys import known
from shared.dataset.reading.beginnings import HEAD, foreign
from shared.dataset.reading.files import (
    BEGINNING,
    CHUNK,
    MIB,
    RATIO_FROM,
    Broken,
    FileFault,
    Limits,
    Records,
    Source,
    size_text,
)
from shared.dataset.reading.parquet_footer import DICTIONARY_PAGE, Column, Group, read_footer, read_page
from shared.dataset.reading.parquet_pages import Pages
from shared.dataset.reading.parquet_values import NOT_THERE, values_of

if TYPE_CHECKING:
    import pyarrow as pa
    from pyarrow import parquet as pq

OTHER_COLUMNS = 10  # of a file without any that a chat format reads: enough to tell what the file is

_PIECE = 4 * MIB  # of decoded values that become rows at once
_MOST_ROWS = 8192
_TOGETHER = MIB // 2  # of decoded values that are handed on at once, where the rows are in the same group
_REPEATED = 64 * MIB  # the most that a batch may decode to if each value is its dictionary's longest
_ROW_WORST = 512 * MIB  # the most that an average row may decode to then
_DICTIONARY = 256 * MIB  # writers look at a dictionary's size once in a thousand values, however long these are
_LISTED = (
    64 * 1000 * 1000
)  # values in lists that a row group may have: all may be one row's, and pyarrow takes 13 bytes
_VALUE = 8  # bytes that a value counts for, however well it was packed
_OBJECT = 64  # bytes of a value as an object of Python, at least
_BUFFERS = 32 * MIB  # for the columns' read buffers, together
_FOOTER = 64 * MIB
_TAIL = 64 * 1024  # what pyarrow reads first of a file, from its end


def parquet(
    source: Source,
    limits: Limits,
    groups: range | None = None,
    *,
    all_columns: bool = False,
    needed: Collection[str] = (),
) -> Iterator[Records]:
    """The rows of a parquet file, or of a range of its row groups, in batches of about 4 MiB of values.

    Columns that are harmless (see `judging/keys.py`) are not even decoded, but for those that are `needed`;
    `all_columns`: they are.

    Raises FileFault: not_parquet where it is not parquet, damaged, cut off or encrypted, too_large_decompressed and
    too_compressed where it unpacks to more than `limits` allow; and what the source raises.
    """
    import pyarrow as pa

    with _Reading(source) as file:
        try:
            yield from _gathered(_records(file, limits, groups, None if all_columns else needed))
        except (pa.ArrowException, OSError, UnicodeError, ValueError) as error:
            if file.failure is not None:
                raise file.failure from None
            raise FileFault("not_parquet", f"its data can't be read: {_line(error)}") from error


def row_groups(source: Source) -> list[tuple[int, int]]:
    """Rows and stored bytes of each row group, from the footer alone. Raises FileFault and what the source raises."""
    with _Reading(source) as file:
        groups = _footer(file)
    return [(group.rows, sum(each.stored for each in group.columns)) for group in groups]


class _Reading(io.RawIOBase):
    """A source as the file object that pyarrow reads from.

    It keeps what the source raised, since pyarrow may say it in other words, and what was looked at ahead of it.
    """

    def __init__(self, source: Source) -> None:
        self.failure: BaseException | None = None
        self.name, self.size = source.name, source.size
        self._source = source
        self._at = 0
        self._ahead: dict[int, bytes] = {}
        self._pages: Pages | None = None

    def watch(self, pages: Pages | None) -> None:
        """What is read from now on is of these pages. What was read ahead for others is let go."""
        self._pages = pages
        self._ahead.clear()

    def ahead(self, offset: int, size: int) -> bytes:
        """Reads before pyarrow does, which is then handed the same bytes."""
        data = self._ahead[offset] = self.fetch(offset, size)
        return data

    def read(self, size: int | None = -1) -> bytes:
        """The next `size` bytes, or all that are left."""
        size = self.size - self._at if size is None or size < 0 else min(size, self.size - self._at)
        if size <= 0:
            return b""
        data = self._ahead.pop(self._at, b"")[:size]
        if len(data) < size:
            data += self.fetch(self._at + len(data), size - len(data))
        if self._pages is not None:
            try:
                self._pages.passed(self._at, data)
            except FileFault as fault:
                self.failure = fault
                raise
        self._at += len(data)
        return data

    def readable(self) -> bool:
        """It is there to be read."""
        return True

    def seekable(self) -> bool:
        """Footers come last."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Moves on, for free."""
        at = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self.size}[whence]
        if at < 0:
            raise ValueError("a place before the file's beginning")
        self._at = at
        return at

    def tell(self) -> int:
        """Where the next read begins."""
        return self._at

    def fetch(self, offset: int, size: int) -> bytes:
        """Bytes from anywhere in the source."""
        try:
            return self._source.read_at(offset, size)
        except BaseException as error:
            self.failure = error
            raise


def _footer(file: _Reading) -> list[Group]:
    """What the footer says, once the file's two ends look right. pyarrow is then handed the same bytes."""
    if file.size < 12:
        raise FileFault("not_parquet", f"it has {file.size} bytes, too few for a parquet file")
    head = file.fetch(0, 4)
    begin = max(0, file.size - _TAIL)
    data = file.ahead(begin, file.size - begin)
    length, tail = struct.unpack("<I4s", data[-8:])
    if head == b"PARE" or tail == b"PARE":
        raise FileFault("not_parquet", "it is encrypted")
    if head != b"PAR1":
        what = foreign(file.name, file.fetch(0, HEAD)) or "it does not begin as a parquet file does"
        raise FileFault("not_parquet", what)
    if tail != b"PAR1":
        raise FileFault("not_parquet", f"it does not end as a parquet file does, at byte {file.size:,}: it was cut off")
    if length > min(_FOOTER, file.size - 12):
        raise FileFault("not_parquet", f"its footer says that it has {size_text(length)}")
    if length + 8 > len(data):
        data = file.ahead(file.size - 8 - length, length) + data[-8:]
    return read_footer(data[-8 - length : -8], file.size)


def _opened(file: _Reading) -> pq.ParquetFile:
    import pyarrow as pa
    from pyarrow import parquet as pq

    file.seek(0)
    opened = pq.ParquetFile(pa.PythonFile(file, mode="r"), pre_buffer=False, buffer_size=CHUNK)
    # Opened again only to fit the read buffers to the number of columns, which the footer just told.
    buffer = max(64 * 1024, min(CHUNK, _BUFFERS // max(1, opened.metadata.num_columns)))
    return pq.ParquetFile(pa.PythonFile(file, mode="r"), metadata=opened.metadata, pre_buffer=False, buffer_size=buffer)


def _records(file: _Reading, limits: Limits, wanted: range | None, needed: Collection[str] | None) -> Iterator[Records]:
    groups = _footer(file)
    with _opened(file) as opened:
        # Of its metadata only what is the file's, never a column's in a row group: that may end the process.
        schema = opened.metadata.schema
        names = opened.schema_arrow.names
        columns = names if needed is None else _columns(names, needed)
        if len(set(columns)) < len(columns):
            twice, _ = Counter(columns).most_common(1)[0]
            raise FileFault("not_parquet", f"two of its columns are named {twice[:100]!r}")
        leaves = _leaves(schema, names, frozenset(columns))
        for at, group in enumerate(groups):
            if len(group.columns) != len(schema):
                raise FileFault("not_parquet", f"row group {at} has not the columns that the file has")
            _counted(at, group, leaves)
        if not leaves and any(group.rows for group in groups):
            raise FileFault("not_parquet", "it has rows, but no columns")
        if sum(_sizes(group, leaves)[1] for group in groups) > limits.decompressed:
            raise FileFault("too_large_decompressed", f"it unpacks to more than {size_text(limits.decompressed)}")
        first = 1
        unpacked = 0
        for at, group in enumerate(groups):
            if wanted is None or at in wanted:
                stored, said = _sizes(group, leaves)
                _bounded(at, said, stored, limits)
                file.watch(Pages(at, ((group.columns[leaf], leaves[leaf].path) for leaf in leaves)))
                rows = _batch_rows(file, group, leaves, limits)
                number = first
                before = unpacked
                for batch in opened.iter_batches(rows, row_groups=[at], columns=columns, use_threads=False):
                    batch.validate()  # whether what is in a list or a struct is as long as that says
                    # A row of nulls costs next to nothing to store and to decode, yet becomes a row.
                    size = batch.nbytes + 16 * batch.num_rows
                    unpacked += size
                    _bounded(at, unpacked - before, stored, limits)
                    if unpacked > limits.decompressed:
                        reason = f"it unpacks to more than {size_text(limits.decompressed)}"
                        raise FileFault("too_large_decompressed", reason, line=number)
                    for made in pieces(batch, limits):
                        numbers = range(number, number + len(made))
                        yield Records(rows=made, numbers=numbers, row_group=at, first_of_group=first, unpacked=size)
                        number += len(made)
                        size = 0
                if number - first != group.rows:
                    reason = f"row group {at} has {number - first:,} rows, and not {group.rows:,} as the footer says"
                    raise FileFault("not_parquet", reason, line=number)
            first += group.rows


def _gathered(records: Iterator[Records]) -> Iterator[Records]:
    """The same rows in fewer batches: one long text in a dictionary has all batches decoded a few rows at a time.

    Only batches of one row group are put together. Rows that came before an error are handed out before it is raised.
    """
    held: list[Records] = []
    size = 0
    while True:
        try:
            each = next(records, None)
        except Exception:
            if held:
                yield _joined(held)
            raise
        if held and (each is None or each.row_group != held[0].row_group):
            yield _joined(held)
            held, size = [], 0
        if each is None:
            return
        held.append(each)
        size += each.unpacked
        if size >= _TOGETHER or not each.unpacked:  # what is behind the first piece of a batch is large
            yield _joined(held)
            held, size = [], 0


def _joined(held: list[Records]) -> Records:
    if len(held) == 1:
        return held[0]
    rows = [row for each in held for row in each.rows]
    numbers = [number for each in held for number in each.numbers]
    return replace(held[0], rows=rows, numbers=numbers, unpacked=sum(each.unpacked for each in held))


def _columns(names: list[str], needed: Collection[str]) -> list[str]:
    """The columns with which something would be lost; of a file without any that a format reads only the first."""
    found = [name for name in names if name in needed or not known("row", name)[0]]
    if needed or any(spelled(name) in READ or known("row", name)[1] for name in found):
        return found
    return found[:OTHER_COLUMNS] or names[:OTHER_COLUMNS]


def _leaves(schema: pq.ParquetSchema, names: list[str], wanted: frozenset[str]) -> dict[int, pq.ColumnSchema]:
    """The leaf columns of the wanted ones, by their places. Both lists have the same order: each is gone over once."""
    found = {}
    at = 0
    for place in range(len(schema)):
        leaf = schema.column(place)
        path = leaf.path
        while at < len(names) and not (path == names[at] or path.startswith(f"{names[at]}.")):
            at += 1
        if at == len(names):
            raise FileFault("not_parquet", f"its column {path[:100]!r} is in none of those that it has")
        if names[at] in wanted:
            found[place] = leaf
    return found


def _counted(at: int, group: Group, leaves: dict[int, pq.ColumnSchema]) -> None:
    """Refuses a row group whose columns can't have as many values as the footer says, or have too many in lists."""
    listed = 0
    for place, leaf in leaves.items():
        values = group.columns[place].values
        listed += values if leaf.max_repetition_level else 0
        if values < group.rows or (values > group.rows and not leaf.max_repetition_level):
            reason = f"a column of row group {at} has {values:,} values for {group.rows:,} rows"
            raise FileFault("not_parquet", reason)
    if listed > _LISTED:
        reason = f"row group {at} has {listed:,} values in lists, more than {_LISTED:,}: write smaller row groups"
        raise FileFault("row_too_large", reason)


def _sizes(group: Group, leaves: Iterable[int]) -> tuple[int, int]:
    """Stored and unpacked bytes of the given leaf columns, as the footer says; a value has _VALUE bytes at least."""
    columns = [group.columns[at] for at in leaves]
    return sum(each.stored for each in columns), sum(max(each.unpacked, _VALUE * each.values) for each in columns)


def _bounded(group: int, unpacked: int, stored: int, limits: Limits) -> None:
    if unpacked > RATIO_FROM and unpacked > limits.ratio * max(stored, 1):
        reason = (
            f"the {size_text(stored)} of row group {group} unpack to {size_text(unpacked)} or more, over"
            f" {limits.ratio} times as much"
        )
        raise FileFault("too_compressed", reason)


def _batch_rows(file: _Reading, group: Group, leaves: dict[int, pq.ColumnSchema], limits: Limits) -> int:
    """How many rows to decode at once: about 4 MiB of them, and never many times that, whatever is repeated."""
    rows = max(1, group.rows)
    usual = worst = 0.0
    for at, kind in leaves.items():
        column = group.columns[at]
        usual += max(column.unpacked, _OBJECT * column.values) / rows  # a value that is null costs an object, too
        if kind.physical_type == "BYTE_ARRAY" and column.values:
            worst += column.values / rows * _longest(file, column, kind.path, limits)
        elif kind.physical_type == "FIXED_LEN_BYTE_ARRAY":
            worst += column.values / rows * kind.length
    if worst > _ROW_WORST:
        reason = f"its rows may have {size_text(int(worst))} each, unpacked: one long text is repeated in them"
        raise FileFault("row_too_large", reason)
    most = min(_MOST_ROWS, _PIECE / max(usual, 1), _REPEATED / max(worst, 1))
    return max(1, int(most))


def _longest(file: _Reading, column: Column, path: str, limits: Limits) -> int:
    """Bytes of the longest value in a column's dictionary; 0 without one, or where repeating it can do no harm.

    The one place that reads a page itself: pyarrow shows neither the dictionary nor how often a value is repeated.
    """
    import pyarrow as pa

    head = file.ahead(column.start, min(256 * 1024, column.stored))
    try:
        page = read_page(head)
    except ValueError as error:
        raise FileFault("not_parquet", f"the first page of {path[:100]} is damaged: {error}") from error
    unpacked, stored = page.unpacked, page.stored
    if page.kind != DICTIONARY_PAGE or unpacked * column.values <= _REPEATED // 4:
        return 0
    if (unpacked > RATIO_FROM and not 0 < unpacked <= limits.ratio * stored) or unpacked > _DICTIONARY:
        reason = f"the dictionary of {path[:100]} unpacks from {size_text(stored)} to {size_text(unpacked)}"
        raise FileFault("too_compressed", reason)
    if len(head) < page.header + stored:  # pyarrow reads it again, later
        head = file.fetch(column.start, min(page.header + stored, column.stored))
    data: Any = memoryview(head)[page.header : page.header + stored]
    if column.codec != "uncompressed":
        try:
            data = memoryview(pa.Codec(column.codec).decompress(data, unpacked))
        except (pa.ArrowException, OSError, ValueError):
            return unpacked  # if this is damage, pyarrow will find it
    longest = at = 0
    unpack = struct.Struct("<I").unpack_from
    while at + 4 <= len(data):
        (length,) = unpack(data, at)
        longest = max(longest, length)
        at += 4 + length
    return min(longest, len(data))


def pieces(batch: pa.RecordBatch, limits: Limits) -> Iterator[list[dict[str, Any] | Broken]]:
    """A batch's rows, at most 8 MiB of values at a time; one that is too large or not UTF-8 is a Broken.

    Also for batches that somebody else reads. Halving finds the rows that can't be had.
    """
    batch = _spelled_out(batch)
    if batch.num_rows > 1 and batch.nbytes > min(_PIECE * 2, limits.row):
        half = batch.num_rows // 2
        yield from pieces(batch.slice(0, half), limits)
        yield from pieces(batch.slice(half), limits)
        return
    if batch.nbytes > limits.row:
        reason = f"the row has {size_text(batch.nbytes)}"
        yield [Broken(rule="row_too_large", reason=reason, excerpt=_excerpt(batch))]
        return
    try:
        yield _rows(batch)
    except UnicodeDecodeError as error:
        if batch.num_rows > 1:
            half = batch.num_rows // 2
            yield from pieces(batch.slice(0, half), limits)
            yield from pieces(batch.slice(half), limits)
            return
        reason = f"byte {error.start + 1} of a text is not UTF-8"
        yield [Broken(rule="not_utf8", reason=reason, excerpt=_excerpt(batch))]


def _spelled_out(batch: pa.RecordBatch) -> pa.RecordBatch:
    """The batch without dictionaries that have more words than it has rows.

    A slice brings the whole dictionary along: to go over that for each batch takes a time with the square of the file,
    and no row is as large as that.
    """
    import pyarrow as pa

    for at, column in enumerate(batch.columns):
        if pa.types.is_dictionary(column.type) and len(column.dictionary) > batch.num_rows:
            try:
                values = column.dictionary.take(column.indices)
            except pa.ArrowIndexError:  # pyarrow has not looked
                raise pa.ArrowInvalid(NOT_THERE) from None
            batch = batch.set_column(at, batch.schema.names[at], values)
    return batch


def _rows(batch: pa.RecordBatch) -> list[dict[str, Any] | Broken]:
    names = batch.schema.names
    columns = [values_of(column) for column in batch.columns]
    if len(names) == 1:
        name = names[0]
        return [{name: value} for value in columns[0]]
    return [dict(zip(names, values, strict=True)) for values in zip(*columns, strict=True)]


def _excerpt(row: pa.RecordBatch) -> str:
    """How the longest of a row's first texts begins: of the first message, what it says and not its role."""
    longest = max((first for column in row.columns for first in _first_texts(column)), key=len, default=b"")
    return longest.decode(errors="replace")


def _first_texts(column: pa.Array) -> Iterator[bytes]:
    import pyarrow as pa

    types = pa.types
    kind = column.type
    if types.is_struct(kind):
        for at in range(kind.num_fields):
            yield from _first_texts(column.field(at))
    elif types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind):
        yield from _first_texts(column.flatten())
    elif len(column) and column[0].is_valid and hasattr(column[0], "as_buffer"):
        yield memoryview(column[0].as_buffer())[:BEGINNING].tobytes()


def _line(error: BaseException) -> str:
    """pyarrow's own words, without its call stack."""
    return next(iter(str(error).splitlines()), type(error).__name__)[:300]
