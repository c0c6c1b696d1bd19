"""What holds for every dataset: where its rows go, and that nothing else decides it."""

from __future__ import annotations

import gzip
import json
import os
import unicodedata
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shared.dataset.preparing import parallel
from shared.dataset.preparing.scan import prepare
from shared.dataset.reading.files import LocalFile
from shared.dataset.report import Report
from shared.dataset.spec.choices import Policy
from tests.kit.dataset import fuzz, mutations

LONG = bool(os.environ.get("DROPTUNE_LONG"))
PARTS = fuzz.PARTS
EXAMPLES = settings(
    max_examples=1000 if LONG else 40,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.function_scoped_fixture],
)

LETTERS = st.characters(exclude_categories=["Cs", "Cc"])
PROMPTS = st.one_of(
    st.text(LETTERS, min_size=1, max_size=12),
    st.sampled_from(
        [
            "Hi",
            "hi",
            " HI ",
            "H\u0131",
            "\ufb01sh",
            "fish",
            "FISH",
            "e\u0301",
            "\u00e9",
            "\u00df",
            "ss",
            "a  b",
            "a\tb",
            "\u1e9e",
        ]
    ),
).filter(lambda text: bool(text.strip()))
ROWS = st.lists(st.tuples(PROMPTS, st.text(LETTERS, min_size=1, max_size=8).filter(str.strip)), min_size=4, max_size=60)

type Row = tuple[str, str]


def written(rows: list[Row]) -> bytes:
    return b"".join(
        json.dumps({"messages": [{"role": "user", "content": asked}, {"role": "assistant", "content": said}]}).encode()
        + b"\n"
        for asked, said in rows
    )


def prepared(data: bytes, name: str = "data.jsonl", **policy: Any) -> tuple[Report, dict[str, bytes]]:
    sinks = {part: fuzz.Memory() for part in PARTS}
    report = prepare(
        files={"train": fuzz.Bytes(name, data)},
        sinks=sinks,
        policy=Policy(min_rows=1, **policy),
    )
    return report, {part: bytes(sink.data) for part, sink in sinks.items()}


def sides(outputs: dict[str, bytes]) -> dict[str, list[str]]:
    """Part to the first prompts of its rows."""
    return {
        part: [json.loads(line)["messages"][0]["content"] for line in data.splitlines()]
        for part, data in outputs.items()
    }


def normal(prompt: str) -> str:
    """What the documentation calls the same prompt: NFKC, without regard to case and white space."""
    return " ".join(unicodedata.normalize("NFKC", prompt).casefold().split())


@EXAMPLES
@given(ROWS, st.randoms(use_true_random=False), st.integers(1, 30), st.integers(0, 3))
def test_the_split_does_not_depend_on_order(rows: list[Row], random: Random, percent: int, seed: int) -> None:
    policy: dict[str, Any] = {"validation_percent": percent, "test_percent": percent, "seed": seed}
    one = sides(prepared(written(rows), **policy)[1])
    random.shuffle(rows)
    two = sides(prepared(written(rows), **policy)[1])
    assert {part: sorted(prompts) for part, prompts in one.items()} == {
        part: sorted(prompts) for part, prompts in two.items()
    }


@EXAMPLES
@given(ROWS)
def test_no_prompt_is_on_two_sides(rows: list[Row]) -> None:
    report, outputs = prepared(written(rows))
    found = {part: {normal(prompt) for prompt in prompts} for part, prompts in sides(outputs).items()}
    assert not found["train"] & found["test"]
    assert not found["train"] & found["validation"]
    assert not found["validation"] & found["test"]
    if not report.rejected:
        assert all(found.values())
        assert sum(report.splits.values()) == len(rows)


@EXAMPLES
@given(st.integers(0, 10**9), st.integers(1, 400), st.integers(0, 2))
def test_growing_the_data_moves_no_row(first: int, more: int, seed: int) -> None:
    """Once each part has rows by chance alone, which in a set of hundreds it has."""
    rows = [(f"Question {first} {at}", "yes") for at in range(300 + more)]
    before = sides(prepared(written(rows[:300]), seed=seed)[1])
    after = sides(prepared(written(rows), seed=seed)[1])
    for part in PARTS:
        assert set(before[part]) <= set(after[part])


