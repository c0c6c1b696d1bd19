"""What the web functions answer: shapes of schema.py, made of the records and of what belongs to them elsewhere."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from itertools import islice
from typing import Any

import msgspec

from shared import naming
from shared.api import schema
from shared.api.answers import Answer, answered
from shared.api.asked import number
from shared.api.cost import cost as cost_of
from shared.api.curves import job_curves
from shared.api.models import base_models
from shared.api.named import SEARCHED, line_named, run_named
from shared.api.needs import (
    needs_of_kept,
    needs_of_lines,
    needs_of_records,
    needs_of_runs,
    needs_of_seats,
    needs_of_uploads,
    needs_of_warnings,
)
from shared.api.questions import held_out_row
from shared.api.seen import Seen, seen
from shared.app import App, mistyped
from shared.errors import NotFound, Permanent
from shared.intake.adopted import adopted
from shared.intake.without_run import uploads_without_run
from shared.lifecycle.phase import WORK, Phase
from shared.line import seats
from shared.line.incomplete import waiting_folders
from shared.line.prices import Prices
from shared.line.unreadable import stops_training, unreadable
from shared.line.waits import kept_needs
from shared.logs import visible
from shared.money.price import Price, money_saved
from shared.records import layout, observations
from shared.records.base import VERSION, from_json
from shared.records.bill import Bill
from shared.records.layout import PREPARED, SLOTS, STATE
from shared.records.line import Line, Removed, Serving, Standing
from shared.records.mark import Mark, mark_of, status_of
from shared.records.observations import Observation
from shared.records.run import Deployed, Run
from shared.records.store import Unreadable, readable
from shared.run.waits import BY_PEOPLE, is_long, is_up_to_people
from shared.serving.gate import Scores
from shared.serving.smoke import Answered

log = logging.getLogger("droptune.api.views")

RECENT = 50
_FIRST: tuple[observations.Verdict, ...] = ("go", "notice", "pending", "unjudged", "going", "keep")
_OUTCOMES: dict[str, str] = {
    Phase.LIVE: "went live",
    Phase.REJECTED: "was rejected",
    Phase.UNCHANGED: "was trained before",
    Phase.FAILED: "failed",
    Phase.ROLLED_BACK: "was rolled back",
    Phase.SUPERSEDED: "was superseded",
    Phase.CANCELLED: "was cancelled",
}


def runs(app: App, wanted: Mapping[str, str]) -> Answer:
    """The runs that work, and those that ended last, newest first; `wanted`: `folder`, `phase`, `limit` (RECENT)."""
    return answered(lambda: _runs(app, wanted))


def run(app: App, run_id: str) -> Answer:
    """The run that is named so (named.py), with the report on its data, its job's metrics, and what its line serves."""
    return answered(lambda: _run(app, run_id))


def answers(app: App, run_id: str) -> Answer:
    """What the gate asked the run's deployment and the one that served, with their answers, the worst first."""
    return answered(lambda: _answers(app, run_named(app, run_id).record))


def logs(app: App, run_id: str) -> Answer:
    """The last lines of the log of the run's deployment, or those that were kept when it was taken away."""
    return answered(lambda: _logs(app, run_named(app, run_id).record))


def folders(app: App) -> Answer:
    """Folders whose finetune.yaml names files that are not there (yet), and uploads of which no run comes."""
    return answered(lambda: _folders(app))


def lines(app: App) -> Answer:
    """The lines, with what their empty endpoints have saved so far."""
    return answered(lambda: _lines(app))


def line(app: App, name: str) -> Answer:
    """One line: by its id, its endpoint, or its folder."""
    return answered(lambda: _one_line(app, name))


def cleanup(app: App, name: str) -> Answer:
    """What the cleanup made of the lines at its last look; with a `name`, of that line alone."""
    return answered(lambda: _cleanup(app, name))


