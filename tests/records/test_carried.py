"""What a retry, a restored version and lost records take along of a run: each field, or a reason why not."""

from __future__ import annotations

from dataclasses import replace

import pytest

from shared.api.run_commands import next_attempt
from shared.app import App
from shared.records import tags
from shared.records.line import Line, Standing
from shared.run.restore import again, restored
from tests.kit.carried import AT, EMPTY, EMPTY_LINE, LINE, MINUTE, RUN, fields_of, lost
from tests.kit.records import serving

_STANDS = {
    "since": "it is in another phase since then",
    "phase": "what is there, or what it begins with, says it",
    "ending": "it goes on",
    "waiting": "it waits for nothing yet",
    "refused": "nothing is refused yet",
    "parked": "it is taken up",
    "crashes": "nothing of it crashed yet",
    "claim": "nobody works on it yet",
    "wake": "a timer of its own is sent",
}
_DEPLOYMENT = {
    f"attempt.deployed.{field}": "another deployment is made, and checked anew"
    for field in ("endpoint", "name", "instances", "asked", "smoke", "scores", "approval")
}
_RESUMED = {
    "attempt.resumed": "its phase's time begins anew",
    "attempt.scarce": "it is tried anew for as long",
    "attempt.registered_again": "the same",
}
_HISTORY = {"history": "Azure does not know it", "outbox": "what was not sent can't be known any more"}
DROPPED: dict[str, dict[str, str]] = {
    "tags": _STANDS
    | _HISTORY
    | _RESUMED
    | dict.fromkeys(_DEPLOYMENT, "the deployment itself says it, or it is found out again")
    | {path: "the job itself says it" for path in fields_of(RUN) if path.startswith("attempt.plan.")}
    | {"attempt.job": "the job's own name", "attempt.course": "the job and its steps say it"},
    "retry": _STANDS | _RESUMED | _DEPLOYMENT | {"attempt.number": "the next one", "history": "longer"},
    "restore": _STANDS
    | _HISTORY
    | _RESUMED
    | _DEPLOYMENT
    | {
        "id": "a run of its own",
        "order.ordinal": "newer than what it replaces",
        "restores.instead_of": "what it replaces",
        "restores.rollback": "whether it replaces something newer",
        "attempt.number": "its first",
        "attempt.course": "it trains nothing",
        "attempt.kept": "what serves now says it",
    },
}
"""By what is made of a run: the fields that it does not take along, and why."""
_ANEW = {path: "all is found out again" for path in fields_of(RUN) if path.startswith("attempt.")}


def test_every_field_is_looked_at() -> None:
    full = fields_of(RUN)
    same = {path for path, value in fields_of(EMPTY).items() if path in full and full[path] == value}
    assert same == {"version"}, "give RUN a value of its own for these, so that the tests below see them"


def test_tags() -> None:
    found = tags.run_of(tags.tags_of(RUN), since=AT)
    assert found
    assert lost(RUN, found) == set(DROPPED["tags"])


@pytest.mark.parametrize("restores", [RUN.restores, None])
def test_a_retry_that_deploys_again(restores: None) -> None:
    run = replace(RUN, restores=restores)
    assert lost(run, next_attempt(run, AT, trained=True).noted(AT, "again")) == set(DROPPED["retry"])


def test_what_was_prepared_stays_where_it_is() -> None:
    """A retry, and a restored version, read the data of the attempt that trained."""
    first = replace(RUN, attempt=replace(RUN.attempt, data_of="", number=1))
    assert first.prepared == f"{RUN.id}/1"
    assert next_attempt(first, AT, trained=True).prepared == first.prepared
    assert restored(first, serving(RUN.id)).data_of == first.prepared


def test_a_retry_that_begins_with_its_data() -> None:
    fresh = next_attempt(replace(RUN, restores=None), AT, trained=False).noted(AT, "again")
    assert lost(replace(RUN, restores=None), fresh) == set(_STANDS) | set(_ANEW) | {"history"}
    assert fresh.attempt.number == RUN.attempt.number + 1


def test_a_restored_version(app: App, key: str) -> None:
    run = replace(RUN, id=f"r{key}", line=f"l{key}")
    app.runs.create(run)
    served = serving(run.id, model=run.attempt.model, order=run.order)
    newer = serving("rother", model="m:2", order=run.order, since=AT + MINUTE)
    line = Line(
        id=run.line,
        folder="faq",
        base_model="Phi-4",
        endpoint="faq-1",
        installation=run.installation,
        state=Standing(),
        serving=newer,
        latest=newer,
        previous=served,
    )
    made = again(app, line, served, newer, "a rollback")
    dropped = set(DROPPED["restore"]) - {"restores.rollback"}  # which is the same here
    assert lost(run, made) == dropped
    assert (made.prepared, made.attempt.fingerprint) == (run.prepared, run.attempt.fingerprint)


DROPPED_OF_LINE = {
    "state": "the endpoint itself says it",
    "rollout": "the endpoint's deployments say it",
    "retiring": "the endpoint's deployments say it",
    "orphans": "the next tick of the cleanup finds them",
    "newest": "the jobs that run say it",
    "waits": "the runs that wait note it again",
    "pace": "nobody knows it any more: a first training's limit counts, and one more job may be ended",
    "displaced": "nobody knows it any more: nothing is brought back for a failed rollout",
    "others": "the next tick of the cleanup finds them",
    "cost_told": "people hear of it once more",
    "pinned_by": "nobody knows it any more, which recover says",
    "keep": "nobody knows it any more, which recover says",
    "hours": "nobody knows them any more, which recover says",
    "instances": "the settings say it",
    "refused": "Azure says it again",
    "taken": "nobody knows it any more",
    "wake": "a timer of its own is sent",
    "outbox": "what was not sent can't be known any more",
}
"""Fields of a line that its endpoint's tags do not hold, and why."""
_SERVED = {
    path: "the deployments and their runs say it; of what served before nobody knows"
    for path in fields_of(LINE)
    if path.startswith(("serving.", "latest.", "previous.", "displaced."))
}


def test_every_field_of_a_line_is_looked_at() -> None:
    full = fields_of(LINE)
    same = {path for path, value in fields_of(EMPTY_LINE).items() if path in full and full[path] == value}
    assert same == {"version"}, "give LINE a value of its own for these"


def test_a_line_in_tags() -> None:
    found = tags.line_of(tags.tags_of_line(LINE))
    assert found
    assert lost(LINE, found) == (set(DROPPED_OF_LINE) | set(_SERVED)) - {"displaced"}
