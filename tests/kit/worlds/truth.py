"""What has to be true of a line after a run has replaced what it served, whatever happened on the way.

Goes by what the local cloud has and did (its documents, its ledger), and by the app's records. Each function gives the
list of what is wrong, in words. Used by the crash matrix and the chaos.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from shared.lifecycle.phase import Phase
from shared.records.line import Line
from shared.records.run import Run
from tests.kit.worlds.world import World

AFTER: Mapping[Phase, frozenset[Phase]] = {
    Phase.RECEIVED: frozenset({Phase.PREPARED, Phase.REJECTED, Phase.UNCHANGED, Phase.FAILED}),
    Phase.PREPARED: frozenset({Phase.TRAINING, Phase.UNCHANGED, Phase.FAILED}),
    Phase.TRAINING: frozenset({Phase.REGISTERED, Phase.REJECTED, Phase.FAILED}),
    Phase.REGISTERED: frozenset({Phase.DEPLOYING, Phase.FAILED}),
    Phase.DEPLOYING: frozenset({Phase.CHECKING, Phase.ROLLED_BACK}),
    Phase.CHECKING: frozenset({Phase.LIVE, Phase.ROLLED_BACK}),
}
"""The design's table, and a dataset that is refused; besides, what is not live yet can be superseded or cancelled."""


_TOLD = ("deployments", "traffic")
"""Kinds of the local cloud's history."""


@dataclass(frozen=True, kw_only=True)
class Clean:
    """A run that met with nothing, and the events that were sent of it."""

    run: Run
    events: frozenset[tuple[str, str]]


def replaced(
    world: World, run: Run, before: Line | None, ledger: Sequence[Mapping[str, Any]], clean: Clean
) -> list[str]:
    """What is wrong with a run that should be live by now, and alone. `clean`: one that met with nothing."""
    if run.phase is not Phase.LIVE:
        return [f"it ended as {run.phase}: {run.why}"]
    line = world.line(run.line)
    return [
        *_one_of_each(world, run, ledger),
        *_without_a_gap(run, before, world.control("GET", "/_local/history")),
        *history(run, clean.run),
        *_events(world, run, clean.events),
        *_record(run, line),
        *nothing_left(world),
    ]


def history(run: Run, clean: Run) -> list[str]:
    """Its entries are among those of the run that met with nothing, in that order, with all of the phases.

    What was done just before a host died may be seen as done, and not be told; nothing is told that was not done.
    """
    wrong = []
    told, expected = [[(each.phase, _plain(one, each.what)) for each in one.history] for one in (run, clean)]
    rest = iter(expected)
    if not all(entry in rest for entry in told):
        wrong.append(f"its history says {told} and not {expected}")
    phases = [entry.phase for entry in run.history]
    if dict.fromkeys(phases) != dict.fromkeys(entry.phase for entry in clean.history):
        wrong.append(f"its history has the phases {phases}")
    for one, other in pairwise(phases):
        if one is not other and other not in AFTER[one] | {Phase.SUPERSEDED, Phase.CANCELLED}:
            wrong.append(f"its history goes from {one} to {other}")
    times = [entry.at.replace(microsecond=0) for entry in run.history]
    if times != sorted(times):
        wrong.append(f"its history is out of order: {[str(at) for at in times]}")
    return wrong


def events(world: World, run: Run) -> frozenset[tuple[str, str]]:
    """Id and type of a run's lifecycle events, each id once, among the last 1,000 that Event Grid got."""
    sent = [entry["event"] for entry in world.control("GET", "/_local/eventgrid")["events"]]
    own = [event for event in sent if str(event.get("subject")) == f"runs/{run.id}"]
    return frozenset((event["id"].replace(run.id, "RUN"), event["type"]) for event in own)


def _events(world: World, run: Run, expected: frozenset[tuple[str, str]]) -> list[str]:
    """Each change was sent, whoever died over it; one that was sent twice has one id, and counts once."""
    sent = events(world, run)
    return [] if sent == expected else [f"events that were sent: {sorted(sent)} and not {sorted(expected)}"]


def _plain(run: Run, what: str) -> str:
    """An entry without the names of its own run."""
    endpoint = run.attempt.deployed.endpoint if run.attempt.deployed else ""
    for name in filter(None, (run.attempt.model, endpoint, run.id, run.source.folder)):
        what = what.replace(name, "NAME")
    return what


def nothing_left(world: World) -> list[str]:
    """Nobody is active, and nothing waits in a queue."""
    wrong = []
    if left := list(world.app.runs.active()):
        wrong.append(f"markers are left of {left}")
    if world.messages:
        wrong.append(f"messages are left: {list(world.messages.values())}")
    if world.errors:
        wrong.append(f"raised: {[repr(error) for error in world.errors]}")
    return wrong


def made(ledger: Sequence[Mapping[str, Any]], kind: str, *methods: str) -> list[str]:
    """Names of what was made, changed or deleted, in order: what the requests that succeeded were for."""
    return [
        str(entry["name"])
        for entry in ledger
        if entry.get("kind") == kind and entry["method"] in methods and entry["status"] < 300 and "action" not in entry
    ]


def _one_of_each(world: World, run: Run, ledger: Sequence[Mapping[str, Any]]) -> list[str]:
    wrong = [
        f"{kind} that were made: {names}"
        for kind in ("jobs", "models", "deployments")
        if len(names := set(made(ledger, kind, "PUT"))) != 1
    ]
    endpoint = world.app.cloud.endpoints.get(run.deployed.endpoint)
    if endpoint is None or endpoint.traffic != {run.deployed.name: 100}:
        wrong.append(f"traffic is {endpoint and endpoint.traffic}, and not all {run.deployed.name}'s")
    there = [(each.name, each.state) for each in world.app.cloud.endpoints.deployments(run.deployed.endpoint)]
    if there != [(run.deployed.name, "Succeeded")]:
        wrong.append(f"deployments that are there: {there}")
    return wrong


def _without_a_gap(run: Run, before: Line | None, past: Sequence[Mapping[str, Any]]) -> list[str]:
    """The traffic went over once, to what was ready; until then nothing had become of what served before."""
    if before is None or before.serving is None:
        return []
    old, new = (f"{run.deployed.endpoint}/{name}" for name in (before.serving.deployment, run.deployed.name))
    own = [(entry["name"], entry.get("state") or entry["traffic"]) for entry in past if entry["kind"] in _TOLD]
    given = [at for at, (name, what) in enumerate(own) if name == run.deployed.endpoint and isinstance(what, dict)]
    if [own[at][1] for at in given] != [{run.deployed.name: 100}]:
        return [f"traffic went over to {[own[at][1] for at in given]}"]
    earlier, later = own[: given[0]], own[given[0] :]
    wrong = []
    if [what for name, what in earlier if name == new][-1:] != ["Succeeded"]:
        wrong.append(f"{new} got the traffic while it was not ready: {earlier}")
    if any(name == old for name, _ in earlier):
        wrong.append(f"{old} served, and was touched before the traffic went over: {earlier}")
    if (old, "Deleted") not in later:
        wrong.append(f"{old}, which served before, was never deleted")
    return wrong


def _record(run: Run, line: Line) -> list[str]:
    wrong = []
    if line.serving is None or line.serving.run != run.id:
        wrong.append(f"the line says that {line.serving and line.serving.run} serves")
    if line.rollout or line.retiring or line.is_going:
        wrong.append(f"the line is not at rest: rollout {line.rollout!r}, retiring {line.retiring}")
    if run.claim or run.wake or run.parked or run.ending is None or run.ending.phase is not run.phase:
        wrong.append(f"the record is not at rest: {run}")
    return wrong
