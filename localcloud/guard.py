"""Runs one command so that it can't outlive the process that asked for it.

Every child of the local cloud runs under a guard. The parent holds the write end of the guard's standard input; when
that closes (the parent stopped it, crashed or was killed with -9), the guard ends the command's whole process group.
Called through spawn() and stop() by localcloud/stack.py and by whatever the cloud server starts; by hand it is
`python -m localcloud.guard -- CMD`.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

GRACE = 5.0
"""Seconds between SIGTERM and SIGKILL."""

_KILL = b"K"


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
    """End the command's group (SIGTERM, SIGKILL after GRACE seconds) and wait. Returns the exit code."""
    if proc.stdin is not None:
        with suppress(OSError):
            proc.stdin.close()
    try:
        return proc.wait(timeout)
    except subprocess.TimeoutExpired:
        proc.send_signal(signal.SIGKILL)
        return proc.wait()


def main(command: Sequence[str]) -> int:
    """Run the command until it ends or standard input closes. Returns its exit code."""
    try:
        child = subprocess.Popen(command, stdin=subprocess.DEVNULL, process_group=0)
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
