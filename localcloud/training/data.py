"""From rows of messages to token ids with a loss mask: the work of the component's preprocess step.

The loss counts the assistant's words alone, the markers that end its turns included: the chat template says which they
are. Called by the training process; works on lists in memory, which is what a laptop's training set is.
"""

import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from localcloud.training.job import Journal, TrainingError

Messages = list[dict[str, str]]
Example = dict[str, list[int]]
IGNORED = -100  # torch's cross entropy leaves this label out


def read_rows(path: Path) -> list[Messages]:
    """Read the column `messages` of a JSON-lines file. Raises TrainingError that names file and line."""
    if not path.is_file():
        raise TrainingError(f"The data file {path.name} does not exist.")
    if path.suffix in (".json", ".csv", ".tsv", ".parquet"):
        raise TrainingError(f"The local trainer reads JSON lines; {path.name} is another format.")
    rows = []
    with path.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            if line.strip():
                rows.append(_messages(line, f"{path.name}, line {number}"))
    if not rows:
        raise TrainingError(f"{path.name} has no rows.")
    return rows


def _messages(line: bytes, where: str) -> Messages:
    try:
        row = json.loads(line)
    except ValueError as error:
        raise TrainingError(f"{where}: this is not JSON ({error}).") from None
    messages = row.get("messages") if isinstance(row, dict) else None
    if not isinstance(messages, list) or not messages:
        raise TrainingError(f"{where}: the row has no messages.")
    for message in messages:
        if not isinstance(message, dict) or not all(isinstance(message.get(key), str) for key in ("role", "content")):
            raise TrainingError(f"{where}: each message needs a role and a content, both text.")
    return messages


def cut(rows: list[Messages], count: int, seed: int) -> tuple[list[Messages], list[Messages]]:
    """Cut `count` random rows off: what stays, what was cut. The order is kept."""
    if count >= len(rows):
        raise TrainingError("There are too few training rows: the component cuts validation or test rows from them.")
    chosen = set(random.Random(seed).sample(range(len(rows)), count))  # noqa: S311
    stays = [row for index, row in enumerate(rows) if index not in chosen]
    return stays, [rows[index] for index in sorted(chosen)]


def load(
    train: Path, validation: Path | None, test: Path | None, *, seed: int, journal: Journal
) -> tuple[list[Messages], list[Messages]]:
    """Training and validation rows.

    As the component has it, 10 % each are cut from the training rows where validation and test are both missing, 20 %
    where one of them is. The test file is read, so that a broken one fails here, but nothing uses it: the component's
    evaluation steps are switched off.
    """
    rows = read_rows(train)
    share = 0.1 if validation is None and test is None else 0.2
    count = max(1, round(share * len(rows)))
    if test is None:
        rows, _ = cut(rows, count, seed)
        journal.note(f"no test file: {share:.0%} of {train.name} are set aside")
    else:
        read_rows(test)
    if validation is None:
        rows, held = cut(rows, count, seed + 1)
        journal.note(f"no validation file: {share:.0%} of {train.name} are used")
        return rows, held
    return rows, read_rows(validation)


def encode(
    rows: Sequence[Messages], tokenizer: Any, *, max_length: int, batch: int, name: str, journal: Journal
) -> list[Example]:
    """Token ids and labels of each row, cut after `max_length` tokens.

    Rows in which no assistant's token is left are dropped and counted in the log. Raises TrainingError if none is left.
    """
    examples = []
    for start in range(0, len(rows), batch):
        encoded = tokenizer.apply_chat_template(
            list(rows[start : start + batch]),
            return_dict=True,
            return_assistant_tokens_mask=True,
            truncation=True,
            max_length=max_length,
        )
        for ids, mask in zip(encoded["input_ids"], encoded["assistant_masks"], strict=True):
            # The first token is never predicted, so a mask that holds nothing else teaches nothing.
            if any(mask[1:]):
                labels = [token if counts else IGNORED for token, counts in zip(ids, mask, strict=True)]
                examples.append({"input_ids": ids, "labels": labels})
    if not examples:
        raise TrainingError(f"No {name} row has an answer of the assistant within its first {max_length} tokens.")
    if len(examples) < len(rows):
        dropped = len(rows) - len(examples)
        journal.note(f"{dropped} of {len(rows)} {name} rows dropped: no answer within {max_length} tokens")
    longest = max(len(example["input_ids"]) for example in examples)
    journal.note(f"{len(examples)} {name} rows, the longest {longest} tokens")
    return examples
