"""What the app's Azure clients send: for benchmarks, and for tests that hold the number of requests."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from shared.app import App


@dataclass
class Counted:
    """Requests, and bytes of their answers."""

    requests: int = 0
    bytes: int = 0


@contextmanager
def requests_of(app: App) -> Iterator[Counted]:
    """Counts all that the app's clients send while the block runs, at the transport that they share."""
    counted, transport = Counted(), app.cloud.clients.transport
    send = transport.send

    def counting(*arguments: Any, **options: Any) -> Any:
        answer = send(*arguments, **options)
        counted.requests += 1
        counted.bytes += int(answer.headers.get("Content-Length") or 0)
        return answer

    transport.send = counting
    try:
        yield counted
    finally:
        transport.send = send
