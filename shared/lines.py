"""The line of a run: who may change its endpoint now.

A run takes its line's place before it deploys, and gives it back when it ends. Used by the looks, the effects and the
release; the cleanup takes the line by marking a teardown.
"""

from __future__ import annotations

import logging
from collections.abc import Collection
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import msgspec

from shared import naming
from shared.app import App
from shared.errors import Conflict, NotFound, Permanent, Transient
from shared.records.run import CONTAINER, Leaving, Line, Run
from shared.tags import RUN

log = logging.getLogger("droptune.lines")

WHOLE = 100
"""Percent of an endpoint's traffic."""


def own(app: App, run: Run) -> tuple[Line, str]:
    """Reads the line again before traffic moves or something is deleted. Raises Permanent when it is not ours."""
    line, etag = line_of(app, run)
    if line.rollout != run.id:
        raise Permanent(f"the line's rollout is not this run's any more, but {line.rollout or 'nobody'}'s")
    return line, etag


def line_of(app: App, run: Run) -> tuple[Line, str]:
    """The run's line and its ETag; made when there is none."""
    loaded = app.lines.load(run.line)
    if loaded is None:
        settings = app.settings
        endpoint = naming.endpoint_name(
            f"{run.folder}/{run.base_model}", settings.subscription, settings.resource_group, settings.workspace
        )
        app.lines.create(Line(id=run.line, folder=run.folder, base_model=run.base_model, endpoint=endpoint))
        loaded = app.lines.load(run.line)
    if loaded is None:
        raise Transient(f"line {run.line} was deleted while it was read")
    return loaded


def save_line(app: App, line: Line, etag: str) -> None:
    """Replaces the line that was read with `etag`. Raises Transient when somebody else was faster."""
    try:
        app.lines.save(line, etag)
    except Conflict:
        raise Transient("the line changed meanwhile", after=timedelta(seconds=2)) from None


def reopen_line(app: App, line: Line, etag: str) -> None:
    """The same for a line whose endpoint was removed, and is about to stand again."""
    try:
        app.lines.reopen(line, etag)
    except Conflict:
        raise Transient("the line changed meanwhile", after=timedelta(seconds=2)) from None


def without_endpoint(line: Line, now: datetime) -> Line:
    """The line once its endpoint is gone, and all that was on it."""
    return replace(
        line,
        serving=None,
        leaving=(),
        strays=(),
        noticed=None,
        missing=None,
        sidelined=None,
        emptied=line.emptied or (now if line.serving else None),
    )


def newer_that_serves(line: Line, run: Run) -> str | None:
    """The run that went live and is newer: this one need not any more.

    What a run is to serve instead of is never that, even if it became newer meanwhile because its data were uploaded
    once more: that is no word against a rollback.
    """
    latest = line.latest
    return latest.run if latest and latest.order > run.order and latest.run != run.instead_of else None


def serves(app: App, run: Run) -> bool:
    """Whether the line says that this run serves."""
    loaded = app.lines.load(run.line)
    return loaded is not None and loaded[0].serving is not None and loaded[0].serving.run == run.id


def serves_same(line: Line, run: Run) -> bool:
    """Whether the line serves, for longer than a teardown, what the run would make of its data and settings."""
    serving = line.serving
    return serving is not None and serving.fingerprint == run.fingerprint and not line.tearing_down


def model_is_there(app: App, model: str) -> bool:
    """Whether the workspace has the model `name:version`."""
    name, _, version = model.rpartition(":")
    return bool(name) and app.cloud.models.get(name, version) is not None


def adoptable(line: Line, run: Run) -> Leaving | None:
    """The deployment of the run's very model that served before and still stands: a rollback need not make another."""
    return next((each for each in line.leaving if each.model == run.model and not each.going), None)


def ours(app: App, endpoint: str) -> set[str]:
    """Names of the endpoint's deployments that Droptune made; what else is there a person put there, and it stays."""
    return {each.name for each in app.cloud.endpoints.deployments(endpoint) if RUN in each.tags}


def remove_deployments(app: App, endpoint: str, names: Collection[str], *, used: bool) -> Collection[str]:
    """Takes deployments of an endpoint away, by one step: first their traffic, then they. Says which are there yet.

    Without `used` those that have traffic stay, and are not told: somebody gave it to them by hand.
    """
    going = [each for each in app.cloud.endpoints.deployments(endpoint) if each.name in names]
    found = app.cloud.endpoints.get(endpoint) if going else None
    if found is None:
        return ()
    if not used:
        for each in going:
            if found.traffic.get(each.name):
                log.warning("deployment %s/%s stays: somebody gave it traffic", endpoint, each.name)
        going = [each for each in going if not found.traffic.get(each.name)]
    left = {name: percent for name, percent in found.traffic.items() if name not in {each.name for each in going}}
    if left != found.traffic:
        # The service takes all of the traffic or none: what stays without the rest gets nothing, as long as it is so.
        app.cloud.endpoints.set_traffic(endpoint, left if sum(left.values()) == WHOLE else {})
    else:
        for deployment in going:
            if deployment.state not in ("Deleting", "Creating"):
                app.cloud.endpoints.remove_deployment(endpoint, deployment.name)
    return [each.name for each in going]


@dataclass(frozen=True, kw_only=True)
class Trained:
    """What a run made that went live: the same data and settings need not be trained again."""

    run: str
    model: str


def trained(app: App, run: Run) -> Trained | None:
    """What was made of the run's data and settings before, and went live. None as well where they are not known yet."""
    if not run.fingerprint:
        return None
    try:
        data, _ = app.cloud.blobs.read(CONTAINER, _trained_name(run))
    except NotFound:
        return None
    return msgspec.json.decode(data, type=Trained)


def note_trained(app: App, run: Run, *, first: bool = False) -> None:
    """Remembers the run as the one that made a model of its data and settings.

    With `first` only where none is remembered yet: raises Conflict else.
    """
    made = Trained(run=run.id, model=run.model)
    app.cloud.blobs.write(CONTAINER, _trained_name(run), msgspec.json.encode(made), if_none_match=first)


def _trained_name(run: Run) -> str:
    return f"trained/{run.line}/{run.fingerprint}.json"


def held_by(app: App, line: Line, run: Run) -> str:
    """What else the endpoint is being changed for, to be told; "" if nothing. A run that has ended holds nothing.

    Where that may take for ever, because nobody approves it or there is no quota, it says how to put an end to it. One
    whose record somebody broke by hand holds the line: what it has there is not known.
    """
    if line.rollout in ("", run.id):
        return ""
    what = f"the rollout of run {line.rollout}"
    try:
        other = app.runs.load(line.rollout)
    except msgspec.MsgspecError:
        return f"{what}, whose record can't be read"
    if other is None or other[0].phase.ended:
        return ""
    waits = other[0].parked or (other[0].waiting if other[0].held or "quota" in other[0].waiting else "")
    if not waits or other[0].ending:
        return what
    how = "is parked" if other[0].parked else "itself waits"
    return f"{what}, which {how} ({waits}); droptune cancel {line.rollout} ends it"
