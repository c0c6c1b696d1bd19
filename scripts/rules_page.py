"""Writes docs/rules.md from the rules in shared/dataset/judging/rules.py, with an example of a bad row where one helps.

`.venv/bin/python -m scripts.rules_page`; tests/dataset/test_rules_page.py fails when the page is stale, and when an
example does not break the rule that it stands at.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from shared.dataset.judging.rules import RULES, Rule
from shared.dataset.kinds import ENDINGS

PAGE = Path(__file__).parents[1] / "docs" / "rules.md"


@dataclass(frozen=True)
class Example:
    """A file that breaks a rule: `bad`, behind `good` rows. `kind`: how its name ends."""

    bad: str
    good: str = ""
    kind: str = ".jsonl"


def _row(*messages: str) -> Example:
    return Example(f'{{"messages": [{", ".join(messages)}]}}')


_HI, _HELLO = '{"role": "user", "content": "Hi"}', '{"role": "assistant", "content": "Hello!"}'
_GOOD = f'{{"messages": [{_HI}, {_HELLO}]}}'
_SYSTEM = '{"role": "system", "content": "Be short."}'

EXAMPLES: Mapping[str, Example] = {
    "not_json": Example('{"messages": [{"role": "user", "content": "Hi"},'),
    "not_object": Example('["Hi", "Hello!"]'),
    "duplicate_keys": _row('{"role": "user", "content": "Hi", "content": "Bye"}', _HELLO),
    "wrong_columns": Example("Hi,Hello, my friend!\n", "prompt,response\n", ".csv"),
    "mixed_formats": Example('{"prompt": "Hi", "completion": "Hello!"}', _GOOD),
    "no_messages": Example('{"text": "Hi! Hello!"}'),
    "empty_messages": _row(),
    "message_not_object": _row('"Hi"', '"Hello!"'),
    "unknown_role": _row('{"role": "bot", "content": "Hello!"}'),
    "blank_content": _row(_HI, '{"role": "assistant", "content": " "}'),
    "control_character": _row(_HI, r'{"role": "assistant", "content": "\frac{1}{2}"}'),
    "tool_turn": _row(
        _HI,
        '{"role": "assistant", "content": null, "tool_calls": [{"type": "function", "function": {"name": "greet"}}]}',
        '{"role": "tool", "content": "Hello!"}',
        _HELLO,
    ),
    "no_assistant": _row(_HI),
    "no_question": _row(_HELLO),
    "repeated_role": _row(_HI, '{"role": "user", "content": "Anybody there?"}', _HELLO),
    "system_not_first": _row(_HI, _SYSTEM, _HELLO),
    "last_not_assistant": _row(_HI, _HELLO, '{"role": "user", "content": "Bye"}'),
    "not_json_lines": Example(
        "{'messages': [{'role': 'user', 'content': 'Hi'}, {'role': 'assistant', 'content': 'Hello!'}]}", kind=".ndjson"
    ),
    "secret": _row('{"role": "user", "content": "My password is Tr0ub4dor&3. Is it good?"}', _HELLO),
    "personal_data": _row('{"role": "user", "content": "Write to jane.doe@contoso.com."}', _HELLO),
    "not_json_array": Example(_GOOD, kind=".json"),
    "not_csv": Example('"Hi,Hello!\n', "prompt,response\n", ".csv"),
    "duplicate_row": Example(_GOOD, _GOOD),
    "damaged_text": _row(_HI, '{"role": "assistant", "content": "It\u00e2\u20ac\u2122s here."}'),
    "prefix_in_train": Example(
        f'{{"messages": [{_HI}, {_HELLO}, {{"role": "user", "content": "Thank you"}}, {_HELLO}]}}', _GOOD
    ),
    "repeated_prompts": Example("\n".join(_GOOD.replace("Hello!", each) for each in ("Good day!", "Hi!")), _GOOD),
}
HEAD = f"""# The rules

What Droptune asks of a chat dataset. Each rule has a stable id, under which reports count what breaks it;
`./droptune check FILE|DIR` says the same before anything is uploaded. Made from `shared/dataset/judging/rules.py` by
`scripts/rules_page.py`.

An **error** of a row makes it a bad row. What bad rows mean is up to `on_bad_rows` in
[finetune.yaml](finetune.md): one is enough to refuse the dataset, or they are left out, up to `max_bad_percent`. An
error of a file or of the whole dataset refuses it always. **Warnings** refuse nothing.

## What is read

Files that end in {re.sub(r"([.][a-z]+)", r"`\1`", ENDINGS)}
(compressed with gzip or Zstandard), in one of these chat formats, which is found out for each file. What is trained on
is always a row of `messages`, with roles and contents alone (and tool calls, where the base model takes them). A key
whose value is `null` counts as not there; blank lines are skipped, and rows of empty cells.

A file's name tells its kind, and its first 64 KiB whether that is so: an array in a `.jsonl` file and rows a line in a
`.json` file are read as what they are, a `.csv` file may be written with commas, semicolons or tabs (or say `sep=;` in
its first line), and lines may end as on any system. What is of another kind altogether is told in one sentence, with
the name that it should have. `train.jsonl.txt` is read as `train.jsonl`: Windows hides endings.

| format | keys of a row |
|---|---|
| `messages` | `messages`: a list of `{{"role": ..., "content": ...}}`; roles: system, user, assistant, tool |
| `sharegpt` | `conversations` or `conversation`: a list of `{{"from": ..., "value": ...}}`; human and gpt are \
user and assistant, and so are other spellings |
| `alpaca` | `instruction`, `input` if there is one, `output`; also `system` and `history` |
| `prompt_completion` | `prompt`, `completion` |
| `prompt_response` | `prompt`, `response` |
| `question_answer` | `question`, `answer` |
"""
_SCOPES = {"row": "row", "file": "file", "dataset": "whole dataset"}


def page() -> str:
    """The page as it should be."""
    return HEAD + "".join(_chapters())


def _chapters() -> Iterator[str]:
    for severity, scope, title in (
        ("error", "row", "Errors of a row"),
        ("error", "file", "Errors of a file"),
        ("error", "dataset", "Errors of the dataset"),
        ("warning", "", "Warnings"),
    ):
        chosen = {id_: rule for id_, rule in RULES.items() if rule.severity == severity and scope in {rule.scope, ""}}
        yield f"\n## {title}\n"
        for id_, rule in chosen.items():
            yield "".join(_section(id_, rule))


def _section(id_: str, rule: Rule) -> Iterator[str]:
    yield f"\n### {id_}\n\n{_SCOPES[rule.scope].capitalize()}, {rule.severity}. {_plain(rule.about)}\n\n"
    yield f"What to do: {_plain(rule.cure)}\n"
    if id_ in EXAMPLES:
        example = EXAMPLES[id_]
        where = f" in a {example.kind} file" if example.kind != ".jsonl" else ""
        which = f", the second line{' and those behind it' * ('\n' in example.bad.rstrip())}" if example.good else ""
        text = "\n".join(text.rstrip("\n") for text in (example.good, example.bad) if text)
        yield f"\nFor example{which}{where}:\n\n```text\n{text}\n```\n"


def _plain(text: str) -> str:
    """Text in which Markdown would find something of its own."""
    return text.replace("\\", "\\\\").replace("[", "\\[")


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
