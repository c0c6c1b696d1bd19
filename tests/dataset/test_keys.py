"""No key of a row vanishes silently: each that is taken away or added shows, wherever it stands, or is harmless."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from shared.dataset.judging.formats import FORMATS, HISTORY, READ
from shared.dataset.judging.keys import HARMLESS, MEANINGS, known
from shared.dataset.judging.rules import Facts
from shared.dataset.preparing.scan import prepare
from shared.dataset.report import Report
from shared.dataset.spec.choices import Policy
from tests.kit.dataset.fuzz import PARTS, Bytes, Memory
from tests.kit.rows import row

SOME = ("messages", "sharegpt", "alpaca", "question_answer")
WORD = "PLANTED"
SHAPES: dict[str, Callable[[str], Any]] = {
    "text": lambda word: word,
    "list": lambda word: [word],
    "object": lambda word: {"a": [{"b": word}]},
}
OTHERS = (
    "mood",
    "score",
    "Notes",
    "name",
    "text",
    "value",
    "from",
    "role",
    "content",
    "refusal",
    "annotations",
    "notizen ü",
)
KEYS = sorted(
    {
        *OTHERS,
        *READ,
        *(key for keys in MEANINGS.values() for key in keys),
        *(key.replace("*", "x") for keys in HARMLESS.values() for key in keys),
    }
)

type Row = dict[str, Any]


def full(name: str, at: int = 0) -> Row:
    """A good row that has all that its format reads."""

    def said(what: str) -> str:
        return f"{what} number {at}."

    if name in ("messages", "sharegpt"):
        who, what = ("role", "content") if name == "messages" else ("from", "value")
        turns = [
            {who: "user", what: said("Question")},
            {who: "assistant", what: said("Answer")},
            {who: "user", what: [{"type": "text", "text": said("One part")}, {"text": said("Another part")}]},
            {who: "assistant", what: said("Let me look"), "tool_calls": [_call(at)]},
            {who: "tool", what: said("Result"), "tool_call_id": f"c{at}", "name": "look"},
            {who: "assistant", what: said("Last answer")},
        ]
        return {"messages" if name == "messages" else "conversations": turns, "system": said("System text")}
    format_ = next(each for each in FORMATS if each.name == name)
    texts = {key: said(key) for key in (*format_.more, format_.answer, "system", "system_prompt")}
    return texts | {HISTORY: [[said("Earlier question"), said("Earlier answer")]]}


def _call(at: int) -> Row:
    return {"id": f"c{at}", "type": "function", "function": {"name": "look", "arguments": f'{{"at": {at}}}'}}


def plainer(name: str, at: int) -> Row:
    """A good row of few keys, that fits a decoder made for its like."""
    if name in ("messages", "sharegpt"):
        made = full(name, at)
        made.pop("system")
        (key,) = made
        return {key: made[key][:2]}
    format_ = next(each for each in FORMATS if each.name == name)
    return {format_.question: f"Question {at}", format_.answer: f"Answer {at}"}


def prepared(rows: list[Row], **policy: Any) -> tuple[Report, str]:
    """The report, and all that was written."""
    sinks = {part: Memory() for part in PARTS}
    data = b"".join(json.dumps(each, ensure_ascii=False).encode() + b"\n" for each in rows)
    lenient = Policy(on_bad_rows="drop", max_bad_percent=100, min_rows=1, **policy)
    report = prepare(files={"train": Bytes("train.jsonl", data)}, sinks=sinks, policy=lenient, facts=Facts(tools=True))
    return report, b"".join(bytes(sink.data) for sink in sinks.values()).decode()


def paths(value: Any, *above: Any) -> Iterator[tuple[Any, ...]]:
    """Where each key of an object stands, at any depth."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield (*above, key)
            yield from paths(inner, *above, key)
    elif isinstance(value, list):
        for at, inner in enumerate(value):
            yield from paths(inner, *above, at)


def objects(value: Any, *above: Any) -> Iterator[tuple[Any, ...]]:
    """Where each object stands."""
    if isinstance(value, dict):
        yield above
    for at, inner in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield from objects(inner, *above, at)


