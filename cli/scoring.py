"""A question to an endpoint, and its answer or, in a sentence, why there is none; as `droptune ask` shows them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from cli.endpoint_key import Door, may_ask
from cli.https import Reply, Silent, send
from cli.say import escaped
from shared.api.schema import QuestionView, Shape
from shared.serving.payload import answer_of, scoring_payload

TIMEOUT = 100.0
"""Seconds without a byte: a deployment's own limit is 90."""
DEPLOYMENT = "azureml-model-deployment"
_SHOWN = 300
"""Characters of what a model says of its failure."""


class Unanswered(Exception):
    """There is no answer. The text says why, and what to do."""


class GivenView(Shape, frozen=True, kw_only=True):
    """What one version answered, or why it did not. `which`: `live`, what the traffic gets, or `new`, being checked."""

    which: str
    deployment: str
    run: str
    answer: str = ""
    error: str = ""


class AskedView(QuestionView, frozen=True, kw_only=True):
    """A question with its answers. For a text of one's own `number` and `count` are 0, `run` and `expected` ""."""

    line: str
    endpoint: str
    answers: list[GivenView]


def answer(door: Door, conversation: Sequence[dict[str, str]], deployment: str = "") -> tuple[str, str]:
    """What the endpoint answers, and which deployment that was ("": it does not say).

    `deployment`: asked by name, which needs no traffic. Raises Unanswered.
    """
    who = f"deployment {deployment} of endpoint {door.endpoint}" if deployment else f"endpoint {door.endpoint}"
    body = json.dumps(scoring_payload(conversation)).encode()
    headers = {DEPLOYMENT: deployment} if deployment else {}
    try:
        reply = send("POST", door.address, secret=door.secret, body=body, headers=headers, ca=door.ca, timeout=TIMEOUT)
    except Silent as error:
        then = ": try again, or ask for a shorter answer" if error.late else ""
        raise Unanswered(f"{who}: {error}{then}") from None
    if reply.status != 200:
        raise Unanswered(_why(who, door, reply))
    try:
        return answer_of(json.loads(reply.body)), reply.headers.get(DEPLOYMENT, "")
    except (ValueError, RecursionError) as error:
        why = "it is no JSON" if isinstance(error, json.JSONDecodeError) else escaped(str(error), _SHOWN)
        raise Unanswered(f"{who} answered with what can't be read: {why}") from None


def _why(who: str, door: Door, reply: Reply) -> str:
    """Why an endpoint gave no answer."""
    said = _said(reply)
    match reply.status:
        case 401 | 403:
            return f"{who} refuses what Azure gave out for it ({reply.status}): {may_ask(door.mode)}"
        case 404:
            return f"{who} has nobody who answers (404): {said}"
        case 408 | 504:
            return f"{who} took too long ({reply.status}): try again, or ask for a shorter answer"
        case 429:
            after = reply.headers.get("retry-after", "")
            when = f"in {after} s" if after.isdigit() else "in a moment"
            return f"{who} has as many questions as it can take (429): try again {when}"
        case 424:
            own = reply.headers.get("ms-azureml-model-error-statuscode", "")
            return f"the model behind {who} failed ({' with '.join(filter(None, ('424', own)))}): {said}"
        case 500 | 502 | 503:
            return f"{who} is not ready ({reply.status}): {said}: try again in a moment"
    return f"{who} answered {reply.status}: {said}"


def _said(reply: Reply) -> str:
    """Its message, in one line; what a model's own code raised may be any text."""
    try:
        found: Any = json.loads(reply.body)
        error = found["error"] if isinstance(found, dict) and "error" in found else found
        text = error["message"] if isinstance(error, dict) and "message" in error else error
    except (ValueError, RecursionError):
        text = reply.body
    line = " ".join((text if isinstance(text, str) else json.dumps(text)).split())
    return escaped(line, _SHOWN) or reply.reason or "it says no more"
