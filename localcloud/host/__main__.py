"""`python -m localcloud.host --app DIR --port P [--clock URL]`: index the app, listen, and say so in one line.

What is wrong with the app or its settings ends the process with one clear message and exit code 1, before anything
listens. SIGTERM and SIGINT stop the listeners, give running functions a short while, and end the process.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import os
import re
import signal
import socket
import sys
import time
from collections.abc import Coroutine, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from localcloud.host.clock import HostClock
from localcloud.host.connections import HOST_STORAGE, Connections
from localcloud.host.http import HttpListener, route
from localcloud.host.invocations import Invocations
from localcloud.host.queues import QueueListener, QueueSender
from localcloud.host.settings import HostError, HostSettings, is_disabled, load, resolve
from localcloud.host.timers import Schedule, TimerListener
from localcloud.host.worker import Function, Worker

GRACE = 1.2
"""Seconds that running functions have to end after SIGTERM."""
POISON = "-poison"
"""What is added to a queue's name for its poison queue."""

log = logging.getLogger("host")


def main(arguments: Sequence[str] | None = None) -> int:
    """The command. Returns its exit code."""
    parser = argparse.ArgumentParser(prog="python -m localcloud.host", description="Run a Functions app locally.")
    parser.add_argument("--app", type=Path, required=True, help="folder with host.json and function_app.py")
    parser.add_argument("--port", type=int, required=True, help="HTTP port on 127.0.0.1; 0 takes a free one")
    parser.add_argument("--clock", help="URL of the local cloud's clock, followed by timers (default: real time)")
    parser.add_argument("--lease", type=int, default=15, help="seconds for which a message is taken and renewed")
    options = parser.parse_args(arguments)
    _log_to_stdout()
    try:
        asyncio.run(Host(options.app.resolve(), options.port, clock=options.clock, lease=options.lease).run())
    except HostError as error:
        sys.stdout.flush()
        sys.stderr.write("\n".join(filter(None, [error.trace.rstrip(), f"error: {error}\n"])))
        return 1
    return 0


class Host:
    """Everything that listens for one app."""

    def __init__(self, app: Path, port: int, *, clock: str | None, lease: int) -> None:
        environ = os.environ
        self._settings = load(app, environ)
        self._socket = _bind(port)
        os.chdir(app)
        self._worker = Worker(app)
        self._functions = [each for each in self._worker.index() if not is_disabled(each.name, environ)]
        self._clock = HostClock(clock)
        if clock:
            try:
                self._clock.read()
            except (OSError, ValueError, KeyError) as error:
                raise HostError(f"the clock at {clock} doesn't answer: {error}") from None
        connections = Connections(environ)
        outputs = dict(_outputs(self._functions, self._settings, connections, environ))
        self._invocations = Invocations(self._worker, timeout=self._settings.function_timeout, outputs=outputs)
        self._listeners: list[QueueListener | TimerListener] = []
        routes = []
        for function in self._functions:
            match function.kind:
                case "queueTrigger":
                    self._listeners.append(self._queue_listener(function, connections, environ, lease))
                case "timerTrigger":
                    self._listeners.append(self._timer_listener(function, connections, environ))
                case _:
                    routes.append(route(function, self._settings, environ))
        self._by_hand: set[asyncio.Task[Any]] = set()
        self._http = HttpListener(
            self._functions,
            routes,
            environ=environ,
            protocol=self._worker.protocol,
            invocations=self._invocations,
            spawn=self._spawn,
        )

    async def run(self) -> None:
        """Listen until SIGTERM or SIGINT. Ends the process itself: a function that doesn't stop must not keep it."""
        server = _server(self._http)
        stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        serving = asyncio.create_task(server.serve(sockets=[self._socket]))
        listening = [asyncio.create_task(listener.run()) for listener in self._listeners]
        if self._clock.url:
            listening.append(asyncio.create_task(self._clock.follow()))
        stopping = asyncio.create_task(stop.wait())
        names = " ".join(sorted(function.name for function in self._functions))
        sys.stdout.write(f"ready {self._socket.getsockname()[1]} {names}\n")
        sys.stdout.flush()
        await asyncio.wait({stopping, serving, *listening}, return_when=asyncio.FIRST_COMPLETED)
        broken = [task for task in (serving, *listening) if task.done()]
        for task in broken:
            log.critical("A listener ended, so the host does", exc_info=task.exception())
        log.info("Stopping")
        for task in listening:
            task.cancel()
        server.should_exit = True
        ending = {serving, *self._by_hand, *(task for listener in self._listeners for task in listener.processing)}
        _, unfinished = await asyncio.wait(ending, timeout=GRACE)
        timers = [listener.release() for listener in self._listeners if isinstance(listener, TimerListener)]
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0.5):
                await asyncio.gather(*timers)
        if unfinished:
            log.warning("%d running invocations are cut off", len(unfinished))
        logging.shutdown()
        sys.stdout.flush()
        os._exit(1 if broken else 0)

    def _queue_listener(
        self, function: Function, connections: Connections, environ: Mapping[str, str], lease: int
    ) -> QueueListener:
        name, connection, used_by = _queue(function, function.trigger, environ)
        poison = None
        if not name.endswith(POISON):
            poison = connections.queue(f"{name}{POISON}", connection=connection, used_by=used_by)
        return QueueListener(
            function,
            connections.queue(name, connection=connection, used_by=used_by),
            poison,
            settings=self._settings.queues,
            lease=lease,
            invocations=self._invocations,
        )

    def _timer_listener(
        self, function: Function, connections: Connections, environ: Mapping[str, str]
    ) -> TimerListener:
        where = f"function {function.name}: its schedule"
        return TimerListener(
            function,
            Schedule(resolve(function.trigger["schedule"], environ, where=where), function=function.name),
            connections.host_container(used_by=f"function {function.name}, timerTrigger"),
            host_id=_host_id(environ),
            clock=self._clock,
            invocations=self._invocations,
        )

    def _spawn(self, call: Coroutine[Any, Any, Any]) -> None:
        task = asyncio.create_task(call)
        self._by_hand.add(task)
        task.add_done_callback(self._by_hand.discard)


