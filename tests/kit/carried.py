"""What of a record is carried along when another is made of it: every field of a run and of a line, by its path."""

from __future__ import annotations

from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from shared.dataset.spec.choices import Hub, Policy
from shared.lifecycle.again import Scarce
from shared.lifecycle.course import Course
from shared.lifecycle.giving_way import Pace
from shared.lifecycle.phase import Phase
from shared.records.base import Notice, Order, Refusal, Wake
from shared.records.line import Keep, Line, Newest, Orphan, Retiring, Serving, Standing
from shared.records.run import (
    Approval,
    Attempt,
    Claim,
    Data,
    Deployed,
    Ending,
    Entry,
    File,
    Parked,
    Plan,
    Restores,
    Run,
    Source,
    Waiting,
)
from shared.serving.gate import Gate, Promotion, Scores
from shared.serving.instances import Instances
from shared.serving.smoke import Answered

AT = datetime(2026, 11, 1, 10, tzinfo=UTC)
MINUTE = timedelta(minutes=1)

RUN = Run(
    id="rfull",
    line="lfull",
    installation="here",
    order=Order(uploaded=AT, ordinal=3),
    source=Source(
        folder="faq",
        base_model="Phi-4",
        train=(File(name="faq/train.jsonl", etag="1", size=1, md5="1"),),
        validation=(File(name="faq/validation.jsonl", etag="2", size=2, md5="2"),),
        test=(File(name="faq/test.jsonl", etag="3", size=3, md5="3"),),
        spec=File(name="faq/finetune.yaml", etag="4", size=4, md5="4"),
        hub=Hub(name="owner/chats", revision="main"),
        hub_commit="c0ffee",
        policy=Policy(min_rows=7),
        promotion=Promotion(approve="manual", strategy="replace", gate=Gate(rows=9)),
        parameters={"learning_rate": 0.5},
    ),
    restores=Restores(run="rolder", instead_of="rnewer", rollback=True),
    phase=Phase.ROLLED_BACK,
    since=AT + MINUTE,
    attempt=Attempt(
        number=4,
        data_of="rolder/2",
        in_job=True,
        data=Data(fingerprint="f00d", rows={"train": 5}, rejected="no"),
        plan=Plan(
            model_id="m",
            model_version="2",
            component_id="c",
            component_version="5",
            parameters={"epochs": 2},
            gpus=8,
            notes=("retires soon",),
        ),
        job="rfull-4",
        course=Course(trains=True, since=AT, trained=1.0, queued=2.0, alone=True, given_up="too long"),
        model="Phi-4-faq:1",
        kept=Instances(count=3, size="A100"),
        deployed=Deployed(
            endpoint="faq-1",
            name="rfull-4",
            instances=Instances(count=3, size="A100"),
            asked=Instances(count=1, size="A100"),
            smoke=Answered(question=[], expected="a", answer="b", passed=True, why="c"),
            scores=Scores(rows=9, score="chrf", new=50.0, compared=None, metrics={"loss": 1.0}, passed=True, why="d"),
            approval=Approval(needed=True, asked=(AT,), by="ada"),
        ),
        resumed=AT + 2 * MINUTE,
        scarce=Scarce(times=2, since=AT, at=AT + MINUTE, why="none left", standing=True),
        registered_again=1,
    ),
    ending=Ending(phase=Phase.ROLLED_BACK, why="the gate"),
    waiting=Waiting(why="quota", hold="quota"),
    refused=Refusal(since=AT, at=AT, told=AT, why="a policy", unclear=True),
    parked=Parked(at=AT, why="again and again"),
    crashes=2,
    claim=Claim(action="deploy_model", until=AT, holder="token"),
    wake=Wake(token="token", due=AT),
    outbox=(Notice(id="n", type="t", at=AT, why="w"),),
    history=(Entry(at=AT, phase=Phase.RECEIVED, what="received"),),
)
"""A run in which every field has a value of its own. No run is ever like that."""
_SERVED = Serving(
    run="r1",
    deployment="r1-1",
    model="m:1",
    fingerprint="f1",
    since=AT,
    order=Order(uploaded=AT),
    asked=Instances(count=1, size="A100"),
)
LINE = Line(
    id="lfull",
    folder="faq",
    base_model="Phi-4",
    endpoint="faq-1",
    installation="here",
    state=Standing(missing=AT, no_traffic=AT, noticed=AT),
    serving=_SERVED,
    latest=_SERVED,
    previous=replace(_SERVED, run="r0", deployment="r0-1", model="m:0"),
    displaced=replace(_SERVED, run="r0", deployment="r0-1", model="m:0"),
    newest=Newest(run="r2", order=Order(uploaded=AT, ordinal=1)),
    waits=Newest(run="r3", order=Order(uploaded=AT, ordinal=2)),
    pace=Pace(took=3600.0, gave_way=True),
    rollout="r2",
    retiring=(Retiring(deployment="r0-1", model="m:0", until=AT),),
    orphans=(Orphan(deployment="rx-1", since=AT),),
    others=("deployment theirs, which is somebody else's",),
    pinned_by="ada",
    keep=Keep(until=AT, who="bob", why="a demo"),
    hours="Mon-Fri 08:00-18:00 Europe/Berlin",
    cost_told=AT,
    instances=3,
    refused={"r0-1": Refusal(since=AT, at=AT, told=AT, why="a lock")},
    taken={"r0-1": 100},
    wake=Wake(token="token", due=AT),
    outbox=(Notice(id="n", type="t", at=AT, why="w"),),
)
"""The same of a line."""
EMPTY = Run(id="", line="", order=Order(uploaded=AT - MINUTE), source=Source(folder="", base_model=""), since=AT)
EMPTY_LINE = Line(id="", folder="", base_model="", endpoint="")
PARTS = (Order, Source, Restores, Attempt, Data, Plan, Deployed, Serving)


def fields_of(record: Any, prefix: str = "") -> dict[str, Any]:
    """All fields by their paths, those of PARTS for themselves: `attempt.plan.gpus`."""
    found: dict[str, Any] = {}
    for field in fields(record):
        value = getattr(record, field.name)
        found |= (
            fields_of(value, f"{prefix}{field.name}.") if isinstance(value, PARTS) else {prefix + field.name: value}
        )
    return found


def lost(before: Run | Line, after: Run | Line) -> set[str]:
    """Paths of the fields that are not in `after` as they were in `before`."""
    kept = fields_of(after)
    return {path for path, value in fields_of(before).items() if kept.get(path) != value}
