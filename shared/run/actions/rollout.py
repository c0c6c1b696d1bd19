"""Actions from the endpoint to the traffic: make it, make room, deploy, ask, give traffic, serve."""

from __future__ import annotations

import logging
from dataclasses import replace

from shared import naming
from shared.app import App
from shared.errors import NotFound, Permanent, Transient
from shared.line.access import held_by, line_of, ours, own, reopen_line, save_line
from shared.line.teardown import remove_deployments
from shared.line.trained import note_trained
from shared.records.line import Leaving, Line, Serving, adoptable, without_endpoint
from shared.records.run import Run
from shared.records.tags import tags_of, tags_of_line
from shared.run.actions.gate import held_out
from shared.serving.payload import answer_of, conversation_of, expected_of, opening_of, scoring_payload
from shared.serving.smoke import SILENCE, Silence, Verdict, judge, unanswered

log = logging.getLogger("droptune.run.actions.rollout")


class Unanswered(Transient):
    """The new deployment does not answer now: to be tried again, and `silence` to be kept in the record."""

    def __init__(self, error: Transient | NotFound, silence: Silence) -> None:
        super().__init__(str(error), *([error.after] if isinstance(error, Transient) else []))
        self.silence = silence


def make_endpoint(app: App, run: Run) -> Run:
    line, etag = line_of(app, run)
    now = app.cloud.blobs.now()
    if line.serving:
        if app.cloud.endpoints.get(line.endpoint):
            return run  # it was only not to be seen
        why = f"somebody deleted the endpoint; run {run.id} makes it anew, for its own version"
        save_line(app, without_endpoint(line, now).to_tell(now, "Endpoint.TornDown", why), etag)
    elif line.removed:  # it stands again from here on, whatever becomes of the run
        reopen_line(app, replace(line, removed=None, emptied=now), etag)  # not long ago, or it would be removed again
    app.cloud.endpoints.create(line.endpoint, f"{run.base_model} fine-tuned on {run.folder}", tags_of_line(line))
    return replace(run, endpoint=line.endpoint)


def _take_line(app: App, run: Run) -> tuple[Line, str]:
    """Takes the line's place: from then on nobody else deploys to its endpoint or tears it down."""
    line, etag = line_of(app, run)
    if line.tearing_down or held_by(app, line, run):
        raise Transient("the line's endpoint is being changed by somebody else")
    if line.rollout != run.id:
        save_line(app, replace(line, rollout=run.id), etag)
        line, etag = line_of(app, run)
    return line, etag


def clear(app: App, run: Run) -> Run:
    """Ends the grace of what served before: its instances may be needed, and its place is."""
    line, etag = _take_line(app, run)
    left = remove_deployments(app, line.endpoint, [each.deployment for each in line.leaving], used=False)
    save_line(app, replace(line, leaving=tuple(each for each in line.leaving if each.deployment in left)), etag)
    return run


def make_room(app: App, run: Run) -> Run:
    """For a rollout without spare instances: what serves goes first, and the line says that nothing serves."""
    line, etag = _take_line(app, run)
    if line.serving:
        save_line(app, replace(line, serving=None, displaced=line.serving, emptied=app.cloud.blobs.now()), etag)
    others = ours(app, line.endpoint) - {naming.deployment_name(run.id, run.attempt)}
    remove_deployments(app, line.endpoint, others, used=True)
    return run


def deploy(app: App, run: Run) -> Run:
    """Asks for the run's own deployment; where its very model still stands from before, that one is taken."""
    line, _ = _take_line(app, run)
    if there := adoptable(line, run):  # it is among what leaves until it serves: a crash must not lose sight of it
        return replace(run, endpoint=line.endpoint, deployment=there.deployment)
    name, _, version = run.model.rpartition(":")
    model = app.cloud.models.get(name, version)
    if model is None:  # it was there a moment ago: the next look finds out
        raise Transient(f"model {run.model} is not to be seen")
    deployment = naming.deployment_name(run.id, run.attempt)
    app.cloud.endpoints.deploy(
        line.endpoint,
        deployment,
        model.id,
        app.settings.serving.size,
        app.settings.serving.instances,
        tags_of(run),
    )
    return replace(run, endpoint=line.endpoint, deployment=deployment)


def check(app: App, run: Run) -> Run:
    """Asks the new deployment one held-out question, as a caller would. One that stays silent for long has failed."""
    question, expected = _question(app, run)
    answer = ""
    try:
        response = app.cloud.endpoints.score(run.endpoint, scoring_payload(question, greedy=True), run.deployment)
        answer = answer_of(response)
        verdict = judge(question, answer)
    except (Transient, NotFound) as error:
        now = app.cloud.blobs.now()
        silence = unanswered(run.silence, now)
        if not silence.failed(now):
            raise Unanswered(error, silence) from error
        verdict = Verdict(passed=False, why=f"no answer in {SILENCE}: {error}")
    except (Permanent, ValueError) as error:
        verdict = Verdict(passed=False, why=str(error))
    checks = {"question": question, "expected": expected, "answer": answer, "why": verdict.why}
    return replace(run, checks=checks, passed=verdict.passed, silence=None)


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


def ask(app: App, run: Run) -> Run:
    """Tells people that the run waits for an approval, what that costs, and what becomes of it without one."""
    settings, now = app.settings, app.cloud.blobs.now()
    first, days = (*run.asked, now)[0], settings.rollout.max_approval_days - len(run.asked)
    a_day = settings.serving.hourly_price * settings.serving.instances * 24
    costs = f"costs {a_day:.2f} a day" if a_day else "costs its instances"
    why = (
        f"it passed its checks, and waits for an approval since {first:%Y-%m-%d %H:%M} UTC: droptune approve {run.id} "
        f"lets it serve, droptune cancel {run.id} takes it back. Its deployment {costs}; without an answer it is "
        f"rolled back in {days} {'day' if days == 1 else 'days'}"
    )
    log.warning("run %s: %s", run.id, why)
    return run.ask(now, why)


def give_traffic(app: App, run: Run) -> Run:
    own(app, run)
    app.cloud.endpoints.set_traffic(run.endpoint, {run.deployment: 100})
    return run


def serve(app: App, run: Run) -> Run:
    """Writes into the line what serves now; what served before stays for the grace time, without traffic."""
    line, etag = own(app, run)
    now, old = app.cloud.blobs.now(), line.serving
    note_trained(app, run)
    leaving = tuple(each for each in line.leaving if each.deployment != run.deployment)
    if old and old.deployment != run.deployment:
        until = now + app.settings.rollout.grace
        leaving = (*leaving, Leaving(deployment=old.deployment, model=old.model, until=until))
    was = old or line.latest
    serving = Serving(
        run=run.id,
        deployment=run.deployment,
        model=run.model,
        fingerprint=run.fingerprint,
        since=now,
        uploaded=run.uploaded,
        ordinal=run.ordinal,
    )
    changed = replace(
        line,
        serving=serving,
        latest=serving,
        before=was if was and was.model != run.model else line.before,
        displaced=None,
        leaving=leaving,
        noticed=None,
        emptied=None,
        removed=None,
        instances=app.settings.serving.instances,
    )
    save_line(app, changed, etag)
    return run
