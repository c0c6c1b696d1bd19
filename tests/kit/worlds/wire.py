"""The wire between a simulated host and the cloud: numbers every external call, and can break at one of them.

It stands in for the transport that all SDK clients of an App share, and hands each request on to the real one. What it
can do at a call: the host dies before it or after its effect, the answer is lost, the cloud answers with a fault that
the local cloud was asked for, or the host stands still while others go on. Used by world.py.
"""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import SplitResult, parse_qsl, urlencode, urlsplit, urlunsplit

from azure.core.exceptions import ServiceResponseError
from azure.core.pipeline.transport import HttpTransport, RequestsTransport

from shared.lifecycle.phase import WORK


class HostDied(BaseException):
    """The host's process has come to its end at this call: no `except Exception` of the app may see that."""


@dataclass(frozen=True, kw_only=True)
class Call:
    """One external call. `place` is the path without what differs from run to run; `number` counts from 0 in a wire.

    `stage`: the phase of the run's record and the action that it is claimed for, as they were last sent to be saved,
    or the timer; `nth`: how many such calls there were before it since then, for the same message. `names_etag`: it is
    refused (412) where the blob is another one by then.
    """

    number: int
    method: str
    place: str
    path: str
    stage: str
    nth: int
    names_etag: bool

    @property
    def service(self) -> str:
        """As the local cloud's faults name it."""
        if not self.path.startswith("/droptune/"):
            return "management"
        return "queue" if self.path.endswith("/messages") else "blob"

    @property
    def name(self) -> str:
        """Equal for calls that do the same in two runs, or twice in one."""
        return f"{self.stage}: {self.method} {self.place}{f' #{self.nth}' if self.nth else ''}"


type Hook = Callable[[Call], None]
"""Called before a call is sent. May raise HostDied, ask the cloud for a fault, or let others go on."""


class Wire(HttpTransport[Any, Any]):
    """The transport. `calls` are those since `listen`; `sent` is told of each message that was put into a queue.

    `own` is added to the names of all containers and queues: as if the storage account were another one.
    """

    def __init__(self, sent: Callable[[str, str, int], None], written: Callable[[str], None], *, own: str = "") -> None:
        """`sent(queue, message id, seconds)` is told of a message to be seen in so many seconds, `written` of paths."""
        self._own = own
        self._real = RequestsTransport(connection_timeout=10, read_timeout=60)
        self._sent, self._written = sent, written
        self.listen()
        self.before: Hook | None = None
        self.after: Hook | None = None
        self.dead = False

    def listen(self) -> None:
        """Begin to count anew."""
        self.calls: list[Call] = []
        self._stage, self._timer, self._seen = "intake", "", Counter[str]()

    def begin(self, timer: str = "") -> None:
        """A message is worked on from here, or a timer."""
        self._timer = timer
        self._seen.clear()

    def __enter__(self) -> Wire:
        self.open()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def open(self) -> None:
        """Of the transport's contract."""
        self._real.open()

    def close(self) -> None:
        """Ends the connections."""
        self._real.close()

    def send(self, request: Any, **kwargs: Any) -> Any:
        """One call. A host that has died sends no more, whatever its `finally` blocks want."""
        if self.dead:
            raise HostDied
        parts = urlsplit(request.url)
        call = self._numbered(request, parts)
        if self.before:
            self._broken(self.before, call)
        queue, delay = _message(request.method, parts.path, parts.query)
        if queue:
            # Hidden messages are kept by the world, which knows the local clock; Azurite would hide them in real time.
            kept = [(key, value) for key, value in parse_qsl(parts.query) if key != "visibilitytimeout"]
            request.url = urlunsplit(parts._replace(query=urlencode(kept)))
        if self._own:
            path = _STORED.sub(rf"\g<0>{self._own}", parts.path)
            request.url = urlunsplit(urlsplit(request.url)._replace(path=path))
        try:
            answer = self._real.send(request, **kwargs)
        finally:
            request.url = urlunsplit(parts)  # the SDK sends the same request again when it tries once more
        if queue and answer.status_code == 201:
            self._sent(queue, _message_id(_read(answer)), delay)
        if request.method == "PUT" and answer.status_code == 201:
            self._written(parts.path)
        if self.after:
            self._broken(self.after, call)
        return answer

    def _numbered(self, request: Any, parts: SplitResult) -> Call:
        where = place(parts.path, parts.query)
        what = f"{request.method} {where}"
        call = Call(
            number=len(self.calls),
            method=request.method,
            place=where,
            path=parts.path,
            stage=self._timer or self._stage,
            nth=self._seen[what],
            names_etag="If-Match" in request.headers,
        )
        self._seen[what] += 1
        self.calls.append(call)
        if request.method == "PUT" and where.endswith("/state/runs/RUN.json"):
            record = json.loads(_body(request))
            self._stage, self._seen = _stage(record), Counter()
        return call

    def _broken(self, hook: Hook, call: Call) -> None:
        try:
            hook(call)
        except HostDied:
            self.dead = True
            raise


