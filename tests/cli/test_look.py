"""`status`, `lines`, `runs`, `watch`, `start` over an app's answers: what people read, and the exit code."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler
from typing import Any

import msgspec
import pytest

from cli import watch
from cli.__main__ import main
from shared.api.schema import (
    DataView,
    EntryView,
    LineList,
    LineView,
    NeedView,
    RunList,
    RunSummary,
    RunView,
    ServingView,
    Shape,
    StatusView,
)
from tests.kit.answering import answering

AT = datetime.now(UTC) - timedelta(minutes=3)
SERVING = ServingView(run="r1", deployment="r1-1", model="m:1", since=AT)
LINE = LineView(
    id="l1",
    folder="faq",
    base_model="Phi-4",
    endpoint="faq-1",
    state="standing",
    serving=SERVING,
    latest=SERVING,
    address="https://faq-1/score",
)


def summary(phase: str = "training", outcome: str = "", **more: Any) -> RunSummary:
    kept: dict[str, Any] = {"id": "r1", "line": "l1", "folder": "faq", "base_model": "Phi-4", "attempt": 1, "since": AT}
    return RunSummary(phase=phase, outcome=outcome, **(kept | more))


def view(run: RunSummary, *what: str, **more: Any) -> RunView:
    history = [EntryView(at=AT + timedelta(seconds=n), phase=run.phase, what=each) for n, each in enumerate(what)]
    return RunView(run=run, serves=False, data=DataView(address="a", prepared="p"), history=history, **more)


@pytest.fixture
def ask(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., int]]:
    """Runs a command against an app that answers so; to a list of answers one after the other, the last for ever."""
    answers: dict[str, list[Shape | int]] = {}

    class Api(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found = answers.get(self.path.removeprefix("/api/"), [404])
            answer = found.pop(0) if len(found) > 1 else found[0]
            status, body = (answer, b"") if isinstance(answer, int) else (200, msgspec.json.encode(answer))
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
            """Quiet."""

    monkeypatch.setattr(watch, "EVERY", 0.01)
    with answering(Api) as url:

        def run(*command: str, **said: Shape | int | list[Shape | int]) -> int:
            answers.clear()
            answers.update(
                {path.replace("__", "/"): each if isinstance(each, list) else [each] for path, each in said.items()}
            )
            return main([*command, "--url", url])

        yield run


def test_the_status_says_what_serves_and_what_needs_somebody(
    ask: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    need = NeedView(what="waits for you", folder="faq", run="r2", command="droptune approve r2")
    other = summary("received", id="r3", folder="x\u202ey\nz")
    found = StatusView(serving=[LINE], needs=[need], working=[other], waiting={"half": ["test.jsonl"]})
    assert ask("status", status=found) == 0
    out = capsys.readouterr().out
    assert re.search(r"^serves\n  faq \(Phi-4\)  since \d{4}-\d\d-\d\d .*  https://faq-1/score$", out, re.M)
    assert "needs you\n  faq  r2  waits for you\n    next: droptune approve r2\n" in out
    assert re.search(r"^works\n  x\\u202ey\\nz  r3  is received, \d+ min ago$", out, re.M)
    assert out.endswith("waits for files\n  datasets/half: test.jsonl\n")
    assert ask("status", "--json", status=found) == 0
    assert msgspec.json.decode(capsys.readouterr().out, type=StatusView) == found
    assert ask("status", status=StatusView()) == 0
    assert capsys.readouterr().out.startswith("nothing serves and nothing runs: upload a dataset")


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({}, "  serves m:1 of run r1 since "),
        (
            {"serving": None, "state": "empty"},
            "  is torn down: droptune revive l1 serves m:1 again\n",
        ),
        (
            {"serving": None, "seen": "endpoint faq-1 is gone: somebody deleted it"},
            "  serves nothing: endpoint faq-1 is gone: somebody deleted it; the cleanup finds that too, then "
            "droptune revive l1 serves it again\n",
        ),
        ({"serving": None, "latest": None, "state": "not_made"}, "  has served nothing yet\n"),
        ({"pinned_by": "ada"}, "  kept by ada: newer versions wait (droptune unpin l1)\n"),
    ],
)
def test_a_line_is_told_by_what_it_serves_now(
    ask: Callable[..., int], capsys: pytest.CaptureFixture[str], changes: dict[str, Any], told: str
) -> None:
    found = LineList(lines=[msgspec.structs.replace(LINE, **changes)])
    assert ask("lines", lines=found) == 0
    out = capsys.readouterr().out
    assert out.startswith("faq (Phi-4)  l1\n")
    assert told in out
    assert ask("lines", "--json", lines=found) == 0
    assert msgspec.json.decode(capsys.readouterr().out, type=LineList) == found


def test_runs_tell_which_serves_now(ask: Callable[..., int], capsys: pytest.CaptureFixture[str]) -> None:
    old, new = summary("live", "went live", id="r0"), summary("live", "went live", serves=True)
    assert ask("runs", "--folder", "faq", **{"runs?folder=faq": RunList(runs=[new, old])}) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert re.split("  +", first)[:2] == ["r1", "went live, serves"]
    assert re.split("  +", second)[:2] == ["r0", "went live"]


@pytest.mark.parametrize(
    ("run", "code", "told"),
    [
        (summary("live", "went live"), 0, "went live\nnext: droptune ask l1\n"),
        (summary("unchanged", "was trained before"), 0, "was trained before\n"),
        (summary("failed", "failed", status="no GPU"), 1, "failed: no GPU\nnext: droptune show r1\n"),
        (summary("cancelled", "was cancelled"), 1, "was cancelled\n"),
        (summary("checking", hold="approval", status="waits for you: droptune approve r1"), 3, "waits for you"),
        (summary("training", parked=True, status="parked: a bug"), 3, "parked: a bug"),
    ],
)
def test_a_watch_ends_as_its_run_does(
    ask: Callable[..., int], capsys: pytest.CaptureFixture[str], run: RunSummary, code: int, told: str
) -> None:
    begun = view(summary(), "received", "job r1-1 trains", metrics={"train_loss": [(10, 2.5)]})
    later = view(summary(), "received", "job r1-1 trains", metrics={"train_loss": [(10, 2.5), (20, 1.25)]})
    ended = view(run, "received", "job r1-1 trains", "it has ended")
    assert ask("watch", "faq", runs__faq=begun, runs__r1=[begun, 503, later, ended]) == code
    found = capsys.readouterr()
    assert found.out.startswith("run r1 of faq, attempt 1\n")
    assert found.out.count("job r1-1 trains  (+1 s)\n") == 1, "each line of the history once"
    assert [found.out.count(f"step {step}: train_loss") for step in (10, 20)] == [1, 1]
    assert told in found.out
    assert found.err.count("it is asked again") == 1


def test_a_watch_goes_over_to_the_run_that_takes_the_place(
    ask: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    gone, newer = view(summary("superseded", "was superseded")), view(summary("live", "went live", id="r2"))
    said = {"runs__r1": gone, "runs__faq": newer, "runs__r2": newer}
    assert ask("watch", "r1", **said) == 0
    assert "run r2 takes its place, and is watched now\nrun r2 of faq" in capsys.readouterr().out
    assert ask("watch", "r1", "--strict", **said) == 1
    assert ask("watch", "r1", "--json", **said) == 0
    assert json.loads(capsys.readouterr().out.split("next: droptune show r1\n")[-1])["run"]["id"] == "r2"


def test_a_watch_that_takes_too_long_says_how_to_come_back(
    ask: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert ask("watch", "r1", "--timeout", "0.05", runs__r1=view(summary())) == 4
    assert "the run goes on: droptune watch r1 comes back to it" in capsys.readouterr().err


def test_ctrl_c_ends_the_watch_alone(
    ask: Callable[..., int], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(_: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("cli.watch.time.sleep", interrupted)
    assert ask("watch", "faq", runs__faq=view(summary())) == 130
    assert capsys.readouterr().err.endswith("the run goes on: droptune watch r1 comes back to it\n")


@pytest.mark.parametrize("seconds", ["0", "-1", "soon", "nan", "inf"])
def test_a_timeout_is_a_number_of_seconds(seconds: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["watch", "r1", "--timeout", seconds])
    assert ended.value.code == 2
    assert "must be a number of seconds, more than 0" in capsys.readouterr().err