def question(app: App, name: str, row: str) -> Answer:
    """A held-out row of what the line served last: number `row` from 1, or any where that is ""."""
    return answered(lambda: held_out_row(app, line_named(app, name).record, row))


def models(app: App, name: str, *, exact: bool = False) -> Answer:
    """The base models that a finetune.yaml may name, or those with `name` in theirs, or the one of that name alone."""
    return answered(lambda: base_models(app, name, exact=exact))


def cost(app: App, wanted: Mapping[str, str]) -> Answer:
    """What a period cost and what was saved; `wanted`: `for` (this month), `by` (line)."""
    return answered(lambda: cost_of(app, wanted))


def status(app: App) -> Answer:
    """What serves, what needs a person, and what goes on by itself."""
    return answered(lambda: _status(app))


# Runs ----------------------------------------------------------------------------------------------------------------


def _runs(app: App, wanted: Mapping[str, str]) -> schema.RunList:
    limit = number("limit", wanted["limit"], SEARCHED) if wanted.get("limit") else RECENT
    folder, phase = wanted.get("folder", ""), wanted.get("phase", "")
    if phase and phase not in list(Phase):
        raise Permanent(f"there is no phase {visible(phase, 40)!r}: there are {', '.join(Phase)}")
    found, broken = app.runs.summaries(SEARCHED if folder or phase else limit)
    found = [mark for mark in found if folder in ("", mark.folder) and phase in ("", mark.phase)]
    unreadable = [schema.UnreadableView(id=key, version=version, why=_why(version)) for key, version in broken]
    shown = seen(app)
    listed = found[:limit]
    serving = set(_serving_runs(app, listed, shown))
    return schema.RunList(
        runs=[msgspec.structs.replace(_summary(app, mark), serves=mark.id in serving) for mark in listed],
        unreadable=unreadable,
        unseen=shown.why,
    )


def _serving_runs(app: App, marks: Iterable[Mark], shown: Seen) -> Iterator[str]:
    """Those of the runs, newest first, of which Azure shows that what they deployed or brought back has traffic.

    One of a line: who brought something back stands for the run that had deployed it.

    A deployment's name is made of its run's. A run that brought back what still stood made none: its line says so,
    which is read for the newest of a line alone, as no older one can be it.
    """
    scope, installation = app.settings.workspace.scope, app.settings.storage.installation
    told, looked = set[str](), set[str]()
    for mark in marks:
        if mark.phase != Phase.LIVE:
            continue
        name = naming.endpoint_name(mark.folder, mark.base_model, *scope, installation=installation)
        endpoint = (shown.endpoints or {}).get(name)
        traffic = endpoint.traffic if endpoint else {}
        if mark.line in told:
            continue
        if traffic.get(naming.deployment_name(mark.id, mark.attempt), 0) > 0:
            told.add(mark.line)
            yield mark.id
        elif mark.line not in looked and any(traffic.values()):
            looked.add(mark.line)
            line = readable(app.lines, mark.line)
            now = shown.serving(line.record) if line else None
            if now and now.run == mark.id:
                told.add(mark.line)
                yield mark.id


def _why(version: int) -> str:
    """Why a record can't be read, as far as its version says it."""
    if version > VERSION:
        return f"a newer app wrote its record (version {version}, this app knows {VERSION}): update this one"
    return "its record is broken: see the app's log, and put back an older state of the blob"


def _summary(app: App, mark: Mark) -> schema.RunSummary:
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
        by_people=mark.parked
        or mark.hold in BY_PEOPLE
        or (mark.hold == "seat" and app.settings.cleanup.mode != "delete"),
    )