def _body(request: Any) -> bytes:
    sent = request.data if request.data is not None else request.content
    if isinstance(sent, bytes | str):
        return sent.encode() if isinstance(sent, str) else sent
    at = sent.tell()
    body: bytes = sent.read()
    sent.seek(at)
    return body


def _stage(record: dict[str, Any]) -> str:
    """Why a run ended stays in its record: one that has ended is not at that any more."""
    is_ending = record.get("ending") and record["phase"] in WORK
    doing = "ending" if is_ending else (record.get("claim") or {}).get("action", "")
    return " ".join(filter(None, (record["phase"], doing)))


def lost(call: Call) -> None:
    """An `after` that loses the answer: what the SDK sees of a connection that is closed instead of answering."""
    raise ServiceResponseError(f"the answer to {call.name} was lost")


_STORED = re.compile(r"^/droptune/[^/]+")
_RUN = re.compile(r"\b(?:r[a-z2-7]{15})(-\d+)?\b")
_LINE = re.compile(r"\bl[a-z2-7]{15}\b")
_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}|[0-9a-f]{32,64}")
_ENDPOINT = re.compile(r"(?<=/onlineEndpoints/)[^/]+|(?<=/inference/)[^/]+")


def place(path: str, query: str = "") -> str:
    """A path in which runs, lines, endpoints and whatever is random have general names."""
    for pattern, name in ((_RUN, "RUN"), (_LINE, "LINE"), (_UUID, "UUID"), (_ENDPOINT, "ENDPOINT")):
        path = pattern.sub(name, path)
    path = re.sub(r"(?<=/workspaces/local/models/)[^/]+", "MODEL", path)
    path = re.sub(r"(?<=/computes/)[^/]+", "COMPUTE", path)
    path = re.sub(r"(?<=/state/ended/)\d+", "WHEN", path)
    path = re.sub(r"(?<=/datasets/)[^/]+|(?<=/state/waiting/)[^/]+", "FOLDER", path)
    path = re.sub(r"^/subscriptions/[^/]+/resourceGroups/[^/]+/providers/", "", path)
    kept = [f"{key}={value}" for key, value in parse_qsl(query) if key in ("comp", "restype")]
    prefix = [
        f"prefix={value.split('/')[0] if '/state' in path else 'FOLDER'}"
        for key, value in parse_qsl(query)
        if key == "prefix"
    ]
    return "?".join(filter(None, (path, "&".join(kept + prefix))))


def _message(method: str, path: str, query: str) -> tuple[str, int]:
    """The queue that a call puts a message into and the seconds that it hides it; "" for any other call."""
    found = re.fullmatch(r"/[^/]+/([a-z-]+)/messages", path)
    if method != "POST" or found is None:
        return "", 0
    return found[1], int(dict(parse_qsl(query)).get("visibilitytimeout") or 0)


def _read(answer: Any) -> str:
    return str(answer.text() if callable(answer.text) else answer.text)


def _message_id(text: str) -> str:
    found = ET.fromstring(text.lstrip("\ufeff")).find("QueueMessage/MessageId")
    assert found is not None
    return str(found.text)
