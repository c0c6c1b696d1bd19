"""What counts as the same content before anything has read it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from shared.dataset.spec.choices import Hub, Policy
from shared.dataset.version import VERSION
from shared.line import trained
from shared.line.trained import content_of
from shared.records.run import File, Source
from shared.serving.gate import Gate, Promotion

FILE = File(name="faq/train.jsonl", etag="1", size=9, md5="aa")
SOURCE = Source(folder="faq", base_model="m", train=(FILE,), parameters={"epochs": 1, "rate": 0.5})


@pytest.mark.parametrize(
    "same",
    [
        replace(SOURCE, train=(replace(FILE, etag="2"),)),
        replace(SOURCE, parameters={"rate": 0.5, "epochs": 1}),
        replace(SOURCE, promotion=Promotion(gate=Gate(rows=3))),
        replace(SOURCE, spec=File(name="faq/finetune.yaml", etag="4", size=4)),
    ],
    ids=["metadata", "order", "gate", "comment"],
)
def test_what_nobody_trains_on_is_no_other_content(same: Source) -> None:
    assert content_of(SOURCE)
    assert content_of(same) == content_of(SOURCE)


@pytest.mark.parametrize(
    "other",
    [
        replace(SOURCE, train=(replace(FILE, md5="ab"),)),
        replace(SOURCE, train=(replace(FILE, size=8),)),
        replace(SOURCE, train=(replace(FILE, name="faq/train.csv"),)),
        replace(SOURCE, train=(), test=(FILE,)),
        replace(SOURCE, test=(FILE,)),
        replace(SOURCE, base_model="n"),
        replace(SOURCE, policy=Policy(min_rows=3)),
        replace(SOURCE, parameters={"epochs": 2, "rate": 0.5}),
    ],
    ids=["bytes", "size", "kind", "part", "more", "model", "policy", "parameters"],
)
def test_other_content(other: Source) -> None:
    assert content_of(other) not in ("", content_of(SOURCE))


@pytest.mark.parametrize(
    "unknown",
    [
        replace(SOURCE, train=(replace(FILE, md5=""),)),
        replace(SOURCE, test=(replace(FILE, md5=""),)),
        Source(folder="faq", base_model="m", hub=Hub(name="owner/chats")),
        Source(folder="faq", base_model="m"),
    ],
    ids=["train", "test", "hub", "nothing"],
)
def test_what_nobody_can_tell_without_reading(unknown: Source) -> None:
    assert content_of(unknown) == ""


def test_of_the_hub_the_commit_says_it() -> None:
    source = Source(folder="faq", base_model="m", hub=Hub(name="owner/chats"), hub_commit="c0")
    assert content_of(source)
    assert content_of(replace(source, hub=Hub(name="owner/chats", revision="c0"))) == content_of(source)
    assert content_of(replace(source, hub_commit="c1")) not in ("", content_of(source))


def test_what_was_read_by_other_rules_is_other_content(monkeypatch: pytest.MonkeyPatch) -> None:
    before = content_of(SOURCE)
    monkeypatch.setattr(trained, "VERSION", VERSION + 1)
    assert content_of(SOURCE) not in ("", before)
