"""The local cloud as one object: starts its processes, keeps account of them, stops them, survives what is done to it.

Used by `python -m localcloud` (and through it by the `droptune` command) and by the tests. One supervisor
a state folder: it holds STATE/lock, which the system releases however it ends. Its children are Azurite, the cloud
server and the Functions host, each under a guard (localcloud/guard.py), so that none outlives it.
"""

from __future__ import annotations

import fcntl
import json
import os
import socket
import ssl
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psutil

from localcloud import azurite, guard, pki
from localcloud.environment import (
    LISTENERS,
    MADE,
    Description,
    ProcessId,
    app_environment,
    child_environment,
    no_internet,
)
from localcloud.options import typed
from localcloud.ports import bound

REPO = Path(__file__).parents[1]
READY = 60.0
"""Seconds that a process has to become ready."""
_LONGEST_PAUSE = 30.0


class StackError(Exception):
    """The local cloud can't be started, or a part of it ended. Says which, why, and where its log is."""


@dataclass(kw_only=True)
class _Child:
    """One process that ought to run."""

    process: guard.Guarded
    started: float = field(default_factory=time.monotonic)


class Stack:
    """The local cloud of one state folder."""

    def __init__(self, state: Path, *, app: Path = REPO, settings: Mapping[str, str] | None = None) -> None:
        """`app`: the Functions app's folder. `settings`: its settings besides what points it at this cloud."""
        self.state = state.resolve()
        self._app, self._settings = app.resolve(), dict(settings or {})
        self._description: Description | None = None
        self._children: dict[str, _Child] = {}
        self._failures: dict[str, int] = {}
        self._again: dict[str, float] = {}
        self._lock = ExitStack()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()

    @property
    def description(self) -> Description:
        """Ports, secrets and processes. Raises StackError before start()."""
        if self._description is None:
            raise StackError(f"the local cloud in {self.state} is not started")
        return self._description

    @property
    def environment(self) -> dict[str, str]:
        """What points the app and the SDKs at this cloud, closes the way to the internet, and the app's settings."""
        return app_environment(self.description) | no_internet(self.description) | self._settings

    @property
    def urls(self) -> dict[str, str]:
        """`blob`, `queue`, `table`, `management` and `host`, no slash at the end."""
        description = self.description
        storage = {service: description.storage_url(service) for service in ("blob", "queue", "table")}
        return storage | {"management": description.management_url, "host": description.host_url}

    def start(self, *, host: bool = True) -> None:
        """Start everything; ready when it returns. Does nothing for what runs already.

        Raises StackError when another supervisor holds the state folder or a process doesn't become ready; then
        nothing is left running.
        """
        try:
            if self._description is None:
                self._claim()
            self._start_azurite()
            self.start_server()
            if host:
                self.start_host()
        except BaseException:
            self.stop()
            raise

    def start_server(self) -> None:
        """Start the cloud server and wait until it answers."""
        if "server" not in self._children:
            self._spawn("server", ["-m", "localcloud.server", "--state", str(self.state)])
            self._until_ready("server", self._server_answers)

    def kill_server(self) -> None:
        """SIGKILL, as a crash would be."""
        self._end("server", at_once=True)

    def start_host(self) -> None:
        """Start the Functions host and wait until it has indexed the app."""
        if "host" in self._children:
            return
        log = self.log("host")
        seen = log.stat().st_size if log.exists() else 0
        port, clock = str(self.description.ports["host"]), f"{self.description.management_url}/_local/clock"
        command = ["-m", "localcloud.host", "--app", str(self._app), "--port", port, "--clock", clock]
        key = {"LOCAL_FUNCTION_KEY": self.description.function_key}
        self._spawn("host", command, app_environment(self.description) | key | self._settings)

        def indexed() -> bool:
            with log.open("rb") as file:
                file.seek(seen)
                return any(line.startswith(b"ready ") for line in file)

        self._until_ready("host", indexed)

    def kill_host(self) -> None:
        """SIGKILL, as a crash would be."""
        self._end("host", at_once=True)

    def stop(self) -> None:
        """Stop everything and wait for it. The state stays, and start() takes it up again."""
        for name in ("host", "server", "azurite"):
            self._end(name)
        if self._description is not None:
            replace(self._description, processes={}, settings={}).save()
            self._description = None
        self._lock.close()

    def tend(self) -> list[str]:
        """Start again whatever ended by itself, after a pause that doubles with every failure. Returns what to tell.

        To be called about once a second.
        """
        told = []
        now = time.monotonic()
        for name, child in list(self._children.items()):
            code = child.process.poll()
            if code is None:
                continue
            if now - child.started > _LONGEST_PAUSE:
                self._failures.pop(name, None)
            self._end(name)
            told.append(self._postpone(name, f"{name} ended with code {code}"))
        starters = {"azurite": self._restart_azurite, "server": self.start_server, "host": self.start_host}
        for name, due in list(self._again.items()):
            if now < due:
                continue
            del self._again[name]
            try:
                starters[name]()
                told.append(f"{name} runs again")
            except StackError as error:
                self._end(name)
                told.append(self._postpone(name, str(error)))
        return told

    def control(self, method: str, path: str, body: Any = None) -> Any:
        """control() of this cloud."""
        return control(self.description, method, path, body)

    def log(self, name: str) -> Path:
        """The log of `azurite`, `server` or `host`."""
        return self.state / "logs" / f"{name}.log"

    def _claim(self) -> None:
        self.state.mkdir(mode=0o700, parents=True, exist_ok=True)
        Description.load(self.state)  # raises in somebody else's folder, which is left as it is
        found = [name for name in MADE if os.path.lexists(self.state / name)]
        self.state.chmod(0o700)  # one that is there already too: keys, logs and data are in it
        if not hold(self.state, self._lock):
            other = Description.load(self.state)
            who = other.processes.get("supervisor") if other else None
            pid = f" (process {who.pid})" if who else ""
            raise StackError(
                f"a local cloud is already running in {self.state}{pid}: stop it with `{typed('down', self.state)}`, "
                "or name another folder with --state"
            )
        earlier = Description.load(self.state)
        if earlier is not None:
            outlive(earlier)
        ports = _ports(earlier.ports if earlier else {})
        description = earlier or Description(state=self.state, ports=ports, found=found)
        me = ProcessId(pid=os.getpid(), started=psutil.Process().create_time())
        self._description = replace(
            description, ports=ports, processes={"supervisor": me}, settings=dict(self._settings)
        )
        self._description.save()
        pki.ensure(self.state / "pki")
        (self.state / "azurite").mkdir(exist_ok=True)

    def _start_azurite(self) -> None:
        if "azurite" in self._children:
            return
        try:
            command = azurite.command(self.description)
        except FileNotFoundError as error:
            raise StackError(str(error)) from None
        self._spawn("azurite", command, azurite.account_variable(self.description))

    def _restart_azurite(self) -> None:
        self._start_azurite()  # start() doesn't wait here: the server does, which starts at the same time

        def listens() -> bool:
            with socket.socket() as probe:
                return probe.connect_ex(("127.0.0.1", self.description.ports["azurite_table"])) == 0

        self._until_ready("azurite", listens)

    def _spawn(self, name: str, command: list[str], extra: Mapping[str, str] | None = None) -> None:
        program = command if name == "azurite" else [sys.executable, *command]
        environment = child_environment(self.description, extra)
        process = guard.spawn(program, env=environment, cwd=REPO, log=self.log(name))
        self._children[name] = _Child(process=process)
        with suppress(psutil.NoSuchProcess):
            identity = ProcessId(pid=process.pid, started=psutil.Process(process.pid).create_time())
            processes = {**self.description.processes, name: identity}
            self._description = replace(self.description, processes=processes)
            self._description.save()

    def _until_ready(self, name: str, ready: Callable[[], bool]) -> None:
        deadline = time.monotonic() + READY
        while not ready():
            for other in {name, "azurite"} & self._children.keys():
                if (code := self._children[other].process.poll()) is not None:
                    raise StackError(f"{other} ended with code {code}: {self._tail(other)}")
            if time.monotonic() > deadline:
                raise StackError(f"{name} was not ready after {READY:.0f} s: {self._tail(name)}")
            time.sleep(0.03)

    def _server_answers(self) -> bool:
        try:
            return bool(self.control("GET", "/_local/health"))
        except (OSError, StackError):
            return False

    def _end(self, name: str, *, at_once: bool = False) -> None:
        self._again.pop(name, None)
        child = self._children.pop(name, None)
        if child is not None:
            if at_once:
                child.process.kill()
                child.process.wait()
            guard.stop(child.process)

    def _postpone(self, name: str, why: str) -> str:
        failures = self._failures[name] = self._failures.get(name, 0) + 1
        pause = min(2.0 ** (failures - 1), _LONGEST_PAUSE)
        self._again[name] = time.monotonic() + pause
        return f"{why}; starting it again in {pause:.0f} s (log: {self.log(name)})"

    def _tail(self, name: str) -> str:
        log = self.log(name)
        lines = log.read_text(errors="replace").strip().splitlines()[-5:] if log.exists() else []
        return "\n".join([f"see {log}", *lines])


