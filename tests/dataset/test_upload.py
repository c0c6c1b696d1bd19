"""What an upload of a folder starts, in words: of the files that a run would take, and no others."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.dataset.folder import DataFile, contents
from shared.dataset.spec.choices import FILE_NAME
from shared.dataset.spec.finetune import parse
from shared.dataset.upload import starts, without_effect

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def told(names: list[str], spec: str = "") -> tuple[dict[str, str], list[str]]:
    """What an upload of these files, and of this finetune.yaml, starts; and what of it counts for nothing."""
    parsed = parse(spec.encode()) if spec else None
    listed = [DataFile(name=name, etag="", size=1, modified=NOW) for name in [*names, *([FILE_NAME] if spec else [])]]
    [dataset] = contents("faq", listed, parsed).datasets
    return dict(starts(dataset, parsed, "Phi-4")), list(without_effect(dataset, parsed))


def test_one_file_is_one_run_of_which_parts_are_cut() -> None:
    said, nothing = told(["chats.jsonl"])
    assert said == {
        "starts": "one run, which trains Phi-4 on chats.jsonl",
        "validation": "cut from the training rows: 10 %",
        "test": "cut from the training rows: 10 %",
        "then": "it checks and splits the rows, trains, and registers the model; it deploys the model beside the "
        "version that serves, if one does; it asks it 20 test rows and the version that serves the same ones; if it "
        "passes, callers get it",
    }
    assert nothing == []


def test_what_finetune_yaml_names_is_told() -> None:
    said, _ = told(
        ["a.jsonl", "b.jsonl", "c.jsonl"], "train: a.jsonl\ntest: c.jsonl\nsplit: {validation: 5}\napprove: manual\n"
    )
    assert said["starts"].endswith(" on a.jsonl")
    assert (said["validation"], said["test"]) == ("cut from the training rows: 5 %", "c.jsonl")
    assert said["then"].endswith("it waits until a person approves it")
    said, _ = told([], "source: owner/chats\nsplits: {train: train_sft, test: test_sft}\npercent: 5\n")
    assert said["starts"].endswith(" on split train_sft of owner/chats on the hub, the first 5 %")
    assert said["test"] == "split test_sft of owner/chats on the hub, the first 5 %"
    said, _ = told(["a.jsonl"], "train: a.jsonl\nstrategy: replace\n")
    assert "it removes the version that serves, and deploys the new one: callers get errors" in said["then"]
    assert "the same ones" not in said["then"]


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("max_bad_percent: 1", ["max_bad_percent: one bad row is enough, as on_bad_rows is reject"]),
        ("max_bad_percent: 1\non_bad_rows: drop", []),
        ("test: b.jsonl\nsplit: {test: 20}", ["split.test: it is b.jsonl, and not cut"]),
        ("test: b.jsonl\nsplit: {validation: 20, seed: 7}", []),
        (
            "test: b.jsonl\nvalidation: c.jsonl\nsplit: {validation: 20, seed: 7}",
            ["split.validation: it is c.jsonl, and not cut", "split.seed: nothing is cut"],
        ),
        (
            "gate: {rows: 0, max_drop: 1, score: exact}",
            ["gate.max_drop: gate.rows is 0", "gate.score: no answer is compared, as gate.rows is 0"],
        ),
        (
            "strategy: replace\ngate: {max_drop: 1, min_score: 5, score: exact}",
            ["gate.max_drop: strategy: replace leaves nothing to compare with"],
        ),
    ],
)
def test_what_counts_for_nothing_is_told(spec: str, expected: list[str]) -> None:
    assert told(["a.jsonl", "b.jsonl", "c.jsonl"], f"train: a.jsonl\n{spec}\n")[1] == expected


@pytest.mark.parametrize(
    ("pieces", "where"),
    [
        (2, "train-00000-of-00002.parquet, train-00001-of-00002.parquet, as one"),
        (6, "6 files: train-00000-of-00006.parquet ..."),
    ],
)
def test_pieces_are_one_run(pieces: int, where: str) -> None:
    said, _ = told([f"train-{number:05}-of-{pieces:05}.parquet" for number in range(pieces)])
    assert said["starts"] == f"one run, which trains Phi-4 on {where}"


NAMES = st.sampled_from(["train.jsonl", "test.csv", "validation.json", "notes.txt", "readme.json", "x_gen.jsonl"])


@given(st.sets(NAMES))
def test_it_names_the_files_that_the_run_takes_and_no_others(names: set[str]) -> None:
    listed = [DataFile(name=name, etag="", size=1, modified=NOW) for name in names]
    found = contents("faq", listed, None)
    for dataset in found.datasets:
        said = " ".join(text for _, text in starts(dataset, None, "Phi-4"))
        assert {name for name in names if name in said} == set(dataset.etags)
