"""The pipeline's step as a compute node starts it: from the uploaded code alone, in an empty folder."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from shared.dataset.job_step import REJECTED, Given, Task
from shared.dataset.spec.choices import Policy
from shared.training.step import code
from tests.kit.rows import chats

OUTPUTS = {
    "train": "train.jsonl",
    "validation": "validation.jsonl",
    "test": "test.jsonl",
    "report": "report.json",
    "page": "report.md",
}
LOADED = """
import runpy, sys
sys.argv = ["step", *sys.argv[1:]]
try:
    runpy.run_module("shared.dataset.job_step", run_name="__main__", alter_sys=True)
finally:
    print(*(name for name in sys.modules if name.split(".")[0] in ("azure", "sacrebleu", "shared")))
"""

Step = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def step(tmp_path: Path) -> Step:
    """Run the step on files of these contents: `step({"train.jsonl": data}, task)`; `out` has what it leaves."""
    archive, empty, source, out = (tmp_path / name for name in ("code", "empty", "source", "out"))
    archive.write_bytes(code()[1])
    for folder in (empty, source, out):
        folder.mkdir()

    def run(files: dict[str, bytes], told: Task, *start: str, **more: str) -> subprocess.CompletedProcess[str]:
        for name, data in files.items():
            (source / name).write_bytes(data)
        (tmp_path / "task.json").write_bytes(told.encoded())
        given = {"task": str(tmp_path / "task.json"), "source": str(source)}
        given |= {name: str(out / file) for name, file in OUTPUTS.items()} | more
        command = [sys.executable, *(start or ("-m", "shared.dataset.job_step"))]
        arguments = [part for name, value in given.items() for part in (f"--{name}", value)]
        environment = {"PATH": os.defpath, "PYTHONPATH": str(archive), "TMPDIR": str(tmp_path)}
        return subprocess.run(
            command + arguments, cwd=empty, env=environment, capture_output=True, text=True, timeout=120
        )

    return run


def task(data: bytes, **more: object) -> Task:
    return Task(**{"files": {"train": (Given(name="train.jsonl", size=len(data)),)}, **more})  # type: ignore[arg-type]


def read(tmp_path: Path, name: str) -> bytes:
    return (tmp_path / "out" / name).read_bytes()


@pytest.mark.parametrize("processes", ["1", "2"])
def test_it_runs_from_what_is_uploaded_alone(step: Step, tmp_path: Path, processes: str) -> None:
    data = chats(500)
    done = step({"train.jsonl": data}, task(data), processes=processes)
    assert done.returncode == 0, done.stderr
    report = json.loads(read(tmp_path, "report.json"))
    assert report["rejected"] == ""
    assert sum(report["splits"].values()) == 500
    for part, count in report["splits"].items():
        assert read(tmp_path, f"{part}.jsonl").count(b"\n") == count
    assert b"500" in read(tmp_path, "report.md")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted(OUTPUTS.values())
    assert not list((tmp_path / "empty").iterdir())
    assert not [path for path in tmp_path.iterdir() if path.name.startswith("droptune-")], "the scratch folder is gone"


def test_it_loads_nothing_of_azure_or_of_the_app(step: Step) -> None:
    data = chats(50)
    done = step({"train.jsonl": data}, task(data), "-c", LOADED)
    assert done.returncode == 0, done.stderr
    loaded = done.stdout.splitlines()[-1].split()
    assert "shared.dataset.job_step" in loaded or "shared.dataset.preparing.scan" in loaded
    engine = {"shared", "shared.dataset", "shared.errors", "shared.logs", "shared.naming", "shared.serving"}
    assert {".".join(name.split(".")[:2]) for name in loaded} <= engine


def test_bad_data_are_rejected_and_leave_a_report_and_no_rows(step: Step, tmp_path: Path) -> None:
    data = chats(30) + b"oops\n"
    done = step({"train.jsonl": data}, task(data))
    assert done.returncode == REJECTED, done.stderr
    report = json.loads(read(tmp_path, "report.json"))
    assert report["rejected"]
    assert [(fault["line"], fault["rule"]) for fault in report["faults"]] == [(31, "not_json")]
    assert b"not_json" in read(tmp_path, "report.md")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["report.json", "report.md"]


def test_a_licence_that_forbids_it_is_told(step: Step, tmp_path: Path) -> None:
    data = chats(30)
    done = step({"train.jsonl": data, "README.md": b"---\nlicense: llama3\n---\n"}, task(data, model="Phi-4"))
    assert done.returncode == 0, done.stderr
    [told] = [each for each in json.loads(read(tmp_path, "report.json"))["warned"] if each["rule"] == "licence"]
    assert told["reason"] == "its licence is llama3: what Llama 3 says may improve no other model, as Phi-4 is"


def test_the_policy_is_followed(step: Step, tmp_path: Path) -> None:
    token = f"ghp_{'Zx9kQm4tRv7Lp2Ws' * 2}aB3d"
    data = chats(30).replace(b'assistant", "content": "', f'assistant", "content": "{token} '.encode()) + b"oops\n"
    assert token.encode() in data
    policy = Policy(on_bad_rows="drop", max_bad_percent=50, validation_percent=30, safety="mask")
    done = step({"train.jsonl": data}, task(data, policy=policy))
    assert done.returncode == 0, done.stderr
    report = json.loads(read(tmp_path, "report.json"))
    assert (report["bad_rows"], sum(report["splits"].values())) == (1, 30)
    assert report["warnings"]["masked"] == 30
    left = [read(tmp_path, name) for name in OUTPUTS.values()]
    assert b"[secret]" in left[0]
    assert not [each for each in (*left, done.stdout.encode(), done.stderr.encode()) if token.encode() in each]


def test_files_of_all_parts_are_read(step: Step, tmp_path: Path) -> None:
    files = {"train.jsonl": chats(30), "check.jsonl": chats(2, 30), "t.jsonl": chats(1, 32)}
    names = zip(("train", "validation", "test"), files.items(), strict=True)
    given = {part: (Given(name=name, size=len(data)),) for part, (name, data) in names}
    done = step(files, Task(files=given))  # type: ignore[arg-type]
    assert done.returncode == 0, done.stderr
    assert read(tmp_path, "train.jsonl").count(b"\n") == 30
    assert read(tmp_path, "validation.jsonl").count(b"\n") == 2
    assert read(tmp_path, "test.jsonl").count(b"\n") == 1


@pytest.mark.parametrize(("files", "told"), [({"train.jsonl": chats(31)}, "overwritten"), ({}, "deleted")])
def test_a_file_that_is_not_as_the_run_took_it_is_no_rejection(
    step: Step, tmp_path: Path, files: dict[str, bytes], told: str
) -> None:
    done = step(files, task(chats(30)))
    assert done.returncode == 1
    assert told in done.stderr
    assert "Traceback" not in done.stderr
    assert not list((tmp_path / "out").iterdir())


def test_a_broken_plan_is_no_rejection(step: Step, tmp_path: Path) -> None:
    (tmp_path / "broken.json").write_text("{")
    done = step({}, Task(), task=str(tmp_path / "broken.json"))
    assert done.returncode == 1
    assert "DecodeError" in done.stderr
