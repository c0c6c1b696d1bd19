"""The rules for chat datasets: their ids, how bad a breach is, what to do about it; and the exact judgement of one row.

Ids are stable: reports, the page and people's filters use them. What is judged here is a conversation, whatever format
it came in (`formats`). Most rows never come here: `checker` lets the plainly good ones of a file pass, and what it is
not sure of is judged here, slowly and in full. docs/rules.md is made from RULES.
"""

from __future__ import annotations

import json
import re
import reprlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Any, Literal, get_args

import msgspec

from shared.dataset.judging.calls import calls_of
from shared.dataset.judging.calls import kind as kind
from shared.dataset.judging.rule import Rule as Rule
from shared.dataset.judging.rule import Severity as Severity
from shared.dataset.judging.split_rules import SPLIT
from shared.dataset.kinds import form_of
from shared.dataset.safety.rules import SAFETY

type Role = Literal["system", "user", "assistant", "tool"]
type Bad = tuple[str, str]
"""A rule's id, and what is wrong in this case."""

ROLES: tuple[str, ...] = get_args(Role.__value__)


RULES: Mapping[str, Rule] = {
    "not_utf8": Rule(
        "error",
        "row",
        "Save the file as UTF-8.",
        "Bytes that are not UTF-8 would be guessed at, and learned as rubbish.",
    ),
    "not_json": Rule(
        "error",
        "row",
        "Write one JSON object a line, as a JSON library does, without line breaks in it.",
        "The row is not JSON: it is cut off, has a comma too many, NaN, half a surrogate pair or the like.",
    ),
    "not_object": Rule(
        "error", "row", 'Write each row as an object: {"messages": [...]}.', "The row is JSON, but no object."
    ),
    "duplicate_keys": Rule(
        "error",
        "row",
        "Keep one of the two keys: a reader would silently take either.",
        "An object of the row has the same key twice. Which value counts depends on who reads it.",
    ),
    "row_too_large": Rule(
        "error",
        "row",
        "Split the conversation, or remove the row.",
        "The row has more bytes than a row may have (8 MiB).",
    ),
    "wrong_columns": Rule(
        "error",
        "row",
        "Give the row as many cells as the header has; put cells with commas or line breaks in quotes.",
        "The row has more or fewer cells than the header of the CSV file.",
    ),
    "mixed_formats": Rule(
        "error",
        "file",
        "Bring all rows of a file into one format, or upload a file for each.",
        "The row is in another chat format than those before it. Such a file is refused as a whole: one of the formats "
        "is probably there by mistake.",
    ),
    "no_messages": Rule(
        "error",
        "row",
        'Put the conversation into the key "messages", as a list, or use another format that is known.',
        "The row shows no conversation in any of the known formats, or holds something else where its format has it.",
    ),
    "empty_messages": Rule(
        "error", "row", "Add the conversation's messages, or remove the row.", "The list of messages is empty."
    ),
    "message_not_object": Rule(
        "error",
        "row",
        'Write each message as {"role": ..., "content": ...}.',
        "A message is no object: a bare text, a list, null.",
    ),
    "unknown_role": Rule(
        "error",
        "row",
        f"Use one of the roles {', '.join(ROLES)}.",
        "A message has no role, or one that the model's chat template does not know.",
    ),
    "blank_content": Rule(
        "error",
        "row",
        "Give each message a text as its content, or remove it.",
        "A message's content is missing, empty, only white space, or not a text (a list of parts, a number, null).",
    ),
    "control_character": Rule(
        "error",
        "row",
        "Remove the control characters; \\b and \\f are often LaTeX (\\beta, \\frac) that lost its backslash.",
        "A content has a control character (U+0000 to U+001F but tab, line feed and carriage return, or U+007F): text "
        "never has one on purpose, and the model would learn to write it.",
    ),
    "tool_turn": Rule(
        "error",
        "row",
        "Choose a base model whose chat template takes tool turns, or remove them.",
        "The row has a tool's turn or a tool call, for which the base model's chat template has no form.",
    ),
    "tool_call": Rule(
        "error",
        "row",
        'Write each call as {"id": "...", "type": "function", "function": {"name": "...", "arguments": "{...}"}}, and '
        "tool_call_id and name as texts.",
        "A tool call, or what names one, is of another form than the training's reader takes. Arguments may be an "
        "object or its JSON as a text; they are written as a text, since the reader would mix the keys of all rows' "
        "objects. A number that overflows (1e999) would be learned as null.",
    ),
    "no_assistant": Rule(
        "error",
        "row",
        "Add the answer to learn, as a message of the assistant, or remove the row.",
        "No message is the assistant's: there is nothing to learn from the row.",
    ),
    "no_question": Rule(
        "error",
        "row",
        "Put the message that is answered before the answer, or remove the row.",
        "The only message is the assistant's: it answers nothing.",
    ),
    "repeated_role": Rule(
        "error",
        "row",
        "Join the two messages, or add the one that is missing between them.",
        "Two messages in a row have the same role. Most chat templates refuse that, in the middle of the training.",
    ),
    "system_not_first": Rule(
        "error",
        "row",
        "Put the system message first; there may be one.",
        "A system message stands behind other messages, where chat templates have no place for it.",
    ),
    "last_not_assistant": Rule(
        "error",
        "row",
        "End the conversation with the assistant's answer.",
        "The last message is not the assistant's: it would never be answered.",
    ),
    "not_gzip": Rule(
        "error",
        "file",
        "Compress the file again with gzip, and upload it whole.",
        "The file's name ends in .gz, but it is not gzip, is damaged or cut off.",
    ),
    "not_zstd": Rule(
        "error",
        "file",
        "Compress the file again with zstd, and upload it whole.",
        "The file's name ends in .zst, but it is not zstd, is damaged or cut off.",
    ),
    "not_json_lines": Rule(
        "error",
        "file",
        "Write one JSON object a line, as UTF-8, or give the file the ending of what it is.",
        "The file's name ends in .jsonl or .ndjson, but it is of another kind (UTF-16, gzip, Parquet, HTML, a Git LFS "
        "pointer, CSV and the like), or none of its lines is JSON: Python's own form, objects over several lines.",
    ),
    "not_parquet": Rule(
        "error",
        "file",
        "Write the file again with pandas, pyarrow or the like, unencrypted, and upload it whole.",
        "The file's name ends in .parquet, but it is not Parquet, is damaged, cut off or encrypted.",
    ),
    "not_json_array": Rule(
        "error",
        "file",
        "Write the rows as one JSON array, or one a line.",
        "A .json file must hold one array of rows, or one row a line. A .jsonl file that begins as an array is read as "
        "one.",
    ),
    "not_csv": Rule(
        "error",
        "file",
        "Write the file with a header line and with quotes where a cell needs them, as pandas does.",
        "The CSV or TSV file is of another kind, has no usable header, or a quote that is never closed or that text "
        "follows.",
    ),
    "too_large_decompressed": Rule(
        "error",
        "file",
        "Split the dataset into smaller files.",
        "The file unpacks to more bytes than a file may have (20 GiB).",
    ),
    "too_compressed": Rule(
        "error",
        "file",
        "Upload the file less compressed, if it really holds what it unpacks to.",
        "The file unpacks to more than 200 times its size, as no text does.",
    ),
    "empty_file": Rule("error", "file", "Upload a file with at least one row.", "The file has no rows."),
    "too_few_rows": Rule(
        "error",
        "dataset",
        "Add rows, or set min_rows in finetune.yaml.",
        "The dataset has fewer good rows to train on than min_rows (10): too few to learn from.",
    ),
    "too_few_prompts": Rule(
        "error",
        "dataset",
        "Add rows with other prompts, or upload validation and test files of your own.",
        "The rows are so few different conversations that no validation or test rows can be cut off without the same "
        "one on both sides. Conversations are the same if all their prompts are: the system text, questions and tools' "
        "results up to the last answer, without regard to case and white space.",
    ),
    "only_times": Rule(
        "error",
        "dataset",
        "Add a word to the prompts, such as: Which date is 2026-01-31?",
        "All texts of a part, or of its first megabyte, are dates or times: the training's reader makes points in time "
        "of them.",
    ),
    "no_test_rows": Rule(
        "error",
        "dataset",
        "Mend the rows of that file, or leave the file away: it is then cut from the training rows.",
        "A validation or test file was given, but not one of its rows is good.",
    ),
    "duplicate_row": Rule(
        "warning",
        "row",
        "Remove the copy, unless it is meant to count twice.",
        "The same conversation stands in the file before. It is trained on twice.",
    ),
    **SPLIT,
    "over_context": Rule(
        "warning",
        "row",
        "Shorten the conversation: the training cuts what does not fit.",
        "The row has more tokens, by estimate, than the base model's context holds.",
    ),
    "damaged_text": Rule(
        "warning",
        "row",
        "Write the file again from its source, as UTF-8: the text was damaged when it was read in another encoding.",
        "The row has marks of text that was read in a wrong encoding: U+FFFD, codes from U+0080 to U+009F, or what "
        "becomes of an apostrophe or an accented letter. The model would learn to write them.",
    ),
    "too_many_duplicates": Rule(
        "warning",
        "dataset",
        "Look how the file was made: it may have been written twice.",
        "More than a tenth of the rows are copies of other rows.",
    ),
    "long_rows": Rule(
        "warning",
        "dataset",
        "Look at the longest row: two conversations may have run together.",
        "The longest row is more than 100 times as long as half of the rows are.",
    ),
    **SAFETY,
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Fault:
    """A breach of a rule: where, what is wrong, and how the row begins.

    `line` is 1-based: of the file, or the row's number where a file has no lines (parquet, hub), which then also has
    the 0-based `row_group` and the 1-based `row` in it. `offset` in bytes, None where there is no such thing.
    """

    file: str
    part: str
    rule: str
    reason: str
    line: int
    offset: int | None = None
    row_group: int | None = None
    row: int | None = None
    excerpt: str = ""

    @property
    def severity(self) -> Severity:
        """Whether the row is bad, or only worth a look."""
        return RULES[self.rule].severity

    @property
    def cure(self) -> str:
        """What to do about it."""
        return RULES[self.rule].cure

    @property
    def spot(self) -> str:
        """Where in the file it is, in words; empty where it is the file, or the set, as a whole."""
        if self.row_group is not None:
            return f"row group {self.row_group}, row {self.row}"
        if self.line == 1 and not self.offset and RULES[self.rule].scope != "row" and not self.excerpt:
            return ""
        return f"{'row' if form_of(self.file) in {None, '.parquet'} else 'line'} {self.line}"

    @property
    def place(self) -> str:
        """Where it is, in words."""
        return f"{self.file}, {self.spot}" if self.spot else self.file


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What the rules must know of the base model: its context in tokens (None: unknown), and whether its chat template
    takes tool turns."""

    context: int | None = None
    tools: bool = False


class Message(msgspec.Struct, gc=False):
    """A message as it is written: `content` is text, or its canonical JSON."""

    role: str
    content: Any


class ToolMessage(msgspec.Struct, gc=False, omit_defaults=True):
    """A message of a conversation with tools."""

    role: str
    content: str | None
    tool_calls: Any = msgspec.UNSET
    tool_call_id: Any = msgspec.UNSET
    name: Any = msgspec.UNSET


class Conversation(msgspec.Struct, gc=False):
    """A row as it is written."""

    messages: Sequence[Any]


class _Twice(Exception):
    """A key that an object has twice."""


_decode_raw = msgspec.json.Decoder(msgspec.Raw).decode
_SURROGATE = re.compile(rb"\\u[dD][89a-bA-B]..(?!\\u[dD][c-fC-F])|(?<!\\u[dD][89a-bA-B]..)\\u[dD][c-fC-F]..")
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")


def parse(data: bytes) -> tuple[Any] | Bad:
    """The value of a row's JSON in a tuple of one, or what keeps it from being good JSON.

    Stricter than most readers (NaN, half surrogate pairs and keys that come twice are refused), but numbers may have
    any length.
    """
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        return "not_utf8", f"byte {error.start + 1} of the row is not UTF-8"
    try:
        value = _decode(text)
    except _Twice as twice:
        return "duplicate_keys", f"the key {reprlib.repr(twice.args[0])} is there twice"
    except json.JSONDecodeError as malformed:
        return "not_json", f"not JSON at character {malformed.pos + 1}: {malformed.msg}"
    except RecursionError:
        return "not_json", "nested too deeply"
    except ValueError as error:
        return "not_json", f"not JSON: {error}"
    try:
        _decode_raw(data)  # the standard library lets half surrogate pairs pass
    except msgspec.DecodeError as error:
        half = _SURROGATE.search(data)
        return "not_json", f"{half[0].decode()} is half of a surrogate pair" if half else f"not JSON: {error}"
    except RecursionError:
        return "not_json", "nested too deeply"
    return (value,)


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        seen: set[str] = set()
        raise _Twice(next(key for key, _ in pairs if key in seen or seen.add(key)))  # type: ignore[func-returns-value]
    return found


def _whole(digits: str) -> int | float:
    """Exact, since a tool's arguments are written again; but Python takes no more than thousands of digits."""
    return int(digits) if len(digits) < _DIGITS else float(digits)


_DIGITS = 1000
_decode = json.JSONDecoder(parse_int=_whole, parse_constant=_no_constant, object_pairs_hook=_once).decode


def judge(messages: Sequence[object], facts: Facts) -> list[Message | ToolMessage] | Bad:
    """The messages, fit to be written, or the first rule they break. Each should be a dict with role and content."""
    if not messages:
        return "empty_messages", "there are no messages"
    found: list[Message | ToolMessage] = []
    for at, message in enumerate(messages, 1):
        good = _message(at, message, facts)
        if isinstance(good, tuple):
            return good
        found.append(good)
    roles = tuple(message.role for message in found)
    return (usual_roles if len(roles) <= USUAL else judge_roles)(roles) or found


def _message(at: int, message: object, facts: Facts) -> Message | ToolMessage | Bad:
    if not isinstance(message, dict):
        return "message_not_object", f"message {at} is {kind(message)}"
    role, content = message.get("role"), message.get("content")
    if role not in ROLES:
        said = reprlib.repr(message["role"]) if "role" in message else "missing"
        return "unknown_role", f"the role of message {at} is {said}"
    calls = message.get("tool_calls")
    if message.get("function_call"):
        return "tool_turn", f"message {at} has a function_call, which is written as tool_calls today"
    if role == "tool" or calls:
        if not facts.tools:
            what = "is a tool's" if role == "tool" else "calls a tool"
            return "tool_turn", f"message {at} {what}, which the base model's chat template has no form for"
        if calls and role != "assistant":
            return "tool_turn", f"message {at} ({role}) calls a tool, which only the assistant does"
        if isinstance(content, str) or (content is None and calls):
            if content and _CONTROL.search(content):
                return _control(at, content)
            return _tool_message(at, role, content, message)
    if not isinstance(content, str):
        what = kind(content) if "content" in message else "missing"
        return "blank_content", f"the content of message {at} ({role}) is {what}"
    if not content or content.isspace():
        return "blank_content", f"the content of message {at} ({role}) is blank"
    if _CONTROL.search(content):
        return _control(at, content)
    return Message(role, content)


def _tool_message(at: int, role: str, content: str | None, message: Mapping[str, Any]) -> ToolMessage | Bad:
    """A message with calls, or of a tool: what goes with its content is of one type in all rows."""
    more: dict[str, Any] = {key: message[key] for key in ("tool_call_id", "name") if message.get(key) is not None}
    for key, value in more.items():
        if not isinstance(value, str):
            return "tool_call", f"the {key} of message {at} is {kind(value)}"
    if calls := message.get("tool_calls"):
        found = calls_of(_from_text(calls))
        if isinstance(found, str):
            return "tool_call", f"message {at}: {found}"
        more["tool_calls"] = found
    return ToolMessage(role, content, **more)


def _from_text(value: object) -> object:
    """A list that was written as a JSON text, as columns of texts have it; else what it was."""
    parsed = parse(value.encode("utf-8", "surrogatepass")) if isinstance(value, str) else (value,)
    return parsed[0] if len(parsed) == 1 else value


def _control(at: int, content: str) -> Bad:
    found = _CONTROL.search(content)
    where = found.start() if found else 0
    return "control_character", f"message {at} has U+{ord(content[where]):04X} at character {where + 1}"


def judge_roles(roles: tuple[str, ...]) -> Bad | None:
    """What is wrong with this sequence of roles, all of them known; None if nothing is."""
    if "assistant" not in roles:
        return "no_assistant", f"no message is the assistant's (roles: {', '.join(sorted(set(roles)))})"
    if len(roles) == 1:
        return "no_question", "the only message is the assistant's"
    if "system" in roles[1:]:
        return "system_not_first", f"message {roles.index('system', 1) + 1} is a system message"
    for at, (role, following) in enumerate(pairwise(roles), 1):
        if role == following != "tool":
            return "repeated_role", f"messages {at} and {at + 1} are both of the role {role}"
    if roles[-1] != "assistant":
        return "last_not_assistant", f"the last message is of the role {roles[-1]}"
    return None


USUAL = 64
"""Messages of a usual row. What is known of longer ones is not kept: a thousand of them would fill the memory."""
usual_roles = lru_cache(4096)(judge_roles)


def has_control(text: str) -> bool:
    """Whether the text has a control character."""
    return _CONTROL.search(text) is not None