def control(description: Description, method: str, path: str, body: Any = None) -> Any:
    """Call a control route (`/_local/...`) of the cloud server. Returns its JSON, None for an empty answer.

    Raises StackError with the server's message when it refuses.
    """
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(f"{description.management_url}{path}", data, method=method)  # noqa: S310
    request.add_header("Content-Type", "application/json")
    tls = urllib.request.HTTPSHandler(context=ssl.create_default_context(cafile=str(description.ca)))
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({}), tls).open(request, timeout=30) as answer:
            return json.loads(answer.read() or b"null")
    except urllib.error.HTTPError as error:
        with closing(error):
            raise StackError(f"{method} {path}: {error.code} {error.read().decode()[:500]}") from None


def hold(state: Path, until: ExitStack) -> bool:
    """Take the folder's lock until the stack of exits ends. False when somebody has it."""
    while True:
        path = state / "lock"
        lock = until.enter_context(path.open("a"))
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        with suppress(FileNotFoundError):  # a reset may have deleted the file since it was opened
            if os.path.samestat(os.fstat(lock.fileno()), path.stat()):
                return True
        state.mkdir(mode=0o700, parents=True, exist_ok=True)


def running(state: Path) -> Description:
    """The local cloud that runs in a state folder. Raises StackError when none does."""
    description = Description.load(state)
    known = description.processes.get("supervisor") if description else None
    if description is None or known is None or find(known) is None:
        raise StackError(f"no local cloud is running in {state}: start it with `{typed('up', state)}`")
    return description


def outlive(earlier: Description) -> None:
    """Wait until the children of a supervisor that was killed are gone: their guards are ending them."""
    for name, known in earlier.processes.items():
        if name == "supervisor" or (process := find(known)) is None:
            continue
        try:
            process.wait(guard.GRACE + 3)
        except psutil.TimeoutExpired:
            raise StackError(f"{name} of an earlier start (process {known.pid}) doesn't end") from None


def find(known: ProcessId) -> psutil.Process | None:
    """The process, if it is still the same one and has not ended."""
    try:
        process = psutil.Process(known.pid)
        same = abs(process.create_time() - known.started) < 1 and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return None
    return process if same else None


def _ports(wanted: Mapping[str, int]) -> dict[str, int]:
    """A port for every listener: those of the last time that are free, others at random."""
    with ExitStack() as held:
        chosen = {}
        for name in LISTENERS:
            probe = held.enter_context(closing(bound(wanted.get(name, 0))))
            chosen[name] = probe.getsockname()[1]
        return chosen
