"""Set-up: interpreters, stamps, messages, lock files. Nothing is installed here; `make test` itself has done that."""

from __future__ import annotations

import ast
import platform
import re
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from scripts import setup
from tests.kit.paths import ROOT
from tests.kit.waiting import eventually

LOCKS = (
    "requirements.txt",
    "requirements-dev.txt",
    "requirements-bench.txt",
    "requirements-reader.txt",
    "requirements-torch.txt",
    "requirements-model.txt",
)


def tracked() -> list[Path]:
    """The files of the repository."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("not a git checkout")
    return [ROOT / name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()]


def interpreter(path: Path, says: str, code: int = 0, errors: str = "") -> Path:
    """A program in the place of an interpreter."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\necho '{errors}' >&2\necho '{says}'\nexit {code}\n")
    path.chmod(0o755)
    return path


def part(folder: Path, stamp: str = "one") -> setup.Part:
    return setup.Part("a part", folder, stamp, 0.0, lambda _: None)


# Any Python ----------------------------------------------------------------------------------------------------------


def test_setup_is_written_for_python_3_9_and_the_standard_library() -> None:
    tree = ast.parse((ROOT / "scripts" / "setup.py").read_text(), feature_version=(3, 9))
    imported = {
        name.split(".")[0]
        for node in ast.walk(tree)
        for name in (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [str(node.module)]
            if isinstance(node, ast.ImportFrom)
            else []
        )
    }
    assert imported <= sys.stdlib_module_names | {"__future__"}


# Interpreters --------------------------------------------------------------------------------------------------------