def _run(app: App, run_id: str) -> schema.RunView:
    run = run_named(app, run_id).record
    attempt, line = run.attempt, readable(app.lines, run.line)
    shown = seen(app)
    serving = shown.serving(line.record) if line else None
    serves = serving is not None and (serving.run == run.id or serving.model == attempt.model)
    metrics, problem = job_curves(app, attempt.job)
    return schema.RunView(
        run=msgspec.structs.replace(
            _summary(app, mark_of(run)), status=status_of(run), serves=serving is not None and serving.run == run.id
        ),
        serves=serves,
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


def _answers(app: App, run: Run) -> schema.AnswersView:
    try:
        data, _ = app.cloud.blobs.read(PREPARED, layout.answers(run.prepared))
    except NotFound:
        raise NotFound(f"run {run.id} has asked nothing yet: its answers come when it is {Phase.CHECKING}") from None
    try:
        view = msgspec.convert(from_json(data, dict[str, Any]) | {"run": run.id}, schema.AnswersView)
    except ValueError as error:
        raise Permanent(f"{PREPARED}/{layout.answers(run.prepared)} can't be read: {error}") from None
    return msgspec.structs.replace(view, rows=sorted(view.rows, key=_worst_first))


def _worst_first(row: schema.ComparedView) -> tuple[float, float]:
    """By how much worse the new answer is than the live one, then by its own score."""
    new = row.new.score if row.new else 0.0
    return (new - row.live.score if row.live else 0.0), new


def _logs(app: App, run: Run) -> schema.LogsView:
    deployed = run.attempt.deployed
    if deployed is None:
        raise NotFound(f"run {run.id} has no deployment (yet): it is {run.phase}")
    if text := app.cloud.endpoints.logs(deployed.endpoint, deployed.name):
        return schema.LogsView(run=run.id, deployment=deployed.name, gone=False, text=text)
    try:
        kept, _ = app.cloud.blobs.read(STATE, layout.log_of(deployed.name))
    except NotFound:
        raise NotFound(f"deployment {deployed.name} is gone, and nothing was kept of its log") from None
    return schema.LogsView(run=run.id, deployment=deployed.name, gone=True, text=kept.decode(errors="replace"))


def _folders(app: App) -> schema.FolderList:
    uploads = (_like(upload, schema.UploadView) for upload in islice(uploads_without_run(app), RECENT))
    return schema.FolderList(waiting=dict(waiting_folders(app)), without_run=[each for each in uploads if each])


# Lines ---------------------------------------------------------------------------------------------------------------


def _lines(app: App) -> schema.LineList:
    found, broken = app.lines.recent(RECENT)
    unreadable = [schema.UnreadableView(id=key, version=error.version, why=str(error)) for key, error in broken]
    shown, prices, judged = seen(app), Prices(app), observations.read(app.cloud.blobs)
    views = [_line(app, line, shown, prices, judged) for line in found]
    return schema.LineList(lines=views, unreadable=unreadable, unseen=shown.why)


def _one_line(app: App, name: str) -> schema.LineView:
    return _line(app, line_named(app, name).record, seen(app), Prices(app), observations.read(app.cloud.blobs))


def _cleanup(app: App, name: str) -> schema.CleanupView:
    only = line_named(app, name).record.id if name else ""
    found = [each for each in observations.read(app.cloud.blobs).values() if only in ("", each.line)]
    never = datetime.max.replace(tzinfo=UTC)
    found.sort(key=lambda each: (_FIRST.index(each.verdict), each.until or never, each.folder, each.line))
    return schema.CleanupView(
        mode=app.settings.cleanup.mode, lines=[view for each in found if (view := _like(each, schema.VerdictView))]
    )


def _line(app: App, line: Line, shown: Seen, prices: Prices, judged: Mapping[str, Observation]) -> schema.LineView:
    endpoint, state = shown.of(line), line.state
    size = line.latest.asked.size if line.latest and line.latest.asked else app.settings.serving.size
    price = prices.of(size)
    return schema.LineView(
        id=line.id,
        folder=line.folder,
        base_model=line.base_model,
        endpoint=line.endpoint,
        state=str(type(state).__struct_config__.tag),
        since=line.removed if isinstance(state, Removed) else line.serving.since if line.serving else line.emptied,
        serving=_serving(shown.serving(line)),
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
        keep=_like(line.kept_at(app.cloud.blobs.now()), schema.KeepView),
        hours=line.hours,
        idle_since=line.noticed,
        no_traffic_since=state.no_traffic if isinstance(state, Standing) else None,
        missing_since=line.missing,
        refused=[
            schema.RefusalView(what=name.removeprefix("/") or "endpoint", since=each.since, why=each.why)
            for name, each in sorted(line.refused.items())
        ],
        price=_price(price),
        unpriced="" if price else prices.unknown(size),
        saved=_saved(line, price, app.cloud.blobs.now()),
        verdict=_like(judged.get(line.id), schema.VerdictView),
        seen=shown.differs(line),
        address=endpoint.scoring_uri if endpoint else "",
        endpoint_id=endpoint.id if endpoint else "",
    )


def _saved(line: Line, price: Price | None, now: datetime) -> float | None:
    if line.emptied is None or line.refused or line.latest is None:  # something on it still costs, or nothing ever did
        return 0.0
    saved = money_saved(line.emptied, now, instances=line.instances, price=price)
    return None if saved is None else round(float(saved), 2)


def _price(price: Price | None) -> schema.PriceView | None:
    if price is None:
        return None
    return schema.PriceView(
        per_hour=float(price.per_hour), currency=price.currency, source=price.source, as_of=price.as_of
    )


def _serving(serving: Serving | None) -> schema.ServingView | None:
    if serving is None:
        return None
    return schema.ServingView(run=serving.run, deployment=serving.deployment, model=serving.model, since=serving.since)


# What needs a person -------------------------------------------------------------------------------------------------


def _status(app: App) -> schema.StatusView:
    shown = seen(app)
    marks, broken = app.runs.summaries(RECENT)
    found, unread = app.lines.recent(RECENT)
    prices, judged = Prices(app), observations.read(app.cloud.blobs)
    views = [_line(app, line, shown, prices, judged) for line in found]
    seated, unseated = _seats(app)
    now = app.cloud.blobs.now()
    stops = stops_training(app.cloud.blobs.answers(STATE, SLOTS)[1])

    def late(mark: Mark) -> bool:
        """Those who wait for a seat are one need together, or none: they are shown among what goes on by itself.

        But for who may take a seat, and does not.
        """
        return (mark.hold != "seat" or mark.id in seated.turn) and is_long(app.settings, mark, now)

    needs = [
        *needs_of_warnings(filter(None, [stops, unseated])),
        *needs_of_runs(marks, late),
        *needs_of_seats(seated, deletes=app.settings.cleanup.mode == "delete"),
        *needs_of_lines(views),
        *needs_of_records([*broken, *unread]),
        *needs_of_kept(kept_needs(app), [*broken, *unread]),
        *needs_of_warnings([*mistyped(), *unreadable(app), *Bill(app.cloud).unreadable(now), *adopted(app)]),
        *needs_of_uploads(uploads_without_run(app)),
    ]
    return schema.StatusView(
        serving=[view for view in views if view.serving],
        seats=seated.taken,
        torn_down=[view for view in views if view.latest and not (view.serving or view.seen or view.rollout)],
        needs=needs,
        working=[
            _summary(app, mark) for mark in marks if mark.phase in WORK and not (is_up_to_people(mark) or late(mark))
        ],
        waiting=dict(waiting_folders(app)),
        unseen=shown.why,
    )


def _seats(app: App) -> tuple[seats.Overview, str]:
    """How many are taken, and who waits; and why nobody gets one, where a newer app wrote the record."""
    try:
        return seats.overview(app), ""
    except Unreadable as error:
        return seats.Overview(taken=""), f"nothing is trained: {error}"


# Both ----------------------------------------------------------------------------------------------------------------


def _like[V: schema.Shape](part: object, kind: type[V]) -> V | None:
    """A record's part as the shape that has fields of the same names and meaning."""
    return None if part is None else msgspec.convert(part, kind, from_attributes=True)
