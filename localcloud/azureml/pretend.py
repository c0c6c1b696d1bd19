"""Jobs and deployments that only pretend: no process, but the same statuses, events, files and answers as real ones.

Tests ask for it where hundreds of runs matter and not what a model learns: `POST /_local/pretend` adds rules, the first
that matches a name wins, and what has begun to pretend goes on with it through updates and restarts. Without a rule
everything is real. runner.py asks take() and outputs(), fleet.py has the Server in an inference server's place.
"""

import asyncio
import json
import re
import time
import uuid
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

import httpx
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from localcloud.azureml.arm import ArmError, body
from localcloud.azureml.cloud import Cloud, route, timestamp
from localcloud.azureml.inference import Launch, Unreachable
from localcloud.azureml.store import Json

RULES, DEPLOYMENTS = "pretend", "pretendingDeployments"
"""Kinds of documents: the rules, and what each pretending deployment was made with."""
_CPU = 0.02
"""Processor use of a pretending deployment, as a part of one processor."""
_ANSWER = "A pretended answer of {deployment}."


@dataclass(frozen=True, kw_only=True)
class _Rule:
    """What jobs and deployments have in common."""

    match: str = ""
    """A regular expression, searched in the job's name, or in `endpoint/deployment`."""
    count: int | None = None
    """How often it applies; None: always."""
    seconds: float = 0
    """How long it takes, in local time."""
    outcome: str = ""
    why: str = "It was asked to fail."


@dataclass(frozen=True, kw_only=True)
class JobRule(_Rule):
    """How jobs pretend: they train for `seconds` and end as Completed, Failed or Canceled."""

    outcome: str = "Completed"
    starved: bool = False
    """One that fails does so before its fine-tune step has run: it got no nodes."""
    metrics: dict[str, float | list[float]] = field(default_factory=dict)
    """What the fine-tune step logs by its end: one value, or those of step 0, 1, ..."""


@dataclass(frozen=True, kw_only=True)
class DeploymentRule(_Rule):
    """How deployments pretend: Creating for `seconds`, then Succeeded, Failed, or Updating for ever (Stuck)."""

    outcome: str = "Succeeded"
    answer: str = _ANSWER
    """What a request is answered; `{question}` is the last message, `{deployment}` is `endpoint/deployment`."""


_KINDS: dict[str, tuple[type[_Rule], tuple[str, ...]]] = {
    "jobs": (JobRule, ("Completed", "Failed", "Canceled")),
    "deployments": (DeploymentRule, ("Succeeded", "Failed", "Stuck")),
}


def routes(cloud: Cloud) -> list[Route]:
    """`/_local/pretend`: GET lists the rules, POST adds some, DELETE forgets them."""
    return [
        route(cloud, "GET", "/_local/pretend", _list),
        route(cloud, "POST", "/_local/pretend", _add),
        route(cloud, "DELETE", "/_local/pretend", _forget),
    ]


async def _list(cloud: Cloud, _request: Request) -> Response:
    return JSONResponse(_rules(cloud))


def _rules(cloud: Cloud) -> Json:
    return {kind: cloud.store.list(RULES, f"{kind}/") for kind in _KINDS}


async def _add(cloud: Cloud, request: Request) -> Response:
    """`{"jobs": rule or [rules], "deployments": ...}`."""
    made = []
    for kind, given in (await body(request)).items():
        if kind not in _KINDS:
            raise _invalid(f"{kind}: one of {', '.join(_KINDS)}.")
        made += [(kind, _checked(kind, one)) for one in (given if isinstance(given, list) else [given])]
    for kind, rule in made:
        cloud.store.put(RULES, f"{kind}/{uuid.uuid4()}", asdict(rule))
    return JSONResponse(_rules(cloud))


def _checked(kind: str, given: Json) -> _Rule:
    made_of, outcomes = _KINDS[kind]
    try:
        rule = made_of(**given)
        re.compile(rule.match)
        timedelta(seconds=rule.seconds)
    except (TypeError, OverflowError, re.error) as error:
        raise _invalid(f"{kind}: {error}") from error
    if rule.outcome not in outcomes:
        raise _invalid(f"{kind}: the outcome {rule.outcome!r} is none of {', '.join(outcomes)}.")
    if not (rule.count is None or isinstance(rule.count, int)) or rule.seconds < 0:
        raise _invalid(f"{kind}: count is a whole number or null, seconds 0 or more.")
    return rule


def _invalid(message: str) -> ArmError:
    return ArmError(400, "InvalidRule", message)


async def _forget(cloud: Cloud, _request: Request) -> Response:
    for name, _ in cloud.store.items(RULES):
        cloud.store.delete(RULES, name)
    return Response(status_code=204)


