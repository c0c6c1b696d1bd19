"""Actions from the endpoint to the traffic: make it, make room, deploy, ask, give traffic, serve."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

from shared import naming
from shared.app import App
from shared.cloud.endpoints import Endpoint
from shared.errors import ModelFailed, NotFound, Permanent, Refused, Transient
from shared.line import metering
from shared.line.access import held_by, line_of, ours, own, reopen_line, save_line, tell_line
from shared.line.prices import Prices
from shared.line.teardown import Undeletable, give_back_traffic, lock_on, remove_deployments, stuck, try_deleting
from shared.line.trained import note_trained
from shared.money.ledger import Cause
from shared.money.price import running_costs
from shared.records.line import TEARDOWN, Empty, Line, Removed, Retiring, Serving, Standing, adoptable
from shared.records.owner import is_on_line
from shared.records.run import Approval, Deployed, Run
from shared.records.tags import tags_of, tags_of_line
from shared.run.actions.gate import held_out
from shared.run.hands import by_settings, instances_of, kept_by_hand
from shared.serving.instances import Instances
from shared.serving.payload import answer_of, conversation_of, expected_of, opening_of, scoring_payload
from shared.serving.smoke import Answered, Silence, Verdict, judge, unanswered

log = logging.getLogger("droptune.run.actions.rollout")


class Postponed(Transient):
    """To be tried again later; `keep` changes the record by then."""

    def __init__(self, reason: str, keep: Callable[[Run], Run], after: timedelta = timedelta(seconds=30)) -> None:
        super().__init__(reason, after)
        self.keep = keep


def make_endpoint(app: App, run: Run) -> Run:
    line, etag = line_of(app, run)
    now = app.cloud.blobs.now()
    if line.serving:
        if app.cloud.endpoints.get(line.endpoint):
            return run  # it was only not to be seen
        why = f"somebody deleted the endpoint; run {run.id} makes it anew, for its own version"
        gone = replace(line.without_endpoint(now), state=Empty(since=now))
        save_line(app, gone.to_send(now, "Endpoint.TornDown", why), etag)
    elif isinstance(line.state, Removed):  # it stands again from here on, whatever becomes of the run
        reopen_line(app, replace(line, state=Empty(since=now)), etag)  # since now, or it would be removed again
    app.cloud.endpoints.create(
        line.endpoint, f"{run.source.base_model} fine-tuned on {run.source.folder}", tags_of_line(line)
    )
    return run


def _take_line(app: App, run: Run) -> tuple[Line, str]:
    """Takes the line's place: from then on nobody else deploys to its endpoint or tears it down."""
    line, etag = line_of(app, run)
    if line.is_going or held_by(app, line, run):
        raise Transient("the line's endpoint is being changed by somebody else")
    if line.rollout != run.id:
        save_line(app, replace(line, rollout=run.id), etag)
        line, etag = line_of(app, run)
    return line, etag


def keep_size(app: App, run: Run) -> Run:
    """Takes for the run's deployment what a person made of what serves, and says so before that is paid for."""
    line, _ = line_of(app, run)
    kept, wanted = kept_by_hand(app, run, line), by_settings(app)
    settings = f"{wanted} (SERVING_INSTANCES, SERVING_SIZE)"
    if kept is None or line.serving is None:
        return run.keep(None, app.cloud.blobs.now(), f"its deployment gets {settings} after all")
    serving = line.serving.deployment
    why = (
        f"somebody gave deployment {serving} {kept}: the next one gets that too instead of {settings}, and "
        f"{_costs(app, kept)}. Scale {serving} to {wanted} before that, and it gets that; or scale the new one"
    )
    log.warning("run %s: %s", run.id, why)
    return run.keep(kept, app.cloud.blobs.now(), why)


def _costs(app: App, instances: Instances) -> str:
    """What a deployment costs, in words."""
    prices, size = Prices(app), instances.size
    return f"costs {running_costs(instances=instances.count, price=prices.of(size), unknown=prices.unknown(size))}"


