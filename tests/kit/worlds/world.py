"""The app in this process, driven as the Functions host drives it, over the real SDKs against the local cloud.

A `World` takes messages from the app's queues, has one of its hosts work on each, deletes what was done, brings back
what was not, and poisons what fails too often, as host.json says. Waiting costs nothing: when nobody has anything to do
the local clock jumps to the next moment at which somebody has. Hosts can die; the next one knows nothing of them.
"""

from __future__ import annotations

import json
import re
import time
from base64 import b64decode
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import requests
from azure.core.exceptions import ResourceExistsError

from localcloud.stack import Stack
from shared.app import App
from shared.errors import Transient
from shared.intake.arrivals import job_changed, uploaded
from shared.line.cleanup import cleanup
from shared.messages import deliver, park, step
from shared.records.layout import DATASETS, DEAD_LETTERS, PREPARED, STATE
from shared.records.line import Line
from shared.records.run import Run
from shared.settings import Settings
from shared.sweep import sweep
from tests.kit.paths import ROOT
from tests.kit.settings import changed
from tests.kit.waiting import eventually
from tests.kit.worlds.wire import HostDied, Wire

HANDLERS: dict[str, Callable[[App, bytes], None]] = {
    "dataset-events": uploaded,
    "prepare": step,
    "job-events": job_changed,
    "run-steps": step,
}
_RULES = json.loads((ROOT / "host.json").read_text())["extensions"]["queues"]
ATTEMPTS: int = _RULES["maxDequeueCount"]
AGAIN = timedelta(seconds=30)
"""host.json's visibilityTimeout: how long a message that failed is hidden."""
LEASE = timedelta(minutes=10)
"""How long the real host hides a message that it works on: it comes back so long after its host died."""
SWEEP_EVERY = timedelta(minutes=5)
CLEANUP_EVERY = timedelta(minutes=15)
_FAR = 24 * 3600
"""Seconds (real) for which a message that the world holds is hidden from others."""


@dataclass(kw_only=True)
class Message:
    """A message that the world holds. `due`: local time at which it can be seen; `count`: how often it was taken."""

    id: str
    queue: str
    receipt: str
    body: bytes
    due: datetime
    count: int = 0

    @property
    def token(self) -> str:
        """The self-wake that it is; "" for a message that is nobody's timer."""
        try:
            return str(json.loads(self.body).get("token") or "")
        except (ValueError, AttributeError):
            return ""


_WIRED = ("transport", "credential")


class Host:
    """A process of the Functions host: its App, over SDK clients and a wire of its own."""

    def __init__(self, settings: Settings, wire: Wire) -> None:
        self.settings, self.wire = settings, wire
        self.app = App.of(settings)
        self.app.cloud.clients.__dict__["transport"] = wire

    def reborn(self, *, cold: bool = False) -> None:
        """A process that remembers nothing of the one that died.

        Connections and tokens are kept. SDK clients too, which know where the workspace is, unless it is `cold`.
        """
        made = vars(self.app.cloud.clients)
        kept = {name: made[name] for name in made if (not cold and name not in ("settings", "lock")) or name in _WIRED}
        self.app = App.of(self.settings)
        vars(self.app.cloud.clients).update(kept)
        self.wire.dead = False

    def close(self) -> None:
        """Ends the connections."""
        self.app.cloud.close()


class Clock:
    """The local cloud's clock, as the world sees and moves it."""

    def __init__(self, control: Control, moved: Callable[[], None]) -> None:
        self._control, self._moved = control, moved
        self._take(control("GET", "/_local/clock"))

    def now(self) -> datetime:
        """Local time, to a few milliseconds."""
        return self._local + timedelta(seconds=(time.monotonic() - self._at) * self._rate)

    def jump(self, delta: timedelta) -> None:
        """Time passes at once."""
        if delta > timedelta(0):
            self._take(self._control("POST", "/_local/clock", {"advance": delta.total_seconds()}))
            self._moved()

    def look(self) -> None:
        """Somebody else may have moved it."""
        self._take(self._control("GET", "/_local/clock"))

    def _take(self, answer: Mapping[str, Any]) -> None:
        self._local, self._rate = datetime.fromisoformat(answer["now"]), float(answer["rate"])
        self._at = time.monotonic()


IDLE = 30
"""Seconds after which a connection is not used again: the server ends it after 75, perhaps just then."""


class Control:
    """The local cloud's control routes, over one connection that is kept."""

    def __init__(self, stack: Stack) -> None:
        self._url = stack.urls["management"]
        self._session = requests.Session()
        self._session.verify = str(stack.description.ca)
        self._session.trust_env = False
        self._used = time.monotonic()

    def __call__(self, method: str, path: str, body: Any = None) -> Any:
        if time.monotonic() - self._used > IDLE:
            self._session.close()  # the next request makes another connection
        self._used = time.monotonic()
        answer = self._session.request(method, self._url + path, json=body, timeout=60)
        assert answer.ok, f"{method} {path}: {answer.status_code} {answer.text[:500]}"
        return answer.json() if answer.content else None

    def close(self) -> None:
        """Ends the connection."""
        self._session.close()


