"""Runs one command so that it can't outlive the process that asked for it.

Every child of the local cloud runs under a guard. The parent holds the write end of the guard's standard input; when
that closes (the parent stopped it, crashed or was killed with -9), the guard ends the command's whole process group.
On Linux the command also ends when its guard is killed with -9.
Called through spawn() and stop() by localcloud/stack.py and by whatever the cloud server starts; by hand it is
`python -m localcloud.guard -- CMD`.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

GRACE = 5.0
"""Seconds between SIGTERM and SIGKILL."""

_KILL = b"K"
_PR_SET_PDEATHSIG = 1  # linux/prctl.h


class Guarded(subprocess.Popen[bytes]):
    """The guard's process; it ends when the command has ended, with the command's code (128 + n after signal n)."""

    def kill(self) -> None:
        """SIGKILL for the command's group, now. A plain kill of the guard would leave the command behind."""
        if self.stdin is not None:
            with suppress(OSError, ValueError):  # it has ended, or stop() was called
                self.stdin.write(_KILL)


def spawn(cmd: Sequence[str | Path], *, env: Mapping[str, str], cwd: Path, log: Path) -> Guarded:
    """Start `cmd` under a guard, output appended to `log`. `env` is the command's whole environment.

    Raises OSError when the guard can't be started; a command that can't be started ends the guard with code 127.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    guard = [sys.executable, "-I", "-S", __file__, "--", *map(str, cmd)]
    with log.open("ab") as output:
        return Guarded(
            guard,
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=output,
            env=dict(env),
            cwd=cwd,
            bufsize=0,
            start_new_session=True,  # Ctrl-C in the terminal reaches the supervisor alone
        )


def stop(proc: subprocess.Popen[bytes], *, timeout: float = GRACE + 2) -> int:
    """End the command's group (SIGTERM, SIGKILL after GRACE seconds) and wait. Returns the exit code.

    A guard that hasn't ended after `timeout` seconds is killed, and its command's group with it.
    """
    if proc.stdin is not None:
        with suppress(OSError):
            proc.stdin.close()
    try:
        return proc.wait(timeout)
    except subprocess.TimeoutExpired:
        _kill_groups(proc.pid)
        proc.send_signal(signal.SIGKILL)
        return proc.wait()


def _kill_groups(guard: int) -> None:
    """SIGKILL for the groups that the guard's children lead."""
    import psutil  # not in the guard's own process, which runs without site packages

    with suppress(psutil.NoSuchProcess):
        for child in psutil.Process(guard).children():
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(child.pid, signal.SIGKILL)


def _die_with(guard: int) -> Callable[[], None] | None:
    """What the command's process does before it becomes the command: ask to be killed when the guard's thread ends.

    The kernel watches the thread that started the process, here the guard's main one, which ends last. Only the command
    itself is killed then, not what it has started. macOS has nothing like it: there a command outlives a guard that is
    killed with -9, as long as it doesn't end by itself. Every other end of a guard, and of its parent, is covered.
    """
    if sys.platform != "linux":
        return None
    prctl = ctypes.CDLL(None).prctl  # looked up before the fork: after it as little as possible may happen

    def ask() -> None:
        prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
        if os.getppid() != guard:  # it was killed before the request
            os._exit(128 + signal.SIGKILL)

    return ask


def main(command: Sequence[str]) -> int:
    """Run the command until it ends or standard input closes. Returns its exit code."""
    try:
        child = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            process_group=0,
            preexec_fn=_die_with(os.getpid()),  # safe: no thread has been started yet
        )
    except OSError as error:
        print(f"{command[0]}: {error.strerror}", file=sys.stderr)  # noqa: T201 - it is the command's log
        return 127
    ended = threading.Event()

    def signal_group(number: int) -> None:
        with suppress(ProcessLookupError, PermissionError):  # macOS answers EPERM for a group of zombies
            os.killpg(child.pid, number)

    def end(*, at_once: bool = False) -> None:
        if not at_once:
            signal_group(signal.SIGTERM)
            ended.wait(GRACE)
        if not ended.is_set():
            signal_group(signal.SIGKILL)

    def listen() -> None:
        end(at_once=os.read(0, 1) == _KILL)

    def asked(_number: int, _frame: object) -> None:
        threading.Thread(target=end, daemon=True).start()

    signal.signal(signal.SIGTERM, asked)
    signal.signal(signal.SIGINT, asked)
    threading.Thread(target=listen, daemon=True).start()
    code = child.wait()
    ended.set()
    signal_group(signal.SIGKILL)  # what the command started and left behind
    return code if code >= 0 else 128 - code


if __name__ == "__main__":
    sys.exit(main(sys.argv[sys.argv.index("--") + 1 :]))