def end_grace(app: App, run: Run) -> Run:
    """Ends the grace of what served before: its instances may be needed, and its place is. What can't go stays."""
    line, etag = _take_line(app, run)
    names, refused = [each.deployment for each in line.retiring], dict[str, str]()
    try:
        left = remove_deployments(app, line, names, used=False)
    except Undeletable as error:
        left, refused = error.there, dict(error.why)
    kept = replace(line, retiring=tuple(each for each in line.retiring if each.deployment in left))
    tell_line(app, stuck(kept, refused, app.cloud.blobs.now()).allow(set(names) - set(left)), etag)
    return run


def make_room(app: App, run: Run) -> Run:
    """For a rollout without spare instances: what serves goes first, and the line says that nothing serves.

    What Azure does not let be deleted keeps its traffic: the new version comes beside it, once there is quota.
    """
    line, etag = _take_line(app, run)
    others = ours(app, line).keys() - {naming.deployment_name(run.id, run.attempt.number)}
    if line.serving:
        endpoint = app.cloud.endpoints.get(line.endpoint)
        traffic = endpoint.traffic if endpoint else {}
        if refused := _refused_already(app, line, endpoint, others) if endpoint else {}:
            tell_line(app, line.refuse(refused, app.cloud.blobs.now()), etag)
            return run
        away = replace(line.without_serving(app.cloud.blobs.now()), displaced=line.serving, taken=traffic)
        save_line(app, away, etag)
    try:
        remove_deployments(app, line, others, used=True)
    except Undeletable as error:
        _stays(app, run, error)
    except Refused:
        _serves_on(app, run)
        raise
    return run


def _refused_already(app: App, line: Line, endpoint: Endpoint, names: set[str]) -> dict[str, str]:
    """Which of the deployments that have traffic are known to be refused a deletion, and why. Their traffic stays."""
    used = {name for name in endpoint.traffic if name in names}
    if lock := lock_on(app, endpoint, whole=False, names=used):
        return dict.fromkeys((name for name in used if lock.holds(f"{endpoint.id}/deployments/{name}")), str(lock))
    try:
        try_deleting(app, endpoint, [name for name in used if name in line.refused])
    except Refused as error:
        return {name: str(error) for name in used if name in line.refused}
    return {}


def _stays(app: App, run: Run, error: Undeletable) -> None:
    """What had traffic, and can't be deleted, gets it back, and serves until the new version does."""
    line, etag = _take_line(app, run)
    line = line.refuse(error.why, app.cloud.blobs.now())
    tell_line(app, line, etag)
    if not set(line.taken) & set(error.why):
        return
    give_back_traffic(app, line)
    _serves_on(app, run)


def _serves_on(app: App, run: Run) -> None:
    """What was to make room has its traffic, and the line says so again. Nothing of that where it is gone."""
    line, etag = _take_line(app, run)
    there = {each.name for each in app.cloud.endpoints.deployments(line.endpoint) if each.state != "Deleting"}
    if line.displaced and line.displaced.deployment in there and line.serving is None:
        line = replace(line, serving=line.displaced, displaced=None, state=Standing())
    save_line(app, replace(line, taken={}), etag)


def deploy_model(app: App, run: Run) -> Run:
    """Asks for the run's own deployment; where its very model still stands from before, that one is taken."""
    line, _ = _take_line(app, run)
    if there := adoptable(line, run):  # it is among what retires until it serves: a crash must not lose sight of it
        return _taken_up(app, run, line, there.deployment)
    name, _, version = run.attempt.model.rpartition(":")
    model = app.cloud.models.get(name, version)
    if model is None:  # it was there a moment ago: the next look finds out
        raise Transient(f"model {run.attempt.model} is not to be seen")
    deployment, instances = naming.deployment_name(run.id, run.attempt.number), instances_of(app, run)
    app.cloud.endpoints.deploy(line.endpoint, deployment, model.id, instances.size, instances.count, tags_of(run))
    asked = run.in_attempt(deployed=_deployed(run, line, deployment, instances, by_settings(app)))
    if scarce := run.attempt.scarce:
        asked = asked.in_attempt(scarce=replace(scarce, at=app.cloud.blobs.now(), standing=False))
    return asked