def _outputs(
    functions: Sequence[Function], settings: HostSettings, connections: Connections, environ: Mapping[str, str]
) -> Iterator[tuple[tuple[str, str], QueueSender]]:
    for function in functions:
        for name, binding in function.outputs.items():
            if binding["type"] == "queue":
                queue, connection, used_by = _queue(function, binding, environ)
                client = connections.queue(queue, connection=connection, used_by=used_by)
                yield (function.name, name), QueueSender(client, base64=settings.queues.base64)


def _queue(function: Function, binding: Mapping[str, Any], environ: Mapping[str, str]) -> tuple[str, str, str]:
    """A queue binding's queue, its connection, and whose it is for an error."""
    used_by = f"function {function.name}, {binding['type']} {binding['name']!r}"
    name = resolve(binding["queueName"], environ, where=f"{used_by}: its queueName")
    return name, binding.get("connection") or HOST_STORAGE, used_by


def _host_id(environ: Mapping[str, str]) -> str:
    """What hosts of the same app share, by the real host's setting, else by the app's name."""
    name = environ.get("AzureFunctionsWebHost__hostid") or environ.get("WEBSITE_SITE_NAME") or "local"
    return re.sub(r"[^a-z0-9-]", "-", name.lower())[:32]


def _server(app: HttpListener) -> Any:
    import uvicorn

    class Server(uvicorn.Server):
        @contextlib.contextmanager
        def capture_signals(self) -> Iterator[None]:
            yield  # ours stop more than the server

    config = uvicorn.Config(app, log_config=None, access_log=False, lifespan="off", timeout_graceful_shutdown=1)
    return Server(config)


def _bind(port: int) -> socket.socket:
    # Named as TCP, or asyncio would leave Nagle on, and an answer wait 40 ms for its acknowledgement.
    listener = socket.socket(proto=socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(("127.0.0.1", port))
        listener.listen()  # so that nobody who has read the ready line is refused
    except OSError as error:
        raise HostError(f"port {port} on 127.0.0.1 can't be used: {error.strerror}") from None
    return listener


def _log_to_stdout() -> None:
    """The app's logging and the host's own, as lines with a time; the libraries' chatter only from warnings on."""
    handler = logging.StreamHandler(sys.stdout)
    formatter = logging.Formatter("[%(asctime)s.%(msecs)03dZ] %(message)s", "%Y-%m-%dT%H:%M:%S")
    formatter.converter = time.gmtime
    handler.setFormatter(formatter)
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    for noisy in ("azure", "uvicorn", "httpx"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    # The worker library's own: all that it reports there comes back in its answers as well.
    logging.getLogger("azure.functions").setLevel(logging.CRITICAL)


if __name__ == "__main__":
    sys.exit(main())
