"""What became of a dataset: how many rows, which are bad and why, how it was split, and whether it may be trained on.

Written once by `scan.prepare`, stored beside the run's data as report.json and report.md, shown on the page and by the
CLI.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import msgspec

from shared.dataset.causes import causes
from shared.dataset.judging.rules import RULES, Fault
from shared.serving.chance import shown

_NAMED = 5  # keys that a sentence names


def counted(count: int, what: str) -> str:
    """How many there are of something, in words: 1 row, 2,000 rows."""
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def brief(names: Sequence[str]) -> str:
    """The files of a part in few words: one or two, or how many there are and the first."""
    return ", ".join(names) if len(names) < 3 else f"{len(names):,} files: {names[0]} ..."


@dataclass(frozen=True, kw_only=True)
class UnreadKey:
    """A key that some good rows of a part have and that is not read.

    place: whose it is: row, message, part (of a content). verdict: told, refused or ignored. rows: that have it.
    example: what the first of them has, shortened. cure: what to do.
    """

    part: str
    place: str
    key: str
    verdict: str
    rows: int
    example: str
    cure: str


@dataclass(frozen=True, kw_only=True)
class Report:
    """The outcome of preparing a dataset.

    rejected: why it may not be trained on; empty: it may. rows: of all files, good and bad. bad_rows: those with an
    error. by_rule: error -> how often, of rows, files and the set, all counted; faults: the first of them, in full.
    warnings, warned: the same for warnings. dropped: bad rows that were left out, as the policy has it. rows_of: part
    -> rows of its file, good and bad. splits: part -> good rows. cut: the parts that were cut from train; adjusted: the
    cuts were moved, since by chance a part would have been empty; uneven: part that was cut -> what was asked for, and
    why it has not about so many rows. formats: part -> chat format. files: part -> file, or files in few words; shards:
    of a part with several files, name -> rows. turns: messages a row -> rows. tokens: upper end of a range of tokens,
    by estimate -> rows. longest: tokens of the longest row, by estimate. first_rows: how training begins, shortened.
    digest: of the prepared content: equal if all parts hold the same rows in the same order, by the same `version` of
    the rules. safety: what was done about secrets and persons' data (see Policy), empty in reports from before; found:
    kind of them -> how many, in rows that were good otherwise. keys:
    those that are not read, and with which something is lost.
    """

    rejected: str
    rows: int
    bad_rows: int
    by_rule: Mapping[str, int]
    faults: tuple[Fault, ...]
    warnings: Mapping[str, int]
    warned: tuple[Fault, ...]
    dropped: int
    rows_of: Mapping[str, int]
    splits: Mapping[str, int]
    cut: tuple[str, ...]
    adjusted: bool
    files: Mapping[str, str]
    formats: Mapping[str, str]
    turns: Mapping[int, int]
    tokens: Mapping[int, int]
    longest: int
    duplicates: int
    first_rows: tuple[str, ...]
    digest: str
    shards: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    safety: str = ""
    found: Mapping[str, int] = field(default_factory=dict)
    uneven: Mapping[str, str] = field(default_factory=dict)
    version: int = 1
    keys: tuple[UnreadKey, ...] = ()

    @property
    def summary(self) -> str:
        """One sentence for a run's history."""
        if self.rejected:
            return self.rejected
        parts = ", ".join(f"{count:,} {part}" for part, count in self.splits.items())
        were = "was" if self.dropped == 1 else "were"
        dropped = f"; {counted(self.dropped, 'bad row')} {were} left out" if self.dropped else ""
        unread = list(dict.fromkeys(each.key for each in self.keys if each.verdict == "told"))
        more = f" and {len(unread) - _NAMED} more" if len(unread) > _NAMED else ""
        lost = f"; not read: {', '.join(unread[:_NAMED])}{more}" if unread else ""
        masked = self.warnings.get("masked", 0)
        words = f"; secrets or persons' data were masked in {counted(masked, 'row')}" if masked else ""
        return f"{counted(self.rows, 'row')}: {parts}{dropped}{lost}{words}"

    @property
    def shows(self) -> str:
        """What the test rows can show of a new version, in words; "" where there are none."""
        return "" if self.rejected else shown(self.splits.get("test", 0))

    @classmethod
    def of(cls, told: object) -> Report:
        """The report that `as_dict` gave. Raises msgspec.ValidationError, a ValueError, for anything else."""
        return msgspec.convert(told, cls, strict=False)  # not strict: JSON's keys are texts, some of ours are numbers

    def as_dict(self) -> dict[str, Any]:
        """The report as plain JSON, with the causes of its faults, and the cure of each rule that was broken."""
        return asdict(self) | {
            "faults": [asdict(fault) for fault in self.faults],
            "warned": [asdict(fault) for fault in self.warned],
            "keys": [asdict(key) for key in self.keys],
            "turns": {str(turns): rows for turns, rows in self.turns.items()},
            "tokens": {str(tokens): rows for tokens, rows in self.tokens.items()},
            "shows": self.shows,
            "causes": [
                {"count": cause.count, "others": cause.others, **asdict(cause.fault)}
                for cause in causes(self.faults, self.by_rule)
            ],
            "cures": {rule: RULES[rule].cure for rule in (*self.by_rule, *self.warnings)},
        }
