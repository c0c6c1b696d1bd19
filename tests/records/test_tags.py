"""What is written into tags comes back out of them, and they keep to Azure's limits, whatever names people choose."""

from __future__ import annotations

import base64
import hashlib
import json
import random
import zlib
from dataclasses import MISSING, fields, replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from shared.dataset.spec.choices import Hub
from shared.records import tags
from shared.records.base import Order
from shared.records.line import Line
from shared.records.run import File, Run, Source
from shared.serving.gate import Bounds, Gate
from tests.kit.any_run import LETTERS, runs
from tests.kit.carried import RUN
from tests.kit.records import changed

NOW = datetime(2026, 11, 22, tzinfo=UTC)
NAMES = st.text(LETTERS, min_size=1, max_size=60)
SMALL = runs(longest=8, many=2)
"""Runs whose tags have room for all that is to be in them."""
RUNS = runs(longest=60, many=4)


def in_tags(run: Run) -> Run:
    """The run as it is to come back at NOW."""
    return replace(tags.as_in_tags(run), since=NOW)


def without(part: Any, path: str) -> Any:
    """The same with the field of that path as it is by default."""
    name, _, rest = path.partition(".")
    if rest:
        inner = getattr(part, name)
        return part if inner is None else replace(part, **{name: without(inner, rest)})
    (field,) = (each for each in fields(part) if each.name == name)
    default = field.default if field.default_factory is MISSING else field.default_factory()
    return replace(part, **{name: default})


def left_out_one_by_one(run: Run) -> list[Run]:
    """The run as it comes back, whole or without the first that is left out, the first two, and so on."""
    found = [in_tags(run)]
    for path in tags._LEFT_OUT:
        found.append(without(found[-1], path))
    return found


@given(SMALL)
@example(replace(RUN, order=Order(uploaded=datetime(1, 1, 1, tzinfo=UTC)), source=Source(folder="", base_model="")))
def test_a_run_comes_back_as_it_was(run: Run) -> None:
    assert tags.run_of(tags.tags_of(run), since=NOW) == in_tags(run)


@given(RUNS)
def test_of_a_run_that_does_not_fit_comes_back_what_is_left_in_order(run: Run) -> None:
    found = tags.run_of(tags.tags_of(run), since=NOW)
    assert found in left_out_one_by_one(run)
    assert found
    promotion = run.source.promotion
    assert (found.source.promotion.approve, found.source.promotion.strategy) == (promotion.approve, promotion.strategy)


@given(RUNS, st.integers(0, 40))
def test_tags_keep_to_the_limits(run: Run, many: int) -> None:
    """Beside a job's and a model's own, two at most, and however much people wrote into a finetune.yaml."""
    parameters = {f"parameter_{number}": f"{number * 7919}" * 50 for number in range(many)}
    found = tags.tags_of(replace(run, source=replace(run.source, parameters=parameters)))
    assert len(found) + 2 <= 15
    assert all(len(value) <= 256 and len(name) <= 100 for name, value in found.items())


