"""What became of a dataset: how many rows, which are bad and why, how it was split.

Written once by `prepare`, stored beside the run's data, shown on the page and by the CLI.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from shared.dataset.rules import RULES, Fault


@dataclass(frozen=True, kw_only=True)
class Report:
    """The outcome of preparing a dataset. A run goes on only when `bad_rows` is 0.

    rows: good and bad ones, of all files. bad_rows: those, and what is wrong with a file as a whole (it is empty, it
    can't be split). by_rule: rule -> how often, all counted. faults: the first of them, in full.
    splits: part -> good rows. cut: the parts that were cut from train. first_rows: how training begins, shortened.
    digest: of the prepared content: equal exactly if all parts hold the same rows in the same order.
    """

    rows: int
    bad_rows: int
    by_rule: Mapping[str, int]
    faults: tuple[Fault, ...]
    splits: Mapping[str, int]
    cut: tuple[str, ...]
    first_rows: tuple[str, ...]
    digest: str

    @property
    def summary(self) -> str:
        """One sentence for a run's history."""
        if not self.bad_rows:
            return f"{self.rows} rows: " + ", ".join(f"{count} {part}" for part, count in self.splits.items())
        first = self.faults[0]
        rules = ", ".join(f"{count} {rule}" for rule, count in self.by_rule.items())
        where = f"first: {first.part}, line {first.line}: {first.reason}. {first.cure}"
        return f"{self.bad_rows} of {self.rows} rows are bad ({rules}); {where}"

    def as_dict(self) -> dict[str, Any]:
        """The report as plain JSON, with the cure of each rule that was broken."""
        return asdict(self) | {
            "faults": [asdict(fault) for fault in self.faults],
            "by_rule": dict(self.by_rule),
            "splits": dict(self.splits),
            "cures": {rule: RULES[rule] for rule in self.by_rule},
        }
