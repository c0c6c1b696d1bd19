"""One deployment's inference server: a process of the model environment on a loopback port.

What runs is Azure ML's own server (azureml-inference-server-http) with localcloud/serving/score.py, started through
gunicorn because its own command always listens on every interface. deployments.py decides when one starts and ends,
scoring.py sends it requests, monitor.py reads its processor time.
"""

import asyncio
import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import psutil

from localcloud import guard
from localcloud.ports import bound

log = logging.getLogger(__name__)

SERVING = Path(__file__).resolve().parent.parent / "serving"
POLL = 0.2
"""Seconds between two looks at a process."""
LONGEST_PAUSE = 60.0
"""Seconds between two restarts of a server that keeps dying."""
MARGIN_MS = 250
"""What the server may take longer than the front: the front's 408 comes first, then the worker is freed too."""


class Overloaded(Exception):
    """More requests at once than the deployment takes."""


class Unreachable(Exception):
    """The process is not there, or broke off; the message says which."""


@dataclass(frozen=True, kw_only=True)
class Launch:
    """What a server is started with."""

    name: str
    """`endpoint/deployment`, for the local cloud's own log."""
    python: Path
    model_dir: Path
    """AZUREML_MODEL_DIR: holds the registered model's folder."""
    log_file: Path
    start_limit: float
    """Seconds of real time after which a server that does not answer has failed."""
    request_timeout: float
    """Seconds of real time."""
    capacity: int
    """Requests that may run or wait at once."""
    environment: Mapping[str, str] = field(default_factory=dict)


class InferenceServer:
    """The process. `start` or `persist` once, then `keep` for as long as it is wanted, then `stop`."""

    def __init__(self, launch: Launch) -> None:
        self.launch = launch
        self._process: guard.Guarded | None = None
        self._ready = asyncio.Event()
        self._turn = asyncio.Semaphore(1)
        self._in_flight = 0
        self._client: httpx.AsyncClient | None = None

    async def start(self) -> str | None:
        """Start the process and wait until it answers. Returns what went wrong, or None."""
        port = _free_port()
        # Plain HTTP on loopback: no certificates to load, no proxy to ask; callers set the deadlines.
        transport = httpx.AsyncHTTPTransport(verify=False)
        self._client = httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", transport=transport, timeout=None)  # noqa: S113
        self._process = guard.spawn(self._command(port), env=self._environment(), cwd=SERVING, log=self.launch.log_file)
        try:
            async with asyncio.timeout(self.launch.start_limit):
                while self._code() is None:
                    # gunicorn listens before its worker has loaded the model: one request waits for all of it.
                    try:
                        if (await self._client.get("/")).is_success:
                            self._ready.set()
                            return None
                    except httpx.TransportError:
                        await asyncio.sleep(POLL)
            problem = f"the inference server ended with code {self._code()} before it answered"
        except TimeoutError:
            problem = f"the inference server did not answer within {self.launch.start_limit:.0f} s"
        await self.stop()
        return problem

    async def persist(self) -> None:
        """Start the process, again after a pause that doubles whenever that fails, until it answers."""
        pause = 1.0
        while problem := await self.start():
            log.warning("%s: %s; next try in %.0f s", self.launch.name, problem, pause)
            await asyncio.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)

    async def keep(self) -> None:
        """Watch the process and start it again whenever it ends. Returns only by being cancelled."""
        while True:
            while self._code() is None:  # noqa: ASYNC110 - a process has no event to wait for
                await asyncio.sleep(POLL)
            log.warning("%s: the inference server ended with code %s, restarting", self.launch.name, self._code())
            await self.stop()
            await self.persist()

    async def stop(self) -> None:
        """End the process, if there is one."""
        self._ready.clear()
        process, self._process = self._process, None
        if process is not None:
            await asyncio.to_thread(guard.stop, process)
        if self._client is not None:
            await self._client.aclose()
            self._client = None

    def kill(self) -> None:
        """Let nothing be finished: stop() follows, and is quick then."""
        if self._process is not None:
            self._process.kill()

    async def score(self, body: bytes, content_type: str) -> httpx.Response:
        """Send one request to the scoring script; requests take turns, the server has one worker.

        A server that is being restarted is waited for. Raises Overloaded, Unreachable, and TimeoutError when the
        request's turn took longer than the deployment's request timeout.
        """
        if self._in_flight >= self.launch.capacity:
            raise Overloaded
        self._in_flight += 1
        try:
            async with self._turn, asyncio.timeout(self.launch.request_timeout):
                await self._ready.wait()
                if self._client is None:
                    raise Unreachable("the inference server is being stopped")
                return await self._client.post("/score", content=body, headers={"Content-Type": content_type})
        except httpx.TransportError as error:
            raise Unreachable(f"the inference server broke off: {error}") from error
        finally:
            self._in_flight -= 1

    def cpu_seconds(self) -> float | None:
        """Processor time of the process and all below it since they started; None while nothing serves."""
        if self._process is None or not self._ready.is_set():
            return None
        total = 0.0
        try:
            for process in psutil.Process(self._process.pid).children(recursive=True):
                times = process.cpu_times()
                total += times.user + times.system
        except psutil.NoSuchProcess:
            return None
        return total

    def _code(self) -> int | None:
        return None if self._process is None else self._process.poll()

    def _command(self, port: int) -> list[str | Path]:
        options = ["--bind", f"127.0.0.1:{port}", "--workers", "1", "--no-control-socket", "--graceful-timeout", "2"]
        # As azmlinfsrv does: the access log goes to its own logger, gunicorn's errors would be written twice.
        options += ["--timeout", "300", "--access-logfile", "-", "--error-logfile", os.devnull]
        return [self.launch.python, "-m", "gunicorn", *options, "azureml_inference_server_http.server.entry:app"]

    def _environment(self) -> dict[str, str]:
        return {
            **os.environ,
            **self.launch.environment,
            "AML_APP_ROOT": str(SERVING),
            "AZUREML_ENTRY_SCRIPT": "score.py",
            "AZUREML_MODEL_DIR": str(self.launch.model_dir),
            "SCORING_TIMEOUT_MS": str(round(self.launch.request_timeout * 1000) + MARGIN_MS),
            "OMP_NUM_THREADS": "1",
            "PYTHONUNBUFFERED": "1",
        }


def _free_port() -> int:
    with bound() as probe:
        port: int = probe.getsockname()[1]
        return port
