"""Writes docs/rules.md from the rules in shared/dataset/judging/rules.py, with an example of a bad row where one helps.

`.venv/bin/python -m scripts.rules_page`; tests/dataset/test_rules_page.py fails when the page is stale, and when an
example does not break the rule that it stands at.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from shared.dataset.judging.formats import ANSWERS, QUESTIONS
from shared.dataset.judging.keys import HARMLESS, MEANINGS
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
    "no_messages": Example('{"words": "Hi! Hello!"}'),
    "other_kind": Example('[{"prompt": "Hi", "chosen": "Hello!", "rejected": "Go away!"}]', kind=".json"),
    "not_text": _row(_HI, '{"role": "assistant", "content": 1}'),
    "media_part": _row(
        '{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "https://example.org/x.png"}}]}',
        _HELLO,
    ),
    "refused_key": _row(_HI, '{"role": "assistant", "content": "Hello!", "weight": 0}'),
    "unread_key": Example(f'{{"messages": [{_HI}, {_HELLO}], "mood": "friendly"}}'),
    "assistant_first": _row(_HELLO, _HI, _HELLO),
    "blank_system": _row('{"role": "system", "content": ""}', _HI, _HELLO),
    "empty_messages": _row(),
    "message_not_object": _row('"Hi"', '"Hello!"'),
    "unknown_role": _row('{"role": "narrator", "content": "Hello!"}'),
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
_QUESTIONS, _ANSWERS = (", ".join(f"`{key}`" for key in keys) for keys in (QUESTIONS, ANSWERS))
_HARMLESS = "\n".join(f"- {kind}: {', '.join(f'`{key}`' for key in keys)}" for kind, keys in HARMLESS.items())


def _meanings() -> Iterator[str]:
    for place, keys in MEANINGS.items():
        for meaning in dict.fromkeys(keys.values()):
            names = ", ".join(f"`{key}`" for key, each in keys.items() if each is meaning)
            verdict = "refuses the dataset" if meaning.refused else "is told"
            yield f"| {names} | {_PLACES[place]} | {verdict} | {meaning.about} | {meaning.cure} |\n"


_PLACES = {"row": "a row", "message": "a message", "part": "a part of a content"}
_MEANINGS = "".join(_meanings())
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

| format | keys of a row | other tools call it |
|---|---|---|
| `messages` | `messages`: a list of `{{"role": ..., "content": ...}}`; roles: system (or developer), user, \
assistant (or chatbot, ai, bot), tool (or function), in small or capital letters | `chat_template` (axolotl), \
`conversational` (TRL), `openai` (LLaMA-Factory), OpenAI, Azure, Cohere, Anthropic |
| `sharegpt` | `conversations` or `conversation`: a list of `{{"from": ..., "value": ...}}`; human and gpt are \
user and assistant, and so are other spellings; function_call and observation are tool turns | `sharegpt` (axolotl, \
LLaMA-Factory) |
| `alpaca` | `instruction`, `output`; also `input`, `context` | `alpaca` (axolotl, LLaMA-Factory), `instruct_dataset` \
(torchtune) |
| `dolly` | `instruction`, `response`; also `input`, `context` | Dolly (Databricks) |
| `prompt_completion` | `prompt`, `completion` | `prompt-completion` (TRL), OpenAI's old form |
| `prompt_response` | `prompt`, `response` | |
| `question_answer` | `question`, `answer`; also `context` | `context_qa.load_v2` (axolotl) |
| `openorca` | `question`, `response`; also `system_prompt` | `alpaca_w_system.load_open_orca` (axolotl) |
| `query_response` | `query`, `response`; also `history` | ms-swift |
| `input_output` | `input`, `output` | `input_output` (axolotl), torchtune's default columns |

Any other pair of {_QUESTIONS} with {_ANSWERS} is read in the same way.
Keys and columns may be written in capital letters or with blanks (`Question`, `System Prompt`). Where they have other
names, `map` in [finetune.yaml](finetune.md) says which is which, or `./droptune check --map
prompt=customer_text,response=agent_text`.

- System texts: `system`, `system_prompt`, `system_message` or `system_instruction`, beside messages or texts, become a
  system message; one that is there already is joined to it. A blank one is left away.
- `context`, a text or a list of texts, is written before the question, or behind the instruction.
- `history` goes before the question: a list of pairs, or of messages.
- A content in parts is joined by line breaks, if all are texts. An object of lists is read as the list of objects.
- Lists may be written as JSON texts, as in a cell of CSV.

## Keys

Every key of a row, of a message, of a tool call and of a part of a content is read by the file's format, or it is one
of the harmless ones here, or it is told in `check`, in the report and in the run's history: how many rows have it, and
what the first of them has. What is empty (`null`, `""`, `[]`, `{{}}`) counts as not there, and a text of the row that a
message has, too, is not lost. A key with `ignore` in finetune.yaml (`check --ignore KEY`) is passed over.

Harmless, whatever they hold (`*` stands for any letters):

{_HARMLESS}

Keys that change what is to be learned, where the file's format does not read them. Those that refuse the dataset do so
until they are ignored, or taken away:

| key | of | what becomes of it | why | what to do |
|---|---|---|---|---|
{_MEANINGS}"""
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
