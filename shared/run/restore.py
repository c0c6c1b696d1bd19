"""A run that serves again what was trained before: it begins with the deployment of a model that is there.

Made for a person (rollback, revive), and where a rollout that did without spare instances has failed, after it had
taken away what served. Called by the commands, and at the end of a run (ending.py).
"""

from __future__ import annotations

from dataclasses import replace

from shared import naming
from shared.app import App
from shared.lifecycle.phase import Phase
from shared.records.base import Order
from shared.records.line import Line, Serving
from shared.records.run import Attempt, Data, Restores, Run, Source
from shared.records.store import readable


def again(app: App, line: Line, what: Serving, instead_of: Serving, why: str) -> Run:
    """The run that serves `what` again, newer than `instead_of` and all else of the same upload. It is not saved yet.

    Its id is the same as long as nothing else went live in between. The record of the run that trained the model gives
    what it is made of and what its attempt came to; without it the names tell enough.
    """
    uploaded = instead_of.order.uploaded
    rivals = [each.order for each in (line.serving, line.latest, line.newest, line.waits) if each]
    ordinal = 1 + max(each.ordinal for each in rivals if each.uploaded == uploaded)
    loaded, now = readable(app.runs, what.run), app.cloud.blobs.now()
    trained = loaded.record if loaded else None
    origin = trained.restores.run if trained and trained.restores else what.run
    return Run(
        id=naming.again_id(line.id, uploaded.isoformat(), what.model, ordinal),
        line=line.id,
        installation=line.installation,
        order=Order(uploaded=uploaded, ordinal=ordinal),
        source=trained.source if trained else Source(folder=line.folder, base_model=line.base_model),
        restores=Restores(run=origin, instead_of=instead_of.run, rollback=what.model != instead_of.model),
        phase=Phase.REGISTERED,
        since=now,
        attempt=restored(trained, what) if trained else _by_name(what),
    ).noted(now, f"{why}: {what.model}, of run {origin}")


def restored(trained: Run, what: Serving) -> Attempt:
    """The attempt that made `what`, to be deployed again."""
    data = trained.attempt.data or Data(fingerprint="")
    return replace(
        trained.attempt,
        number=1,
        data_of=trained.prepared,
        data=replace(data, fingerprint=data.fingerprint or what.fingerprint),
        model=what.model,
        course=None,
        kept=None,
        deployed=None,
        resumed=None,
        scarce=None,
        registered_again=0,
    )


def _by_name(what: Serving) -> Attempt:
    """The same where the record of its run is lost.

    The name of a deployment is that of the run and attempt that made it, and so is the place of their data.
    """
    return Attempt(
        data_of="/".join(what.deployment.rsplit("-", 1)),
        data=Data(fingerprint=what.fingerprint),
        job=what.model.rpartition(":")[2],
        model=what.model,
    )
