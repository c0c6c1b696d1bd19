"""What the web functions answer: shapes of schema.py, made of the records and of what belongs to them elsewhere."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import msgspec

from shared.api import schema
from shared.api.answers import Answer, answered
from shared.app import App
from shared.errors import NotFound, Permanent, Transient
from shared.lifecycle.phase import Phase
from shared.records import layout
from shared.records.base import VERSION, from_json
from shared.records.layout import PREPARED, STATE, WAITING
from shared.records.line import Line, Removed, Serving, Standing
from shared.records.mark import Mark, mark_of, status_of
from shared.records.run import Deployed, Run
from shared.records.store import readable
from shared.serving.gate import Scores
from shared.serving.idle import money_saved
from shared.serving.smoke import Answered

log = logging.getLogger("droptune.api.views")

RECENT = 50
_OUTCOMES: dict[str, str] = {
    Phase.LIVE: "went live",
    Phase.REJECTED: "was rejected",
    Phase.UNCHANGED: "was trained before",
    Phase.FAILED: "failed",
    Phase.ROLLED_BACK: "was rolled back",
    Phase.SUPERSEDED: "was superseded",
    Phase.CANCELLED: "was cancelled",
}


def runs(app: App) -> Answer:
    """The runs that work, and those that ended last, newest first."""
    return answered(lambda: _runs(app))


def run(app: App, run_id: str) -> Answer:
    """One run, with the report on its data, the metrics of its job, and what its line serves now."""
    return answered(lambda: _run(app, run_id))


def folders(app: App) -> Answer:
    """Folders whose finetune.yaml names files that are not there (yet)."""
    return answered(lambda: schema.FolderList(waiting=dict(_waiting(app))))


def lines(app: App) -> Answer:
    """The lines, with what their empty endpoints have saved so far."""
    return answered(lambda: _lines(app))


# Runs ----------------------------------------------------------------------------------------------------------------


def _runs(app: App) -> schema.RunList:
    found, broken = app.runs.summaries(RECENT)
    unreadable = [schema.UnreadableView(id=key, version=version, why=_why(version)) for key, version in broken]
    return schema.RunList(runs=[_summary(mark) for mark in found], unreadable=unreadable)


def _why(version: int) -> str:
    """Why a record can't be read, as far as its version says it."""
    if version > VERSION:
        return f"a newer app wrote its record (version {version}, this app knows {VERSION}): update this one"
    return "its record is broken: see the app's log, and put back an older state of the blob"


def _summary(mark: Mark) -> schema.RunSummary:
    return schema.RunSummary(
        id=mark.id,
        line=mark.line,
        folder=mark.folder,
        base_model=mark.base_model,
        attempt=mark.attempt,
        phase=mark.phase,
        since=mark.since,
        outcome=_OUTCOMES.get(mark.phase, ""),
        status=mark.status,
        hold=mark.hold,
        parked=mark.parked,
    )


def _run(app: App, run_id: str) -> schema.RunView:
    loaded = app.runs.load(run_id)
    if loaded is None:
        raise NotFound("there is no such run")
    run, attempt = loaded.record, loaded.record.attempt
    line = readable(app.lines, run.line)
    serving = line.record.serving if line else None
    metrics, problem = _metrics(app, attempt.job)
    return schema.RunView(
        run=msgspec.structs.replace(_summary(mark_of(run)), status=status_of(run)),
        serves=serving is not None and (serving.run == run.id or serving.model == attempt.model),
        line_serves=_serving(serving),
        restores=_like(run.restores, schema.RestoresView),
        data=_data(run),
        plan=_like(attempt.plan, schema.PlanView),
        job=attempt.job,
        model=attempt.model,
        deployment=_deployment(attempt.deployed) if attempt.deployed else None,
        history=[schema.EntryView(at=entry.at, phase=entry.phase, what=entry.what) for entry in run.history],
        report=_report(app, run),
        metrics=metrics,
        metrics_problem=problem,
    )


def _data(run: Run) -> schema.DataView:
    data = run.attempt.data
    return schema.DataView(
        address=run.source.address,
        prepared=run.prepared,
        rows=data.rows if data else {},
        rejected=data.rejected if data else "",
    )


