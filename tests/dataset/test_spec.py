"""finetune.yaml: what is taken, and how each mistake is told."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.dataset.spec import SIZE_LIMIT, Spec, parse
from shared.errors import Permanent


def test_a_full_spec() -> None:
    spec = parse(
        b"""\xef\xbb\xbfmodel: Phi-4
train: train.jsonl
validation: validation.jsonl
test: test.jsonl
parameters:
  num_train_epochs: 1
  learning_rate: 5e-6
  apply_lora: true
"""
    )
    assert spec == Spec(
        model="Phi-4",
        train="train.jsonl",
        validation="validation.jsonl",
        test="test.jsonl",
        parameters={"num_train_epochs": 1, "learning_rate": "5e-6", "apply_lora": True},
    )
    assert spec.files == ("train.jsonl", "validation.jsonl", "test.jsonl")


def test_train_alone_is_enough() -> None:
    assert parse(b"train: a.jsonl\nparameters:\nmodel:\n") == Spec(train="a.jsonl")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "not a nothing"),
        ("- train", "not a list"),
        ("model: Phi-4", "train is missing"),
        ("trian: a.jsonl\ntrain: a.jsonl", "'trian' is not a key; did you mean train?"),
        ("train: a.jsonl\nzzz: 1", r"'zzz' is not a key \(model, train"),
        ("train: 7", "train is 7, a number"),
        ("train: [a.jsonl]", "train is .'a.jsonl'., a list"),
        ("train: other/a.jsonl", "in the same folder"),
        ("train: a.parquet", "name of a .jsonl file"),
        ("train: ''", "1 to 256 characters"),
        ("train: a.jsonl\ntest: a.jsonl", "different files"),
        ("train: a.jsonl\nmodel: 4", "model is 4, a number; it must be text"),
        ("train: a.jsonl\nparameters: [1]", "parameters is a list"),
        ("train: a.jsonl\nparameters: {lora_r: [8]}", "parameters.lora_r is a list"),
        ("train: a.jsonl\nparameters: {lora_r: }", "parameters.lora_r is a nothing"),
        ("train: a.jsonl\nparameters: {x: 2026-01-01}", "parameters.x is a date"),
        ("train: a.jsonl\nparameters: {1: 2}", "the key 1 is a number"),
        ("train: a.jsonl\n  test: b.jsonl", "line 2, column 7"),
        ("train: a.jsonl\nmodel: 'x", "line 2, column 10"),
        ("train: a.jsonl\ntrain: b.jsonl", "line 2, column 1: the key train is there twice"),
        ("train: &a x.jsonl\ntest: *a", "line 2, column 7: aliases and tags are not taken"),
        ("train: !!python/object/apply:os.getcwd []", "line 1, column 8: aliases and tags"),
        ("train: !!int ''", "line 1, column 8: aliases and tags"),
        ("train: " + "[" * 20_000, "can't be read as YAML"),
        ("train: " + "9" * 5_000, "can't be read as YAML"),
        ("? {a: b}\n: c", "line 1"),
    ],
)
def test_mistakes_are_told(text: str, told: str) -> None:
    with pytest.raises(Permanent, match=r"^finetune\.yaml.*" + told):
        parse(text.encode())


def test_every_mistake_is_told_at_once() -> None:
    with pytest.raises(Permanent) as told:
        parse(b"modle: x\ntest: 3\nparameters: 4")
    assert [word for word in ("modle", "train is missing", "test is 3", "parameters is") if word in str(told.value)]
    assert str(told.value).count(";") >= 3


def test_bytes_that_are_no_text() -> None:
    with pytest.raises(Permanent, match="line 2: it is not UTF-8"):
        parse(b"train: a.jsonl\nmodel: \xff")


def test_a_huge_file_is_not_even_read() -> None:
    with pytest.raises(Permanent, match="it may have 65536"):
        parse(b"#" * (SIZE_LIMIT + 1))


@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_anything_is_a_spec_or_told(data: bytes) -> None:
    try:
        spec = parse(data)
    except Permanent:
        return
    assert spec.train.endswith(".jsonl")
