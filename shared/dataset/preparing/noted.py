"""What was noted of good rows, as faults and as the report's keys. Called by `scan`, once a part was read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from shared.dataset.judging import keys
from shared.dataset.judging.keys import Note, Noted
from shared.dataset.judging.rules import RULES, Fault
from shared.dataset.report import UnreadKey
from shared.dataset.safety.search import in_short
from shared.dataset.spec.choices import Policy
from shared.dataset.split import Part

_VERDICTS = {keys.UNREAD: "told", keys.REFUSED: "refused", keys.IGNORED: "ignored"}


def faults(notes: Mapping[Note, Noted], part: Part) -> Iterator[tuple[Fault, int]]:
    """A fault for each note but those about what is ignored, and how often it counts: a rule about rows for each."""
    for note, noted in notes.items():
        rule, place, _ = note
        if rule in RULES:
            reason = keys.told(note, noted)
            fault = Fault(part=part, rule=rule, reason=reason, excerpt=noted.example, **noted.where)
            yield fault, noted.rows if place == "rule" else 1


def unread_keys(notes: Mapping[Note, Noted], part: Part) -> Iterator[UnreadKey]:
    """The keys that are not read."""
    for (rule, place, key), noted in notes.items():
        if rule in _VERDICTS:
            cure = "" if rule == keys.IGNORED else keys.cure_of(rule, place, key) or RULES[rule].cure
            yield UnreadKey(
                part=part,
                place=place,
                key=key,
                verdict=_VERDICTS[rule],
                rows=noted.rows,
                example=noted.example,
                cure=cure,
            )


def unmatched(notes: Mapping[Note, Noted], policy: Policy) -> Iterator[tuple[str, str]]:
    """The rules, and what is told, for keys that `map` and `ignore` name, and no row has."""
    for name, key in policy.map.items():
        if (keys.MAPPED, "row", key) not in notes:
            yield "map_unmatched", f"map names {in_short(key)} for {name}, and no row has that key"
    passed = {keys.plain(key) for rule, _, key in notes if rule == keys.IGNORED}
    for key in policy.ignore:
        harmless = keys.known("row", key)[0] or keys.known("message", key)[0]  # nobody notes those
        if not harmless and keys.plain(key) not in passed and keys.plain(keys.MANY) not in passed:
            yield "ignore_unmatched", f"ignore names {in_short(key)}, and no row has anything there"
