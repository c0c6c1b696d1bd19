"""Runs in a place where no other test's are: what of all runs is shown first is else for chance to say."""

from __future__ import annotations

from uuid import uuid4

from shared.cloud.blobs import Blobs
from shared.records.run import Run
from shared.records.store import Records, Runs


class OwnRuns(Runs):
    """As the app's, below a prefix of their own. Nothing of them has to be forgotten."""

    def __init__(self, blobs: Blobs) -> None:
        own = f"own-{uuid4().hex[:8]}"
        Records.__init__(self, blobs, f"{own}/runs", Run, open_=f"{own}/active", over=f"{own}/ended")
