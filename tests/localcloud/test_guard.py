"""Nothing that runs under a guard outlives the process that asked for it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from localcloud import guard
from tests.kit.paths import ROOT
from tests.kit.waiting import eventually

FAMILY = (
    "import subprocess, sys, time; p = subprocess.Popen(['sleep', '600']); print(p.pid, flush=True); time.sleep(600)"
)
STUBBORN = (
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('on', flush=True); time.sleep(600)"
)


def run(code: str, log: Path) -> guard.Guarded:
    return guard.spawn([sys.executable, "-c", code], env=os.environ, cwd=log.parent, log=log)


def family(process: guard.Guarded, log: Path) -> list[psutil.Process]:
    eventually(lambda: log.exists() and log.read_text().endswith("\n"))
    return psutil.Process(process.pid).children(recursive=True)


@pytest.mark.parametrize(("code", "exit_code"), [("0", 0), ("3", 3)])
def test_exit_code_is_the_commands(tmp_path: Path, code: str, exit_code: int) -> None:
    process = run(f"raise SystemExit({code})", tmp_path / "log")
    assert process.wait(10) == exit_code
    guard.stop(process)


def test_a_signal_shows_in_the_exit_code(tmp_path: Path) -> None:
    process = run("import os; os.kill(os.getpid(), 9)", tmp_path / "log")
    assert process.wait(10) == 128 + 9
    guard.stop(process)


def test_output_is_appended_to_the_log(tmp_path: Path) -> None:
    log = tmp_path / "logs" / "one.log"
    for line in ("first", "second"):
        guard.stop(run_to_end(f"print('{line}')", log))
    assert log.read_text() == "first\nsecond\n"


def run_to_end(code: str, log: Path) -> guard.Guarded:
    log.parent.mkdir(exist_ok=True)
    process = run(code, log)
    process.wait(10)
    return process


def test_a_command_that_is_not_there_says_so(tmp_path: Path) -> None:
    process = guard.spawn(["./missing"], env={}, cwd=tmp_path, log=tmp_path / "log")
    assert process.wait(10) == 127
    assert "./missing: No such file" in (tmp_path / "log").read_text()
    guard.stop(process)


@pytest.mark.parametrize("way", ["stop", "kill", "terminate"])
def test_the_whole_family_ends(tmp_path: Path, way: str) -> None:
    process = run(FAMILY, tmp_path / "log")
    members = family(process, tmp_path / "log")
    assert len(members) == 2
    if way != "stop":
        getattr(process, way)()
        process.wait(10)
    guard.stop(process)
    assert psutil.wait_procs(members, timeout=5)[1] == []


@pytest.mark.thorough
def test_what_ignores_sigterm_is_killed_after_the_grace(tmp_path: Path) -> None:
    process = run(STUBBORN, tmp_path / "log")
    members = family(process, tmp_path / "log")
    assert guard.stop(process) == 128 + signal.SIGKILL
    assert psutil.wait_procs(members, timeout=5)[1] == []


@pytest.mark.skipif(sys.platform != "linux", reason="macOS doesn't tell a process that its parent has ended")
def test_the_command_ends_when_its_guard_is_killed(tmp_path: Path) -> None:
    process = run(STUBBORN, tmp_path / "log")
    members = family(process, tmp_path / "log")
    assert len(members) == 1
    os.kill(process.pid, signal.SIGKILL)
    assert psutil.wait_procs(members, timeout=5)[1] == []
    assert guard.stop(process) == -signal.SIGKILL


def test_a_guard_that_hangs_is_killed_with_the_whole_family(tmp_path: Path) -> None:
    process = run(FAMILY, tmp_path / "log")
    members = family(process, tmp_path / "log")
    assert len(members) == 2
    process.send_signal(signal.SIGSTOP)
    assert guard.stop(process, timeout=0.1) == -signal.SIGKILL
    assert psutil.wait_procs(members, timeout=5)[1] == []


def test_what_a_command_leaves_behind_ends_with_it(tmp_path: Path) -> None:
    log = tmp_path / "log"
    process = run("import subprocess; print(subprocess.Popen(['sleep', '600']).pid)", log)
    process.wait(10)
    guard.stop(process)
    assert not psutil.pid_exists(int(log.read_text())) or is_zombie(int(log.read_text()))


def is_zombie(pid: int) -> bool:
    return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


def test_the_family_ends_when_the_parent_is_killed(tmp_path: Path) -> None:
    log = tmp_path / "log"
    code = (
        "import os, sys, time; from pathlib import Path; from localcloud import guard;"
        f"guard.spawn([sys.executable, '-c', {FAMILY!r}], env=os.environ, cwd=Path(), log=Path({str(log)!r}));"
        "time.sleep(600)"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT)
    eventually(lambda: log.exists() and log.read_text().endswith("\n"))
    members = psutil.Process(parent.pid).children(recursive=True)
    assert len(members) == 3
    parent.kill()
    parent.wait()
    assert psutil.wait_procs(members, timeout=10)[1] == []
