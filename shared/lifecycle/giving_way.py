"""Whether a newer run of a line ends the job of an older one, or waits for it: functions of plain data.

A job that is ended for a newer run has cost money for nothing, and a line whose jobs are always ended never goes live.
run/older.py looks, and the record of the line keeps its `Pace`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

EARLY = 1 / 5
"""Of the line's last training: only what has run for less may be ended for a newer run."""
EARLY_AT_FIRST = 30 * 60.0
"""Seconds: the same where no training is known."""


@dataclass(frozen=True, kw_only=True)
class Pace:
    """How a line trains. `took`: seconds of its last training, None before one.

    `gave_way`: a job was ended for a newer run since one last made a model. One that fails is no reason to end another:
    what was lost would never be made up for.
    """

    took: float | None = None
    gave_way: bool = False

    @property
    def early(self) -> float:
        """Seconds: a job that has run for less may be ended for a newer run."""
        return EARLY_AT_FIRST if self.took is None else EARLY * self.took

    def after_model(self, took: float) -> Pace:
        """After a job made a model in `took` seconds."""
        return Pace(took=took)

    def after_giving_way(self) -> Pace:
        """After a job was ended for a newer run."""
        return replace(self, gave_way=True)


@dataclass(frozen=True, kw_only=True)
class Older:
    """The newest run of the line that went on to train, as a newer one meets it.

    `same`: it would make the same model, of the same content and settings, and can still go live. `trains`: it has a
    job that nobody has ended, for `ran` seconds. `rolls_out`: it has its model, and can still go live. `parked`: a
    person has to see to it first; it counts for what it has in Azure. `unknown`: why nobody can tell what it is
    at, "" where its record can be read.
    """

    run: str
    same: bool = False
    trains: bool = False
    ran: float = 0
    rolls_out: bool = False
    parked: bool = False
    unknown: str = ""

    @property
    def named(self) -> str:
        """In words; what ends the wait for one that is parked is up to people."""
        how = f" (parked: droptune retry {self.run} takes it up, droptune cancel {self.run} ends it)"
        return f"run {self.run}{how if self.parked else ''}"


def behind(older: Older | None, pace: Pace, *, gets_slot: bool, back: bool = False) -> str:
    """What a newer run waits for, in words; "" where it goes on, and ends the older one's job if there is one.

    `gets_slot`: it would train at once if the older one gave back its slot. `back`: it is of what serves, and would
    keep that serving, so that a model that is there already were paid for in vain.
    """
    if older is None:
        return ""
    if older.unknown:
        return f"{older.named}, which may have a job that runs: {older.unknown}"
    if older.same:
        return f"{older.named}, which is of the same data and settings: it goes on if that one does not go live"
    if back and older.rolls_out:
        return f"{older.named}, which has been trained and is on its way to serve"
    if not older.trains:
        return ""
    if older.ran >= pace.early:
        return f"{older.named}, which has trained too long to be ended for a newer one"
    if pace.gave_way:
        return f"{older.named}, which trains: the job before it was ended for a newer one already"
    if not gets_slot:
        return f"{older.named}, which trains: its slot would go to others, who have waited longer"
    return ""
