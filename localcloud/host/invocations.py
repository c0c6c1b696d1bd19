"""One invocation: its log lines, its time limit and its outputs to queues.

The listeners (queues, timers, HTTP) find out that something has to run; how it runs is the same for all and is here.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
import uuid
from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Protocol

from localcloud.host.worker import Answer, Function, Worker

log = logging.getLogger("host")


class QueueOutput(Protocol):
    """Where an output binding's messages go."""

    async def send(self, texts: list[str | bytes]) -> None:
        """Add the messages, in order."""


class Invocations:
    """Runs functions and knows which are running. `outputs`: by function name and binding name."""

    def __init__(
        self, worker: Worker, *, timeout: timedelta | None, outputs: Mapping[tuple[str, str], QueueOutput]
    ) -> None:
        self._worker = worker
        self._timeout = timeout
        self._outputs = outputs

    async def run(
        self, function: Function, data: Mapping[str, Any], metadata: Mapping[str, Any], *, reason: str
    ) -> Answer:
        """Run a function to its end and send its queue outputs. What goes wrong in the app is in `Answer.error`."""
        invocation = str(uuid.uuid4())
        log.info("Executing 'Functions.%s' (Reason='%s', Id=%s)", function.name, reason, invocation)
        started = time.monotonic()
        answer = await self._answer(function, invocation, data, metadata)
        end = f"Id={invocation}, Duration={(time.monotonic() - started) * 1000:.0f}ms"
        if answer.error is None:
            log.info("Executed 'Functions.%s' (Succeeded, %s)", function.name, end)
        else:
            log.error("Executed 'Functions.%s' (Failed, %s)\n%s", function.name, end, answer.error)
        return answer

    async def _answer(
        self, function: Function, invocation: str, data: Mapping[str, Any], metadata: Mapping[str, Any]
    ) -> Answer:
        try:
            async with asyncio.timeout(self._timeout.total_seconds() if self._timeout else None):
                answer = await self._worker.invoke(function, invocation, data, metadata)
        except TimeoutError:
            # Azure restarts the worker here. This one shares our process: a plain function's thread runs on, unheard.
            return Answer(outputs={}, error=f"it ran longer than host.json's functionTimeout, {self._timeout}")
        for name, value in answer.outputs.items():
            output = self._outputs.get((function.name, name))
            if output is None:
                continue
            try:
                await output.send(queue_messages(value))
            except Exception as error:
                return Answer(outputs={}, error=f"its output {name!r} could not be sent: {error}")
        return answer


def queue_messages(value: Any) -> list[str | bytes]:
    """The messages in a queue output (protobuf TypedData): text, bytes, a QueueMessage, or a list of these."""
    kind = value.WhichOneof("data")
    if kind in ("string", "bytes"):
        return [getattr(value, kind)]
    if kind != "json":
        return [] if kind is None else [str(getattr(value, kind))]
    content = json.loads(value.json)
    return [_message(item) for item in (content if isinstance(content, list) else [content])]


def _message(item: Any) -> str:
    # azure.functions writes a QueueMessage as {"id", "body"}.
    if isinstance(item, dict) and item.keys() == {"id", "body"}:
        return str(item["body"])
    return item if isinstance(item, str) else json.dumps(item)