def take(cloud: Cloud, kind: str, name: str) -> Json | None:
    """The first rule for that name, counted down; None: it is to be real. `kind`: jobs or deployments."""
    for key, rule in cloud.store.items(RULES):
        if key.startswith(f"{kind}/") and rule["count"] != 0 and re.search(rule["match"], name):
            if rule["count"] is not None:
                cloud.store.put(RULES, key, rule | {"count": rule["count"] - 1})
            return rule
    return None


def until(cloud: Cloud, rule: Json) -> str:
    """When what begins now is over, in local time."""
    return timestamp(cloud.clock.now() + timedelta(seconds=rule["seconds"]))


async def wait(cloud: Cloud, moment: str) -> None:
    """Wait until that local time."""
    await cloud.clock.sleep(datetime.fromisoformat(moment) - cloud.clock.now())


def outputs(folder: Path, names: set[str]) -> None:
    """Write the outputs of a job that never trained: MLflow folders without weights. Those that are there stay."""
    for name in names | {"mlflow_model_folder"}:
        described = folder / name / "MLmodel"
        if not described.exists():
            described.parent.mkdir(parents=True, exist_ok=True)
            described.write_text(
                "flavors:\n  hftransformersv2:\n    task_type: chat-completion\n"
                "metadata:\n  pretended: true\n"  # says so to whoever wonders why it can't be loaded
            )


def adopt(cloud: Cloud, name: str) -> None:
    """Decide whether the deployment that is being made or updated pretends. One that does goes on, rules or not."""
    before = cloud.store.get(DEPLOYMENTS, name)
    rule = take(cloud, "deployments", name) or before
    if rule:
        served = bool(before and before["served"])
        cloud.store.put(DEPLOYMENTS, name, rule | {"until": until(cloud, rule), "served": served})


def rule_of(cloud: Cloud, name: str) -> Json | None:
    """What the deployment pretends; None for a real one. A rule's fields, `until`, and whether it `served`."""
    return cloud.store.get(DEPLOYMENTS, name)


class Server:
    """Stands in an inference server's place (inference.py), for one deployment; answers in this process."""

    def __init__(self, cloud: Cloud, launch: Launch, rule: Json, stuck: Callable[[], None]) -> None:
        """`stuck` is called when the deployment is to be stuck from then on."""
        self.launch = launch
        self._cloud, self._rule, self._stuck = cloud, rule, stuck
        self._since: float | None = None

    async def start(self) -> str | None:
        """Take the time that was asked for. Returns what is to go wrong, or None."""
        await wait(self._cloud, self._rule["until"])
        if self._rule["outcome"] == "Stuck":
            self._say("is stuck, as it was asked to be")
            self._stuck()
            await asyncio.Event().wait()
        if self._rule["outcome"] == "Failed":
            self._say(f"failed: {self._rule['why']}")
            return str(self._rule["why"])
        self._cloud.store.put(DEPLOYMENTS, self.launch.name, self._rule | {"served": True})
        await self.persist()
        return None

    async def persist(self) -> None:
        """Answer from now on."""
        self._say("pretends to serve")
        self._since = time.monotonic()

    async def keep(self) -> None:
        """Nothing ends it. Returns only by being cancelled."""
        await asyncio.Event().wait()

    async def stop(self) -> None:
        """Answer no longer."""
        self._since = None

    def kill(self) -> None:
        """There is no process."""

    async def score(self, body: bytes, content_type: str) -> httpx.Response:  # noqa: ARG002 - as the real one
        """The asked answer, in the shape of localcloud/serving/score.py. Raises Unreachable before it serves."""
        if self._since is None:
            raise Unreachable("it only pretends, and does not serve yet")
        try:
            conversation = json.loads(body)["input_data"]["input_string"]
            conversation = conversation[0] if isinstance(conversation[0], list) else conversation
            question = str(conversation[-1]["content"])
        except (ValueError, KeyError, TypeError, IndexError):
            message = 'The body must be {"input_data": {"input_string": [messages], "parameters": {}}}.'
            return httpx.Response(400, json={"error": {"code": "BadRequest", "message": message}})
        answer = self._rule["answer"].replace("{deployment}", self.launch.name).replace("{question}", question)
        return httpx.Response(200, json={"output": answer})

    def cpu_seconds(self) -> float | None:
        """Processor time that it would have used; None while it does not serve."""
        return None if self._since is None else _CPU * (time.monotonic() - self._since)

    def _say(self, what: str) -> None:
        self.launch.log_file.parent.mkdir(parents=True, exist_ok=True)
        with self.launch.log_file.open("a") as log:
            log.write(f"{self._cloud.now()} {self.launch.name} {what}\n")