def _deployment(deployed: Deployed) -> schema.DeploymentView:
    scores, approval = deployed.scores, deployed.approval
    return schema.DeploymentView(
        endpoint=deployed.endpoint,
        name=deployed.name,
        instances=deployed.instances.count if deployed.instances else 0,
        size=deployed.instances.size if deployed.instances else "",
        smoke=_like(deployed.smoke, schema.SmokeView) if isinstance(deployed.smoke, Answered) else None,
        gate=_gate(scores) if scores else None,
        asked=list(approval.asked),
        approved_by=approval.by,
    )


def _gate(scores: Scores) -> schema.GateView:
    return schema.GateView(
        score=scores.score,
        rows=scores.rows,
        new=scores.new,
        live=scores.compared.live if scores.compared else None,
        metrics=dict(scores.metrics),
        passed=scores.passed,
        why=scores.why,
    )


def _report(app: App, run: Run) -> dict[str, Any] | None:
    try:
        report, _ = app.cloud.blobs.read(PREPARED, layout.report(run.prepared))
    except NotFound:
        return None
    try:
        return from_json(report, dict[str, Any])
    except ValueError:
        log.exception("%s/%s can't be read: the run is shown without it", PREPARED, layout.report(run.prepared))
        return None


def _metrics(app: App, job: str) -> tuple[dict[str, list[tuple[int, float | None]]], str]:
    """The metrics of a job, and why they can't be read."""
    try:
        found = app.cloud.metrics.job_metrics(job) if job else {}
    except (NotFound, Transient, Permanent) as error:
        return {}, str(error)
    return {name: list(points) for name, points in found.items()}, ""


def _waiting(app: App) -> Iterator[tuple[str, list[str]]]:
    blobs = app.cloud.blobs
    for blob in blobs.list(STATE, WAITING):
        with suppress(NotFound, ValueError):  # it has just been completed; or somebody broke it
            name = blob.name.removeprefix(WAITING).removesuffix(".json")
            yield name, from_json(blobs.read(STATE, blob.name)[0], list[str])


# Lines ---------------------------------------------------------------------------------------------------------------


def _lines(app: App) -> schema.LineList:
    found, broken = app.lines.recent(RECENT)
    unreadable = [schema.UnreadableView(id=key, version=error.version, why=str(error)) for key, error in broken]
    return schema.LineList(lines=[_line(app, line) for line in found], unreadable=unreadable)


def _line(app: App, line: Line) -> schema.LineView:
    saved, state = 0.0, line.state
    if line.emptied and not line.refused:  # else something on it still costs
        price, now = app.settings.serving.hourly_price, app.cloud.blobs.now()
        saved = money_saved(line.emptied, now, instances=line.instances, price_per_hour=price)
    return schema.LineView(
        id=line.id,
        folder=line.folder,
        base_model=line.base_model,
        endpoint=line.endpoint,
        state=str(type(state).__struct_config__.tag),
        since=line.removed if isinstance(state, Removed) else line.serving.since if line.serving else line.emptied,
        serving=_serving(line.serving),
        latest=_serving(line.latest),
        previous=_serving(line.previous),
        newest=line.newest.run if line.newest else "",
        rollout=line.rollout,
        retiring=[
            schema.RetiringView(deployment=each.deployment, until=each.until, orphan=not each.model)
            for each in line.retiring
        ],
        orphans=[each.deployment for each in line.orphans],
        pinned_by=line.pinned_by,
        keep=_like(line.keep, schema.KeepView),
        idle_since=line.noticed,
        no_traffic_since=state.no_traffic if isinstance(state, Standing) else None,
        missing_since=line.missing,
        refused=[
            schema.RefusalView(what=name.removeprefix("/") or "endpoint", since=each.since, why=each.why)
            for name, each in sorted(line.refused.items())
        ],
        saved=round(saved, 2),
    )


def _serving(serving: Serving | None) -> schema.ServingView | None:
    if serving is None:
        return None
    return schema.ServingView(run=serving.run, deployment=serving.deployment, model=serving.model, since=serving.since)


# Both ----------------------------------------------------------------------------------------------------------------


def _like[V: schema.Shape](part: object, kind: type[V]) -> V | None:
    """A record's part as the shape that has fields of the same names and meaning."""
    return None if part is None else msgspec.convert(part, kind, from_attributes=True)
