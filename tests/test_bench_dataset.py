"""The benchmark of the dataset engine: what its files hold, that its contenders agree, what follows from figures."""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Mapping
from pathlib import Path

import pytest

from benchmarks import dataset, dataset_maker
from benchmarks.dataset_peers import PARTS, PEERS, Found

HERE = [name for name in PEERS if importlib.util.find_spec(name.split(",")[0])]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dataset_maker.Made:
    """The smallest files there are: each kind of bad row once, among two and a half times as many good ones."""
    return dataset_maker.make(tmp_path_factory.mktemp("bench"), size=100_000)


def digests(made: dataset_maker.Made) -> list[str]:
    return [hashlib.sha256(made.path(kind).read_bytes()).hexdigest() for kind in ("jsonl", "clean")]


def found(counts: Found) -> tuple[int, Mapping[str, int], int]:
    return counts.rows, dict(counts.bad), counts.duplicates


# The files -----------------------------------------------------------------------------------------------------------


def test_each_kind_of_bad_row_is_there(made: dataset_maker.Made) -> None:
    assert sorted(made.bad.bad) == dataset_maker.RULES
    assert sorted(made.clean.bad) == dataset_maker.READABLE_RULES
    assert made.path("jsonl").read_bytes().count(b"\n") == made.bad.rows
    assert made.path("clean").read_bytes().count(b"\n") == made.clean.rows
    assert max(map(len, made.path("clean").read_bytes().split(b"\n"))) > dataset_maker.ROW_LIMIT


def test_the_same_seed_gives_the_same_bytes(made: dataset_maker.Made, tmp_path: Path) -> None:
    assert digests(dataset_maker.make(tmp_path, size=100_000)) == digests(made)
    assert digests(dataset_maker.make(tmp_path, size=100_000, seed=1)) != digests(made)


def test_in_a_larger_file_one_row_in_a_thousand_is_bad() -> None:
    kinds = dataset_maker.planted(170_000, seed=0)
    assert len(kinds) == 170
    assert set(kinds) == set(dataset_maker.RULES)
    assert kinds.count("row_too_large") == 1


def test_what_is_made_is_not_made_again(made: dataset_maker.Made) -> None:
    before = made.path("parquet").stat().st_mtime_ns
    again = dataset_maker.make(made.folder.parent, size=100_000)
    assert again == made
    assert again.path("parquet").stat().st_mtime_ns == before


def test_tiny_rows_are_all_different_and_of_90_bytes(tmp_path: Path) -> None:
    lines = dataset_maker.make_tiny_rows(tmp_path / "tiny.jsonl", 5000).read_bytes().splitlines(keepends=True)
    assert len(set(lines)) == len(lines) == 5000
    assert {len(line) for line in lines} == {90}


# The contenders ------------------------------------------------------------------------------------------------------


def test_ours_finds_what_is_planted(made: dataset_maker.Made) -> None:
    for kind in ("jsonl", "parquet"):
        out = made.folder / f"ours-{kind}"
        out.mkdir()
        contents = made.contents(kind)
        assert found(dataset.ours(1)(made.path(kind), out)) == (contents.rows, contents.bad, contents.duplicates)


@pytest.mark.parametrize("name", HERE)
def test_other_libraries_find_what_is_planted_in_a_clean_copy(
    made: dataset_maker.Made, name: str, tmp_path: Path
) -> None:
    for kind, run in (("clean", PEERS[name].jsonl), ("parquet", PEERS[name].parquet)):
        out = tmp_path / kind
        out.mkdir()
        counts = run(made.path(kind), out)
        assert found(counts) == (made.clean.rows, made.clean.bad, made.clean.duplicates)
        written = {part: (out / f"{part}.jsonl").read_bytes().count(b'{"messages":') for part in PARTS}
        assert written == dict(counts.splits)
        assert sum(written.values()) == counts.rows - counts.bad.total()


def test_a_contender_is_measured_in_a_process_of_its_own(made: dataset_maker.Made, tmp_path: Path) -> None:
    result = dataset.Result()
    path = made.path("clean")
    dataset._run("jsonl", "copy and split: crc32", path, path, tmp_path, result)
    assert result.error == ""
    assert result.best > 0
    assert 5 < result.rss[0] < 500
    assert list(tmp_path.iterdir()) == [], "what was written is removed"


def test_a_contender_that_crashes_is_told_and_the_others_go_on(made: dataset_maker.Made, tmp_path: Path) -> None:
    result = dataset.Result()
    dataset._run("jsonl", "copy and split: crc32", tmp_path / "gone", made.path("clean"), tmp_path, result)
    assert "FileNotFoundError" in result.error
    results = {dataset.OURS_1: dataset.Result(seconds=[2.0], cpu=[2.0], rss=[50.0]), "copy and split: crc32": result}
    assert "failed: FileNotFoundError" in "\n".join(dataset.table("jsonl", made, results))
    assert list(dataset.targets("jsonl", results)) == []


# What follows --------------------------------------------------------------------------------------------------------


def test_targets_follow_from_the_best_rounds() -> None:
    def took(*seconds: float) -> dataset.Result:
        return dataset.Result(seconds=list(seconds), cpu=list(seconds), rss=[50.0])

    results = {
        dataset.OURS_1: took(5.0, 4.0),
        dataset.OURS_2: took(2.5),
        "datasets, streaming": took(9.0),
        "datasets, streaming, Arrow": took(5.0),
        "duckdb": took(2.0, 3.0),
        "parse only: simdjson": took(1.0),
        "parse only: orjson": took(3.0),
        "copy and split: xxh3": took(1.5),
    }
    told = [(round(target.figure, 3), target.holds) for target in dataset.targets("jsonl", results)]
    assert told == [
        (0.625, True),  # the fastest parser, then copy and split
        (1.25, False),  # the faster way with datasets
        (1.6, False),  # two processes, of one
        (0.8, False),  # the fastest peer
    ]


def test_the_table_tells_what_is_not_found(made: dataset_maker.Made) -> None:
    counts = Found(rows=made.clean.rows, duplicates=made.clean.duplicates)
    counts.bad.update({rule: count for rule, count in made.clean.bad.items() if rule != "control_character"})
    result = dataset.Result(seconds=[1.0], cpu=[1.0], rss=[50.0], found=counts.as_dict())
    told = dataset.checks("jsonl", made, "clean", result)
    assert told.startswith("a cleaned copy, 10 of 17 rules, duplicates; not: ")
    assert {"control_character", "not_json", "not_utf8"} <= set(told.split("not: ")[1].split(", "))
