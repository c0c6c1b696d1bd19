"""A run that serves again what was trained before: it begins with the deployment of a model that is there.

Made for a person (rollback, revive), and where a rollout that did without spare instances has failed, after it had
taken away what served. Called by the commands, and at the end of a run (ending.py).
"""

from __future__ import annotations

from shared import naming
from shared.app import App
from shared.lifecycle.phase import Phase
from shared.records.line import Line, Serving
from shared.records.run import Run
from shared.records.store import readable

_KEPT = (
    "train",
    "validation",
    "test",
    "spec",
    "hub",
    "hub_commit",
    "policy",
    "promotion",
    "parameters",
    "rows",
    "faults",
    "pinned",
)
"""What it has of the run that trained the model."""


def again(app: App, line: Line, what: Serving, instead_of: Serving, why: str) -> Run:
    """The run that serves `what` again, newer than `instead_of` and all else of the same upload. It is not saved yet.

    Its id is the same as long as nothing else went live in between. The record of the run that trained the model gives
    what there is to give; without it the names tell enough.
    """
    rivals = [each for each in (line.serving, line.latest, line.heading) if each]
    ordinal = 1 + max(each.ordinal for each in rivals if each.uploaded == instead_of.uploaded)
    loaded, now = readable(app.runs, what.run), app.cloud.blobs.now()
    base = loaded.record if loaded else None
    origin = base.origin or what.run if base else what.run
    return Run(
        id=naming.again_id(line.id, instead_of.uploaded.isoformat(), what.model, ordinal),
        folder=line.folder,
        line=line.id,
        base_model=line.base_model,
        uploaded=instead_of.uploaded,
        ordinal=ordinal,
        origin=origin,
        rollback=what.model != instead_of.model,
        instead_of=instead_of.run,
        # The name of a deployment is that of the run and attempt that made it, and so is the place of their data.
        data_of=base.prepared if base else "/".join(what.deployment.rsplit("-", 1)),
        phase=Phase.REGISTERED,
        since=now,
        fingerprint=base.fingerprint or what.fingerprint if base else what.fingerprint,
        job=base.job if base else what.model.rpartition(":")[2],
        model=what.model,
        **{name: getattr(base, name) for name in _KEPT if base},
    ).told(now, f"{why}: {what.model}, of run {origin}")
