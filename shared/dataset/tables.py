"""Files that hold rows in other ways than one a line: a JSON array, CSV, and (from `columns`) parquet.

Each reader takes a file as it comes, yields batches in the file's order with where each row begins, and holds no more
than a row's limit. A row that can't be read is a Broken in its place; what breaks the file off is a FileFault, raised
after the rows before it were handed out. What the rows say is judged by who reads them: `prepare`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from shared.dataset.columns import COLUMNS, parquet, row_groups
from shared.dataset.files import Limits, Records

__all__ = ["COLUMNS", "Table", "parquet", "row_groups"]


class Table(Protocol):
    """Rows that come as objects without a file of ours to read: what a hub gives."""

    @property
    def name(self) -> str:
        """What it is called in reports."""

    @property
    def size(self) -> int:
        """Bytes, an estimate."""

    def records(self, limits: Limits) -> Iterator[Records]:
        """The rows in their order. Raises FileFault."""