@EXAMPLES
@given(st.integers(0, 10**6), st.sampled_from(mutations.FORMATS), st.booleans())
def test_reading_our_own_output_finds_nothing(number: int, form: str, dirty: bool) -> None:
    random = Random(number)
    rows = [mutations.row(random, form) for _ in range(30)]
    data = mutations.text(random, rows, faults=4 if dirty else 0)
    _, outputs = prepared(data, on_bad_rows="drop", max_bad_percent=100)
    for part, out in outputs.items():
        if not out:
            continue
        sinks = {each: fuzz.Memory() for each in PARTS}
        again = prepare(
            files={
                "train": fuzz.Bytes("train.jsonl", out),
                "validation": fuzz.Bytes("v.jsonl", out),
                "test": fuzz.Bytes("t.jsonl", out),
            },
            sinks=sinks,
            policy=Policy(min_rows=1),
        )
        assert not again.bad_rows, part
        assert not again.rejected
        assert bytes(sinks["train"].data) == out


@EXAMPLES
@given(
    st.integers(0, 10**6), st.sampled_from(sorted(fuzz.SERIES)), st.lists(st.integers(1, 500), min_size=1, max_size=4)
)
def test_pieces_and_compression_make_no_difference(number: int, series: str, pieces: list[int]) -> None:
    made = fuzz.made(series, number)
    whole = fuzz.engine(fuzz.Bytes(made.name, made.data), fuzz.LIMITS)
    divided = fuzz.engine(fuzz.Bytes(made.name, made.data, tuple(pieces)), fuzz.LIMITS)
    if made.name.endswith(".gz") and made.expected is None:  # how far it is read before the damage, zlib decides
        assert fuzz.refused(whole) == fuzz.refused(divided)
        return
    assert divided == whole
    if made.name == "data.jsonl":
        packed = fuzz.engine(fuzz.Bytes("data.jsonl.gz", gzip.compress(made.data), tuple(pieces)), fuzz.LIMITS)
        assert packed == whole


@pytest.mark.parametrize("spoiled", [0, 7])
def test_any_number_of_processes_gives_the_same(spoiled: int, tmp_path: Path) -> None:
    random = Random(spoiled)
    rows = [{"messages": mutations.row(random, "messages", 1)["messages"], "n": at} for at in range(11_000)]
    lines = [json.dumps(row).encode().replace(b"?", b" %d?" % at) for at, row in enumerate(rows)]
    for _ in range(spoiled):
        at = random.randrange(len(lines))
        lines[at] = mutations.bent(random, lines[at])
    path = tmp_path / "data.jsonl"
    path.write_bytes(b"\n".join(lines) + b"\n")
    found = []
    for processes in (1, 2, 3):
        out = tmp_path / f"out{processes}"
        report = parallel.prepare_files(
            files={"train": LocalFile(path)},
            out=out,
            policy=Policy(on_bad_rows="drop", max_bad_percent=50),
            processes=processes,
            piece=64 * 1024,  # so that a small file is divided
        )
        assert not report.rejected
        found.append((report, {each.name: each.read_bytes() for each in sorted(out.iterdir())}))
    assert sum(map(len, found[0][1].values())) > 1_000_000
    assert found[0] == found[1] == found[2]


@pytest.mark.parametrize("name", ["data.jsonl", "data.jsonl.gz"])
def test_a_fault_of_the_file_counts_behind_many_bad_rows(name: str) -> None:
    """More bad rows than are told do not hide that the file changes its format, or is cut off."""
    data = b"{}\n" * 30 + written([(f"Question {at}", "yes") for at in range(2000)])
    data = gzip.compress(data)[:-9] if name.endswith(".gz") else data + b'{"question": "a", "answer": "b"}\n'
    report = prepare(
        files={"train": fuzz.Bytes(name, data)},
        sinks={part: fuzz.Memory() for part in fuzz.PARTS},
        policy=Policy(on_bad_rows="drop"),
        told=10,
    )
    rule = "not_gzip" if name.endswith(".gz") else "mixed_formats"
    assert report.rejected
    assert report.by_rule[rule] == 1
    assert len(report.faults) == 11
    assert report.faults[-1].rule == rule
