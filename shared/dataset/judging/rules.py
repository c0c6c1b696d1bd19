"""The rules for chat datasets: their ids, how bad a breach is, what to do about it.

Ids are stable: reports, the page and people's filters use them. docs/rules.md is made from RULES. Rows are judged by
`judge`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from shared.dataset.judging.calls import kind as kind
from shared.dataset.judging.judge import Conversation as Conversation
from shared.dataset.judging.judge import Facts as Facts
from shared.dataset.judging.judge import Message as Message
from shared.dataset.judging.judge import ToolMessage as ToolMessage
from shared.dataset.judging.judge import has_control as has_control
from shared.dataset.judging.judge import judge as judge
from shared.dataset.judging.parsing import Bad as Bad
from shared.dataset.judging.parsing import parse as parse
from shared.dataset.judging.reader_rules import READERS
from shared.dataset.judging.roles import ROLES as ROLES
from shared.dataset.judging.rule import Rule as Rule
from shared.dataset.judging.rule import Severity as Severity
from shared.dataset.judging.split_rules import SPLIT
from shared.dataset.kinds import form_of
from shared.dataset.safety.rules import SAFETY

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
        "The row is not JSON: it is cut off, has a comma too many, half a surrogate pair or the like, or NaN in a key "
        "that is read.",
    ),
    "not_object": Rule(
        "error", "row", 'Write each row as an object: {"messages": [...]}.', "The row is JSON, but no object."
    ),
    "duplicate_keys": Rule(
        "error",
        "row",
        "Keep one of the two keys: a reader would silently take either.",
        "An object of the row has the same key twice. Which value counts depends on who reads it. In a key that no "
        "format reads it is passed over.",
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
        'Put the conversation into the key "messages", as a list, or say in finetune.yaml (or check --map) which keys '
        "hold it: map: {prompt: the question's key, response: the answer's key}.",
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
        "A message's content is missing, empty, null or only white space, or a question or its answer is.",
    ),
    "not_text": Rule(
        "error",
        "row",
        "Write it as a text: a number or a boolean in quotes, of an object the text that it holds; one that the "
        "model is to write, as its JSON (json.dumps).",
        "A number, a boolean, an object or a list stands where a text is learned. Parts that are texts are joined.",
    ),
    "media_part": Rule(
        "error",
        "row",
        "Leave such rows away, or describe in the text what is to be seen or heard.",
        "A message has images, sound or files among its parts: only text is learned from.",
    ),
    "other_kind": Rule(
        "error",
        "file",
        "Upload conversations, each with the answers to learn, in a format that is known.",
        "The file holds data for another kind of training: preference data, pairs for embeddings, texts with labels, "
        "text for pretraining, images or sound.",
    ),
    "refused_key": Rule(
        "error",
        "file",
        "Do as it says, or train without what the key holds, by finetune.yaml: ignore: [the key].",
        "The rows have a key that changes what is to be learned, and that the training has no use for (see Keys).",
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
        "No message is the user's: the assistant answers nothing.",
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
    "no_test_rows": Rule(
        "error",
        "dataset",
        "Mend the rows of that file, or leave the file away: it is then cut from the training rows.",
        "A validation or test file was given, but not one of its rows is good.",
    ),
    "map_unmatched": Rule(
        "error",
        "dataset",
        "Write the key as the rows have it, upper and lower case too, or take it out of map.",
        "`map` names a key that no row of the dataset has: what it was to hold would not be trained on.",
    ),
    "ignore_unmatched": Rule(
        "warning",
        "dataset",
        "Write the key as the rows have it, or take it out of ignore.",
        "`ignore` names a key with which no row has anything that is passed over.",
    ),
    "unread_key": Rule(
        "warning",
        "file",
        "Rename the key to one that is read, or say what it is (map in finetune.yaml); ignore: [the key] ends this.",
        "The rows have a key that is not read: what it holds is not trained on (see Keys).",
    ),
    "assistant_first": Rule(
        "warning",
        "file",
        "Begin with the user's message, if the base model's chat template asks for that.",
        "Conversations begin with the assistant. Chat templates of some models (Llama 2, Mistral, Gemma) refuse that.",
    ),
    "blank_system": Rule(
        "warning",
        "file",
        "Write a system text, or nothing.",
        "Conversations have a system message that is blank. It is left away.",
    ),
    "duplicate_row": Rule(
        "warning",
        "row",
        "Remove the copy, unless it is meant to count twice.",
        "The same conversation stands in the file before. It is trained on twice.",
    ),
    **SPLIT,
    **READERS,
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
