"""Chat rows for the tests: good ones, every kind of bad one, and the exact way to judge them, a row at a time."""

from __future__ import annotations

import json
from typing import Any

import msgspec

from shared.dataset.judging import formats
from shared.dataset.judging.formats import Format
from shared.dataset.judging.parsing import despite
from shared.dataset.judging.rules import Conversation, Facts, judge, kind, parse
from tests.kit.rows import messages, of, row

USER, ASSISTANT, SYSTEM, TOOL = ({"role": role, "content": role} for role in ("user", "assistant", "system", "tool"))
CALL = {"role": "assistant", "content": None, "tool_calls": [{"id": "1", "function": {"name": "f", "arguments": "{}"}}]}
CONTROLS = [*range(0x09), 0x0B, 0x0C, *range(0x0E, 0x20), 0x7F]

BAD: dict[str, list[bytes]] = {
    "not_utf8": [
        b'{"messages": "\xff"}',
        row("x").replace(b"x", b"\xe4"),
        row("x").replace(b"x", b"\xc0\xaf"),  # a slash, in more bytes than it takes
        row("x").replace(b"x", b"\xed\xa0\x80"),  # half of a surrogate pair
        row("x").replace(b"x", "é".encode()[:1]),
        row("x").replace(b"x", b"\\u0041\xe4"),
        row("a x").replace(b"x", b"\xe4"),
        row("Hi", "a x b").replace(b"x", b"\xe4"),
        row(x="y").replace(b"y", b"\xe4"),
        row(x={"y": ["y"]}).replace(b'["y"]', b'["\xe4"]'),
        row(x={"y": 1}).replace(b"y", b"\xe4"),
        row("é", x="y").replace(b"y", b"\xe4"),
        b'{"x": "\xff", ' + row()[1:],
        b'{"\xff": 1, ' + row()[1:],
    ],
    "not_json": [
        b"{",
        b"hello",
        row() + b"x",
        row() + row(),
        row()[:-1],
        row().replace(b'"Hi"', b"NaN"),
        row().replace(b'"Hi"', b"Infinity"),
        row().replace(b'"Hi"', b'"Hi", "x": [-Infinity]'),
        row(label=float("nan")),
        b'{"a": 1,}',
        b"{'messages': []}",
        b"\xef\xbb\xbf" + row(),  # a byte order mark that is not the file's
        row("x").replace(b"x", rb"\ud800"),
        row("x").replace(b"x", rb"\udc00\ud800"),
        row("x").replace(b"x", rb"\x41"),
        row("x").replace(b"x", rb"\u12"),
        row("x").replace(b"x", b"\t"),
        row("x").replace(b"x", b"\x00"),
        row(x="y").replace(b"y", rb"\ud800"),
        row(x="y").replace(b"y", rb"\x41"),
        row(x="y").replace(b"y", b"\x01"),
        row(x=7).replace(b"7", b"07"),
        row(x=7).replace(b"7", b"+7"),
        row(x=7).replace(b"7", b"7."),
    ],
    "not_object": [b"[]", b'"text"', b"1", b"null", b"true", b"[" + row() + b"]"],
    "duplicate_keys": [
        b'{"messages": [], ' + row()[1:],
        row()[:-1] + b', "messages": []}',
        row()[:-1] + b', "messages" : []}',
        row()[:-1] + b', "messages"\t: []}',
        row()[:-1] + rb', "m\u0065ssages": []}',
        row()[:-1] + b', "label": true, "label": null}',
        row().replace(b'"content"', b'"content": "x", "content"', 1),
        row().replace(b'"role"', b'"role": "user", "role"', 1),
        row().replace(b'"role"', b'"r\\u006fle": "user", "role"', 1),
    ],
    "no_messages": [
        b"{}",
        b'{"words": "a"}',
        b'{"messages": null}',
        b'{"messages": "a"}',
        b'{"messages": {"role": "user"}}',
        b'{"messages": 1}',
        b'{"Message": []}',
        b'{"prompt": "a"}',
        b'{"conversations": "a"}',
    ],
    "empty_messages": [b'{"messages": []}', b'{"conversations": []}', b'{"messages": "[]"}'],
    "message_not_object": [of("hi", ASSISTANT), of(None), of(["user", "hi"]), of(USER, ASSISTANT, 1)],
    "unknown_role": [
        of({"role": "narrator", "content": "hi"}),
        of({"content": "hi"}),
        of({"role": None, "content": "hi"}),
        of({"role": "human", "content": "hi"}, ASSISTANT),
        of({"role": ["user"], "content": "hi"}),
        of({"role": {"user": 1}, "content": "hi"}),
        of({"from": "human", "value": "hi"}, ASSISTANT),
        b'{"conversations": [{"from": "narrator", "value": "hi"}]}',
    ],
    "blank_content": [
        of({"role": "user", "content": ""}, ASSISTANT),
        of({"role": "user", "content": " \n\u00a0\u2003"}, ASSISTANT),
        of(USER, {"role": "assistant", "content": " "}),
        of(USER, {"role": "assistant", "content": None}),
        of(USER, {"role": "assistant"}),
        of(USER, {"role": "assistant", "content": []}),
        of(USER, {"role": "assistant", "content": [{"type": "text", "text": " "}]}),
        row("x").replace(b"x", rb"\u0020\n"),
        b'{"instruction": "a", "output": ""}',
        b'{"prompt": " ", "completion": "b"}',
    ],
    "not_text": [
        of(USER, {"role": "assistant", "content": 1}),
        of(USER, {"role": "assistant", "content": False}),
        of(USER, {"role": "assistant", "content": {"text": "hi"}}),
        of(USER, {"role": "assistant", "content": [1]}),
        of(USER, {"role": "assistant", "content": [{"type": "text", "text": {"a": "hi"}}]}),
        of(USER, {"role": "assistant", "content": [{"type": "refusal", "refusal": "no"}]}),
        b'{"prompt": "a", "completion": 1}',
        b'{"instruction": "a", "input": {"b": 1}, "output": "c"}',
        b'{"context": {"b": 1}, "question": "a", "answer": "c"}',
        b'{"system": {"b": 1}, "question": "a", "answer": "c"}',
    ],
    "media_part": [
        of({"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}, ASSISTANT),
        of({"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "input_audio"}]}, ASSISTANT),
    ],
    "control_character": [
        *(row("x").replace(b"x", rb"b\u%04x" % code) for code in CONTROLS),
        *(row("x").replace(b"x", rb"b\u%04X" % code) for code in (0x0B, 0x1F)),
        row("x").replace(b"x", rb"\beta"),
        row("x").replace(b"x", rb"\frac"),
        row("x").replace(b"x", b"\x7f"),
        row("x").replace(b"x", rb"\\\bc"),
        of(USER, {"role": "assistant", "content": "good but for its end\x00"}),
    ],
    "tool_turn": [
        of(USER, CALL, TOOL, ASSISTANT),
        of(USER, TOOL, ASSISTANT),
        of(USER, ASSISTANT | CALL),
        of(USER, CALL | {"content": "x"}),
        of(USER, {"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": "{}"}}),
        b'{"conversations": [{"from": "human", "value": "a"}, {"from": "function_call", "value": "{}"}]}',
    ],
    "tool_call": [of(USER, ASSISTANT | {"content": [{"type": "tool_use", "name": "f", "input": {}}]})],
    "no_assistant": [of(USER), of(SYSTEM, USER), of(SYSTEM)],
    "no_question": [of(ASSISTANT), of(SYSTEM, ASSISTANT)],
    "last_not_assistant": [of(USER, ASSISTANT, USER), of(SYSTEM, USER, ASSISTANT, USER)],
    "repeated_role": [of(USER, USER, ASSISTANT), of(USER, ASSISTANT, ASSISTANT), of(ASSISTANT, ASSISTANT)],
    "system_not_first": [of(USER, SYSTEM, ASSISTANT), of(SYSTEM, SYSTEM, ASSISTANT), of(USER, ASSISTANT, SYSTEM)],
}
BAD_ROWS = [(rule, data) for rule, each in BAD.items() for data in each]

UNREAD = [
    row(x=float("nan")),
    row(x=float("inf")),
    row(x=[float("-inf")]),
    row()[:-1] + b', "x": 1, "x": 1}',
    row()[:-1] + b', "x": {"y": 1, "y": 2}}',
    row()[:-1] + b', "x": [[{"y": 1}, {"y": 1, "y": 2}]]}',
    row()[:-1] + rb', "x": {"y\\": 1, "y\\": 2}}',
    row()[:-1] + rb', "x": {"\"": 1, "\"": 2}}',
    row()[:-1] + rb', "x": {"\\\"": 1, "\\\"": 2}}',
    row()[:-1] + rb', "x": {"\\\\": 1, "\u005c\\": 2}}',
    row()[:-1] + b', "x": {"": 1, "": 2}}',
]
"""Good rows: what is no JSON in them stands in a key that no format reads."""
GOOD: list[bytes] = [
    *UNREAD,
    row(),
    of(SYSTEM, USER, ASSISTANT),
    of(USER, ASSISTANT, USER, ASSISTANT),
    of(ASSISTANT, USER, ASSISTANT),
    of(USER | {"name": "Ann"}, ASSISTANT | {"tool_calls": None}),
    of(USER, ASSISTANT | {"tool_calls": []}),
    row("x" * 100_000),
    row("Tabs\tand\r\nlines"),
    row(' a blank first, "quotes", {braces}, [brackets], a \\ and: colons'),
    row(": at the beginning", ':"'),
    row('{"a": 1, "a": 2}', r"{\"a\": 1}"),
    row("日本語", "\U0001f600 é"),
    row("\u0085\u200b", "x"),  # not blank, and no control character as the rule has it
    row("x").replace(b"x", rb"\ud83d\ude00 \u00e9 \/ \u0041"),
    b'{"n": ' + b"9" * 5000 + b", " + row()[1:],
    row(score=1e300, meta={"a": [1, None, {"b": {}}], "": "", "c\\": 1, "d": "\x08"}),
    b' {"messages" : [ {"content" : "Hi","role" : "user"}, {"role":"assistant","content":"b"}]}\t ',
    rb'{"m\u0065ssages": [{"r\u006fle": "\u0075ser", "content": "a"}, {"role": "assistant", "content": "b"}]}',
    json.dumps({"messages": json.dumps(messages())}).encode(),
]

# Good rows of the format `messages` that are written otherwise, and what they then say.
OTHERWISE: list[tuple[bytes, list[tuple[str, str]]]] = [
    (
        of({"role": "User", "content": "hi"}, {"role": "ASSISTANT ", "content": "ho"}),
        [("user", "hi"), ("assistant", "ho")],
    ),
    (
        of(SYSTEM | {"role": "developer"}, USER, ASSISTANT | {"role": "Chatbot"}),
        [("system", "system"), ("user", "user"), ("assistant", "assistant")],
    ),
    (of(SYSTEM | {"content": " "}, USER, ASSISTANT), [("user", "user"), ("assistant", "assistant")]),
    (
        of(USER | {"content": [{"type": "text", "text": "a"}, {"text": "b"}, "c"]}, ASSISTANT),
        [("user", "a\nb\nc"), ("assistant", "assistant")],
    ),
    (
        b'{"messages": {"role": ["user", "assistant"], "content": ["a", "b"]}}',
        [("user", "a"), ("assistant", "b")],
    ),
    (row()[:-1] + b', "system": "Be brief."}', [("system", "Be brief."), ("user", "Hi"), ("assistant", "Hello")]),
    (
        of(SYSTEM, USER, ASSISTANT)[:-1] + b', "system": "Be brief.", "system_prompt": [{"text": "Be kind."}]}',
        [("system", "Be brief.\n\nBe kind.\n\nsystem"), ("user", "user"), ("assistant", "assistant")],
    ),
]


def exact(data: bytes, chosen: Format | None = None, facts: Facts | None = None) -> str | bytes:
    """What the exact way says of a line: the rule that it breaks, or how it is written. `chosen`: the file's format."""
    parsed = parse(data)
    if len(parsed) == 2:
        odd = despite(data)
        if odd is None or not odd[1] <= {"x", "id"}:
            return parsed[0]
        parsed = (odd[0],)
    value = parsed[0]
    if not isinstance(value, dict):
        assert kind(value) != "an object"
        return "not_object"
    found = formats.conversation(value, chosen or formats.shown(value))
    judged = found if isinstance(found, tuple) else judge(found, facts or Facts())
    return judged[0] if isinstance(judged, tuple) else msgspec.json.encode(Conversation(judged))


# One row of each format, all of them the same conversation.
SAME: dict[str, dict[str, Any]] = {
    "messages": {"messages": messages()},
    "sharegpt": {"conversations": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello"}]},
    "alpaca": {"instruction": "Hi", "input": "", "output": "Hello"},
    **{
        name: {question: "Hi", answer: "Hello"}
        for name, (question, answer) in {
            "prompt_completion": ("prompt", "completion"),
            "prompt_response": ("prompt", "response"),
            "question_answer": ("question", "answer"),
            "instruction_completion": ("instruction", "completion"),
            "dolly": ("instruction", "response"),
            "instruction_answer": ("instruction", "answer"),
            "instruction_assistant": ("instruction", "assistant"),
            "prompt_output": ("prompt", "output"),
            "prompt_answer": ("prompt", "answer"),
            "prompt_assistant": ("prompt", "assistant"),
            "question_output": ("question", "output"),
            "question_completion": ("question", "completion"),
            "openorca": ("question", "response"),
            "question_assistant": ("question", "assistant"),
            **{
                f"{question}_{answer}": (question, answer)
                for question in ("query", "input", "user")
                for answer in ("output", "completion", "response", "answer", "assistant")
            },
        }.items()
    },
}