@pytest.fixture
def only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine whose interpreters are the ones in this folder."""
    monkeypatch.setenv("PATH", f"{tmp_path}/a:{tmp_path}/b")
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path / "pyenv"))
    monkeypatch.setenv("UV_PYTHON_INSTALL_DIR", str(tmp_path / "uv"))
    monkeypatch.delenv("PYTHON313", raising=False)
    return tmp_path


def test_a_shim_without_its_version_is_passed_over(only: Path) -> None:
    interpreter(only / "a" / "python3.13", "", code=127, errors="pyenv: python3.13: command not found")
    interpreter(only / "b" / "python3.13", "3.13 /somewhere/python3.13")
    assert setup.find_python("3.13") == "/somewhere/python3.13"


def test_python3_of_the_right_version_will_do(only: Path) -> None:
    interpreter(only / "a" / "python3", "3.13 /somewhere/python3")
    assert setup.find_python("3.13") == "/somewhere/python3"


def test_an_interpreter_that_only_pyenv_knows_is_found(only: Path) -> None:
    interpreter(only / "a" / "python3", "3.9 /old/python3")
    interpreter(only / "pyenv" / "versions" / "3.13.7" / "bin" / "python", "3.13 /kept/python")
    assert setup.find_python("3.13") == "/kept/python"


def test_the_interpreter_that_was_named_comes_first(only: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    interpreter(only / "a" / "python3.13", "3.13 /somewhere/python3.13")
    monkeypatch.setenv("PYTHON313", str(interpreter(only / "mine", "3.13 /mine/python")))
    assert setup.find_python("3.13") == "/mine/python"


def test_a_missing_interpreter_is_one_line_that_says_what_to_do(only: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", str(only / "none"))
    with pytest.raises(setup.SetupError) as raised:
        setup.find_python("3.13")
    assert re.search(r"Python 3\.13 .* install .*PYTHON313=", str(raised.value))
    assert "\n" not in str(raised.value)


def test_an_interpreter_without_ensurepip_is_named(only: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", str(only / "none"))
    interpreter(only / "a" / "python3.13", "", code=1, errors="ModuleNotFoundError: No module named ensurepip")
    with pytest.raises(setup.SetupError, match=r"python3\.13-venv"):
        setup.find_python("3.13")


# Stamps --------------------------------------------------------------------------------------------------------------


def test_a_part_is_ready_once_it_was_built_and_until_its_sources_change(tmp_path: Path) -> None:
    assert not part(tmp_path / "env").ready()
    part(tmp_path / "env").build()
    assert part(tmp_path / "env").ready()
    assert not part(tmp_path / "env", stamp="two").ready()


def test_an_interrupted_build_is_not_ready(tmp_path: Path) -> None:
    part(tmp_path).build()

    def interrupted(_: Path) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        setup.Part("a part", tmp_path, "one", 0.0, interrupted).build()
    assert not part(tmp_path).ready()


def test_an_environment_whose_interpreter_is_gone_is_not_ready(tmp_path: Path) -> None:
    part(tmp_path).build()
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "python").symlink_to(tmp_path / "gone")
    assert not part(tmp_path).ready()


def test_stamps_follow_the_lock_files_and_the_place(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in LOCKS:
        (tmp_path / name).write_text((ROOT / name).read_text())
    azurite = tmp_path / "localcloud" / "azurite"
    azurite.mkdir(parents=True)
    (azurite / "package-lock.json").write_text("{}")
    here = [part.stamp for part in setup.parts(None)]
    monkeypatch.setattr(setup, "ROOT", tmp_path)
    moved = [part.stamp for part in setup.parts(None)]
    assert here[0] != moved[0]
    with (tmp_path / "requirements-dev.txt").open("a") as lock:
        lock.write("# changed\n")
    changed = [part.stamp for part in setup.parts(None)]
    assert [old != new for old, new in zip(moved, changed, strict=True)] == [True, False, False, False]
    for name, alone in (("bench", setup.bench), ("reader", setup.reader)):
        before = alone().stamp
        with (tmp_path / f"requirements-{name}.txt").open("a") as lock:
            lock.write("# changed\n")
        assert alone().stamp != before
    assert [part.stamp for part in setup.parts(None)] == changed


def test_a_finished_set_up_says_nothing_and_runs_no_program() -> None:
    if not all(part.ready() for part in setup.parts(None)):
        pytest.skip("set-up was not done by make")
    done = subprocess.run([sys.executable, ROOT / "scripts" / "setup.py"], env={"PATH": ""}, capture_output=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


# Programs and messages -----------------------------------------------------------------------------------------------


def test_a_program_that_fails_is_told_with_its_cause_and_log(tmp_path: Path) -> None:
    log = tmp_path / "setup.log"
    log.write_text("an earlier program: NewConnectionError\n")
    with pytest.raises(setup.SetupError, match=r"^the disk is full.*setup\.log"):
        setup.Commands().run(["sh", "-c", "echo 'OSError: No space left on device'; exit 1"], log=log)


def test_programs_that_still_run_are_ended_when_another_fails(tmp_path: Path) -> None:
    commands, failed = setup.Commands(), threading.Event()

    def run() -> None:
        try:
            commands.run(["sh", "-c", "echo begun; sleep 100"], log=tmp_path / "log")
        except setup.SetupError:
            failed.set()

    thread = threading.Thread(target=run)
    thread.start()
    eventually(lambda: (tmp_path / "log").exists() and (tmp_path / "log").read_text())
    commands.stop()
    assert failed.wait(10)
    thread.join()
    with pytest.raises(setup.SetupError):
        commands.run(["true"], log=tmp_path / "log")


@pytest.mark.parametrize(
    ("log", "told"),
    [
        ("ERROR: No matching distribution found for torch==2.13.0+cpu", "no CPU build of torch"),
        ("NewConnectionError(...): Name or service not known", "can't be reached"),
        ("npm error code EAI_AGAIN", "can't be reached"),
        ("ERROR: No matching distribution found for left-pad==1.0", "has no left-pad==1.0"),
        ("ERROR: THESE PACKAGES DO NOT MATCH THE HASHES FROM THE REQUIREMENTS FILE", "differs from its lock file"),
        ("something\nelse went wrong\n", "else went wrong"),
        ("", "without a word"),
    ],
)
def test_causes_are_one_line(log: str, told: str) -> None:
    assert told in setup.cause(log)
    assert "\n" not in setup.cause(log)


def test_a_system_without_a_locked_cpu_build_of_torch_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "riscv64")
    with pytest.raises(setup.SetupError, match=r"CUDA.*requirements-torch\.txt"):
        setup.check_torch()


def test_too_little_disk_is_told_before_anything_is_made(tmp_path: Path) -> None:
    vast = setup.Part("vast", tmp_path, "", 1e9, lambda _: None)
    with pytest.raises(setup.SetupError, match="too little disk"):
        setup.check_disk([vast])


# What is in the repository -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", LOCKS)
def test_every_requirement_is_pinned_with_hashes(name: str) -> None:
    text = re.sub(r"^(#|--extra-index-url ).*\n", "", (ROOT / name).read_text(), flags=re.MULTILINE)
    requirements = re.split(r"\n(?=\S)", text.strip())
    for requirement in requirements:
        assert re.match(
            r"[a-z0-9.\-]+(\[[a-z,]+\])?==\S+( ;[^\\]*)?( \\\n    --hash=sha256:[0-9a-f]{64})+$", requirement
        )


def test_only_torch_has_an_index_of_its_own() -> None:
    named = [name for name in LOCKS if "index" in re.sub(r"#.*", "", (ROOT / name).read_text())]
    assert named == ["requirements-torch.txt"]


def test_the_app_is_deployed_with_what_it_needs_alone() -> None:
    wanted = {line.split("==")[0] for line in (ROOT / "requirements.in").read_text().split()}
    locked = set(re.findall(r"^([a-z0-9.\-]+)==", (ROOT / "requirements.txt").read_text(), re.MULTILINE))
    assert wanted <= locked
    assert not {"pytest", "torch", "transformers", "starlette", "uvicorn", "rich", "mypy"} & locked


def test_no_file_names_a_registry_or_a_place_of_one_machine() -> None:
    # Written so that this file doesn't match itself.
    registries = "|".join(
        re.escape(".".join(name)) for name in (("pypi", "org"), ("pythonhosted", "org"), ("npmjs", "org"))
    )
    pattern = re.compile(rf"{registries}|(?<![\w.])/(?:root|work|Users|home(?!/site))/|/op[t]/(?!homebrew)".encode())
    found = [str(path.relative_to(ROOT)) for path in tracked() if pattern.search(path.read_bytes())]
    assert found == []
