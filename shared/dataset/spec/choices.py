"""What a finetune.yaml chooses, as plain data: data, policy, promotion, parameters."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from shared.dataset.spec.schema import Scalar
from shared.dataset.split import Part
from shared.serving.gate import Promotion

type Safety = Literal["report", "mask", "reject"]

FILE_NAME = "finetune.yaml"
SIZE_LIMIT = 64 * 1024


@dataclass(frozen=True, kw_only=True)
class Policy:
    """What becomes of bad rows, how many rows are enough, and how the rows are split. Kept in the run's record.

    `max_bad_percent` counts with `drop` only; `min_rows` are good rows of the training data, before the split; the
    other two percentages are of the conversations, where the part has no file of its own. `safety`: what becomes of
    secrets and of persons' data in rows, see `safety/guard.py`. `ignore`: keys of rows and messages that
    are passed over. `map`: a key that some chat format has -> the key that holds it in these files.
    """

    on_bad_rows: Literal["reject", "drop"] = "reject"
    max_bad_percent: float = 5.0
    min_rows: int = 10
    validation_percent: int = 10
    test_percent: int = 10
    seed: int = 0
    safety: Safety = "report"
    ignore: tuple[str, ...] = ()
    map: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Hub:
    """A dataset of the Hugging Face Hub: which of its splits are for what, and how much of them is taken."""

    name: str
    revision: str = "main"
    config: str | None = None
    splits: Mapping[Part, str] = field(default_factory=lambda: {"train": "train"})
    percent: float = 100.0


@dataclass(frozen=True, kw_only=True)
class Spec:
    """A finetune.yaml: its data, files below its folder (`train` at least) or `hub`, and what is to be done with it.

    The files of a part are in order of name, however they were listed.
    `parameters` are as they were written, not yet checked.
    """

    model: str | None = None
    train: tuple[str, ...] = ()
    validation: tuple[str, ...] = ()
    test: tuple[str, ...] = ()
    hub: Hub | None = None
    policy: Policy = field(default_factory=Policy)
    promotion: Promotion = field(default_factory=Promotion)
    parameters: Mapping[str, Scalar] = field(default_factory=dict)

    @property
    def files(self) -> tuple[str, ...]:
        """The data files that it names."""
        return (*self.train, *self.validation, *self.test)
