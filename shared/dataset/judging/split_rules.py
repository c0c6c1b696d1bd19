"""The rules about conversations that are in several parts of a dataset, or too often in one; they are among RULES."""

from __future__ import annotations

from collections.abc import Mapping

from shared.dataset.judging.rule import Rule

SPLIT: Mapping[str, Rule] = {
    "prompt_in_both": Rule(
        "warning",
        "row",
        "Remove the row from one of the two files.",
        "The row's conversation is in another split of the dataset too: all its prompts are the same, up to the last "
        "answer, whatever is answered. What is measured there is partly memory.",
    ),
    "prefix_in_train": Rule(
        "warning",
        "row",
        "Keep one of the two rows: the longer one has the answers of both.",
        "The row is for validation or test, and it is the beginning of a longer conversation that is trained on: its "
        "prompts are the first ones there, and have an answer. What is measured with it is partly memory.",
    ),
    "repeated_prompts": Rule(
        "warning",
        "row",
        "Keep fewer rows of the conversation, or upload validation and test files of your own.",
        "A conversation stands in more rows than the part that is cut should have at all, perhaps with another last "
        "answer each time. It would be most of what is measured, so all its rows are trained on. It is counted once.",
    ),
}
