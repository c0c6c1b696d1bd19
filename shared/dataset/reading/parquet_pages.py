"""The pages of a row group's columns, looked at as their bytes pass by on the way to pyarrow.

pyarrow unpacks a page whole, and holds one of each column, with the column's dictionary: what a row group takes is what
its pages' headers say, and nothing in the footer tells that. So the headers are read here, just before pyarrow gets
them, and a file whose pages would fill the memory ends in a sentence. Used by `parquet`.
"""

from __future__ import annotations

from collections.abc import Iterable

from shared.dataset.reading.files import MIB, FileFault, size_text
from shared.dataset.reading.parquet_footer import DICTIONARY_PAGE, Column, CutOffError, Page, read_page

HELD = 512 * MIB
"""Bytes that the pages that are held at once, one of each column and its dictionary, may take, packed and unpacked."""
_HEADER = 4 * 1024  # looked at first; it may be larger, for the statistics in it
_HEADER_MOST = MIB


class Pages:
    """Watches what is read of some columns of a row group. Each is read from its beginning to its end."""

    def __init__(self, group: int, columns: Iterable[tuple[Column, str]]) -> None:
        self._group = group
        self._held = 0
        self._next: dict[int, list[_Chunk]] = {}  # by where each is read next
        for column, name in columns:
            self._next.setdefault(column.start, []).append(_Chunk(column, name))

    def passed(self, offset: int, data: bytes) -> None:
        """Takes what was read from `offset` on. Raises FileFault: row_too_large, not_parquet."""
        waiting = self._next.get(offset)
        if not waiting or not data:
            return
        chunk = waiting.pop(0)
        if not waiting:
            del self._next[offset]
        if offset + len(data) < chunk.end:  # where this one ends, the next one may begin
            self._next.setdefault(offset + len(data), []).append(chunk)
        before = chunk.held
        chunk.take(data, self._group)
        self._held += chunk.held - before
        if self._held > HELD:
            reason = (
                f"the pages of row group {self._group} that are needed at once take {size_text(self._held)}, more than"
                f" {size_text(HELD)}: write the file with smaller pages"
            )
            raise FileFault("row_too_large", reason)


class _Chunk:
    """A column of the row group, on its way. `held`: bytes of its dictionary and its largest page so far; `end`: where
    it ends in the file."""

    def __init__(self, column: Column, name: str) -> None:
        self.held = 0
        self.end = column.start + column.stored
        self._name = name[:100]
        self._values = column.values
        self._seen = 0
        self._dictionary = self._largest = 0
        self._head = bytearray()  # of a page
        self._over = 0  # bytes until the next page begins

    def take(self, data: bytes, group: int) -> None:
        """Takes the next bytes. Raises FileFault."""
        at = 0
        while at < len(data) and self._seen < self._values:
            if self._over:
                passed = min(self._over, len(data) - at)
                self._over -= passed
                at += passed
                continue
            begin = at - len(self._head)
            try:
                page, at = self._page(data, at)
            except CutOffError:
                return
            except ValueError as error:
                raise FileFault("not_parquet", f"a page of {self._name} is damaged: {error}") from error
            self._head.clear()
            self._over = begin + page.header + page.stored - at
            self._count(page, group)

    def _page(self, data: bytes, at: int) -> tuple[Page, int]:
        """The header that begins in `_head` and goes on at `at`, and up to where data were taken for it."""
        for size in (_HEADER, _HEADER_MOST):
            more = data[at : at + max(0, size - len(self._head))]
            try:
                page = read_page(bytes(self._head) + more)
            except CutOffError:
                if len(self._head) + len(more) >= _HEADER_MOST:
                    raise ValueError(f"its header has more than {size_text(_HEADER_MOST)}") from None
                if size == _HEADER_MOST:
                    self._head += more
                    raise
            else:
                return page, at + max(0, page.header - len(self._head))
        raise AssertionError("the last size either shows a header or does not")

    def _count(self, page: Page, group: int) -> None:
        self._seen += page.values
        if self._seen > self._values:
            reason = f"{self._name} has more values in row group {group} than the {self._values:,} that the footer says"
            raise FileFault("not_parquet", reason)
        if page.kind == DICTIONARY_PAGE:
            self._dictionary = max(self._dictionary, page.unpacked)
        self._largest = max(self._largest, page.unpacked + page.stored)
        self.held = self._dictionary + self._largest
