"""The version of the rules is raised when the same files become other rows, or go to other parts."""

from __future__ import annotations

import hashlib
import json
from io import BytesIO

import pytest

from shared.dataset.judging.rules import Facts
from shared.dataset.preparing import scan
from shared.dataset.preparing.scan import Input, prepare
from shared.dataset.report import Report
from shared.dataset.spec.choices import Policy
from shared.dataset.split import PARTS, Part
from shared.dataset.version import VERSION
from tests.kit.dataset.fuzz import Bytes
from tests.kit.rows import rows

OUTCOMES = {2: "d66f5b60380ce5042cd99d83ea0b182a"}
"""Of each version what FROZEN becomes. A version that people have had keeps its line, whatever comes."""


def chat(*texts: str, system: str = "") -> list[dict[str, str]]:
    said = [{"role": ("user", "assistant")[at % 2], "content": text} for at, text in enumerate(texts)]
    return [{"role": "system", "content": system}, *said] if system else said


CALL = {"id": "1", "type": "function", "function": {"name": "at", "arguments": '{"place": "Zürich"}'}}
ANSWER = {"from": "gpt", "value": "A"}
FROZEN: dict[str, list[object]] = {
    "messages": [
        *({"messages": chat("Hi", "Hello!", f"Order {at}?", f"On truck {at}.")} for at in range(30)),
        *({"messages": chat("Which class?", f"{at}", system=f"Sort: {at} é")} for at in range(30)),
        *({"messages": chat("The same", f"Answer {at}")} for at in range(12)),
        {"messages": chat("A tab\tand a \\ “quote”\n", "\u2028 \U0001f642", "ﬁne?", "Yes.")},
        {"messages": [*chat("Where?"), {"role": "assistant", "content": None, "tool_calls": [CALL]},
                      {"role": "tool", "content": "8 °C", "tool_call_id": "1"}, *chat("", "Cold.")[1:]]},
        {"messages": chat("Two", "Two.", "Two")},
        {"messages": [*chat("One"), *chat("One", "One.")]},
        {"messages": chat(" ", "Blank.")},
        {"messages": "none"},
        ["no object"],
    ],
    "sharegpt": [
        *({"conversations": [{"from": "human", "value": f"Q {at}"}, ANSWER]} for at in range(20)),
        {"conversations": [{"from": "system", "value": "S"}, {"from": "human", "value": "Q"}, ANSWER]},
        {"conversations": [{"from": "human", "value": "Q"}, ANSWER], "system": "S"},
    ],
    "alpaca": [
        *({"instruction": "Sum up.", "input": f"Text {at}", "output": f"{at}"} for at in range(20)),
        {"instruction": "Go on", "input": "", "output": "On.", "system": "S", "history": [["a", "b"]]},
    ],
    "completion": [{"prompt": f"P {at}", "completion": f"C {at}"} for at in range(20)],
    "response": [{"prompt": f"P {at}", "response": f"R {at}"} for at in range(20)],
    "answer": [{"question": f"Q {at}?", "answer": f"A {at}"} for at in range(20)],
}  # fmt: skip


def outcome() -> str:
    """What becomes of FROZEN: the bytes of all parts, and the rules that rows break."""
    found = []
    for name, objects in FROZEN.items():
        data = b"".join(json.dumps(each, ensure_ascii=False).encode() + b"\n" for each in objects)
        sinks = {part: BytesIO() for part in PARTS}
        report = prepare(
            files={"train": Bytes(f"{name}.jsonl", data)},
            sinks=sinks,
            policy=Policy(on_bad_rows="drop", max_bad_percent=50),
            facts=Facts(tools=True),
        )
        assert not report.rejected, report.rejected
        found.append([name, dict(report.by_rule), {part: sink.getvalue().decode() for part, sink in sinks.items()}])
    return hashlib.sha256(json.dumps(found, sort_keys=True).encode()).hexdigest()[:32]


def test_the_version_is_raised_when_the_same_files_become_other_rows() -> None:
    assert outcome() == OUTCOMES[VERSION], (
        "the same files become other rows, or go to other parts: raise VERSION in shared/dataset/version.py, unless "
        "nobody has had that version yet, and note the outcome here"
    )
    assert max(OUTCOMES) == VERSION


def test_what_was_prepared_by_other_rules_is_other_content(monkeypatch: pytest.MonkeyPatch) -> None:
    def report() -> Report:
        files: dict[Part, Input] = {"train": Bytes("train.jsonl", b"".join(rows(40)))}
        return prepare(files=files, sinks=None)

    now = report()
    assert (now.version, report().digest) == (VERSION, now.digest)
    monkeypatch.setattr(scan, "VERSION", VERSION + 1)
    assert report().digest != now.digest
