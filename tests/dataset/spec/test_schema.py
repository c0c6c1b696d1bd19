"""The JSON Schema and the page of finetune.yaml: as fresh as the table of keys, and of one mind with `parse`."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from scripts import finetune_page
from shared.dataset.spec.choices import Policy
from shared.dataset.spec.finetune import parse
from shared.dataset.spec.keys import KEYS
from shared.dataset.spec.schema import Key
from shared.errors import Permanent
from shared.serving.gate import Gate

SCHEMA = json.loads(finetune_page.schema())
VALIDATOR = Draft202012Validator(SCHEMA)


class Plain(yaml.SafeDumper):
    """Writes what is in two places twice: aliases are not taken."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def accepted(document: object) -> bool:
    try:
        parse(yaml.dump(document, Dumper=Plain).encode())
    except Permanent:
        return False
    return True


def test_page_and_schema_are_fresh() -> None:
    told = "run `.venv/bin/python -m scripts.pages`"
    assert finetune_page.PAGE.read_text(encoding="utf-8") == finetune_page.page(), told
    assert finetune_page.SCHEMA.read_text(encoding="utf-8") == finetune_page.schema(), told


def test_the_schema_is_one_and_is_nowhere_fetched_from() -> None:
    Draft202012Validator.check_schema(SCHEMA)
    assert SCHEMA["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert SCHEMA["$id"].startswith("urn:")


def test_editors_are_told_of_every_key() -> None:
    properties = SCHEMA["properties"]
    assert list(properties) == [key.name for key in KEYS]
    for key in KEYS:
        assert list(properties[key.name].get("properties", {})) == [below.name for below in key.keys]
    assert properties["on_bad_rows"]["enum"] == ["reject", "drop", None]
    assert properties["min_rows"]["default"] == Policy.min_rows
    assert properties["split"]["properties"]["test"]["maximum"] == 50
    metrics = properties["gate"]["properties"]["metrics"]
    assert list(metrics["additionalProperties"]["properties"]) == ["least", "most"]
    assert properties["gate"]["properties"]["rows"]["default"] == Gate.rows
    assert all(each["description"] for each in properties.values())


def test_every_key_is_on_the_page() -> None:
    page = finetune_page.page()
    for key in KEYS:
        for name in (key.name, *(f"{key.name}.{below.name}" for below in key.keys)):
            assert f"| `{name}` | " in page


@pytest.mark.parametrize("block", re.findall(r"```yaml\n(.*?)```", finetune_page.page(), re.DOTALL))
def test_what_the_page_shows_can_be_used(block: str) -> None:
    parse(block.encode())
    VALIDATOR.validate(yaml.safe_load(block))


@pytest.mark.parametrize("key", KEYS, ids=lambda key: key.name)
def test_examples_and_defaults_are_taken(key: Key) -> None:
    needed: dict[str, object] = {"source": "owner/name"} if "Hub" in key.way else {"train": "a.csv"}
    for value in [key.example, *([] if key.default is None else [key.default])]:
        document = needed | {key.name: value}
        VALIDATOR.validate(document)
        assert accepted(document)


ODD: list[object] = [None, True, "", " ", "5", 0, -1, 1.5, 1e300, 50, 10**400, [], ["a"], {}, {"a": 1}, {"train": None}]
ODD += ["a\n", "é", "a\u0085", "a\u2028b", "\U0001f600", "x" * 256, "x" * 257, "a/b.csv", "a\\b.csv", "b.csv\n"]
SOME_TEXT = st.text(st.characters(codec="utf-8"), max_size=4)
NAMES = st.sampled_from(
    ["train", "b", "train_sft", "a.b", "a-b", "a..b", "_", "owner/name", "a--b", "x.git", "/a", "a/"]
)
FILES = st.sampled_from(
    [
        *("a.csv", "data/a.csv", "data/b/c.csv", "b.JSON", "c.jsonl", "d.tsv.Zst", "e.Parquet", ".csv", "f.jsonl.bz2"),
        *("g.jsonl.txt", "jsonl", " .csv"),
    ]
)


def valued(key: Key) -> st.SearchStrategy[Any]:
    """Mostly what the key takes, and now and then what it may not."""
    if key.kind == "keys":
        good: st.SearchStrategy[Any] = mapping(key.keys)
    elif key.kind == "named":
        names = SOME_TEXT | st.sampled_from(["eval_loss", "", " ", "x" * 257, "a\n"])
        good = st.dictionaries(names, mapping(key.keys) | st.sampled_from(ODD), max_size=3)
    elif key.kind == "values":
        scalars = st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | SOME_TEXT
        good = st.dictionaries(SOME_TEXT, scalars | st.sampled_from(ODD), max_size=3)
    elif key.kind == "text":
        good = st.sampled_from(key.choices) if key.choices else FILES if "files" in key.way else NAMES
        if key.many:
            good = st.one_of(good, good, st.lists(good, max_size=3), st.lists(good | st.sampled_from(ODD), max_size=2))
    else:
        edges = [edge + step for edge in (key.least, key.above, key.most) if edge is not None for step in (-1, 0, 1)]
        whole = st.integers(1, 50)
        good = st.one_of(whole, whole, whole.map(float), st.floats(0, 100), st.sampled_from(edges))
    return st.integers(0, 15).flatmap(lambda one: good if one else st.sampled_from(ODD) | SOME_TEXT)


def mapping(keys: tuple[Key, ...]) -> st.SearchStrategy[Any]:
    return st.fixed_dictionaries({}, optional={key.name: valued(key) for key in keys})


def documents() -> st.SearchStrategy[Any]:
    """Specs of files, of the hub, and of both; seldom with a key that there is not."""
    files, hub = dict.fromkeys(key.way for key in KEYS if key.way)
    ways = [tuple(key for key in KEYS if key.way in ("", way)) for way in (files, hub)]
    known = st.one_of(
        *(st.tuples(mapping(ways[0]), FILES).map(lambda pair: {"train": pair[1], **pair[0]}) for _ in range(3)),
        *(st.tuples(mapping(ways[1]), NAMES).map(lambda pair: {"source": pair[1], **pair[0]}) for _ in range(3)),
        mapping(KEYS),
    )
    unknown = st.dictionaries(SOME_TEXT | st.sampled_from(["seed", "Train", "splits "]), st.integers(), max_size=1)
    return st.one_of(known, known, known, known, st.tuples(known, unknown).map(lambda pair: pair[0] | pair[1]))


def beyond_the_schema(document: dict[str, Any]) -> bool:
    """Whether it has one of the mistakes that the page says a schema can't tell."""
    for place, names in (
        (document, ("train", "validation", "test")),
        (document.get("splits") or {}, ("train", "validation", "test")),
        (document.get("map") or {}, tuple(document.get("map") or {})),
    ):
        given = [place[name] for name in names if place.get(name) is not None]
        texts = [text for each in given for text in (each if isinstance(each, list) else [each])]
        if len(set(texts)) < len(texts):
            return True
    if document.get("approve") == "manual" and document.get("strategy") == "replace":
        return True
    gate = document.get("gate") or {}
    if gate.get("rows") == 0 and (gate.get("min_score") or 0) > 0:
        return True
    for bounds in (gate.get("metrics") or {}).values():
        least, most = ((bounds or {}).get(name) for name in ("least", "most"))
        if least is not None and most is not None and least > most:
            return True
    split = document.get("split") or {}
    return (split.get("validation") or 0) + (split.get("test") or 0) >= 100


@given(documents())
@example({"train": "a.csv", "test": "a.csv"})
@example({"train": ["a.csv", "b.csv"], "test": ["c.csv", "b.csv"]})
@example({"train": "a.csv", "approve": "manual", "strategy": "replace"})
@example({"source": "a", "splits": {"train": "a", "test": "a"}})
@example({"train": "a.csv", "split": {"test": 50, "validation": 50}})
@example({"train": "a.csv", "split": {"test": 0.0, "validation": 10**400}})
@example({"train": "a.csv", "gate": {"rows": 0, "min_score": 1}})
@example({"train": "a.csv", "gate": {"rows": 0.0, "min_score": 0}})
@example({"train": "a.csv", "gate": {"metrics": {"a": {"least": 2, "most": 1}, "b": None, "c": {}}}})
@example({"train": "a.csv", "gate": {"metrics": {"a": {"most": 10**9 + 1}, " ": {"most": None}}}})
@example({"train": "a.csv", "gate": {"metrics": {"x" * 257: {}}}})
@example({"train": "a.csv", "min_rows": 10.0})
@example({"train": "a.csv\n"})
@example({"train": "a.csv", "model": "x" * 256})
@example({"train": "a.csv", "model": "x" * 257})
@example({"train": None, "source": None})
@example({"train": "a.csv", "source": None, "percent": None})
def test_the_schema_and_parse_agree(document: dict[str, Any]) -> None:
    valid = VALIDATOR.is_valid(document)
    if accepted(document) != valid:
        assert valid
        assert beyond_the_schema(document)


@pytest.mark.parametrize("number", [".nan", ".inf", "-.inf"])
def test_numbers_that_json_does_not_have_are_refused_whatever_a_schema_says(number: str) -> None:
    for text in (f"percent: {number}", f"max_bad_percent: {number}", f"parameters: {{a: {number}}}"):
        with pytest.raises(Permanent):
            parse(f"source: a\n{text}".encode())


def test_the_generated_specs_are_good_and_bad() -> None:
    """That the property above compares something: about as many are taken as are refused."""
    taken: list[bool] = []

    @given(documents())
    def look(document: dict[str, Any]) -> None:
        taken.append(accepted(document))

    look()
    assert sum(taken) > 5
    assert len(taken) - sum(taken) > 5


@settings(max_examples=25)
@given(documents(), st.data())
def test_a_mistake_is_told_where_it_stands(document: dict[str, Any], data: st.DataObject) -> None:
    """A planted key, at any depth and in either of YAML's styles: the place is that of its letters in the file."""
    names = [name for name in ("split", "splits", "gate") if isinstance(document.get(name), dict)]
    name = data.draw(st.sampled_from(["", *names]))
    planted = {**(document[name] if name else document), "planted_key": 1}
    changed = {key: planted if key == name else each for key, each in document.items()} if name else planted
    text = yaml.dump(changed, Dumper=Plain, allow_unicode=True, default_flow_style=data.draw(st.booleans()))
    before = text[: text.index("planted_key")].split(
        "\n"
    )  # as editors count; to YAML 1.1 other characters end lines, too
    with pytest.raises(Permanent) as told:
        parse(text.encode())
    if "more mistakes" not in str(told.value):
        assert f"line {len(before)}, column {len(before[-1]) + 1}: " in str(told.value)