class World:
    """See the module. `settings` go by their names in the environment; what is not given stays as the stack has it.

    `own`: what the names of its containers and queues end with, so that two worlds have the workspace alone in common.
    """

    def __init__(self, stack: Stack, *, hosts: int = 1, sweeps: bool = True, own: str = "", **settings: Any) -> None:
        quick: dict[str, Any] = {
            "SETTLE_TIME": timedelta(0),
            "POLL_INTERVAL": timedelta(seconds=20),
            "ROLLOUT_GRACE": timedelta(minutes=1),
            "MAX_JOBS_PER_DAY": 1_000_000,
        }
        self.settings = changed(Settings.read(stack.environment), **quick | settings)
        self.control = Control(stack)
        self.clock = Clock(self.control, self._time_jumped)
        self.hosts = [Host(self.settings, Wire(self._sent, self._written, own=own)) for _ in range(hosts)]
        self.person = Host(self.settings, Wire(self._sent, self._written, own=own))
        """Who uploads, looks and gives commands: no host of the app."""
        self.messages: dict[str, Message] = {}
        self.errors: list[Exception] = []
        """What handlers raised: bugs, each of them, but for Transient, which says that storage was out of reach."""
        self.died = 0
        self.lost_with_host = False
        """Whether a message that a dying host works on is lost, so that only the sweep can find what it was about."""
        self.events = True
        """Whether Event Grid tells of uploads."""
        self.known: list[str] = []
        """The runs that hosts have begun to write, in that order."""
        self._due: dict[str, datetime] = {}
        self._unread: set[str] = set()
        self._turn = 0
        self.sweeps = sweeps
        """Whether timers run the sweep every 5 minutes of local time, and the cleanup every 15."""
        self._swept = self._cleaned = self.clock.now()
        if own:
            self.events = False
            self._make_storage()

    def _make_storage(self) -> None:
        clients = self.app.cloud.clients
        for container in (DATASETS, PREPARED, STATE, DEAD_LETTERS):
            with suppress(ResourceExistsError):
                clients.blob_service.create_container(container)
        for queue in HANDLERS:
            with suppress(ResourceExistsError):
                clients.queue_service.create_queue(queue)

    @property
    def app(self) -> App:
        """The app as a person's command has it."""
        return self.person.app

    def _time_jumped(self) -> None:
        """Nobody is to reckon on from an older answer of the storage service, as all do for a second."""
        for host in (*self.hosts, self.person):
            host.app.cloud.blobs._seen = None

    def see_the_time(self) -> None:
        """Another world has moved the clock, perhaps."""
        self.clock.look()
        self._time_jumped()

    def change(self, **settings: Any) -> None:
        """Other settings from now on."""
        self.begin_anew(changed(self.settings, **settings))

    def begin_anew(self, settings: Settings) -> None:
        """All processes end, and begin with these settings."""
        self.settings = settings
        for host in (*self.hosts, self.person):
            host.settings = self.settings
            host.reborn()

    def close(self) -> None:
        """Ends the connections."""
        for host in (*self.hosts, self.person):
            host.close()
        self.control.close()

    def upload(self, name: str, data: bytes) -> None:
        """Writes a blob into `datasets`, and waits for its event where Event Grid delivers any."""
        self.app.cloud.blobs.write(DATASETS, name, data)
        if self.events:
            eventually(lambda: self._take("dataset-events"), every=0.005)

    def turn(self) -> bool:
        """Has a host work on the next message that is due. False when there is none."""
        now = self.clock.now()
        due = min((each for each in self.messages.values() if each.due <= now), key=lambda each: each.due, default=None)
        if due is None:
            return False
        self._turn += 1
        self._work(self.hosts[self._turn % len(self.hosts)], due)
        return True

    def look(self, *, everything: bool = False) -> bool:
        """Takes what is in the queues. `everything`: also where nobody is known to have put anything."""
        found = False
        for queue in HANDLERS:
            if everything or queue == "job-events" or queue in self._unread:
                found |= self._take(queue)
        return found

    def until[T](
        self, wanted: Callable[[], T | None], *, patience: timedelta = timedelta(hours=6), minutes: int = 3
    ) -> T:
        """Goes on until `wanted`, asked whenever nothing is to be done, is true.

        Fails after `patience` of local time, or so many minutes of real time.
        """
        give_up, late = self.clock.now() + patience, time.monotonic() + 60 * minutes
        while True:
            while self.turn() or self.look():
                told = f"after {minutes} minutes, {self.told()}" if time.monotonic() > late else ""
                assert not told, told
            if found := wanted():
                return found
            told = f"after {patience} or {minutes} minutes, {self.told()}" if self._late(give_up, late) else ""
            assert not told, told
            self.wait(SWEEP_EVERY)

    def _late(self, give_up: datetime, late: float) -> bool:
        return self.clock.now() > give_up or time.monotonic() > late

    def at_rest(self) -> bool:
        """Whether no message is left anywhere and no run is active."""
        return not (self.messages or self.look(everything=True) or list(self.app.runs.active()))

    def wait(self, at_most: timedelta) -> None:
        """Lets time pass until the next message is due or a timer fires, but no longer than that."""
        now = self.clock.now()
        moments = [now + at_most, *(message.due for message in self.messages.values())]
        if self.sweeps:
            moments += [self._swept + SWEEP_EVERY, self._cleaned + CLEANUP_EVERY]
        self.clock.jump(min(moments) - now)
        time.sleep(0.01)  # for what the local cloud does at that moment by itself
        if self.sweeps and self.clock.now() >= self._swept + SWEEP_EVERY:
            self.sweep()
        if self.sweeps and self.clock.now() >= self._cleaned + CLEANUP_EVERY:
            self.cleanup()

    def sweep(self) -> None:
        """The timer fires."""
        self._swept = self.clock.now()
        self._run(self.hosts[self._turn % len(self.hosts)], sweep)

    def cleanup(self) -> None:
        """The other timer fires."""
        self._cleaned = self.clock.now()
        self._run(self.hosts[self._turn % len(self.hosts)], cleanup)

    def run(self, run_id: str) -> Run:
        """The record as it stands."""
        loaded = self.app.runs.load(run_id)
        assert loaded, f"there is no run {run_id}"
        return loaded.record

    def line(self, line_id: str) -> Line:
        """The record as it stands."""
        loaded = self.app.lines.load(line_id)
        assert loaded, f"there is no line {line_id}"
        return loaded.record

    def newest(self) -> Run | None:
        """The run that was made last."""
        return self.run(self.known[-1]) if self.known else None

    def told(self) -> str:
        """The world's state, for a failed test."""
        active = [self.run(run_id) for run_id in self.app.runs.active()]
        lines = [
            f"{run.id} ({run.source.folder}): {run.phase}, waiting for {run.waiting}, claim {run.claim}, "
            f"wake {run.wake}, parked {run.parked}, ending {run.ending}"
            for run in active
        ]
        lines += [str(self.line(line_id)) for line_id in self.app.lines.standing()]
        queued = Counter(message.queue for message in self.messages.values())
        return "\n".join([f"active: {len(active)}", *lines, f"messages: {dict(queued)}", f"errors: {self.errors}"])

    def _work(self, host: Host, message: Message) -> None:
        message.count += 1
        if message.count > ATTEMPTS:
            self._poison(host, message)
            return
        handle = HANDLERS[message.queue]
        host.wire.begin("line" if b'"line"' in message.body[:8] else "")
        try:
            deliver(host.app, message.queue, message.body, handle)
        except HostDied:
            self.died += 1
            host.reborn()
            if self.lost_with_host:
                self._delete(message)
            else:
                message.due = self.clock.now() + LEASE
        except Exception as error:
            self._raised(error)
            if message.count >= ATTEMPTS:
                self._poison(host, message)
            else:
                message.due = self.clock.now() + AGAIN
        else:
            self._delete(message)

    def _run(self, host: Host, timer: Callable[[App], None]) -> None:
        host.wire.begin(timer.__name__)
        try:
            timer(host.app)
        except HostDied:
            self.died += 1
            host.reborn()
        except Exception as error:
            self._raised(error)

    def _raised(self, error: Exception) -> None:
        if not isinstance(error, Transient):
            self.errors.append(error)

    def _poison(self, host: Host, message: Message) -> None:
        park(host.app, message.queue, message.id, message.body)
        self._delete(message)

    def _sent(self, queue: str, message: str, seconds: int) -> None:
        self._due[message] = self.clock.now() + timedelta(seconds=seconds)
        self._unread.add(queue)

    def _written(self, path: str) -> None:
        found = re.fullmatch(r"/[^/]+/state/runs/([^/]+)\.json", path)
        if found and found[1] not in self.known:
            self.known.append(found[1])

    def _take(self, queue: str) -> bool:
        client = self.app.cloud.clients.queue_service.get_queue_client(queue)
        self._unread.discard(queue)
        pages = client.receive_messages(messages_per_page=32, visibility_timeout=_FAR).by_page()
        found = list(next(pages, ()))
        if len(found) == 32:
            self._unread.add(queue)
        for message in found:
            due = self._due.pop(message.id, self.clock.now())
            self.messages[message.id] = Message(
                id=message.id, queue=queue, receipt=str(message.pop_receipt), body=b64decode(message.content), due=due
            )
        return bool(found)

    def _delete(self, message: Message) -> None:
        client = self.app.cloud.clients.queue_service.get_queue_client(message.queue)
        client.delete_message(message.id, message.receipt)
        self.messages.pop(message.id, None)