def note_no_machines(app: App, run: Run) -> Run:
    """Counts that Azure had no machines for the deployment, which is still there, as Failed."""
    deployment = app.cloud.endpoints.deployment(run.deployed.endpoint, run.deployed.name)
    why = deployment.why if deployment else ""
    return run.without_machines(app.cloud.blobs.now(), why, standing=True)


def remove_failed(app: App, run: Run) -> Run:
    """Asks for the end of the run's own deployment, which failed for want of machines and may hold quota."""
    line, _ = own(app, run)
    found = app.cloud.endpoints.deployment(line.endpoint, run.deployed.name)
    if found and found.state == "Failed" and is_on_line(line, found.name, found.tags):
        metering.remove(app, line, found, Cause.FAILED, found.why)
    return run


def _taken_up(app: App, run: Run, line: Line, name: str) -> Run:
    """The run with a deployment that stands from before, as it stands: it is wanted at once, and costs already.

    Where it has other instances than what serves, people are told: their callers may need as many.
    """
    asked = next((each.asked for each in (line.previous, line.latest) if each and each.deployment == name), None)
    found = app.cloud.endpoints.deployment(line.endpoint, name)
    has = Instances(count=found.instances, size=found.instance_type) if found and found.instances else None
    taken = run.in_attempt(deployed=_deployed(run, line, name, has, asked))
    serving = app.cloud.endpoints.deployment(line.endpoint, line.serving.deployment) if line.serving else None
    if not has or not serving or (serving.instances, serving.instance_type) == (has.count, has.size):
        return taken
    why = (
        f"takes up deployment {name} as it stands, with {has}; what serves has {serving.instances} x "
        f"{serving.instance_type}. Scale {name} if its callers need more"
    )
    log.warning("run %s: %s", run.id, why)
    return taken.noted(app.cloud.blobs.now(), why)


def _deployed(run: Run, line: Line, name: str, instances: Instances | None, asked: Instances | None) -> Deployed:
    """The deployment as the run's own; that it needs an approval, as a record says that was lost, stays with it."""
    before = run.attempt.deployed
    approval = before.approval if before else Approval()
    return Deployed(endpoint=line.endpoint, name=name, instances=instances, asked=asked, approval=approval)


def smoke_test(app: App, run: Run) -> Run:
    """Asks the new deployment one held-out question, as a caller would. One that stays silent for long has failed.

    So has one that answers with errors again and again: a single one may be the moment's.
    """
    question, expected = _question(app, run)
    answer = ""
    try:
        response = app.cloud.endpoints.score(
            run.deployed.endpoint, scoring_payload(question, greedy=True), run.deployed.name
        )
        answer = answer_of(response)
        verdict = judge(question, answer)
    except Refused:
        raise  # nobody asked the model: that is no silence of its
    except (Transient, NotFound, ModelFailed) as error:
        if isinstance(error, Transient) and error.shut_out:  # who is not let in hears nothing of how it answers
            raise
        now = app.cloud.blobs.now()
        before = run.deployed.smoke if isinstance(run.deployed.smoke, Silence) else None
        silence = unanswered(before, now, error=isinstance(error, ModelFailed))
        if not silence.failed(now):
            after = [error.after] if isinstance(error, Transient) else []
            raise Postponed(str(error), lambda run: run.in_deployed(smoke=silence), *after) from error
        verdict = Verdict(passed=False, why=f"{silence.told(now)}, at last: {error}")
    except (Permanent, ValueError) as error:
        verdict = Verdict(passed=False, why=str(error))
    from shared.dataset.safety.search import masked_text

    smoke = Answered(
        question=[{key: masked_text(text) for key, text in turn.items()} for turn in question],
        expected=masked_text(expected),
        answer=masked_text(answer),
        passed=verdict.passed,
        why=verdict.why,
    )
    return run.in_deployed(smoke=smoke)


