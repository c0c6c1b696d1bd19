"""Messages in the app's queues: what handles them, and what happens to one that fails, now or again and again.

Called by the queue triggers. A message completes unless it is malformed or there is a bug: when Azure is not ready the
same message is sent again for later, so that its dequeue count is not used up by an outage.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from typing import Any

from shared.app import App, wake
from shared.errors import Conflict, NotFound, Permanent, Transient
from shared.line.teardown import tend
from shared.records import layout
from shared.records.layout import STATE
from shared.records.store import compare_and_swap
from shared.run.loop import advance
from shared.run.turn import Turn
from shared.run.waits import given_up

log = logging.getLogger("droptune.messages")


def deliver(app: App, queue: str, body: bytes, handle: Callable[[App, bytes], None]) -> None:
    """Has `handle` work on a message of `queue`. Raises ValueError when the message is malformed."""
    try:
        handle(app, body)
    except Transient as error:
        log.info("a message of queue %s comes again in %s: %s", queue, error.after, error)
        app.cloud.queues.send(queue, json.loads(body), after=error.after)
    except Conflict:
        app.cloud.queues.send(queue, json.loads(body), after=timedelta(seconds=5))
    except (Permanent, NotFound):
        log.exception("a message of queue %s can't be followed; the sweep looks at the same thing again", queue)


def step(app: App, body: bytes) -> None:
    """Wakes what the message names: `{"run": id, "token": token or null}`, or the same with the upkeep of a `line`.

    Raises ValueError for anything else: such a message is not ours and belongs into the poison queue.
    """
    match _parse(body):
        case {"line": line, "token": token}:
            tend(app, line, token)
        case {"run": run, "token": token}:
            advance(app, run, token)


def park(app: App, queue: str, message_id: str, body: bytes) -> None:
    """Keeps a poisoned message, and parks the run that it names: a person has to look."""
    kept = layout.poisoned(queue, message_id)
    log.error("a message of queue %s failed too often: %r", queue, body[:200])
    try:
        app.cloud.blobs.write(STATE, kept, body)
        run_id = str(_parse(body).get("run", ""))
        why = f"a step failed again and again; see the log, and the message in {STATE}/{kept}"
        compare_and_swap(lambda: _park_run(app, run_id, why), f"run {run_id}")
    except Exception:  # a poison queue has none of its own: what is raised here would come back for good
        log.exception("that message can't be kept, or its run not be parked")


def _park_run(app: App, run_id: str, why: str) -> None:
    """Parks the run, where there is one that has not ended, or ends it where it is time.

    Raises Conflict when somebody else changed it meanwhile.
    """
    loaded = app.runs.load(run_id)
    if loaded and not loaded.record.phase.ended:
        turn = Turn(app, *loaded)
        ending = given_up(app, turn.run, why)
        if ending:
            turn.save(replace(turn.run, ending=ending, claim=None, crashes=0))
            wake(app, turn.run)
        else:
            turn.save(turn.run.park(app.cloud.blobs.now(), why))
        with suppress(Conflict):  # it is parked; what was sent is told again, as the same event
            turn.close()


def _parse(body: bytes) -> dict[str, Any]:
    try:
        message = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"a wake-up message must be JSON, not {body[:80]!r}: {error}") from None
    match message:
        case {"run": str(), "token": str() | None} | {"line": str(), "token": str() | None}:
            return dict(message)
        case _:
            raise ValueError(f"a wake-up message names a run or a line, and a token; this one is {body[:80]!r}")
