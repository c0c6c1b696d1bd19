"""A `Stage`: a dataset folder and its line in a world, and what people do to them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from shared import naming
from shared.app import App, wake
from shared.lifecycle.phase import Phase
from shared.records import layout
from shared.records.base import Order
from shared.records.layout import PREPARED
from shared.records.line import Line, Serving, Standing, TearingDown
from shared.records.run import Attempt, Data, Deployed, Run, Source
from shared.records.tags import tags_of, tags_of_line
from shared.serving.gate import Promotion
from shared.serving.payload import answer_of, scoring_payload
from tests.kit.records import changed
from tests.kit.rows import chats
from tests.kit.waiting import eventually
from tests.kit.worlds.world import HANDLERS, World

BASE_MODEL = "Phi-3-mini-4k-instruct"
RIGHT, WRONG = "The answer to {question}", "zzz"
"""What pretending deployments say: what the rows say, or nothing of it."""
WHO = "{deployment}"
"""One that says who it is."""
MANUAL, REPLACE = Promotion(approve="manual"), Promotion(strategy="replace")
GRACE = timedelta(minutes=6)
QUOTA = {"standardNCADSA100v4Family": 100_000}
LOSS = 2.0
"""What the evaluation loss of every job ends at."""


def empty(world: World) -> None:
    """Nothing is under way any more, and no message waits."""
    blobs = world.app.cloud.blobs
    for queue in HANDLERS:
        world.app.cloud.clients.queue_service.get_queue_client(queue).clear_messages()
    world.messages.clear()
    for folder in ("active/", "standing/"):
        for blob in list(blobs.list("state", folder)):
            blobs.delete("state", blob.name)
    for record in ("slots.json", "seats.json", "deletions.json", "needs.json"):
        blobs.delete("state", record)


@dataclass(kw_only=True)
class Stage:
    """A dataset folder and its line. `job`: one that has trained, so that versions need not be trained each."""

    world: World
    job: str
    folder: str
    versions: int = 0

    @property
    def app(self) -> App:
        """As a person's command has it."""
        return self.world.app

    @property
    def line_id(self) -> str:
        """The line's id."""
        return naming.line_id(self.folder, BASE_MODEL, installation=self.installation)

    @property
    def installation(self) -> str:
        """The app's."""
        return self.world.settings.storage.installation

    @property
    def line(self) -> Line:
        """The line's record as it stands."""
        return self.world.line(self.line_id)

    @property
    def endpoint(self) -> str:
        """The endpoint's name."""
        scope = self.world.settings.workspace.scope
        return naming.endpoint_name(self.folder, BASE_MODEL, *scope, installation=self.installation)

    # What people do ------------------------------------------------------------------------------------------------

    def upload(self, salt: str = "a", *, spec: str = "", data: bytes = b"") -> Run:
        """Uploads a dataset, or with `spec` a finetune.yaml alone; the run that this made, received and no more."""
        known = len(self.world.known)
        self.world.clock.jump(timedelta(seconds=2))  # blobs tell whole seconds, and it is to be the newer one
        if spec:
            self.world.upload(f"{self.folder}/finetune.yaml", f"train: train.jsonl\n{spec}\n".encode())
        else:
            self.world.upload(f"{self.folder}/train.jsonl", data or chats(salt=f"{self.folder} {salt}", answer=RIGHT))
        while len(self.world.known) == known:
            assert self.world.turn() or self.world.look(), "the upload makes no run"
        return self.world.run(self.world.known[known])

    def version(self, **changes: Any) -> Run:
        """A run that has just registered its model, whose training nobody had to wait for."""
        run = self._trained(**changes)
        assert self.app.runs.create(run)
        wake(self.app, run)
        return run

    def live(self) -> Run:
        """A version that serves, without the app's doing."""
        endpoints, name = self.app.cloud.endpoints, self.endpoint
        run = self._trained()
        deployed = Deployed(endpoint=name, name=naming.deployment_name(run.id, 1))
        run = replace(run.in_attempt(deployed=deployed), phase=Phase.LIVE)
        line = Line(
            id=run.line, folder=self.folder, base_model=BASE_MODEL, endpoint=name, installation=self.installation
        )
        endpoints.create(name, "", tags_of_line(line))
        eventually(lambda: (found := endpoints.get(name)) and found.state == "Succeeded")
        model = self.app.cloud.models.get(*_parts(run.attempt.model))
        assert model
        settings = self.world.settings
        endpoints.deploy(name, run.deployed.name, model.id, settings.serving.size, 1, tags_of(run))
        self.world.clock.jump(timedelta(minutes=1))
        eventually(lambda: self.standing() == {run.deployed.name: "Succeeded"})
        endpoints.set_traffic(name, {run.deployed.name: 100})
        eventually(lambda: (found := endpoints.get(name)) and found.state == "Succeeded")
        serving = Serving(
            run=run.id,
            deployment=run.deployed.name,
            model=run.attempt.model,
            fingerprint=run.attempt.fingerprint,
            since=self.now(),
            order=run.order,
        )
        assert self.app.runs.create(run)
        assert self.app.lines.create(replace(line, state=Standing(), serving=serving, latest=serving, instances=1))
        self.world.clock.jump(timedelta(minutes=1))  # what is uploaded next is newer
        self.world.control("DELETE", "/_local/history")
        self.world.control("DELETE", "/_local/ledger")
        return run

    def _trained(self, **changes: Any) -> Run:
        self.versions += 1
        path, now = f"{self.folder}/train.jsonl", self.now()
        run_id = naming.run_id(
            path, {"train.jsonl": f"version {self.versions}"}, None, 0, installation=self.installation
        )
        run = Run(
            id=run_id,
            line=self.line_id,
            installation=self.installation,
            order=Order(uploaded=now),
            source=Source(folder=self.folder, base_model=BASE_MODEL),
            since=now,
            phase=Phase.REGISTERED,
            attempt=Attempt(
                data=Data(fingerprint=f"f{self.versions}", rows={"train": 16, "test": 4}),
                job=self.job,
                model=f"{naming.model_name(BASE_MODEL, self.folder)}:{naming.model_version(run_id, 1)}",
            ),
        )
        run = changed(run, **changes)
        self.app.cloud.blobs.write(
            PREPARED,
            layout.part_of(run.prepared, "test"),
            chats(4, salt=f"{self.folder} {self.versions}", answer=RIGHT),
        )
        self.app.cloud.models.register(*_parts(run.attempt.model), self.job)
        return run

    def pretend(self, answer: str = RIGHT, **rule: Any) -> None:
        """How jobs and deployments are from now on; see `pretend_too`."""
        self.world.control("DELETE", "/_local/pretend")
        self.pretend_too(answer, **rule)

    def pretend_too(
        self,
        answer: str = RIGHT,
        *,
        job: float = 60,
        jobs: Mapping[str, Any] | None = None,
        deployment: float = 20,
        **deployments: Any,
    ) -> None:
        """The same, for those that earlier rules are not for.

        `job` and `deployment` are seconds of local time; `jobs` and `deployments` are more of their rules.
        """
        rules = {
            "jobs": {"seconds": job, "metrics": {"eval_loss": LOSS}} | dict(jobs or {}),
            "deployments": {"seconds": deployment, "answer": answer} | deployments,
        }
        self.world.control("POST", "/_local/pretend", rules)

    def updating(self) -> None:
        """Azure works on the endpoint, until the faults are forgotten: the local cloud itself takes no local time."""
        found = self.app.cloud.endpoints.get(self.endpoint)
        assert found
        shown: dict[str, Any] = {"authMode": "Key", "provisioningState": "Updating", "traffic": found.traffic}
        shown["scoringUri"] = found.scoring_uri
        body = {"id": found.id, "name": found.name, "location": "westeurope", "tags": found.tags, "properties": shown}
        seen = {"method": "GET", "path": f"/onlineEndpoints/{self.endpoint}$", "status": 200, "count": None}
        self.world.control("POST", "/_local/faults", seen | {"body": body})

    def looks_for(self, run: Run, time: timedelta) -> Run:
        """Hosts look at what the run waits for, for so long or until it has ended."""
        until = self.now() + time
        return self.until(run, lambda run: run.phase.ended or (run.wake and run.wake.due > until))

    def tear_down(self) -> None:
        """Nobody used it for long: its deployments go."""
        line, etag = self.app.lines.load(self.line_id) or (self.line, "")
        self.app.lines.save(replace(line, state=TearingDown(whole=False, emptied=line.emptied)), etag)
        wake(self.app, line)
        self.world.until(lambda: not self.line.is_going)

    def lose_messages(self) -> None:
        """All that was to come, timers too."""
        self.world.look(everything=True)
        self.world.messages.clear()

    # What can be seen ----------------------------------------------------------------------------------------------

    def now(self) -> datetime:
        """Local time."""
        return self.app.cloud.blobs.now()

    def run(self, run: Run) -> Run:
        """Its record as it stands."""
        return self.world.run(run.id)

    def until(self, run: Run, wanted: Callable[[Run], Any] = lambda run: run.phase.ended) -> Run:
        """Goes on until the run's record is as wanted: as a rule, until the run has ended."""
        self.world.until(lambda: wanted(self.run(run)))
        return self.run(run)

    def standing(self) -> dict[str, str]:
        """The endpoint's deployments with their states."""
        return {each.name: each.state for each in self.app.cloud.endpoints.deployments(self.endpoint)}

    def traffic(self) -> dict[str, int]:
        """Who has how much of it now."""
        found = self.app.cloud.endpoints.get(self.endpoint)
        return found.traffic if found else {}

    def traffic_was(self) -> list[Mapping[str, int]]:
        """Each change of it since `live`."""
        return [each["traffic"] for each in self.history("traffic")]

    def history(self, kind: str) -> list[dict[str, Any]]:
        """What happened to the endpoint since `live`: entries of `kind`."""
        told: list[dict[str, Any]] = self.world.control("GET", "/_local/history")
        return [each for each in told if each["kind"] == kind and each["name"].partition("/")[0] == self.endpoint]

    def answers(self, deployment: str | None = None) -> str:
        """What a caller hears."""
        question = scoring_payload([{"role": "user", "content": "X"}])
        return answer_of(self.app.cloud.endpoints.score(self.endpoint, question, deployment))

    def jobs(self) -> list[dict[str, Any]]:
        """What happened to this folder's jobs, in order."""
        own = self._runs()
        told: list[dict[str, Any]] = self.world.control("GET", "/_local/history")
        return [each for each in told if each["kind"] == "jobs" and each["name"].rpartition("-")[0] in own]

    def made(self, kind: str, *, method: str = "PUT") -> list[str]:
        """Names of the jobs, models or deployments of this line that were asked for, those that were refused not."""
        own = set(self._runs())
        ledger = self.world.control("GET", "/_local/ledger")
        found = [e for e in ledger if e.get("kind") == kind and e["method"] == method and e["status"] < 300]
        return [e["name"] for e in found if e["name"].rpartition("-")[0] in own]

    def events(self) -> list[tuple[str, str]]:
        """Types and reasons of the lifecycle events of this folder, in the order in which they were published."""
        return [(each["type"].removeprefix("Droptune."), each["data"]["reason"]) for each in self.cloud_events()]

    def cloud_events(self) -> list[dict[str, Any]]:
        """The same, whole."""
        sent = self.world.control("GET", "/_local/eventgrid")["events"]
        own = [each for each in sent if each["topic"] == "lifecycle"]
        events = [each.get("event", each) for each in own]
        return [each for each in events if each["data"]["dataset"] == self.folder]

    def quiet(self) -> None:
        """Goes on until nobody has anything to do, and no timer is armed."""
        self.world.until(lambda: not self.world.messages and not self.world.look(everything=True))

    def quiet_but_jobs(self) -> None:
        """Goes on until nobody has anything to do at once."""
        while self.world.turn() or self.world.look(everything=True):
            pass

    def at_rest(self) -> None:
        """Goes on until nothing is to be done, and nobody holds anything."""
        self.quiet()
        assert not list(self.app.runs.active())
        loaded = self.app.lines.load(self.line_id)
        assert loaded is None or not loaded.record.rollout
        slots = json.loads(self.app.cloud.blobs.read("state", "slots.json")[0]) if self._has_slots() else {}
        assert not slots.get("holding")
        assert not slots.get("waiting")

    def _runs(self) -> list[str]:
        """The folder's runs, in the order in which they were made; an earlier test may have lost records of its own."""
        found = ((run_id, self.app.runs.load(run_id)) for run_id in self.world.known)
        return [run_id for run_id, loaded in found if loaded and loaded.record.source.folder == self.folder]

    def _has_slots(self) -> bool:
        return self.app.cloud.blobs.head("state", "slots.json") is not None

    def job_status(self, run: Run) -> str:
        """What Azure says of the job of the run's attempt; "" for none."""
        job = self.app.cloud.jobs.get(naming.job_name(run.id, run.attempt.number))
        return job.status if job else ""


def waits_for(run: Run) -> str:
    """What the run waits for, in words; "" for nothing."""
    return run.waiting.why if run.waiting else ""


def _parts(model: str) -> tuple[str, str]:
    name, _, version = model.rpartition(":")
    return name, version
