"""The listing that is kept: of two any, exactly the folders with a new name or a new ETag have news."""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from itertools import groupby

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.cloud.blobs import BlobInfo
from shared.intake.found import held_against
from shared.intake.listing import HASH, Listing, compared, decoded, encoded

THEN = datetime(2026, 1, 1, tzinfo=UTC)
NOW = THEN + timedelta(days=1)

containers = st.dictionaries(
    st.tuples(st.sampled_from("abc"), st.sampled_from(("train.jsonl", "test.jsonl", "x/y.csv", "ü.md", "s\0"))),
    st.sampled_from(("0x1", "0x2", "0x3")),
)
"""(Folder, file) to ETag."""


def blobs_of(container: Mapping[tuple[str, str], str]) -> list[tuple[str, list[BlobInfo]]]:
    listed = [
        BlobInfo(name=f"{folder}/{file}", etag=etag, size=9, last_modified=THEN)
        for (folder, file), etag in sorted(container.items())
    ]
    return [(folder, list(blobs)) for folder, blobs in groupby(listed, key=lambda blob: blob.name.partition("/")[0])]


def listing_of(container: Mapping[tuple[str, str], str]) -> Listing:
    return {folder: compared(blobs, b"").kept for folder, blobs in blobs_of(container)}


@given(containers, containers)
def test_what_is_new_is_news_whatever_its_date_and_what_is_gone_is_none(
    before: dict[tuple[str, str], str], after: dict[tuple[str, str], str]
) -> None:
    seen = held_against(listing_of(before), blobs_of(after), since=NOW, now=NOW)
    new = after.items() - before.items()
    assert seen.changed == {folder: NOW for (folder, _), _ in new}
    assert seen.listing == listing_of(after)
    assert held_against(seen.listing, blobs_of(after), since=NOW, now=NOW).changed == {}


@given(containers)
def test_without_a_listing_from_before_the_date_tells(after: dict[tuple[str, str], str]) -> None:
    folders = {folder for folder, _ in after}
    assert held_against(None, blobs_of(after), since=NOW, now=NOW).changed == {}
    assert held_against(None, blobs_of(after), since=THEN, now=NOW).changed == dict.fromkeys(folders)


def test_what_has_a_late_date_came_when_that_says() -> None:
    blobs = [("a", [BlobInfo(name="a/train.jsonl", etag="0x1", size=9, last_modified=NOW)])]
    assert held_against({}, blobs, since=NOW, now=NOW).changed == {"a": None}


@pytest.mark.parametrize("marker", ["a/", "a/b/", "a/sub"])
def test_a_marker_of_a_folder_is_no_upload(marker: str) -> None:
    blobs = [("a", [BlobInfo(name=marker, etag="0x1", size=0, last_modified=THEN)])]
    assert held_against({}, blobs, since=NOW, now=NOW).changed == {}


@given(containers, st.data())
def test_it_is_kept_as_it_is_and_what_is_damaged_is_none(
    container: dict[tuple[str, str], str], data: st.DataObject
) -> None:
    listing = listing_of(container)
    kept = encoded(listing)
    assert decoded(kept) == listing
    at = data.draw(st.integers(0, len(kept) - 1))
    damaged = kept[:at] + bytes([kept[at] ^ data.draw(st.integers(1, 255))]) + kept[at + 1 :]
    for broken in (kept[:at], damaged):
        try:
            assert decoded(broken) == listing, "a byte of the head that says nothing"
        except ValueError:
            continue


@pytest.mark.parametrize("each", [10, pytest.param(20_000, marks=pytest.mark.thorough)])
def test_it_stays_small_and_takes_a_time_that_grows_with_the_blobs(each: int) -> None:
    def many(count: int) -> list[tuple[str, list[BlobInfo]]]:
        names = [f"folder-{number // each:06}/part-{number:06}.jsonl" for number in range(count)]
        blobs = [BlobInfo(name=name, etag=f"0x8DE{name[-12:]}", size=9, last_modified=THEN) for name in names]
        return [(name, list(found)) for name, found in groupby(blobs, key=lambda blob: blob.name.partition("/")[0])]

    def seconds(count: int) -> float:
        folders = many(count)
        kept = {folder: compared(blobs, b"").kept for folder, blobs in folders}
        half = {folder: hashes[: len(hashes) // HASH // 2 * HASH] for folder, hashes in kept.items()}
        taken = []
        for _ in range(3):
            begin = time.process_time()
            for folder, blobs in folders:
                assert compared(blobs, half[folder]).news
            taken.append(time.process_time() - begin)
        return min(taken)

    listing = {folder: compared(blobs, b"").kept for folder, blobs in many(20_000)}
    assert len(encoded(listing)) < 9 * 20_000, "nine bytes a blob, its part of the folder's name with it"
    assert seconds(20_000) < 10 * seconds(5_000), "four times the blobs"
