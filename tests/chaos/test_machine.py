"""Chaos: people, Azure and the machines do what they like, in any order, and the invariants hold at every step.

Hypothesis makes up uploads, edits, deletions by hand, commands, faults, disturbed events, deaths of hosts and jumps of
the clock. Then all of that stops, time goes on, and everything has to come to rest. DROPTUNE_LONG takes 10,000 steps.
"""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from functools import partial
from itertools import count
from typing import Any
from uuid import uuid4

import hypothesis.strategies as st
import msgspec
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from localcloud.azureml.runner import FINETUNE
from localcloud.stack import Stack
from shared import naming
from shared.api import line_commands, run_commands
from shared.api.recover import recover
from shared.cloud.failures import translated
from shared.errors import Conflict, NotFound, Permanent, Transient
from shared.line.waits import Kept
from shared.records.layout import DATASETS, NEEDS, STATE
from shared.records.line import Line
from shared.records.run import Run
from tests.kit.rows import chats
from tests.kit.waiting import eventually
from tests.kit.worlds.scene import deleted, emptied, pretend
from tests.kit.worlds.stage import waits_for
from tests.kit.worlds.strangers import WHOSE, Other, Strangers, Whose
from tests.kit.worlds.wire import Call, HostDied
from tests.kit.worlds.world import World

log = logging.getLogger("tests.chaos")

LONG = "DROPTUNE_LONG" in os.environ
STEPS = 50
"""In an example."""
MOST_FAULTS = 100
"""That may be waiting for a request at any moment."""
PARTS = 2 if LONG else 1
"""Each has a local cloud of its own, so that they can run beside each other."""
EXAMPLES = 120 if LONG else 3
"""In a part. Some end before their last step: 200 of them took 9,501."""
ACTIVE, LIVE = 2, 2
"""MAX_ACTIVE_JOBS, and MAX_LIVE_ENDPOINTS, which is one less than there are folders."""
SPECS = (
    b"train: train.jsonl\n",
    b"train: train.jsonl\napprove: manual\n",
    b"train: train.jsonl\nstrategy: replace\n",
    b"train: train.jsonl\nparameters: {num_train_epochs: 2}\n",
    b"train: train.jsonl\nparametres: {}\n",
)
FAULTS: tuple[dict[str, Any], ...] = (
    {"status": 429, "retry_after": 20},
    {"status": 500},
    {"status": 503},
    {"status": 401},
    {"reset": True},
    {"moment": "after", "status": 500, "method": "PUT"},
    {"moment": "stale", "seconds": 120, "count": 3},
    {"status": 409, "method": "PUT"},
    {"service": "blob", "status": 503},
    {"service": "blob", "status": 500, "path": "/state/"},
    {"service": "blob", "status": 412, "method": "PUT", "path": "/state/(runs|lines)/"},
    {"service": "blob", "moment": "after", "status": 500, "method": "PUT", "path": "/state/"},
    {"service": "queue", "status": 503, "method": "POST"},
)
LITTER = ("part-2.jsonl", "2026/train.jsonl", "finetune.yml", "notes.txt")
"""Another piece, data in a nested folder, what may be meant for a spec, and what is nothing."""
SHOWN = ("Queued", "NotResponding", "Paused", "Running")
BROKEN = (None, b"", b"[]", b'{"version": 1, "holding": 3}', b"\xff")
"""What somebody makes of a record; None: it is gone."""
RECORDS = ("slots.json", "seats.json", "watermark.json", "listing.gz", "deletions.json", "needs.json")
SCARCE = "OutOfCapacity: The specified Azure ML Compute Instance or Cluster has no capacity left"
FORBIDDEN: tuple[dict[str, Any], ...] = (
    {"kind": "lock"},
    {"kind": "lock", "level": "ReadOnly"},
    {"kind": "policy", "effect": "denyAction", "types": "onlineEndpoints(/deployments)?"},
    {"kind": "policy", "types": "(onlineEndpoints/)?deployments|jobs", "tags": ["costCenter"]},
    {"kind": "denyAssignment", "actions": "/delete$"},
    {"kind": "network"},
)
OVER = ("Completed", "Failed", "Canceled", "CancelRequested", "Finalizing")
ON_RUNS = (run_commands.retry, run_commands.cancel, run_commands.approve)
ON_LINES = (line_commands.rollback, line_commands.revive, line_commands.pin, line_commands.unpin)

