"""What is written into tags comes back out of them, and they keep to Azure's limits, whatever names people choose."""

from __future__ import annotations

import base64
import string
import zlib
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.dataset.spec.choices import Hub, Policy
from shared.records import tags
from shared.records.line import Line
from shared.records.run import File, Run
from shared.serving.gate import Bounds, Gate, Promotion

NOW = datetime(2026, 11, 22, tzinfo=UTC)
NAMES = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=60)
FILES = st.builds(File, name=NAMES, etag=st.text(string.hexdigits, max_size=20), size=st.integers(0, 2**40))
PROMOTIONS = st.builds(
    Promotion,
    approve=st.sampled_from(["auto", "manual"]),
    strategy=st.sampled_from(["blue_green", "replace"]),
    gate=st.builds(
        Gate,
        rows=st.integers(0, 99),
        metrics=st.dictionaries(NAMES, st.builds(Bounds, most=st.floats(0, 9)), max_size=2),
    ),
)
RUNS = st.builds(
    Run,
    id=st.text(string.ascii_lowercase + "234567", min_size=16, max_size=16),
    attempt=st.integers(1, 99),
    line=st.text(string.ascii_lowercase, min_size=16, max_size=16),
    folder=NAMES,
    base_model=NAMES,
    uploaded=st.datetimes(timezones=st.just(UTC)),
    ordinal=st.integers(0, 9),
    origin=st.sampled_from(["", "rorigin"]),
    rollback=st.booleans(),
    data_of=st.sampled_from(["", "rorigin/2"]),
    train=st.none() | FILES,
    test=st.none() | FILES,
    spec=st.none() | FILES,
    hub=st.none() | st.builds(Hub, name=NAMES, percent=st.floats(0.1, 100)),
    policy=st.builds(Policy, min_rows=st.integers(1, 99)),
    promotion=PROMOTIONS,
    parameters=st.dictionaries(NAMES, st.integers() | NAMES | st.booleans(), max_size=3),
    rows=st.dictionaries(st.sampled_from(["train", "test"]), st.integers(0, 999)),
    fingerprint=st.sampled_from(["", "0123456789abcdef"]),
    in_job=st.booleans(),
    model=NAMES,
    since=st.just(NOW),
)


@given(RUNS)
def test_a_run_comes_back_as_it_was(run: Run) -> None:
    assert tags.run_of(tags.tags_of(run), since=NOW) == run


@given(RUNS, st.integers(0, 40))
def test_tags_keep_to_the_limits(run: Run, many: int) -> None:
    """Beside a job's and a model's own, two at most, and however much people wrote into a finetune.yaml."""
    parameters = {f"parameter_{number}": f"{number * 7919}" * 50 for number in range(many)}
    found = tags.tags_of(Run(**{**{f: getattr(run, f) for f in run.__dataclass_fields__}, "parameters": parameters}))
    assert len(found) + 2 <= 15
    assert all(len(value) <= 256 and len(name) <= 100 for name, value in found.items())


def test_what_does_not_fit_is_left_out_and_the_rest_comes_back() -> None:
    noise = {f"p{n}": base64.b64encode(zlib.compress(str(n**99).encode())).decode() for n in range(40)}
    promotion = Promotion(approve="manual")
    run = Run(
        id="r1",
        folder="faq",
        line="l1",
        base_model="Phi-4",
        uploaded=NOW,
        since=NOW,
        parameters=noise,
        promotion=promotion,
    )
    found = tags.run_of(tags.tags_of(run), since=NOW)
    assert found
    assert (found.id, found.promotion, found.parameters) == ("r1", promotion, {})


@given(st.text(string.ascii_lowercase, min_size=1), NAMES, NAMES, st.text(string.ascii_lowercase, min_size=3))
def test_a_line_comes_back(key: str, folder: str, model: str, endpoint: str) -> None:
    line = Line(id=key, folder=folder, base_model=model, endpoint=endpoint)
    assert tags.line_of(tags.tags_of_line(line)) == line


@pytest.mark.parametrize(
    "record",
    ["", "####", "YWJj", base64.urlsafe_b64encode(zlib.compress(b"[]")).decode(), "eJwDAAAAAAE=", "a\u00e9"],
)
def test_tags_that_hold_no_record_are_none(record: str) -> None:
    found = {"droptune.run": "r1", "droptune.record.0": record}
    assert tags.run_of(found, since=NOW) is None
    assert tags.line_of(found) is None


def test_a_piece_that_is_missing_makes_no_other_run() -> None:
    run = Run(
        id="r1",
        folder="faq" * 300,
        line="l1",
        base_model="Phi-4",
        uploaded=NOW,
        since=NOW,
        parameters={f"p{n}": str(n**60) for n in range(12)},
    )
    found = tags.tags_of(run)
    del found["droptune.record.1"]
    assert tags.run_of(found, since=NOW) is None


def test_a_record_that_unpacks_to_too_much_is_none() -> None:
    bomb = base64.urlsafe_b64encode(zlib.compress(b" " * 1_000_000, 9)).decode()
    pieces = {f"droptune.record.{at // 256}": bomb[at : at + 256] for at in range(0, len(bomb), 256)}
    assert tags.run_of(pieces, since=NOW) is None
