"""What is done with a row's keys: how they are read, which are passed over, which nobody reads.

Rows nearly all have the same keys, so that this is found out once. Called by `checker`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from shared.dataset.judging.formats import MESSAGES, Format, spelled
from shared.dataset.judging.keys import known, plain

_MOST = 64  # plans that are kept, of rows whose keys have together no more than so many characters
_LONG = 2000


class Plan:
    """What is done with rows that have just these keys. `names`: key -> the key that it is read as, of those that are
    not passed over. `same`: each is read as it is; `messages_alone`: and none but a list of messages is read.
    `clashes`: two of them are spelled as one. `certain`: whether it holds for all rows with these keys, and not just
    for those with the same ones that are null. `own`: a key as it is read -> what the file calls it, or should by what
    is mapped."""

    def __init__(
        self, keys: tuple[str, ...], mapped: Mapping[str, str], ignored: frozenset[str], *, certain: bool = True
    ) -> None:
        self.keys = keys
        self.certain = certain
        taken = {key: mapped[key] for key in keys if key in mapped}
        there = set(taken.values())
        names: dict[str, str] = {}
        self.clashes = False
        for key in keys:
            if key in taken:
                names[key] = taken[key]
            elif key not in there and not (ignored and plain(key) in ignored):
                name = spelled(key)
                if name != key and (name in keys or name in names.values()):
                    self.clashes, name = True, key
                names[key] = name
        self.names: Mapping[str, str] = {key: name for key, name in names.items() if name not in there or key in taken}
        self.own = {name: key for key, name in {**mapped, **self.names}.items()}
        self.same = len(self.names) == len(keys) and all(key == name for key, name in self.names.items())
        # Asked for each row of a file of records.
        self.messages_alone = self.same and sum(name in MESSAGES.reads for name in self.names.values()) == 1
        self._unread: tuple[str, ...] | None = None

    def read(self, row: dict[str, Any]) -> dict[str, Any]:
        """The row with its keys as they are read."""
        return row if self.same else {name: row[key] for key, name in self.names.items()}

    def unread(self, chosen: Format) -> tuple[str, ...]:
        """The keys that the format does not read, and with which something may be lost."""
        if self._unread is None:
            reads = frozenset(chosen.reads)
            self._unread = tuple(
                key for key in self.keys if self.names.get(key) not in reads and not known("row", key)[0]
            )
        return self._unread


class Plans:
    """The plans for a file's rows. `mapped`: a key that formats know -> the file's key that is read as that."""

    def __init__(self, mapped: Mapping[str, str], ignored: frozenset[str]) -> None:
        self.mapped = {key: name for name, key in mapped.items()}
        self.ignored = ignored
        self._plans: dict[tuple[str, ...], Plan] = {}
        self._met: set[str] = set()

    def of(self, row: Mapping[str, Any]) -> Plan:
        """The plan for a row."""
        keys = tuple(row)
        plan = self._plans.get(keys)
        if plan is None:
            plan = Plan(keys, self.mapped, self.ignored)
            self._met |= self.mapped.keys() & keys
            if len(self._plans) < _MOST and sum(map(len, keys)) <= _LONG:
                self._plans[keys] = plan
        if plan.clashes:  # what is null is not there: of two columns of CSV one may be empty in each row
            return Plan(tuple(key for key in keys if row[key] is not None), self.mapped, self.ignored, certain=False)
        return plan

    def met(self) -> set[str]:
        """The keys of the file that are mapped, and that rows had since this was last asked."""
        met, self._met = self._met, set()
        return met

    def lacking(self, row: Mapping[str, Any]) -> str:
        """The first key that is mapped and that the row has not; empty if it has all."""
        return next((key for key in self.mapped if key not in row), "")
