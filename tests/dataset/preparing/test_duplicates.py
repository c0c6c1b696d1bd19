"""Rows that are there twice: all of them found, in memory and on disk."""

from __future__ import annotations

import tempfile
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.dataset.preparing.duplicates import ROW, SPILL, Duplicates


def array(values: list[int]) -> np.ndarray:
    return np.array(values, np.uint64)


def found(duplicates: Duplicates) -> dict[int, int]:
    """Number of each copy -> number of the first one."""
    pairs: dict[int, int] = {}
    for numbers, firsts in duplicates.find():
        pairs |= dict(zip(numbers.tolist(), firsts.tolist(), strict=True))
    return pairs


def expected(hashes: list[int], numbers: list[int]) -> dict[int, int]:
    first: dict[int, int] = {}
    return {
        number: first[each]
        for each, number in zip(hashes, numbers, strict=True)
        if first.setdefault(each, number) != number
    }


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where temporary files go."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def test_each_copy_is_told_with_the_first() -> None:
    with Duplicates() as duplicates:
        duplicates.add(array([5, 7, 5]), array([1, 2, 4]))
        duplicates.add(array([]), array([]))
        duplicates.add(array([7, 5, 2**64 - 1, 2**64 - 1]), array([8, 9, 10, 11]))
        assert found(duplicates) == {4: 1, 8: 2, 9: 1, 11: 10}


def test_no_rows_no_copies() -> None:
    with Duplicates() as duplicates:
        assert found(duplicates) == {}
        duplicates.add(array([1]), array([1]))
        assert found(duplicates) == {}


@given(st.lists(st.integers(0, 30) | st.integers(0, 2**64 - 1), max_size=80), st.integers(1, 20), st.integers(1, 600))
def test_on_disk_and_in_memory_the_same_is_found(hashes: list[int], batch: int, spill: int) -> None:
    hashes = [each if each > 30 else each << 59 for each in hashes]  # in several files
    numbers = [3 * at for at in range(1, len(hashes) + 1)]
    with Duplicates() as held, Duplicates(spill=spill) as spilled:
        for at in range(0, len(hashes), batch):
            for each in (held, spilled):
                each.add(array(hashes[at : at + batch]), array(numbers[at : at + batch]))
        assert found(held) == found(spilled) == expected(hashes, numbers)
        assert sum(map(len, spilled.rows())) == len(hashes)


def test_rows_can_be_handed_over() -> None:
    """As another process hands over what it saw: bucket by bucket, so that the order is that of the numbers only among
    rows with the same hash."""
    with Duplicates(spill=40) as one, Duplicates(spill=100) as all_rows:
        all_rows.add(array([1 << 60, 9]), array([1, 2]))
        one.add(array([9 << 58, 9, 1 << 60, 9]), array([1, 2, 3, 4]))
        for rows in one.rows():
            rows["number"] += 2
            all_rows.take(rows)
        assert found(all_rows) == {4: 2, 5: 1, 6: 2}


def test_nothing_stays_on_disk(folder: Path) -> None:
    with Duplicates(spill=100) as duplicates:
        duplicates.add(array([1] * 100), array(list(range(100))))
        assert list(folder.iterdir())
        duplicates.clear()
        assert not list(folder.iterdir())
        assert found(duplicates) == {}
        duplicates.add(array([2] * 100), array(list(range(100))))
        assert len(found(duplicates)) == 99
    assert not list(folder.iterdir())


def test_nothing_stays_on_disk_after_an_error(folder: Path) -> None:
    def broken_off() -> None:
        with Duplicates(spill=1) as duplicates:
            duplicates.add(array([1, 2]), array([1, 2]))
            assert list(folder.iterdir())
            raise OSError("broken off")

    with pytest.raises(OSError, match="broken off"):
        broken_off()
    assert not list(folder.iterdir())


def test_sixteen_bytes_a_row(folder: Path) -> None:
    assert ROW.itemsize == 16
    rows = 400_000
    hashes = np.random.default_rng(1).integers(0, 2**64, rows, np.uint64)
    with Duplicates(spill=1 << 20) as duplicates:
        duplicates.add(hashes, np.arange(1, rows + 1, dtype=np.uint64))
        duplicates.add(hashes[:5], np.arange(rows + 1, rows + 6, dtype=np.uint64))
        assert len(found(duplicates)) == 5
        assert sum(each.stat().st_size for each in folder.rglob("*") if each.is_file()) == 16 * (rows + 5)


def test_memory_is_bounded_by_what_may_be_held(folder: Path) -> None:
    assert SPILL <= 64 << 20
    batch = np.random.default_rng(1).integers(0, 2**64, 10_000, np.uint64)
    tracemalloc.start()
    with Duplicates(spill=1 << 20) as duplicates:
        for at in range(100):  # 16 MB of rows
            duplicates.add(batch + np.uint64(at), np.arange(10_000, dtype=np.uint64) + np.uint64(10_000 * at))
        held, most = tracemalloc.get_traced_memory()
        assert not any(len(numbers) for numbers, _ in duplicates.find())
        _, finding = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert held < 1.5 * (1 << 20)
    assert max(most, finding) < 6 << 20


def test_also_if_all_rows_are_the_same(folder: Path) -> None:
    batch = np.zeros(10_000, np.uint64)
    tracemalloc.start()
    with Duplicates(spill=1 << 20) as duplicates:
        for at in range(100):  # 16 MB of rows
            duplicates.add(batch, np.arange(10_000, dtype=np.uint64) + np.uint64(10_000 * at))
        copies = 0
        for numbers, firsts in duplicates.find():
            copies += len(numbers)
            assert not firsts.any()
        assert max(map(len, duplicates.rows())) <= (1 << 20) // ROW.itemsize
        _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert copies == 999_999
    assert most < 8 << 20