def inside(value: Any, path: tuple[Any, ...]) -> Any:
    for step in path:
        value = value[step]
    return value


def lost(path: tuple[Any, ...], key: str) -> bool:
    """Whether a key is one with which something would be lost."""
    place = "row" if not path else "part" if "content" in path[:-1] or "value" in path[:-1] else "message"
    return not known(place, key)[0] and not ("tool_calls" in path and key == "index")  # type: ignore[arg-type]


@pytest.mark.parametrize("name", [each.name for each in FORMATS])
def test_a_key_that_is_taken_away_shows(name: str) -> None:
    before = [full(name, at) for at in range(3)]
    whole = prepared([*before, full(name, 3)])
    assert not whole[0].by_rule
    assert not whole[0].keys
    for path in paths(full(name, 3)):
        changed = full(name, 3)
        del inside(changed, path[:-1])[path[-1]]
        found = prepared([*before, changed])
        assert found != whole or not lost(path[:-1], path[-1]), path


def planted(name: str, shape: str, make: Callable[[str, int], Row]) -> None:
    """Each key in each object of a row: its word is written, or told, or its row is refused; or it is harmless."""
    before = [make(name, at) for at in range(3)]
    for path in objects(make(name, 3)):
        keys = [key for key in KEYS if key not in inside(make(name, 3), path)]
        rows = []
        for at, key in enumerate(keys):
            changed = copy.deepcopy(make(name, 3 + at))
            inside(changed, path)[key] = SHAPES[shape](f"{WORD}{at}.")
            rows.append(changed)
        report, written = prepared([*before, *rows])
        told = json.dumps(report.as_dict(), ensure_ascii=False)
        bad = {fault.line for fault in report.faults}
        for at, key in enumerate(keys):
            shows = f"{WORD}{at}." in written or f"{WORD}{at}." in told or at + 4 in bad
            assert shows or not lost(path, key), (path, key)


@pytest.mark.parametrize("name", SOME)
@pytest.mark.parametrize("make", [full, plainer])
def test_a_key_that_is_added_shows(name: str, make: Callable[[str, int], Row]) -> None:
    planted(name, "text", make)


@pytest.mark.thorough
@pytest.mark.parametrize("name", [each.name for each in FORMATS])
@pytest.mark.parametrize("shape", SHAPES)
def test_a_key_that_is_added_shows_in_every_format(name: str, shape: str) -> None:
    planted(name, shape, full)
    planted(name, shape, plainer)


# What is told, and where


def test_a_key_is_told_with_its_rows_and_an_example() -> None:
    rows = [json.loads(row(f"prompt {at}", mood="glad" if at > 4 else "")) for at in range(20)]
    report, _ = prepared(rows)
    (key,) = report.keys
    assert (key.key, key.place, key.verdict, key.rows, key.example) == ("mood", "row", "told", 15, '"glad"')
    (warned,) = report.warned
    assert (warned.rule, warned.line, warned.excerpt) == ("unread_key", 6, '"glad"')
    assert "mood is in 15 rows" in warned.reason
    assert "not read: mood" in report.summary
    assert not report.rejected


@pytest.mark.parametrize("value", [None, "", [], {}, [""], {"a": None}, [{"a": []}]])
def test_what_is_empty_carries_nothing(value: Any) -> None:
    rows = [json.loads(row(f"prompt {at}", mood=value, tools=value)) for at in range(20)]
    for each in rows:
        each["messages"][1] |= {"weight": value, "thinking": value}
    assert not prepared(rows)[0].keys


def test_a_text_that_a_message_has_too_is_not_lost() -> None:
    rows = [json.loads(row(f'A "prompt"/{at}', mood="glad")) | {"prompt": f'A "prompt"/{at}'} for at in range(20)]
    data = b"".join(json.dumps(each).encode().replace(b"/", b"\\/", at % 3) + b"\n" for at, each in enumerate(rows))
    report = prepare(files={"train": Bytes("train.jsonl", data)}, sinks=None)
    assert [each.key for each in report.keys] == ["mood"]