def _question(app: App, run: Run) -> tuple[list[dict[str, str]], str]:
    """A held-out question and its answer, the same ones whenever they are asked for. Raises Permanent without rows."""
    opening = None
    for _, row in held_out(app, run):
        try:
            return conversation_of(row), expected_of(row)
        except ValueError:  # tool turns
            opening = opening or opening_of(row)
    if opening is None:
        raise Permanent("the test data have no rows to ask with: upload some, or leave it to the split")
    return opening, ""


def ask_approval(app: App, run: Run) -> Run:
    """Tells people that the run waits for an approval, what that costs, and what becomes of it without one."""
    settings, now = app.settings, app.cloud.blobs.now()
    asked = run.deployed.approval.asked
    first, days = (*asked, now)[0], settings.rollout.max_approval_days - len(asked)
    costs = _costs(app, run.deployed.instances or by_settings(app))
    why = (
        f"it passed its checks, and waits for an approval since {first:%Y-%m-%d %H:%M} UTC: droptune approve {run.id} "
        f"lets it serve, droptune cancel {run.id} takes it back. Its deployment {costs}; without an answer it is "
        f"rolled back in {days} {'day' if days == 1 else 'days'}"
    )
    log.warning("run %s: %s", run.id, why)
    return run.ask_approval(now, why)


def give_traffic(app: App, run: Run) -> Run:
    """Gives it what has served until now; what a person gave to anybody else stays there."""
    line, _ = own(app, run)
    _resize(app, run, line)
    serving = [line.serving.deployment] if line.serving else []
    app.cloud.endpoints.move_traffic(run.deployed.endpoint, serving, run.deployed.name)
    return run


def _resize(app: App, run: Run, line: Line) -> None:
    """Gives the run's deployment what a person has made of what serves meanwhile, before it has callers.

    Raises Postponed, first to say so, then until it has that. A rollback is wanted at once, as `_taken_up` says.
    """
    deployed = run.deployed
    if run.restores or deployed.instances is None:
        return
    if kept_by_hand(app, run, line) != run.attempt.kept:
        noted = keep_size(app, run)
        raise Postponed(
            noted.history[-1].what,
            lambda run: replace(run, attempt=noted.attempt, history=noted.history, outbox=noted.outbox),
        )
    wanted = run.attempt.kept or deployed.asked or by_settings(app)
    if deployed.instances != wanted:
        app.cloud.endpoints.resize(deployed.endpoint, deployed.name, wanted.size, wanted.count)
        raise Postponed(
            f"deployment {deployed.name}, which gets {wanted}", lambda run: run.in_deployed(instances=wanted)
        )


def start_serving(app: App, run: Run) -> Run:
    """Writes into the line what serves now; what served before stays for the grace time, without traffic."""
    line, etag = own(app, run)
    now, old = app.cloud.blobs.now(), line.serving
    note_trained(app, run)
    retiring = tuple(each for each in line.retiring if each.deployment != run.deployed.name)
    if old and old.deployment != run.deployed.name:
        until = now + app.settings.rollout.grace
        retiring = (*retiring, Retiring(deployment=old.deployment, model=old.model, until=until))
    was = old or line.latest
    serving = Serving(
        run=run.id,
        deployment=run.deployed.name,
        model=run.attempt.model,
        fingerprint=run.attempt.fingerprint,
        since=now,
        order=run.order,
        asked=run.deployed.asked,
    )
    changed = replace(
        line,
        serving=serving,
        latest=serving,
        previous=was if was and was.model != run.attempt.model else line.previous,
        displaced=None,
        retiring=retiring,
        state=Standing(),
        instances=(run.deployed.instances or by_settings(app)).count,
        taken={},
    )
    save_line(app, changed.allow([TEARDOWN, serving.deployment]), etag)
    return run
