"""A run that serves again what was trained before: it begins with the deployment of a model that is there.

Made for a person (rollback, revive), and where a rollout that did without spare instances has failed, after it had
taken away what served. Called by the commands and the release.
"""

from __future__ import annotations

from shared import naming
from shared.app import App
from shared.lifecycle import Phase
from shared.records import Line, Run, Serving


def again(app: App, line: Line, what: Serving, instead_of: Serving, why: str) -> Run:
    """The run that serves `what` again, newer than `instead_of` and all else of the same upload. It is not saved yet.

    Its id is the same as long as nothing else went live in between. The record of the run that trained the model gives
    what there is to give; without it the names tell enough.
    """
    rivals = [each for each in (line.serving, line.latest, line.heading) if each]
    ordinal = 1 + max(each.ordinal for each in rivals if each.uploaded == instead_of.uploaded)
    run_id = naming.again_id(line.id, instead_of.uploaded.isoformat(), what.model, ordinal)
    loaded, now = app.runs.load(what.run), app.cloud.blobs.now()
    base = (
        loaded[0]
        if loaded
        else Run(
            id=run_id,
            folder=line.folder,
            line=line.id,
            base_model=line.base_model,
            uploaded=what.uploaded,
            since=now,
            fingerprint=what.fingerprint,
            # The name of a deployment is that of the run and attempt that made it, and so is the place of their data.
            data_of="/".join(what.deployment.rsplit("-", 1)),
            job=what.model.rpartition(":")[2],
        )
    )
    return Run(
        id=run_id,
        folder=line.folder,
        line=line.id,
        base_model=line.base_model,
        uploaded=instead_of.uploaded,
        ordinal=ordinal,
        origin=base.origin or what.run,
        data_of=base.prepared,
        train=base.train,
        validation=base.validation,
        test=base.test,
        spec=base.spec,
        hub=base.hub,
        hub_commit=base.hub_commit,
        policy=base.policy,
        promotion=base.promotion,
        parameters=base.parameters,
        phase=Phase.REGISTERED,
        since=now,
        rows=base.rows,
        fingerprint=base.fingerprint or what.fingerprint,
        faults=base.faults,
        pinned=base.pinned,
        job=base.job,
        model=what.model,
    ).told(now, f"{why}: {what.model}, of run {base.origin or what.run}")
