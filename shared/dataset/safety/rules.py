"""The rules about secrets, persons' data and licences; they are among RULES."""

from __future__ import annotations

from collections.abc import Mapping

from shared.dataset.judging.rule import Rule

SAFETY: Mapping[str, Rule] = {
    "secret": Rule(
        "error",
        "row",
        "Remove it, and have it revoked where it was made; or set safety: mask in finetune.yaml.",
        "A text of the row has a key, a token or a password: the model would learn it, and tell it to callers.",
    ),
    "personal_data_refused": Rule(
        "error",
        "row",
        "Remove it, or set safety: mask in finetune.yaml.",
        "A text of the row has an e-mail address, a telephone, card or account number, and finetune.yaml says "
        "safety: reject.",
    ),
    "personal_data": Rule(
        "warning",
        "row",
        "Remove it, or set safety: mask (or reject) in finetune.yaml.",
        "A text of the row has an e-mail address, a telephone, card or account number: the model may learn it, and "
        "tell it to callers.",
    ),
    "masked": Rule(
        "warning",
        "row",
        "Look whether the row still says what it should. A secret that was masked is to be revoked all the same.",
        "A secret or persons' data in the row were replaced by a word like [email], as safety: mask in finetune.yaml "
        "has it.",
    ),
    "licence": Rule(
        "warning",
        "dataset",
        "Ask who gave you the data, or leave them away.",
        "The licence in the dataset's card (README.md) forbids commercial use, or to share what is made of the data, "
        "or to train the base model on them. A licence that is not known here is not told.",
    ),
}
