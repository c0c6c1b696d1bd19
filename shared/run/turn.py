"""One message's turn at a run: its record as it was saved last, the claim on it, and the events to send.

All saves of the loop go through here. Each is under If-Match; what a person changed in the meantime (a cancellation) is
joined to what the turn has done, anybody else's change ends the turn with Conflict. While an action lasts, a thread
renews the claim: one that lives keeps it for as long as it takes, one that died loses it after CLAIM. Called by
the loop.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from uuid import uuid4

from shared.app import App
from shared.errors import Conflict, NotFound, Permanent, Transient
from shared.records.outbox import send_events
from shared.records.run import Claim, Run

log = logging.getLogger("droptune.run.turn")

CLAIM = timedelta(minutes=3)
RENEWED = CLAIM / 3


class Turn:
    """`run` is the record as it stands, but for events that were sent: `close` saves that these are."""

    def __init__(self, app: App, run: Run, etag: str) -> None:
        self.run = run
        self._app = app
        self._stored, self._etag = run, etag
        self._holder = uuid4().hex
        self._sent = False
        if run.outbox:  # by somebody who died before sending them
            self._send()

    def save(self, run: Run) -> None:
        """Saves the record, then sends the events in its outbox. Raises Conflict when it is somebody else's turn.

        One that is stored just so needs no save: many wakes find that nothing has changed.
        """
        if run == self._stored:
            self.run = run
            return
        known = self._stored.outbox
        try:
            self._etag = self._app.runs.save(run, self._etag, before=self._stored)
        except Conflict:
            run = self._joined(run)
        self.run, self._stored, self._sent = run, run, False
        if any(notice not in known for notice in run.outbox):
            self._send()

    def close(self) -> None:
        """Saves that all events were sent, if that is not in the record yet."""
        if self._sent:
            self.save(self.run)

    @contextmanager
    def claimed(self, action: str) -> Iterator[None]:
        """Claims the run for `action`, and keeps the claim alive for as long as the block lasts. Raises Conflict."""
        until = self._app.cloud.blobs.now() + CLAIM
        self.save(replace(self.run, claim=Claim(action=action, until=until, holder=self._holder), waiting=None))
        ended = threading.Event()
        renewal = threading.Thread(target=self._renew, args=(ended,), name=f"claim {self.run.id}", daemon=True)
        renewal.start()
        try:
            yield
        finally:
            ended.set()
            renewal.join()

    def _renew(self, ended: threading.Event) -> None:
        while not ended.wait(RENEWED.total_seconds()):
            claim = self.run.claim
            try:
                until = self._app.cloud.blobs.now() + CLAIM
                self.save(replace(self.run, claim=replace(claim, until=until) if claim else None))
            except (Conflict, NotFound, Permanent, Transient) as error:
                log.warning("run %s: its claim can't be renewed: %s", self.run.id, error)

    def _joined(self, run: Run) -> Run:
        """The record that a Conflict has met, if that is this very save (its answer was lost), or our claim on it."""
        loaded = self._app.runs.load(run.id)
        if loaded is None:
            raise Conflict(f"the record of run {run.id} is gone")
        found, etag = loaded
        if found != run:
            if found.claim is None or found.claim.holder != self._holder:
                raise Conflict(f"run {run.id} was changed by somebody else")
            history = (*found.history, *run.history[len(self.run.history) :])
            run = replace(run, ending=found.ending or run.ending, history=history)
            etag = self._app.runs.save(run, etag, before=found)
        self._etag = etag
        return run

    def _send(self) -> None:
        self.run = send_events(self._app.cloud, self.run)
        self._sent = self.run != self._stored