def weighed(*weights: Any, role: int = 1) -> list[Row]:
    rows = [json.loads(row(f"prompt {at}")) for at in range(20)]
    for each, weight in zip(rows, weights, strict=False):
        each["messages"][role]["weight"] = weight
    return rows


def test_turns_that_are_not_to_be_learned_refuse_the_dataset() -> None:
    report, _ = prepared(weighed(1, 1.0, True, 0, 0.0, False))
    assert report.by_rule == {"refused_key": 1}
    assert report.keys[0].rows == 3
    assert "weight is in messages of 3 rows" in report.rejected
    assert "train.jsonl, line 4" in report.rejected
    assert "ignore" in report.rejected


def test_turns_that_are_learned_as_all_others_are_told_by_nobody() -> None:
    assert not prepared(weighed(1, 1.0, True))[0].keys
    assert not prepared(weighed(0, False, role=0))[0].keys  # a question


@pytest.mark.parametrize(
    ("key", "value", "learned"),
    [
        ("train", False, True),
        ("loss_mask", 0, 1),
        ("trainOnTurn", False, True),
        ("mask", True, False),
        ("masked", 1, 0),
    ],
)
@pytest.mark.parametrize("place", ["row", "message", "part"])
def test_every_mark_of_what_is_not_to_be_learned_refuses_the_dataset(
    place: str, key: str, value: Any, learned: Any
) -> None:
    for mark, rule in ((value, {"refused_key": 1}), (learned, {})):
        rows = [json.loads(row(f"prompt {at}")) for at in range(20)]
        answer = rows[3]["messages"][1]
        if place == "part":
            answer["content"] = [{"type": "text", "text": answer["content"], key: mark}]
        else:
            (rows[3] if place == "row" else answer)[key] = mark
        report, _ = prepared(rows)
        assert (report.by_rule, len(report.keys)) == (rule, len(rule))


def test_a_key_that_comes_twice_is_told_by_what_it_holds() -> None:
    rows = [
        row(f"prompt {at}").rstrip()[:-1] + b', "note": {"a": "ZEBRA", "a": null}, "tone": "glad", "tone": ""}\n'
        for at in range(20)
    ]
    report = prepare(files={"train": Bytes("train.jsonl", b"".join(rows))}, sinks=None)
    assert {each.key: each.example for each in report.keys} == {"note": '{"a": "ZEBRA"}', "tone": '"glad"'}


@pytest.mark.parametrize(
    ("chosen", "rule", "told"),
    [
        ({"map": {"context": "tpoic"}}, "map_unmatched", "map names 'tpoic' for context, and no row has that key"),
        ({"map": {"context": "Topic"}}, "map_unmatched", "map names 'Topic' for context"),
        ({"map": {"context": "topic"}}, "", ""),
        ({"ignore": ("mod",)}, "ignore_unmatched", "ignore names 'mod', and no row has anything there"),
        ({"ignore": ("mood", "id")}, "", ""),
    ],
)
def test_names_that_match_nothing_are_told(chosen: dict[str, Any], rule: str, told: str) -> None:
    rows = [{"question": f"q {at}", "answer": "a", "topic": f"t {at}", "mood": "glad"} for at in range(20)]
    report, _ = prepared(rows, **chosen)
    found = [each for each in (*report.faults, *report.warned) if each.rule in ("map_unmatched", "ignore_unmatched")]
    assert [each.rule for each in found] == ([rule] if rule else [])
    assert all(told in each.reason for each in found)
    assert (told in report.rejected and report.rejected != "") == (rule == "map_unmatched")


def test_a_key_is_ignored_where_that_is_said() -> None:
    report, _ = prepared(weighed(0, 0), ignore=("Weight",))
    assert not report.rejected
    assert [(each.key, each.verdict, each.rows) for each in report.keys] == [("weight", "ignored", 2)]
    assert "weight" not in report.summary


def test_what_is_ignored_is_not_read_either() -> None:
    rows = [{"context": f"It is {at}.", "question": "What is it?", "answer": f"{at}"} for at in range(20)]
    assert "It is" in prepared(rows)[1]
    report, written = prepared(rows, ignore=("context",))
    assert "It is" not in written
    assert [each.verdict for each in report.keys] == ["ignored"]


