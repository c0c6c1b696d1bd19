"""The command line: its answers, and its mistakes."""

from __future__ import annotations

import getpass
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import msgspec
import pytest

from cli.__main__ import main
from cli.client import AppClient
from shared.api.schema import RunView
from tests.kit.answering import answering
from tests.kit.paths import ROOT

KEY = "the-key"
REPORT = {
    "rejected": "14 of 70 rows are bad",
    "rows": 70,
    "bad_rows": 14,
    "by_rule": {"not_json": 13, "unknown_role": 1},
    "faults": [
        {"file": "train.jsonl", "part": "train", "rule": "not_json", "reason": "\x1b[2J", "line": 2, "offset": 1234},
        *[
            {
                "file": "a.parquet",
                "part": "test",
                "rule": "not_json",
                "reason": "x",
                "line": 3,
                "row_group": 0,
                "row": row,
            }
            for row in range(3, 15)
        ],
    ],
    "warnings": {"duplicate_row": 2},
    "warned": [],
    "dropped": 0,
    "rows_of": {"train": 50, "test": 20},
    "splits": {"train": 45, "validation": 4, "test": 7},
    "cut": ["validation"],
    "adjusted": False,
    "files": {"train": "train.jsonl", "test": "a.parquet"},
    "formats": {"train": "messages"},
    "turns": {"2": 56},
    "tokens": {"32": 56},
    "longest": 20,
    "duplicates": 2,
    "first_rows": [],
    "digest": "d",
    "cures": {},
}
DAYS_AGO = datetime.now(UTC) - timedelta(days=3, hours=1)
SUMMARY: dict[str, Any] = {
    "id": "r1",
    "line": "l1",
    "folder": "facts",
    "base_model": "Phi-4",
    "attempt": 1,
    "phase": "rejected",
    "since": f"{DAYS_AGO:%Y-%m-%dT%H:%M:%SZ}",
    "outcome": "was rejected",
    "status": "1 of 2 rows is bad",
    "hold": "",
    "by_people": False,
    "parked": False,
    "serves": False,
}
RUNS = {
    "version": 1,
    "runs": [SUMMARY],
    "unreadable": [{"id": "r0", "version": 9, "why": "a newer app wrote its record: update this one"}],
    "unseen": "",
}
RUN: dict[str, Any] = {
    "version": 1,
    "run": SUMMARY,
    "serves": False,
    "line_serves": None,
    "restores": None,
    "data": {"address": "datasets/facts/train.jsonl", "prepared": "r1/1", "rows": {}, "rejected": "1 of 2 rows is bad"},
    "plan": None,
    "job": "",
    "model": "",
    "deployment": None,
    "history": [{"at": "2026-11-22T10:00:00Z", "phase": "received", "what": "received train.jsonl"}],
    "report": REPORT,
    "metrics": {"eval_loss": [[0, 6.5], [40, 0.25]], "epoch": [[40, 1.0]]},
    "metrics_problem": "",
}
DEPLOYMENT: dict[str, Any] = {
    "endpoint": "facts-1",
    "name": "good2-1",
    "smoke": {"question": [], "expected": "Paris", "answer": "Paris", "passed": True, "why": "it answered"},
    "gate": {
        "score": "chrf",
        "rows": 20,
        "new": 61.25,
        "live": 58.0,
        "metrics": {},
        "passed": True,
        "why": "no worse",
    },
    "asked": ["2026-11-22T11:00:00Z"],
    "approved_by": "",
}
SERVED = {"run": "r0", "deployment": "r0-1", "model": "facts:1", "since": "2026-11-21T10:00:00Z"}
LIVE = SUMMARY | {"id": "live", "phase": "live", "outcome": "went live", "status": "facts:2 answers at facts-1"}
ANSWERS: dict[str, Any] = {
    "/api/runs": RUNS,
    "/api/older/api/runs": [SUMMARY],
    "/api/runs/r1": RUN,
    "/api/runs/hub": RUN | {"data": RUN["data"] | {"address": "hf://datasets/owner/chats@main"}},
    "/api/runs/good": RUN | {"report": REPORT | {"rejected": "", "by_rule": {}, "faults": []}},
    "/api/runs/diverged": RUN | {"metrics": {"eval_loss": [[0, 6.5], [40, None]]}},
    "/api/runs/old": RUN | {"report": {"faults": []}},
    "/api/runs/good2": RUN
    | {
        "run": SUMMARY
        | {
            "id": "good2",
            "phase": "checking",
            "outcome": "",
            "status": "waits for you: droptune approve good2",
            "hold": "approval",
        },
        "deployment": DEPLOYMENT,
        "line_serves": SERVED,
    },
    "/api/runs/live": RUN | {"run": LIVE, "serves": True, "line_serves": SERVED | {"run": "live"}},
    "/api/runs/before": RUN | {"run": LIVE, "line_serves": SERVED, "deployment": DEPLOYMENT | {"approved_by": "ada"}},
    "/api/runs/torn_down": RUN | {"run": LIVE},
    "/api/folders": {"version": 1, "waiting": {"half": ["test.jsonl"]}},
}


