"""What a person asks of a line: roll back, revive, pin and unpin.

run_commands.py, which has those of a run, says how they answer.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import replace

from shared.api.asked import kept
from shared.api.named import line_named
from shared.api.run_commands import another_attempt
from shared.app import App, wake
from shared.errors import Permanent
from shared.line import seats
from shared.line.access import held_by
from shared.line.by_hand import without_what_is_gone
from shared.line.trained import can_be_deployed
from shared.records.line import Line, Serving
from shared.records.mark import mark_in
from shared.records.run import Run
from shared.records.store import compare_and_swap, readable
from shared.run.restore import again

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


ON_LINES: dict[str, Callable[..., str]] = {"rollback": rollback, "revive": revive, "pin": pin, "unpin": unpin}
