"""Messages in the queues `prepare` and `run-steps`: whom they wake, and what becomes of one that failed too often."""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from typing import Any

from shared.advance import advance
from shared.app import App
from shared.cleanup import tear_down
from shared.records import CONTAINER

log = logging.getLogger("droptune.wakeups")


def handle(app: App, body: bytes) -> None:
    """Wakes what the message names: `{"run": id, "token": token or null}` or `{"line": id}`.

    Raises ValueError for anything else: such a message is not ours and belongs into the poison queue.
    """
    message = _parse(body)
    if "line" in message:
        tear_down(app, message["line"])
    else:
        advance(app, message["run"], message["token"])


def park(app: App, queue: str, message_id: str, body: bytes) -> None:
    """Keeps a poisoned message, and parks the run that it names: a person has to look."""
    app.cloud.blobs.write(CONTAINER, f"poison/{queue}/{message_id}", body)
    log.error("a message of queue %s failed too often: kept as %s/poison/%s/%s", queue, CONTAINER, queue, message_id)
    try:
        message = _parse(body)
    except ValueError:
        return
    loaded = app.runs.load(message["run"]) if "run" in message else None
    if loaded:
        run, etag = loaded
        why = f"a step failed again and again; see the log and {CONTAINER}/poison/{queue}/{message_id}"
        app.runs.save(replace(run.told(app.cloud.blobs.now(), why), parked=why, claim=None), etag)


def _parse(body: bytes) -> dict[str, Any]:
    try:
        message = json.loads(body)
    except ValueError as error:
        raise ValueError(f"a wake-up message must be JSON, not {body[:80]!r}: {error}") from None
    match message:
        case {"run": str(), "token": str() | None} | {"line": str()}:
            return dict(message)
        case _:
            raise ValueError(f"a wake-up message names a run and a token, or a line; this one is {body[:80]!r}")
