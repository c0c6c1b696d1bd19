"""What a file's name says: its use, whether it is data, and which names are one set in pieces."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from shared.dataset.kinds import KINDS
from shared.dataset.names import VALIDATION, not_data, piece_of, sets_of, use_of, word_of

UUIDS = ("3f2a1b4c-1111-2222-3333-444455556666", "9b2a1b4c-1111-2222-3333-444455556666")
WORDS = {
    "train": "train",
    "training": "train",
    "test": "test",
    "testing": "test",
    "tests": "test",
    "holdout": "test",
} | dict.fromkeys((*VALIDATION, "evaluation", "validate", "devel"), "validation")
SIGNS = st.sampled_from(["-", "_", ".", " ", "2", "-v1.", "__", " (3) "])
OTHERS = st.sampled_from(["my", "chats", "latest", "Contest", "v", "größe", "final", "データ", "testimonials", "x"])
KIND = st.sampled_from(KINDS)
CASES = st.sampled_from([str.lower, str.upper, str.title])


@given(
    st.sampled_from(sorted(WORDS)),
    CASES,
    st.lists(st.tuples(OTHERS, SIGNS), max_size=2),
    st.lists(st.tuples(SIGNS, OTHERS), max_size=2),
    KIND,
)
@example("train", str.lower, [("my", "_")], [("_", "v"), ("2", "x")], ".jsonl")
@example("test", str.lower, [("chat", "-")], [], ".csv")
def test_a_word_for_a_split_counts_with_whatever_before_and_behind_it(
    word: str, case: object, before: list[tuple[str, str]], behind: list[tuple[str, str]], kind: str
) -> None:
    assert callable(case)
    stem = f"{''.join(map(''.join, before))}{case(word)}{''.join(map(''.join, behind))}"
    assert use_of(stem + kind) == WORDS[word], stem


@given(
    st.sampled_from(sorted(WORDS)),
    st.sampled_from("aeioprtz"),
    st.sampled_from(["imonials", "ed", "ate", "ament", "x", "ing", "y", "ue", "ice", "ity"]),
    st.booleans(),
    KIND,
)
@example("test", "a", "imonials", True, ".jsonl")
def test_letters_that_go_on_make_another_word(word: str, letter: str, more: str, behind: bool, kind: str) -> None:
    longer = f"{word}{more}" if behind else f"{letter}{word}"
    if longer in WORDS:
        return
    assert use_of(f"my_{longer}{kind}") == "train"
    assert word_of(f"my_{longer}{kind}") == ""


@pytest.mark.parametrize(
    ("name", "use"),
    [
        *(
            (f"{stem}.jsonl", "train")
            for stem in ("testimonials", "latest", "validated", "contest", "devices", "retest")
        ),
        *((f"{stem}.csv", "train") for stem in ("evaluate", "protest", "invalid", "0000", "détest", "de\u0301test")),
        *(
            (f"{stem}.jsonl", "test")
            for stem in ("TestData", "testset", "test1", "TEST", "train-test", "a.test.b", "holdoutset")
        ),
        *((f"{stem}.json", "validation") for stem in ("valSet", "Validation2", "x.dev", "devset", "EVAL-3")),
        *((f"{stem}.parquet", "train") for stem in ("my_train_v2", "trainData", "dev_train", "train")),
        ("train_gen.jsonl", "try"),
        ("test_gen-00000-of-00002.parquet", "try"),
        ("test-00000-of-00001-a09b74b3ef9c3b56.parquet", "test"),
        (f"valid-{UUIDS[0]}.jsonl", "validation"),
        ("train.txt", "none"),
    ],
)
def test_what_a_name_is_for(name: str, use: str) -> None:
    assert use_of(name) == use


def test_the_page_has_the_words() -> None:
    page = (Path(__file__).parents[2] / "docs" / "finetune.md").read_text()
    for use in ("train", "validation", "test"):
        (line,) = [
            each for each in page.splitlines() if each.startswith("| a word of ") and each.endswith(f"| {use} |")
        ]
        words = re.findall("`(.+?)`", line)
        assert set(words) == {word for word, means in WORDS.items() if means == use}


@pytest.mark.parametrize(
    "name",
    [
        *(".train.jsonl", "._train.jsonl", "~$train.csv", ".~lock.train.csv#", "train.jsonl.bak", ".train.jsonl.swp"),
        *("#train.jsonl#", "train.jsonl~", "train.jsonl.part", "data/._train.jsonl", ".DS_Store"),
        *("state.json", "dataset_info.json", "dataset_infos.json", "dataset_dict.json", "config.json", "metadata.json"),
        *("ds_config.json", "tokenizer.json", "tokenizer_config.json", "adapter_config.json", "trainer_state.json"),
        *("special_tokens_map.json", "generation_config.json", "model.safetensors.index.json", "train_results.json"),
        *(
            "dataset-metadata.json",
            "README.json",
            "report.csv",
            "finetune.schema.json",
            "State.JSON",
            "lora_config.json",
        ),
    ],
)
def test_litter_is_no_data_and_says_so(name: str) -> None:
    assert use_of(name) == "none"
    assert not_data(name).startswith("by its name it ")


@pytest.mark.parametrize(
    "name", ["chats.json", "state.jsonl", "configs.csv", "metadata_of_chats.json", "1.json", "~1.csv"]
)
def test_what_only_looks_like_it_is_data(name: str) -> None:
    assert not_data(name) == ""


ONE = [
    [f"train-0000{n}-of-00003.parquet" for n in range(3)],
    [f"Train-0000{n}-of-00003-{n:016x}.parquet" for n in range(3)],
    ["part-0.jsonl", "part-1.jsonl"],
    ["chats_1.jsonl", "chats_2.jsonl", "chats_3.jsonl"],
    ["CHATS 9.csv", "chats 10.csv"],
    ["0000.parquet", "0001.parquet"],
    [f"part{n}.json.gz" for n in range(12)],
    [f"rows {n} of 2.csv" for n in (1, 2)],
    [f"{uuid}.jsonl" for uuid in UUIDS],
    [f"part-0000{n}-{UUIDS[0]}-c000.snappy.parquet" for n in (0, 3)],
    [f"part-00000-tid-77-{uuid}-1-1-c000.parquet" for uuid in UUIDS],
    [f"data/train-0000{n}-of-00002.jsonl" for n in range(2)],
]
APART = [
    ["part-0.jsonl", "part-2.jsonl"],
    ["part-0.jsonl", "part-1.csv"],
    ["part-0.jsonl", "data/part-1.jsonl"],
    ["part-1.jsonl", "part-01.jsonl"],
    ["part-1.jsonl", "part_2.jsonl"],
    ["train.jsonl", "train-1.jsonl"],
    ["train.jsonl", "train (1).jsonl"],
    ["train_v1.jsonl", "train_v2.jsonl"],
    ["train-version-1.jsonl", "train-version-2.jsonl"],
    ["chats_100.jsonl", "chats_1000.jsonl"],
    ["chats_10k.jsonl", "chats_20k.jsonl"],
    ["chats_2025.jsonl", "chats_2026.jsonl"],
    ["chats-2026-01.jsonl", "chats-2026-02.jsonl"],
    ["chats_20261101.jsonl", "chats_20261102.jsonl"],
    ["train-00000-of-00002.parquet", "train-00001-of-00003.parquet"],
    [f"a-00000-of-00002-{n:016x}.parquet" for n in range(2)],
    ["a_1.jsonl", "b_2.jsonl"],
]


@pytest.mark.parametrize("names", ONE, ids=lambda names: names[0])
def test_these_are_one_set_in_order_of_name(names: list[str]) -> None:
    for order in (names, names[::-1]):
        (one,) = sets_of(order)
        assert one.names == tuple(sorted(names))
        assert one.missing == ()


@pytest.mark.parametrize("names", APART, ids=lambda names: names[1])
def test_these_are_not(names: list[str]) -> None:
    assert [each.names for each in sets_of(names)] == [(name,) for name in sorted(names)]


@given(st.sampled_from(["train", "my chats.v2", "", "x-0"]), st.integers(1, 12), st.data())
def test_of_counted_pieces_those_that_are_missing_are_named(stem: str, of: int, data: st.DataObject) -> None:
    names = [f"{stem}-{n:05}-of-{of:05}.jsonl" for n in range(of)]
    there = data.draw(st.sets(st.sampled_from(names), min_size=1))
    (one,) = sets_of(there)
    assert one.names == tuple(sorted(there))
    assert sorted((*one.names, *one.missing)) == names
    assert {piece_of(name).base for name in names} == {stem}


def test_people_count_from_one() -> None:
    (one,) = sets_of(["rows_2_of_3.csv"])
    assert one.missing == ("rows_1_of_3.csv", "rows_3_of_3.csv")
    (one,) = sets_of(["rows_0_of_3.csv"])
    assert one.missing == ("rows_1_of_3.csv", "rows_2_of_3.csv")


@given(st.lists(st.text(st.sampled_from("ab-_.0123of v"), min_size=1, max_size=9), unique=True, max_size=12))
def test_each_file_is_in_one_set_whatever_it_is_called(stems: list[str]) -> None:
    names = [f"{stem}.jsonl" for stem in stems]
    found = sets_of(names)
    assert sorted(name for each in found for name in each.names) == sorted(names)
    assert found == sets_of(names[::-1])
    assert not any(name in names for each in found for name in each.missing)
