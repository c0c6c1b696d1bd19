"""What a person asks of a line: roll back, revive, pin and unpin, keep, office hours, stop.

run_commands.py, which has those of a run, says how they answer.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import replace

from shared.api import asked
from shared.api.asked import kept
from shared.api.named import line_named
from shared.api.run_commands import another_attempt
from shared.app import App, wake
from shared.errors import Permanent
from shared.lifecycle.moment import minute
from shared.line import seats
from shared.line.access import held_by, is_active
from shared.line.by_hand import without_what_is_gone
from shared.line.kept import why_people_keep
from shared.line.trained import can_be_deployed
from shared.logs import visible
from shared.records.line import Keep, Line, Serving, TearingDown
from shared.records.mark import mark_in
from shared.records.run import Run
from shared.records.store import compare_and_swap, readable
from shared.run.restore import again
from shared.serving.hours import office_hours

log = logging.getLogger("droptune.api.line_commands")


def rollback(app: App, line_id: str, *, by: str = "") -> str:
    """Serves again what the line served before, by a run of its own that begins with the deployment."""

    def attempt() -> str:
        line, _ = line_named(app, line_id)
        if line.previous is None or line.latest is None:
            raise Permanent(f"line {line.id} has served nothing before that: there is nothing to roll back to")
        return _serve_again(app, line, line.previous, line.latest, f"a rollback by {kept(by)}")

    return compare_and_swap(attempt, f"line {line_id}")


def revive(app: App, line_id: str, *, by: str = "") -> str:
    """Serves again what a line served last that was torn down, or that somebody deleted or took the traffic from."""

    def attempt() -> str:
        line = without_what_is_gone(app, *line_named(app, line_id))
        if line.latest is None:
            raise Permanent(f"line {line.id} has served nothing yet: upload a dataset, or droptune retry a run of it")
        return _serve_again(app, line, line.latest, line.latest, f"a revival by {kept(by)}")

    return compare_and_swap(attempt, f"line {line_id}")


def pin(app: App, line_id: str, *, by: str = "") -> str:
    """Keeps a line at what it serves: newer versions are trained, and wait. Rolling back is still possible."""

    def attempt() -> str:
        line, etag = line_named(app, line_id)
        if line.serving is None:
            raise Permanent(f"line {line.id} serves nothing: there is nothing to keep it at")
        if line.is_going:
            raise Permanent(
                f"line {line.id} is being torn down: droptune revive {line.id} serves it again, then pin it"
            )
        if line.pinned_by:
            return f"line {line.id} is pinned to {line.serving.model} already, by {line.pinned_by}"
        app.lines.save(replace(line, pinned_by=kept(by)), etag)
        rolling = app.runs.load(line.rollout) if line.rollout else None
        under_way = (
            f"; run {line.rollout} is being rolled out already: droptune cancel {line.rollout} stops it"
            if rolling and not rolling.record.phase.ended
            else ""
        )
        return f"line {line.id} is pinned to {line.serving.model}{under_way}"

    return compare_and_swap(attempt, f"line {line_id}")


def unpin(app: App, line_id: str, *, by: str = "") -> str:
    """Lets newer versions of a line go live again, and wakes those that waited for that."""

    def attempt() -> str:
        line, etag = line_named(app, line_id)
        if line.pinned_by:
            app.lines.save(replace(line, pinned_by=""), etag)
            log.info("line %s: unpinned by %s", line.id, kept(by))
        # Also where it was not pinned: whoever asked before may have died before he woke them.
        held = [run for run in _working_on(app, line) if run.line == line.id and run.hold == "pin"]
        for run in held:
            wake(app, run)
        waited = f"; {', '.join(run.id for run in held)} goes on" if held else ""
        return f"line {line.id} is {'not pinned any more' if line.pinned_by else 'not pinned'}{waited}"

    return compare_and_swap(attempt, f"line {line_id}")


def keep(app: App, line_id: str, *, by: str = "", until: str = "", why: str = "", end: bool = False) -> str:
    """Keeps what a line serves from being torn down, whoever calls it, `until` then or for good; `end`s that."""

    def attempt() -> str:
        line, etag = line_named(app, line_id)
        if end:
            if line.keep is None:
                return (
                    f"line {line.id} is kept by nobody's word; droptune cleanup --why {line.id} says what else keeps it"
                )
            app.lines.save(replace(line, keep=None), etag)
            return f"line {line.id} is not kept any more: it is torn down once nobody calls it"
        if line.is_going:
            raise Permanent(
                f"line {line.id} is being torn down: droptune revive {line.id} serves it again, then keep it"
            )
        now = app.cloud.blobs.now()
        kept_until = asked.until(until, now) if until else None
        word = Keep(until=kept_until, who=kept(by), why=asked.why(why))
        app.lines.save(replace(line, keep=word), etag)
        told = f"until {minute(kept_until)}" if kept_until else f"until droptune keep {line.id} --end"
        serves = "" if line.serving else "; it serves nothing now: what serves next is kept"
        return f"line {line.id} is kept, whether or not it is called, {told}{serves}"

    return compare_and_swap(attempt, f"line {line_id}")


def hours(app: App, line_id: str, *, by: str = "", hours: str = "", end: bool = False) -> str:
    """Gives a line office hours, in which it is not torn down; `end`: it has none."""

    def attempt() -> str:
        line, etag = line_named(app, line_id)
        if end:
            app.lines.save(replace(line, hours=""), etag)
            return f"line {line.id} has no office hours: it may be torn down at any hour once nobody calls it"
        try:
            given = office_hours(hours)
        except ValueError as error:
            raise Permanent(f"{visible(hours, 60)!r}: {error}") from None
        app.lines.save(replace(line, hours=str(given)), etag)
        log.info("line %s: office hours %s, by %s", line.id, given, kept(by))
        ends = given.ends(app.cloud.blobs.now())
        now = f"; now it is in them, until {minute(ends)}" if ends else ""
        return f"line {line.id} is not torn down {given}{now}"

    return compare_and_swap(attempt, f"line {line_id}")


def stop(app: App, line_id: str, *, by: str = "", why: str = "") -> str:
    """Tears down what a line serves, on purpose and at once, also where only reports are asked for."""

    def attempt() -> str:
        line, etag = line_named(app, line_id)
        if line.is_going:
            return f"line {line.id} is being torn down already"
        if line.serving is None:
            raise Permanent(f"line {line.id} serves nothing: there is nothing to stop")
        if rolling := line.rollout if is_active(app, line.rollout) else "":
            raise Permanent(
                f"line {line.id} is being changed by run {rolling}: droptune cancel {rolling} ends that first"
            )
        endpoint = app.cloud.endpoints.get(line.endpoint)
        serves = app.cloud.endpoints.deployment(line.endpoint, line.serving.deployment) if endpoint else None
        if endpoint and (kept_by := why_people_keep(line, endpoint, serves, app.cloud.blobs.now())):
            raise Permanent(f"line {line.id} stays: {kept_by}")
        because = f": {told}" if (told := asked.why(why)) else ""
        going = replace(line, state=TearingDown(whole=False, stopped=f"stopped by {kept(by)}{because}"), rollout="")
        app.lines.save(going, etag)
        wake(app, going)
        return (
            f"line {line.id} is being torn down; its endpoint {line.endpoint} keeps its address, and costs nothing: "
            f"droptune revive {line.id} serves it again"
        )

    return compare_and_swap(attempt, f"line {line_id}")


def _serve_again(app: App, line: Line, what: Serving, instead_of: Serving, why: str) -> str:
    """Has a run serve `what` again, newer than `instead_of`; the same run if it is asked for twice."""
    if not can_be_deployed(app, what.model):
        raise Permanent(
            f"model {what.model} is gone: somebody deleted it, and what its job put out is gone too; upload the "
            "dataset again"
        )
    run = again(app, line, what, instead_of, why)
    other = held_by(app, line, run)
    waits = f", after {other}" if other else ""
    if seat := seats.needed_by(app, line):
        waits += f"; it waits for {seat}"
    known = app.runs.load(run.id)
    if known and not known.record.phase.ended:
        wake(app, known.record)
        return f"run {run.id} does that already; it is {known.record.phase}{waits}"
    if known:
        return f"{another_attempt(app, *known, why)}{waits}"
    app.runs.create(run)  # False: somebody asked for the same just now
    wake(app, run)
    return f"run {run.id} brings {what.model} back to endpoint {line.endpoint}{waits}"


def _working_on(app: App, line: Line) -> Iterator[Run]:
    """The line's runs that have not ended. Reads no others, as far as the listing says whose they are."""
    for found in app.runs.open():
        mark = mark_in(found.metadata)
        if (mark is None or mark.line == line.id) and (loaded := readable(app.runs, found.key)):
            yield loaded.record


ON_LINES: dict[str, Callable[..., str]] = {
    "rollback": rollback,
    "revive": revive,
    "pin": pin,
    "unpin": unpin,
    "keep": keep,
    "hours": hours,
    "stop": stop,
}