COMMANDS = {
    "/api/runs/r1/cancel": (200, {"told": "cancelled by BY"}),
    "/api/runs/r1/retry": (409, {"error": "upload corrected data"}),
    "/api/lines/a%20b%23%C3%BC/rollback": (200, {"told": "rolled back by BY"}),
    "/api/recover": (200, {"rebuilt": ["run r9 is live"], "told": ["line l9 was perhaps pinned"]}),
}


class _Api(BaseHTTPRequestHandler):
    """The app's HTTP API, with one run."""

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path == "/api/plain/api/recover":
            self._answer(404, b"no such page")
            return
        status, answer = COMMANDS.get(self.path, (404, {"error": "there is no\n line"}))
        self._answer(status, json.dumps(answer).replace("BY", asked["by"]).encode())

    def do_GET(self) -> None:
        if self.headers["x-functions-key"] != KEY:
            status, body = 401, b""
        elif self.path == "/api/broken/api/runs":
            status, body = 200, b"<html>"
        else:
            found = ANSWERS.get(self.path)
            status, body = (200, json.dumps(found).encode()) if found else (404, b"")
        self._answer(status, body)

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Quiet."""


@pytest.fixture
def url() -> Iterator[str]:
    with answering(_Api) as url:
        yield url


# Commands ------------------------------------------------------------------------------------------------------------


def test_help_answers_without_importing_what_it_does_not_need() -> None:
    code = (
        "import sys\nfrom cli.__main__ import main\ntry:\n    main(['--help'])\nexcept SystemExit:\n"
        "    print([m for m in sys.modules if m.split('.')[0] in ('azure', 'localcloud', 'shared', 'rich', 'msgspec')])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.endswith("[]\n")


def test_runs_are_listed(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["runs", "--url", url + "/", "--key", KEY]) == 0
    waiting, out, why, newer = capsys.readouterr().out.splitlines()
    assert waiting == "datasets/half waits for test.jsonl"
    assert re.split("  +", out) == ["r1", "was rejected", "3 d ago", "facts"]
    assert why == "    1 of 2 rows is bad"
    assert newer == "r0  can't be read: a newer app wrote its record: update this one"
    assert main(["runs", "--url", url, "--key", KEY, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == RUNS
    assert main(["show", "r1", "--url", url, "--key", KEY, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == RUN


def test_a_run_is_shown_with_its_faults_and_losses(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", "r1", "--url", url, "--key", KEY]) == 0
    out = capsys.readouterr().out
    assert "data      train.jsonl: train, messages, 50 rows, 1 of them bad\n" in out
    assert "data      a.parquet: test, no known format, 20 rows, 13 of them bad\n" in out
    assert "wrong     13 not_json, 1 unknown_role\n" in out
    assert "warnings  2 duplicate_row\n" in out
    assert "copies    2 rows" in out
    assert "  train.jsonl:2 (byte 1,234)  not_json  \\x1b[2J\n" in out
    assert "  a.parquet, row group 0, row 3  not_json  x (and 11 more like it: " in out
    assert "  and 1 more; --json shows the first 13\n" in out
    assert "split " not in out
    assert "eval_loss: 6.500 (step 0) -> 0.250 (step 40)" in out
    assert "facts (datasets/facts/train.jsonl)" in out
    assert out.startswith("run       r1, attempt 1: was rejected 3 d ago\n")
    assert "status    1 of 2 rows is bad\n" in out


ODD = "a\x1b[2J\u202eb\nthe log says\x07"


def test_what_other_people_have_written_does_not_steer_the_terminal(
    url: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    odd = RUN["run"] | {"id": "r5", "folder": ODD, "status": ODD}
    entry = {"at": "2026-11-22T10:00:00Z", "phase": "received", "what": ODD}
    monkeypatch.setitem(ANSWERS, "/api/runs", RUNS | {"runs": [odd]})
    monkeypatch.setitem(ANSWERS, "/api/runs/r5", RUN | {"run": odd, "history": [entry]})
    monkeypatch.setitem(COMMANDS, "/api/runs/r5/cancel", (200, {"told": ODD}))
    monkeypatch.setitem(COMMANDS, "/api/runs/r5/retry", (409, {"error": ODD}))
    for command in ("runs", "show", "cancel", "retry"):
        named = [] if command == "runs" else ["r5"]
        main([command, *named, "--url", url, "--key", KEY])
        out, error = capsys.readouterr()
        assert "\\x1b[2J\\u202eb" in out + error, command
        assert not set("\x1b\u202e\x07") & set(out + error), command
        assert len(out.splitlines()) == 4 or command != "runs", "each run has a line, and its status one"


def test_an_answer_of_a_newer_version_is_not_guessed_at(
    url: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(ANSWERS, "/api/runs", {"version": 9, "items": []})
    monkeypatch.setenv("DROPTUNE_KEY", KEY)
    assert main(["runs", "--url", url]) == 2
    assert capsys.readouterr().err == f"droptune: {url} answers in version 9, and this droptune knows 1: update it\n"


def test_a_good_dataset_is_shown_with_its_split(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", "good", "--url", url, "--key", KEY]) == 0
    assert "split     45 train, 4 validation, 7 test\n" in capsys.readouterr().out


def test_a_training_that_diverged_is_shown(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    """JSON knows no NaN: the app sends null."""
    assert main(["show", "diverged", "--url", url, "--key", KEY]) == 0
    assert "eval_loss: 6.500 (step 0) -> nan (step 40)" in capsys.readouterr().out
    assert main(["show", "diverged", "--url", url, "--key", KEY, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["metrics"] == {"eval_loss": [[0, 6.5], [40, None]]}


def test_a_report_of_another_version_is_no_mistake(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", "old", "--url", url, "--key", KEY]) == 0
    assert "--json shows it" in capsys.readouterr().out


def test_a_run_that_waits_for_an_approval_says_how_and_what_the_gate_saw(
    url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["show", "good2", "--url", url, "--key", KEY]) == 0
    out = capsys.readouterr().out
    assert out.startswith("run       good2, attempt 1: is checking 3 d ago\n")
    assert "status    waits for you: droptune approve good2\n" in out
    assert "gate      passed: chrf 61.2 on 20 rows, 58.0 serves: no worse\n" in out


@pytest.mark.parametrize(
    ("run", "told"),
    [
        ("live", "its line  serves what this run made\n"),
        ("before", "its line  serves facts:1 of run r0\n"),
        ("before", "approved  ada\n"),
        ("torn_down", "its line  serves nothing now\n"),
    ],
)
def test_what_a_run_came_to_and_what_serves_now_are_two_things(
    url: str, capsys: pytest.CaptureFixture[str], run: str, told: str
) -> None:
    assert main(["show", run, "--url", url, "--key", KEY]) == 0
    out = capsys.readouterr().out
    assert out.startswith("run       live, attempt 1: went live 3 d ago\n")
    assert told in out


def test_commands_are_given_with_a_name(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    app = ["--url", url, "--key", KEY]
    assert main(["cancel", "r1", "--by", "ada", *app]) == 0
    assert capsys.readouterr().out == "cancelled by ada\n"
    assert main(["rollback", "a b#ü", *app]) == 0
    assert capsys.readouterr().out == f"rolled back by {getpass.getuser()}\n"
    assert main(["recover", *app]) == 0
    assert capsys.readouterr().out == "made again: run r9 is live\nnote: line l9 was perhaps pinned\n"
    assert main(["recover", *app, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == COMMANDS["/api/recover"][1]
    assert main(["cancel", "r1", "--by", "ada", *app, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"told": "cancelled by ada", "runs": []}


def test_a_run_of_the_hub_is_shown_with_its_source(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", "hub", "--url", url, "--key", KEY]) == 0
    assert "facts (hf://datasets/owner/chats@main)" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["runs", "--url", "{url}", "--key", "wrong"], "refuses the key: give it with --key or DROPTUNE_KEY"),
        (["show", "r2", "--url", "{url}", "--key", KEY], "there is no run r2 at {url}"),
        (["retry", "r1", "--url", "{url}"], "droptune: upload corrected data"),
        (["pin", "faq", "--url", "{url}"], "there is no line"),
        (["recover", "--url", "{url}/api/plain"], "there is no recover at"),
        (["cancel", "r1", "--url", "http://127.0.0.1:1"], "can't be read"),
        (["runs", "--url", "{url}/api/broken", "--key", KEY], "can't be read"),
        (["runs", "--url", "{url}/api/older", "--key", KEY], "answers in another version's words"),
        (["runs", "--url", "http://127.0.0.1:1", "--key", KEY], "can't be read"),
        (["runs", "--url", "file:///etc/passwd"], "must start with https://"),
        (["runs", "--state", "{tmp}/none"], "start one with `droptune local up`"),
        (["show", "..", "--url", "{url}", "--key", KEY], "'..' is not a dataset folder's name: it must be"),
        (["cancel", "../lines", "--url", "{url}"], "'../lines' is not a dataset folder's name: it must be"),
        (["retry", "\udcff", "--url", "{url}"], "is not a dataset folder's name: it must be"),
        (["pin", "..", "--url", "{url}"], "'..' is not a dataset folder's name: it must be"),
        (["pin", "a b#?", "--url", "{url}"], "there is no line"),
        (["demo", "--data", "{tmp}/none", "--state", "{tmp}/state"], "DATA must be a folder"),
    ],
)
def test_mistakes_are_one_line_and_exit_code_2(
    arguments: list[str], told: str, url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([argument.format(url=url, tmp=tmp_path) for argument in arguments]) == 2
    error = capsys.readouterr().err
    if "--key" in arguments:
        warning, _, error = error.partition("\n")
        assert "the process list shows --key" in warning
    assert told.format(url=url) in error
    assert error.startswith("droptune: ")
    assert error.count("\n") == 1


def test_the_environment_names_an_app_too(url: str) -> None:
    app = AppClient.of({"DROPTUNE_URL": url, "DROPTUNE_KEY": KEY}, url=None, key=None)
    assert app.run("r1") == msgspec.convert(RUN, RunView)
    assert KEY not in repr(app)


def test_the_launcher_says_what_is_missing(tmp_path: Path) -> None:
    shutil.copy(ROOT / "droptune", tmp_path)
    done = subprocess.run([tmp_path / "droptune", "runs"], capture_output=True, text=True)
    assert done.returncode == 2
    assert "make setup" in done.stderr


def test_the_launcher_works_from_any_folder(tmp_path: Path) -> None:
    if not (ROOT / ".venv").exists():
        pytest.skip("set-up was not done by make")
    done = subprocess.run([ROOT / "droptune", "runs", "--state", "x"], cwd=tmp_path, capture_output=True, text=True)
    assert "no app is running in x" in done.stderr
