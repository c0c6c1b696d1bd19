"""What tests of readers share: chunks, and faults."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import strategies as st

from shared.dataset.reading.files import FileFault

SIZES = st.lists(st.integers(1, 60), min_size=1, max_size=4)
"""Of chunks."""


def pieces(data: bytes, sizes: list[int]) -> Iterator[bytes]:
    """`data` in chunks of these sizes, over and over."""
    at = 0
    while at < len(data):
        for size in sizes:
            if data[at : at + size]:
                yield data[at : at + size]
            at += size


def until_fault(read: Callable[[], Iterator[Any]]) -> tuple[list[Any], FileFault]:
    """The batches before the fault, and the fault."""
    batches: list[Any] = []
    with pytest.raises(FileFault) as told:
        batches.extend(read())
    return batches, told.value
