"""Chat rows for the tests: good ones, and every kind of bad one."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import strategies as st


def messages(prompt: str = "Hi", answer: str = "Hello") -> list[dict[str, Any]]:
    return [{"role": "user", "content": prompt}, {"role": "assistant", "content": answer}]


def row(prompt: str = "Hi", answer: str = "Hello", **more: Any) -> bytes:
    return json.dumps({"messages": messages(prompt, answer)} | more, ensure_ascii=False).encode()


def of(*turns: Any) -> bytes:
    return json.dumps({"messages": list(turns)}).encode()


USER, ASSISTANT, SYSTEM = ({"role": role, "content": role} for role in ("user", "assistant", "system"))

BAD: dict[str, list[bytes]] = {
    "not_utf8": [b'{"messages": "\xff"}', row("x").replace(b"x", b"\xe4"), b'{"x": "\xff", ' + row()[1:]],
    "not_json": [b"{", b"hello", row() + b"x", row(x=float("nan")), b'{"a": 1,}', row("x").replace(b"x", rb"\ud800")],
    "not_object": [b"[]", b'"text"', b"1", b"null", b"true"],
    "no_messages": [b"{}", b'{"prompt": "a", "completion": "b"}', b'{"messages": null}', b'{"messages": "a"}'],
    "empty_messages": [b'{"messages": []}'],
    "message_not_object": [of("hi", ASSISTANT), of(None), of(["user", "hi"])],
    "unknown_role": [
        of({"role": "bot", "content": "hi"}),
        of({"content": "hi"}),
        of({"role": None, "content": "hi"}),
        of({"role": "User", "content": "hi"}, ASSISTANT),
        of({"role": ["user"], "content": "hi"}),
    ],
    "blank_content": [
        of({"role": "user", "content": ""}, ASSISTANT),
        of({"role": "user", "content": " \n\u00a0"}, ASSISTANT),
        of(USER, {"role": "assistant", "content": None}),
        of(USER, {"role": "assistant"}),
        of(USER, {"role": "assistant", "content": [{"type": "text", "text": "hi"}]}),
    ],
    "no_assistant": [of(USER), of(SYSTEM, USER)],
    "no_question": [of(ASSISTANT)],
    "last_not_assistant": [of(USER, ASSISTANT, USER)],
    "system_not_first": [of(USER, SYSTEM, ASSISTANT), of(SYSTEM, SYSTEM, ASSISTANT)],
}

texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=30).filter(lambda text: text.strip())
good_rows = st.builds(row, texts, texts, prompt_id=texts)
bad_rows = st.sampled_from([(rule, data) for rule, rows in BAD.items() for data in rows])


def pieces(data: bytes, sizes: list[int]) -> list[bytes]:
    """`data` in chunks of these sizes, the last as long as it has to be."""
    chunks, start = [], 0
    for size in sizes:
        chunks.append(data[start : start + size])
        start += size
    return [*chunks, data[start:]]