_examples = count()
folders = st.integers(0, 2)


class Machine(RuleBasedStateMachine):
    """One example: a world, three folders, what strangers have there, and another installation of the same folders."""

    def __init__(self, stack: Stack, told: Counter[str]) -> None:
        super().__init__()
        self.told = told
        self.world = World(
            stack, hosts=2, MAX_ACTIVE_JOBS=ACTIVE, MAX_LIVE_ENDPOINTS=LIVE, IDLE_WINDOW=timedelta(hours=3)
        )
        self.world.clock.jump(timedelta(minutes=5))  # what an example before this one began ends, so that it can go
        self._without_leftovers()
        emptied(self.world)
        self.world.known.clear()
        pretend(self.world, job=300, deployment=60)
        self.prefix = f"chaos{next(_examples)}-{uuid4().hex[:6]}"
        self.foreign = f"foreign-{uuid4().hex[:8]}"
        self.world.app.cloud.endpoints.create(self.foreign)
        self.strangers = Strangers(world=self.world)
        self.other = Other(
            world=World(
                stack,
                own="-other",
                sweeps=False,
                MAX_ACTIVE_JOBS=ACTIVE,
                IDLE_WINDOW=timedelta(hours=3),
                INSTALLATION="another",
            )
        )
        emptied(self.other.world)
        self.other.world.known.clear()
        for folder in (0, 1):
            self.world.upload(self._name(folder, "train.jsonl"), chats(salt="first"))
        self.world.until(lambda: len(self._runs()) == 2 and all(run.phase.ended for run in self._runs()))
        for run, whose in zip(self._runs(), ("a copy", "nobody's"), strict=True):
            if line := self._line(run):
                self.strangers.deploy(line, run, whose)  # type: ignore[arg-type]
        self.world.clock.jump(timedelta(minutes=2))
        self.lost: set[str] = set()
        """Endpoints of lines whose records somebody deleted."""
        self.world.control("DELETE", "/_local/history")
        self.standing = {f"{line.endpoint}/{line.serving.deployment}" for line in self._lines() if line.serving}
        """Our deployments, as `endpoint/deployment`."""
        self.training: dict[str, str] = {}
        self.followed = 0
        """Entries of the history that were looked at. To delete them instead would lose what comes just then."""
        self.wrong: list[str] = []

    def _without_leftovers(self) -> None:
        """What strangers had in earlier examples would use up the quota."""
        for endpoint in self.world.app.cloud.endpoints.list():
            if endpoint.name.startswith(("chaos", "copy-", "foreign-")):
                eventually(partial(deleted, self.world.app, endpoint.name))

    @initialize(lines=st.integers(0, 2))
    def shares(self, lines: int) -> None:
        """On so many of the lines somebody else's deployment has some of the traffic from the start."""
        for line in self._lines()[:lines]:
            self.strangers.share(line)

    # What people do --------------------------------------------------------------------------------------------------

    @rule(folder=folders, version=st.integers(0, 3))
    def upload(self, folder: int, version: int) -> None:
        """New bytes, or the same again."""
        self._step()
        self._by_hand(lambda: self.world.upload(self._name(folder, "train.jsonl"), chats(salt=version)))

    @rule(folder=folders, spec=st.sampled_from(SPECS))
    def edit(self, folder: int, spec: bytes) -> None:
        """A finetune.yaml: another one, or one that can't be followed."""
        self._step()
        self._by_hand(lambda: self.world.upload(self._name(folder, "finetune.yaml"), spec))

    @rule(folder=folders, name=st.sampled_from(("train.jsonl", "finetune.yaml")))
    def delete_blob(self, folder: int, name: str) -> None:
        """Of a dataset."""
        self._step()
        self._by_hand(lambda: self.world.app.cloud.blobs.delete(DATASETS, self._name(folder, name)))

    @rule(folder=folders, name=st.sampled_from(("train.jsonl", "finetune.yaml")), to=st.integers(0, 3))
    def bring(self, folder: int, name: str, to: int) -> None:
        """A blob without an event, and with an old date: renamed, or undeleted (`to` is no folder)."""
        self._step()
        path, blobs = self._name(folder, name), self.world.app.cloud.clients.blob_service
        named = {"rename": f"{DATASETS}/{path}", "to": f"{DATASETS}/{self._name(to, name)}"}
        if to > 2:
            self._by_hand(blobs.get_blob_client(DATASETS, path).undelete_blob)
        elif to != folder:
            with suppress(AssertionError):  # there is none
                self.world.control("POST", "/_local/blobs", named)

    @rule(which=st.integers(0, 50), what=st.sampled_from(("job", "deployment", "endpoint", "traffic")))
    def delete(self, which: int, what: str) -> None:
        """What Droptune made, behind its back."""
        self._step()
        cloud = self.world.app.cloud
        run = self._any(self._runs(), which)
        if run is None:
            return
        line = self._read(partial(self.world.app.lines.load, run.line))
        match what:
            case "job" if run.attempt.job:
                self._by_hand(lambda: cloud.jobs.cancel(run.attempt.job))
            case "endpoint" if line:
                self.strangers.forget_endpoint(line.record.endpoint)
                self._by_hand(lambda: cloud.endpoints.delete(line.record.endpoint))
            case "traffic" if line:
                self.strangers.forget_shares(line.record.endpoint)
                self._by_hand(lambda: cloud.endpoints.set_traffic(line.record.endpoint, {}))
            case "deployment" if run.attempt.deployed:
                self._by_hand(lambda: cloud.endpoints.remove_deployment(run.deployed.endpoint, run.deployed.name))

    @rule(which=st.integers(0, 50), command=st.sampled_from(ON_RUNS))
    def ask_of_run(self, which: int, command: Callable[..., str]) -> None:
        """Retry, cancel, approve."""
        self._step()
        if run := self._any(self._runs(), which):
            self._by_hand(lambda: command(self.world.app, run.id, by="a test"))

    @rule(which=st.integers(0, 50), command=st.sampled_from(ON_LINES))
    def ask_of_line(self, which: int, command: Callable[..., str]) -> None:
        """Roll back, revive, pin, unpin."""
        self._step()
        if line := self._any(self._lines(), which):
            self._by_hand(lambda: command(self.world.app, line.id, by="a test"))

    @rule(folder=folders, name=st.sampled_from(LITTER), gone=st.booleans())
    def litter(self, folder: int, name: str, gone: bool) -> None:
        """Beside, or instead of, a dataset; or somebody tidies up."""
        self._step()
        path, blobs = self._name(folder, name), self.world.app.cloud.blobs
        act = partial(blobs.delete, DATASETS, path) if gone else partial(self.world.upload, path, chats(salt=name))
        self._by_hand(act)

    @rule(folder=folders, version=st.integers(0, 3), more=st.integers(0, 2))
    def append(self, folder: int, version: int, more: int) -> None:
        """A log that grows piece by piece, of which only the first raises an event."""
        self._step()
        client = self.world.app.cloud.clients.blob_service
        blob = client.get_blob_client(DATASETS, self._name(folder, "train.jsonl"))
        self._by_hand(blob.create_append_blob)
        for piece in range(1 + more):
            self._by_hand(partial(blob.append_block, chats(salt=f"{version} {piece}")))

    @rule(folder=folders, tier=st.sampled_from(("Archive", "Hot")))
    def archive(self, folder: int, tier: str) -> None:
        """A dataset, or it is brought back."""
        self._step()
        client = self.world.app.cloud.clients.blob_service
        blob = client.get_blob_client(DATASETS, self._name(folder, "train.jsonl"))
        self._by_hand(partial(blob.set_standard_blob_tier, tier))

    # What is somebody else's -----------------------------------------------------------------------------------------

    @rule(which=st.integers(0, 50), whose=st.sampled_from(WHOSE))
    def deploy_beside(self, which: int, whose: Whose) -> None:
        """A person deploys on an endpoint of ours."""
        self._step()
        run = self._any([run for run in self._runs() if run.attempt.deployed], which)
        if run and (line := self._line(run)):
            self._by_hand(lambda: self.strangers.deploy(line, run, whose))

    @rule(which=st.integers(0, 50))
    def share_traffic(self, which: int) -> None:
        """A person gives some of the traffic to what is theirs."""
        self._step()
        if line := self._any([line for line in self._lines() if self.strangers.on(line.endpoint)], which):
            self._by_hand(lambda: self.strangers.share(line))

    @rule(which=st.integers(0, 50), what=st.sampled_from(("job", "endpoint", "model")))
    def copy_with_tags(self, which: int, what: str) -> None:
        """A person copies something of ours, tags and all."""
        self._step()
        run = self._any([run for run in self._runs() if run.attempt.job], which)
        line = self._line(run) if run else None
        match what:
            case "job" if run:
                self._by_hand(lambda: self.strangers.copy_job(run))
            case "endpoint" if line:
                self._by_hand(lambda: self.strangers.copy_endpoint(line))
            case "model" if run and run.attempt.model:
                self._by_hand(lambda: self.strangers.copy_model(run))

    @rule(which=st.integers(0, 50), case=st.sampled_from((str.upper, str.title)))
    def retag(self, which: int, case: Callable[[str], str]) -> None:
        """A policy, or a person, writes the names of our endpoint's tags in another case."""
        self._step()
        if line := self._any(self._lines(), which):
            self._by_hand(lambda: self._retagged(line.endpoint, case))

    @rule(which=st.integers(0, 50))
    def take_the_tags_off(self, which: int) -> None:
        """A person takes the tags off a deployment of ours, which counts as theirs from then on."""
        self._step()
        run = self._any([run for run in self._runs() if run.attempt.deployed], which)
        if run:
            self._by_hand(lambda: self.strangers.take_over(run))

    @rule(
        folder=folders, version=st.integers(0, 3), what=st.sampled_from(("upload", "work", "work", "lose", "recover"))
    )
    def another_installation(self, folder: int, version: int, what: str) -> None:
        """The other one goes its own way, loses its state, and recovers it."""
        self._step()
        other = self.other
        self._by_hand(
            {
                "upload": lambda: other.upload(f"{self.prefix}-{folder}", version),
                "work": other.work,
                "lose": other.lose_its_state,
                "recover": lambda: recover(other.world.app),
            }[what]
        )

    @rule(which=st.integers(0, 50))
    def lose_a_line(self, which: int) -> None:
        """Somebody deletes its record."""
        self._step()
        blobs, line = self.world.app.cloud.blobs, self._any(self._lines(), which)
        if line and not line.rollout:
            self._by_hand(lambda: blobs.delete(STATE, f"lines/{line.id}.json"))
            self._by_hand(lambda: blobs.delete(STATE, f"standing/{line.id}"))
            self.lost.add(line.endpoint)

    # What goes wrong -------------------------------------------------------------------------------------------------

    @rule(fault=st.sampled_from(FAULTS), times=st.integers(1, 6))
    def fail(self, fault: dict[str, Any], times: int) -> None:
        """The next requests of hosts and people alike."""
        self._step()
        self.world.control("POST", "/_local/faults", {"count": times, **fault})

    @rule(which=st.integers(0, 50), status=st.sampled_from(SHOWN), step=st.booleans())
    def show(self, which: int, status: str, step: bool) -> None:
        """Azure ML says of a job, or of its fine-tune step, that it queues, is paused or does not respond."""
        self._step()
        run = self._any([run for run in self._runs() if run.attempt.job], which)
        if run:
            with suppress(AssertionError):  # it has ended, or has no such step yet
                wanted = {"status": status} | ({"step": FINETUNE} if step else {})
                self.world.control("POST", f"/_local/jobs/{run.attempt.job}", wanted)

    @rule(times=st.integers(0, 2), what=st.sampled_from(("jobs", "deployments")))
    def run_out_of_machines(self, times: int, what: str) -> None:
        """Azure has none for the next ones, and then has again."""
        self._step()
        rule = {"outcome": "Failed", "why": SCARCE, "seconds": 30, "count": times}
        pretend(self.world, {what: rule | ({"starved": True} if what == "jobs" else {})}, job=300, deployment=60)

    @rule(name=st.sampled_from(RECORDS), data=st.sampled_from(BROKEN))
    def break_a_record(self, name: str, data: bytes | None) -> None:
        """Somebody overwrites or deletes one that is of no run and no line."""
        self._step()
        blobs = self.world.app.cloud.blobs
        act = partial(blobs.delete, STATE, name) if data is None else partial(blobs.write, STATE, name, data)
        self._by_hand(act)

    @rule(which=st.sampled_from((*FORBIDDEN, None, None)))
    def forbid(self, which: dict[str, Any] | None) -> None:
        """Somebody sets a lock, a policy or the like, or takes them all away; people are kept by them, too."""
        self._step()
        self.world.control("DELETE", "/_local/rules")
        if which:
            self.world.control("POST", "/_local/rules", {"name": "keep", **which})

    @rule(host=st.integers(0, 1), calls=st.integers(0, 40), after=st.booleans(), lost=st.booleans())
    def die(self, host: int, calls: int, after: bool, lost: bool) -> None:
        """A host, some calls from now; `lost`: the message that it works on is never seen again."""
        self._step()
        wire, left = self.world.hosts[host].wire, count()
        self.world.lost_with_host = lost

        def hook(call: Call) -> None:
            if next(left) >= calls:
                wire.before = wire.after = None
                raise HostDied

        wire.before, wire.after = (None, hook) if after else (hook, None)

    @rule(topic=st.sampled_from(("storage", "azureml")), times=st.sampled_from((0, 1, 1, 2)))
    def disturb(self, topic: str, times: int) -> None:
        """Events are lost, doubled, or delivered again as they should be."""
        self._step()
        self.world.control("POST", "/_local/eventgrid", {"topic": topic, "deliver": times})
        if topic == "storage":
            self.world.events = times > 0

    # Time ------------------------------------------------------------------------------------------------------------

    @rule(minutes=st.sampled_from((0, 1, 3, 10, 60, 400)))
    def go_on(self, minutes: int) -> None:
        """Hosts work on what is due, for so long."""
        self._step()
        until = self.world.clock.now() + timedelta(minutes=minutes)
        for _ in range(60):
            while self.world.turn() or self.world.look():
                pass
            if (left := until - self.world.clock.now()) <= timedelta(0):
                return
            self.world.wait(left)

    @rule(minutes=st.sampled_from((1, 10, 200)))
    def jump(self, minutes: int) -> None:
        """All hosts stand still for so long."""
        self._step()
        self.world.clock.jump(timedelta(minutes=minutes))

    @rule(clean=st.booleans())
    def tick(self, clean: bool) -> None:
        """A timer fires out of turn."""
        self._step()
        self.world.cleanup() if clean else self.world.sweep()

    # What holds ------------------------------------------------------------------------------------------------------

    @invariant()
    def holds(self) -> None:
        """Slots are kept, traffic is one version's, nothing foreign is touched, and nothing is raised."""
        past = self.world.control("GET", "/_local/history")
        for entry in past[self.followed :]:
            self._follow(entry)
        self.followed = len(past)
        self.wrong += [f"raised: {error!r}" for error in (*self.world.errors, *self.other.world.errors)]
        theirs = (self.foreign, *self.strangers.places())
        for world, others in ((self.world, self.other.world), (self.other.world, self.world)):
            for host in world.hosts:
                changes = [call for call in host.wire.calls if call.method not in ("GET", "HEAD")]
                self.wrong += [
                    f"{call.method} {call.path}"
                    for call in changes
                    if not call.path.startswith("/droptune/")
                    and (any(each in call.path for each in (*theirs, *others.known)) or self._is_of(others, call.path))
                ]
                host.wire.calls.clear()
        assert not self.wrong, self.wrong

    def _is_of(self, world: World, path: str) -> bool:
        """Whether it is the path of an endpoint of this installation, of one of the folders."""
        settings = world.settings
        names = (
            naming.endpoint_name(
                f"{self.prefix}-{folder}",
                settings.training.base_model,
                *settings.workspace.scope,
                installation=settings.storage.installation,
            )
            for folder in range(3)
        )
        return any(f"/onlineEndpoints/{name}" in path for name in names)

    def teardown(self) -> None:
        """Everything stops but time, and all comes to rest."""
        world = self.world
        try:
            world.control("DELETE", "/_local/faults")
            world.control("DELETE", "/_local/rules")
            for topic in ("storage", "azureml"):
                world.control("POST", "/_local/eventgrid", {"topic": topic, "deliver": 1})
            for folder in range(3):
                self.archive(folder, "Hot")
            for host in world.hosts:
                host.wire.before = host.wire.after = None
            world.until(self._at_rest, patience=timedelta(days=2), minutes=6)
            self.holds()
            self._nothing_forgotten()
            assert not (wrong := self.strangers.touched()), wrong
            self._lost_are_told_of()
            log.info("%d steps", self.told["chaos: steps"])
        finally:
            self.other.world.close()
            world.close()

    def _at_rest(self) -> bool:
        """Whether all that is left waits for a person, or for the day to come on which somebody asked again."""
        active = [self._run(run_id) for run_id in self.world.app.runs.active()]
        self._one_timer_each([run for run in active if run])
        if self.world.look(everything=True):
            return False
        held = all(run and (self._held(run) or self._behind(run)) for run in active)
        lines = [line for line in self._lines() if line.rollout or line.retiring or line.is_going]
        moving = [line for line in lines if not (run := self._run(line.rollout)) or not run.hold]
        return held and not moving

    @staticmethod
    def _held(run: Run) -> bool:
        return bool(run.parked) or run.hold in ("approval", "pin", "endpoint", "seat")

    def _behind(self, run: Run) -> bool:
        """Whether a run waits for one of its line that waits for a person, which it says."""
        line = self._read(partial(self.world.app.lines.load, run.line))
        if line is None:
            return False
        first = self._run(line.record.rollout) if line.record.rollout != run.id else None
        if first is not None and self._held(first) and f"droptune cancel {first.id}" in waits_for(run):
            return True
        older = self._run(line.record.newest.run) if line.record.newest else None
        return older is not None and older.id != run.id and self._held(older) and f"run {older.id}" in waits_for(run)

    def _nothing_forgotten(self) -> None:
        """No job runs that no run knows, and every deployment is one that serves or that a run holds."""
        cloud = self.world.app.cloud
        holding = set(self.world.app.runs.active())
        own = [job.name.rpartition("-")[0] for job in cloud.jobs.active() if job.name not in self.strangers.jobs]
        assert not set(own) & set(self.world.known) - holding
        for line in self._lines():
            if line.endpoint in self.lost or cloud.endpoints.get(line.endpoint) is None:
                continue
            there = {each.name for each in cloud.endpoints.deployments(line.endpoint)}
            there -= self.strangers.on(line.endpoint)
            serving = {line.serving.deployment} if line.serving else set()
            orphans = {name for name in there - serving if name.rpartition("-")[0] not in holding}
            assert not orphans, f"{line.endpoint} has {orphans} besides {serving}: {line}"

    def _lost_are_told_of(self) -> None:
        """What is ours and nobody's, within a day: by an event, of which the record or the sweep keeps that it was."""
        world, endpoints = self.world, self.world.app.cloud.endpoints
        left = {name for name in self.lost if endpoints.get(name)}
        if not left:
            return
        for _ in range(26):
            world.clock.jump(timedelta(hours=1))
            world.sweep()
            world.cleanup()
            while world.turn() or world.look(everything=True):
                pass
        told = msgspec.json.decode(world.app.cloud.blobs.read(STATE, NEEDS)[0], type=Kept).told
        lines = {line.endpoint: line for line in self._lines() if line.id in set(world.app.lines.standing())}
        for name in left:
            if name not in lines:
                assert f"lost endpoint {name}" in told or endpoints.get(name) is None, (
                    f"nobody heard of endpoint {name}"
                )
                continue
            line = lines[name]
            known = {run.deployed.name for run in self._runs() if run.attempt.deployed and not run.phase.ended}
            known |= {each.deployment for each in line.retiring}
            known |= {each.deployment for each in line.orphans if each.reported}
            known |= {line.serving.deployment} if line.serving else set()
            there = {each.name for each in endpoints.deployments(name)} - known - self.strangers.on(name)
            assert not there, f"nobody heard of {there} on endpoint {name}: {line}"

    def _retagged(self, endpoint: str, case: Callable[[str], str]) -> None:
        endpoints = self.world.app.cloud.clients.ml.online_endpoints
        found = endpoints.get(endpoint)
        found.tags = {case(name): value for name, value in found.tags.items()}
        endpoints.begin_create_or_update(found)

    def _line(self, run: Run) -> Line | None:
        loaded = self._read(partial(self.world.app.lines.load, run.line))
        return loaded.record if loaded else None

    def _follow(self, entry: dict[str, Any]) -> None:
        match entry:
            case {"kind": "jobs", "name": name, "state": state} if name.rpartition("-")[0] in self.world.known:
                if state in OVER:
                    self.training.pop(name, None)
                else:
                    self.training[name] = state
                if len(self.training) > ACTIVE:
                    self.wrong.append(f"{len(self.training)} jobs at once at {entry['at']}: {self.training}")
            case {"kind": "deployments", "name": name, "state": state} if self._is_ours(name):
                (self.standing.discard if state == "Deleted" else self.standing.add)(name)
                endpoints = {each.partition("/")[0] for each in self.standing if self._is_ours(each)} - self.lost
                if len(endpoints) > LIVE:
                    self.wrong.append(f"{len(endpoints)} endpoints have deployments at {entry['at']}: {endpoints}")
            case {"kind": "traffic", "name": name, "traffic": traffic} if len(traffic) > 1 and not any(
                each.startswith("theirs-") for each in traffic
            ):
                self.wrong.append(f"endpoint {name} has traffic {traffic}")

    def _is_ours(self, name: str) -> bool:
        """Whether `endpoint/deployment` is one that our app made."""
        endpoint, _, deployment = name.partition("/")
        return deployment.rpartition("-")[0] in self.world.known and deployment not in self.strangers.on(endpoint)

    def _one_timer_each(self, runs: list[Run]) -> None:
        tokens = Counter(token for message in self.world.messages.values() if (token := message.token))
        for run in runs:
            if run.wake and tokens[run.wake.token] > 1:
                self.wrong.append(f"run {run.id} has {tokens[run.wake.token]} live self-wakes")

    def _step(self) -> None:
        self.told["chaos: steps"] += 1

    def _by_hand(self, act: Callable[[], object]) -> None:
        with suppress(Permanent, Transient, NotFound, Conflict), translated("what a person does"):
            act()

    def _name(self, folder: int, name: str) -> str:
        return f"{self.prefix}-{folder}/{name}"

    def _run(self, run_id: str) -> Run | None:
        loaded = self._read(lambda: self.world.app.runs.load(run_id)) if run_id else None
        return loaded.record if loaded else None

    def _runs(self) -> list[Run]:
        """Of this example's folders: the sweep still looks at those of earlier ones, and writes of them."""
        runs = [run for run_id in self.world.known if (run := self._run(run_id))]
        return [run for run in runs if run.source.folder.startswith(self.prefix)]

    def _lines(self) -> list[Line]:
        ids = dict.fromkeys(run.line for run in self._runs())
        return [loaded.record for line_id in ids if (loaded := self._read(partial(self.world.app.lines.load, line_id)))]

    @staticmethod
    def _read[T](load: Callable[[], T]) -> T:
        """What is read to judge by: the faults that were asked for are not to stop that."""
        for _ in range(MOST_FAULTS):
            with suppress(Transient, Permanent):
                return load()
        return load()

    @staticmethod
    def _any[T](found: list[T], which: int) -> T | None:
        return found[which % len(found)] if found else None


@pytest.mark.thorough
@pytest.mark.timeout(6 * 3600 if LONG else 900)
@pytest.mark.parametrize("part", range(PARTS))
def test_whatever_happens_it_comes_to_rest(
    stack: Stack, part: int, record_property: Callable[[str, object], None]
) -> None:
    told = Counter[str]()
    run_state_machine_as_test(
        lambda: Machine(stack, told),  # type: ignore[arg-type]  # anything that makes one will do
        settings=settings(
            max_examples=EXAMPLES,
            stateful_step_count=STEPS,
            deadline=None,
            derandomize=not LONG,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        ),
    )
    for name, value in told.items():
        record_property(name, value)
    assert not LONG or told["chaos: steps"] >= 10_000 / PARTS
