"""The terminal of the demo: shows a command as it is typed, runs it, and looks after all processes meanwhile.

Commands are processes of this Python with the reader's own environment, but for what would lead them to the internet.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import psutil

from cli.apps import STATE, Apps, file
from cli.errors import CliError
from cli.screen import Screen
from localcloud import guard
from localcloud.environment import Description, app_environment, child_environment
from localcloud.stack import REPO, control

EVERY = 0.4
"""Seconds between two looks at the processes."""
PATIENCE = 120.0
"""Seconds for what a timer does once the clock has moved."""
LOG = "cloud.log"
WIDTH = 78
"""Characters of a line that is typed."""
_LOOPBACK = ("127.", "::1", "::ffff:127.")


class Shell:
    """A folder in which commands are typed, with a local cloud of its own."""

    def __init__(self, folder: Path, screen: Screen) -> None:
        self.folder, self._screen = folder.resolve(), screen
        self.processes: set[psutil.Process] = set()
        self.outside: set[str] = set()
        self.looks = 0
        self._cloud: guard.Guarded | None = None
        self._path = os.pathsep.join(filter(None, (str(REPO), os.environ.get("PYTHONPATH"))))
        self._state = ("--state", str(STATE)) if _other_app() else ()

    @property
    def description(self) -> Description:
        """The local cloud of the folder. Raises CliError before it was started."""
        found = Description.load(self.folder / STATE)
        if found is None:
            raise CliError(f"there is no local cloud in {self.folder}")
        return found

    def start(self, settings: Mapping[str, str]) -> None:
        """Starts the local cloud in the background, and waits until it is ready. Raises CliError."""
        words = ["local", "up", *(word for name, value in settings.items() for word in ("--set", f"{name}={value}"))]
        self._screen.prompt(*typed(words, f"> {LOG} 2>&1 &"))
        log = self.folder / LOG
        log.unlink(missing_ok=True)
        environment = os.environ | {"PYTHONPATH": self._path, "PYTHONUNBUFFERED": "1"}
        self._cloud = guard.spawn(self._python("cli", *words), env=environment, cwd=self.folder, log=log)
        while not re.search(r"^ready", told := log.read_text(errors="replace"), re.MULTILINE):
            if self._cloud.poll() is not None:
                raise CliError((told.strip().splitlines() or ["the local cloud did not start"])[-1])
            time.sleep(EVERY)

    def run(self, *words: str, code: int = 0, keep: re.Pattern[str] | None = None) -> str:
        """Shows a command and runs it. Raises CliError unless it ends with `code`.

        `keep`: returns what it prints, and shows those of its lines alone in which that is found; without it the
        terminal is the command's own, and nothing is returned.
        """
        words = self.of_app(words)
        self._screen.prompt(*typed(words))
        done, printed = self._done(self._python("cli", *words), self._environment(), aside=keep is not None)
        for line in printed.splitlines():
            if keep and keep.search(line):
                self._screen.text(line.lstrip(), indent=len(line) - len(line.lstrip()))
        if done != code:
            raise CliError(f"{shlex.join(('droptune', *words))} ended with {done}, not {code}")
        return printed

    def read[A](self, *words: str, shape: type[A]) -> A:
        """What a command says with `--json`, as claims read it. Shows nothing; raises CliError."""
        words = (*self.of_app(words), "--json")
        _, printed = self._done(self._python("cli", *words), self._environment(), aside=True)
        try:
            return msgspec.json.decode(printed, type=shape)
        except (msgspec.DecodeError, msgspec.ValidationError):
            raise CliError(
                f"{shlex.join(('droptune', *words))}: {printed.strip()[-500:] or 'it says nothing'}"
            ) from None

    def until[A](self, what: str, *words: str, shape: type[A]) -> Iterator[A]:
        """read() again and again. Raises CliError after PATIENCE seconds without `what`."""
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            yield self.read(*words, shape=shape)
            time.sleep(EVERY)
        raise CliError(f"{what}: not after {PATIENCE:.0f} s")

    def other_tool(self, what: str, *words: str) -> Any:
        """What cli/demo/sdk.py answers, with what points Azure's SDKs at the local cloud. Raises CliError."""
        environment = self._environment() | app_environment(self.description)
        done, printed = self._done(
            [sys.executable, "-W", "ignore", "-m", "cli.demo.sdk", what, *words], environment, aside=True
        )
        lines = printed.strip().splitlines() or ["it said nothing"]
        if done:
            raise CliError(f"cli.demo.sdk {what}: {lines[-1]}")
        return msgspec.json.decode(lines[-1])

    def control(self, path: str) -> Any:
        """What a control route of the local cloud shows."""
        return control(self.description, "GET", path)

    def stop(self) -> None:
        """Stops the local cloud, if it still runs, and waits for it. Never raises."""
        if self._cloud is None:
            return
        if self._cloud.poll() is None:
            down = self._python("cli", "local", "down")
            subprocess.run(
                down, cwd=self.folder, env=os.environ | {"PYTHONPATH": self._path}, capture_output=True, check=False
            )
        guard.stop(self._cloud)
        self._cloud = None

    def left(self) -> list[int]:
        """Those of the processes that still run."""
        return [one.pid for one in self.processes if one.is_running() and one.status() != psutil.STATUS_ZOMBIE]

    def _done(self, command: Sequence[str], environment: Mapping[str, str], *, aside: bool) -> tuple[int, str]:
        """Runs it to its end. Returns its exit code, and what it printed if that goes `aside`: not to the terminal."""
        output = subprocess.PIPE if aside else None
        errors = subprocess.STDOUT if aside else None
        with subprocess.Popen(
            command, cwd=self.folder, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=errors
        ) as process:
            try:
                while True:
                    try:
                        printed, _ = process.communicate(timeout=EVERY)
                        return process.returncode, (printed or b"").decode(errors="replace")
                    except subprocess.TimeoutExpired:
                        self._look()
            except BaseException:
                process.terminate()
                raise

    def _look(self) -> None:
        """Notes the processes that were started, and every address outside this machine that one is connected to."""
        self.looks += 1
        for process in psutil.Process().children(recursive=True):
            self.processes.add(process)
            try:
                found = [one.raddr.ip for one in process.net_connections("inet") if one.raddr]
            except psutil.Error:
                continue
            self.outside |= {f"{process.pid} -> {ip}" for ip in found if not ip.startswith(_LOOPBACK)}

    def _environment(self) -> dict[str, str]:
        return child_environment(self.description, {"PYTHONPATH": self._path})

    def of_app(self, words: Sequence[str]) -> tuple[str, ...]:
        """With the local cloud's name where a command of an app would ask another."""
        return (*words, *(self._state if words[0] not in ("local", "check") else ()))

    @staticmethod
    def _python(module: str, *words: str) -> list[str]:
        return [sys.executable, "-m", module, *words]


def typed(words: Sequence[str], rest: str = "") -> list[str]:
    """A command as it is typed: in several lines where one is too long. `rest`: what the shell reads, as `&`."""
    pieces: list[list[str]] = [["droptune"]]
    for word in words:
        if word.startswith("--"):
            pieces.append([])
        pieces[-1].append(word)
    lines: list[str] = []
    for piece in filter(None, (*map(shlex.join, pieces), rest)):
        if lines and len(lines[-1]) + len(piece) < WIDTH - 2:
            lines[-1] += f" {piece}"
        else:
            lines.append(f"    {piece}" if lines else piece)
    return [*(f"{line} \\" for line in lines[:-1]), lines[-1]]


def _other_app() -> bool:
    """Whether a command that names no app would ask another than the local cloud of its folder."""
    if os.environ.get("DROPTUNE_URL") or os.environ.get("DROPTUNE_APP"):
        return True
    try:
        return bool(Apps.load(file(os.environ)).current)
    except CliError:
        return True  # a list that can't be read stops each command that would look there