@pytest.mark.parametrize("label", [True, False, 0, 1, "false", "True"])
def test_marks_of_good_and_bad_answers_refuse_the_dataset(label: Any) -> None:
    rows = [{"prompt": f"a {at}", "completion": "b", "label": label} for at in range(20)]
    assert prepared(rows)[0].by_rule == {"refused_key": 1}


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("train.csv", ",question,answer\n0,Q,A\n", ""),
        ("train.csv", ",question,answer\nx,Q,A\n", "a column without a name (column 1) is in 1 row and is not read"),
        ("train.jsonl", '{"": 1, "question": "Q", "answer": "A"}\n', ""),
        ("train.jsonl", '{"": [1], "question": "Q", "answer": "A"}\n', "a key without a name is in 1 row and is not"),
    ],
)
def test_row_numbers_in_a_column_without_a_name_are_harmless(name: str, text: str, told: str) -> None:
    sinks = {part: Memory() for part in PARTS}
    policy = Policy(min_rows=1)
    report = prepare(files={"train": Bytes(name, text.encode())}, sinks=sinks, policy=policy, facts=Facts())
    found = [each.reason for each in report.warned if each.rule == "unread_key"]
    assert [each[: len(told)] for each in found] == [told] * bool(told)
    assert [each.key for each in report.keys] == ["(no name)"] * bool(told)


def test_a_label_that_is_a_class_is_told() -> None:
    rows = [{"prompt": f"a {at}", "completion": "b", "label": "spam"} for at in range(20)]
    report, _ = prepared(rows)
    assert not report.rejected
    assert [each.verdict for each in report.keys] == ["told"]


def test_keys_have_the_names_that_map_gives_them() -> None:
    rows = [{"customer_text": f"Where is {at}?", "agent_text": "Here.", "prompt": "other"} for at in range(20)]
    assert prepared(rows)[0].by_rule["no_messages"] == 20
    report, written = prepared(rows, map={"prompt": "customer_text", "response": "agent_text"})
    assert not report.rejected
    assert report.formats == {"train": "prompt_response"}
    assert json.loads(written.splitlines()[0])["messages"][1] == {"role": "assistant", "content": "Here."}
    assert [(each.key, each.verdict) for each in report.keys] == [("prompt", "told")]


def test_a_mapped_key_that_no_row_has_is_named() -> None:
    rows = [{"customer_text": f"Where is {at}?", "agent_text": "Here."} for at in range(20)]
    report, _ = prepared(rows, map={"prompt": "customer_txt", "response": "agent_text"})
    assert "customer_txt, which map names, is not there" in report.faults[0].reason


def test_more_keys_than_anybody_reads_are_counted_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shared.dataset.judging.keys.MOST", 5)
    rows = [json.loads(row(f"prompt {at}", **{f"key {at}": "x"})) for at in range(20)]
    rows[-1]["chosen"] = "x"
    report, _ = prepared(rows)
    assert len(report.keys) == 7
    assert [each.rows for each in report.keys if each.key == "(other keys)"] == [15]
    assert report.by_rule == {"refused_key": 1}  # is never among those


KINDS: dict[str, list[Row]] = {
    "preference data": [
        {"prompt": "a", "chosen": "b", "rejected": "c"},
        {"chosen": [{"role": "user", "content": "a"}], "rejected": []},
        {"input": {"messages": []}, "preferred_output": [1], "non_preferred_output": [1]},
    ],
    "embeddings": [{"anchor": "a", "positive": "b"}, {"sentence1": "a", "sentence2": "b", "score": 1}],
    "pretraining": [{"text": "a"}, {"text": "a", "meta": {"b": 1}}],
    "classifier": [{"text": "a", "label": 1}],
    "images": [{"image": "a", "caption": "b"}],
}


@pytest.mark.parametrize(("kind", "each"), [(kind, each) for kind, rows in KINDS.items() for each in rows])
def test_data_of_another_kind_is_named_in_one_sentence(kind: str, each: Row) -> None:
    report, _ = prepared([each] * 20)
    assert set(report.by_rule) == {"other_kind"}
    assert kind in report.rejected
    assert len(report.rejected) < 400