def noise(length: int) -> str:
    """Letters that no compression makes shorter than three quarters."""
    digests = (hashlib.sha256(bytes([number])).digest() for number in range(length // 32 + 1))
    return base64.urlsafe_b64encode(b"".join(digests)).decode()[:length]


LONG, SOME = noise(3000), noise(120)
NOISY: dict[str, Any] = {
    "source.parameters": {"p": LONG},
    "attempt.data.rows": {LONG: 1},
    "source.spec": File(name=LONG, etag="1", size=1),
    "source.test": (File(name=LONG, etag="1", size=1),),
    "source.validation": (File(name=LONG, etag="1", size=1),),
    "source.train": (File(name=LONG, etag="1", size=1),),
    "source.hub_commit": LONG,
    "source.hub": Hub(name=LONG),
    "source.promotion.gate": Gate(metrics={LONG: Bounds(most=1)}),
}
"""What makes a run too long, by the field where it stands; a policy is never long."""
FULL = changed(RUN, train=(File(name=f"faq/{SOME}", etag="1", size=1),))


def replaced(part: Any, path: str, value: object) -> Any:
    """The same with another value in the field of that path."""
    name, _, rest = path.partition(".")
    return replace(part, **{name: replaced(getattr(part, name), rest, value) if rest else value})


@pytest.mark.parametrize("path", NOISY)
def test_what_does_not_fit_is_left_out_and_no_more(path: str) -> None:
    """All that goes before it goes, and all that goes behind it stays."""
    run = replaced(FULL, path, NOISY[path])
    left = left_out_one_by_one(run)[tags._LEFT_OUT.index(path) + 1]
    assert tags.run_of(tags.tags_of(run), since=NOW) == left
    assert left.source.promotion.approve == "manual"
    assert left.source.promotion.strategy == "replace"


def test_all_that_may_be_left_out_is_tried() -> None:
    paths = [*NOISY, "source.policy"]
    assert sorted(paths) == sorted(tags._LEFT_OUT)
    assert all(without(in_tags(FULL), path) != in_tags(FULL) for path in paths), "FULL has a value for each"


def test_what_does_not_fit_at_all_leaves_what_is_for_people() -> None:
    found = tags.tags_of(replace(FULL, source=replace(FULL.source, folder=LONG)))
    own = {"droptune.run", "droptune.attempt", "droptune.line", "droptune.installation"}
    assert set(found) == own | {"droptune.dataset", "droptune.base_model"}
    assert tags.run_of(found, since=NOW) is None


LINE_IDS = st.from_regex("l[a-z2-7]{15}", fullmatch=True)


@given(st.builds(Line, id=LINE_IDS, folder=NAMES, base_model=NAMES, endpoint=NAMES, installation=st.just("") | NAMES))
def test_a_line_comes_back(line: Line) -> None:
    assert tags.line_of(tags.tags_of_line(line)) == line


@pytest.mark.parametrize("odd", ["", "../lines/l1", "r1/../../x", "r1\n", "-r1", "r 1", "r" * 65, "r\u0661"])
def test_tags_with_what_can_be_no_id_hold_no_record(odd: str) -> None:
    """Anybody may write them who may write to the workspace, and the id becomes a part of a blob's name."""
    assert tags.run_of(tags.tags_of(replace(FULL, id=odd)), since=NOW) is None
    assert tags.run_of(tags.tags_of(replace(FULL, line=odd)), since=NOW) is None
    line = Line(id=odd, folder="faq", base_model="Phi-4", endpoint="faq-1")
    assert tags.line_of(tags.tags_of_line(line)) is None


@pytest.mark.parametrize(
    "record",
    ["", "####", "YWJj", base64.urlsafe_b64encode(zlib.compress(b"[]")).decode(), "eJwDAAAAAAE=", "a\u00e9"],
)
def test_tags_that_hold_no_record_are_none(record: str) -> None:
    found = {"droptune.run": "r1", "droptune.record.0": record}
    assert tags.run_of(found, since=NOW) is None
    assert tags.line_of(found) is None


def test_a_piece_that_is_missing_makes_no_other_run() -> None:
    parameters = {f"p{n}": str(n**60) for n in range(12)}
    found = tags.tags_of(replace(FULL, source=replace(FULL.source, folder="faq" * 300, parameters=parameters)))
    assert "droptune.record.2" in found
    del found["droptune.record.1"]
    assert tags.run_of(found, since=NOW) is None


def test_a_record_that_unpacks_to_too_much_is_none() -> None:
    bomb = base64.urlsafe_b64encode(zlib.compress(b" " * 1_000_000, 9)).decode()
    pieces = {f"droptune.record.{at // 256}": bomb[at : at + 256] for at in range(0, len(bomb), 256)}
    assert tags.run_of(pieces, since=NOW) is None


LINE_RECORD = json.dumps({"version": 1, "id": "l1", "folder": "faq", "base_model": "Phi-4", "endpoint": "e"}).encode()


def packed(record: bytes, *, cut: int = 0) -> dict[str, str]:
    """Tags of this record, the end of which is missing where `cut` is given."""
    data = zlib.compress(record, 9)
    text = base64.urlsafe_b64encode(data[: len(data) - cut]).decode()
    return {f"droptune.record.{at // 256}": text[at : at + 256] for at in range(0, len(text), 256)}


def test_of_a_record_that_is_cut_nothing_is_believed() -> None:
    """Not even where what is left could be read."""
    record = LINE_RECORD
    padded = record + b" " * 4096
    assert tags.line_of(packed(padded))
    assert [cut for cut in range(1, 12) if tags.line_of(packed(padded, cut=cut))] == []


def test_a_good_record_with_too_much_behind_it_is_none() -> None:
    record = LINE_RECORD
    assert tags.line_of(packed(record + b" " * 1_000_000)) is None


def test_what_people_read_is_cut_where_azure_would_refuse_it() -> None:
    run = changed(RUN, folder="f" * 900, base_model="m" * 300)
    found = tags.tags_of(run)
    assert {len(found[name]) for name in ("droptune.dataset", "droptune.base_model")} == {256}
    back = tags.run_of(found, since=NOW)
    assert back
    assert (back.source.folder, back.source.base_model) == ("f" * 900, "m" * 300), "the record has it whole"


def test_others_find_room_for_tags_of_their_own() -> None:
    """However much there is to say: eight of a resource's fifty tags hold the record."""
    letters = [base64.b64encode(random.Random(n).randbytes(24)).decode() for n in range(60)]
    for many in range(60):
        found = tags.tags_of(changed(RUN, parameters={f"p{n}": text for n, text in enumerate(letters[:many])}))
        assert sum(name.startswith("droptune.record.") for name in found) <= 8


def test_what_a_newer_app_has_written_is_not_read_as_our_own() -> None:
    assert tags.line_of(packed(LINE_RECORD))
    assert tags.line_of(packed(LINE_RECORD.replace(b'"version": 1', b'"version": 2'))) is None
