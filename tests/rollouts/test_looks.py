"""What commands show is what Azure serves, whatever the records say: after a way back, a teardown, a hand's doing."""

from __future__ import annotations

import re
import urllib.request
from collections.abc import Callable, Iterator
from datetime import timedelta
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

import msgspec
import pytest

from cli.__main__ import main
from shared.api import line_commands, run_commands, schema, views
from shared.app import App
from shared.errors import Permanent
from shared.records.base import FRESH
from shared.records.run import Run
from tests.kit.answering import answering
from tests.kit.waiting import eventually
from tests.kit.worlds.stage import MANUAL, WRONG, Stage

pytestmark = pytest.mark.thorough


@pytest.fixture
def look(
    stage: Stage, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., str]]:
    """Runs a command against the stage's app, and gives what it writes."""
    # urllib keeps the proxies of its first call for good: those of this cloud are not for the tests that follow.
    monkeypatch.setattr(urllib.request, "_opener", None)

    class Door(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, body = answered(stage.app, self.path)
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
            """Quiet."""

    with answering(Door) as url:

        def run(*arguments: str, code: int = 0) -> str:
            capsys.readouterr()
            assert main([*arguments, "--url", url]) == code
            return capsys.readouterr().out

        yield run


def answered(app: App, path: str) -> tuple[int, bytes]:
    """As the web functions have it."""
    asked = urlsplit(path)
    kind, _, name = unquote(asked.path).removeprefix("/api/").partition("/")
    name, _, more = name.partition("/")
    if kind == "runs" and not name:
        return views.runs(app, dict(parse_qsl(asked.query)))
    if name:
        found = {"": views.run, "answers": views.answers, "logs": views.logs} if kind == "runs" else {"": views.line}
        return found[more](app, name)
    return {"lines": views.lines, "folders": views.folders, "status": views.status}[kind](app)


def serves(stage: Stage, look: Callable[..., str]) -> str:
    """The run whose model serves, as all commands have it; "" for none. What Azure shows is the same."""
    listed = msgspec.json.decode(look("runs", "--folder", stage.folder, "--json"), type=schema.RunList).runs
    line = next(
        each
        for each in msgspec.json.decode(look("lines", "--json"), type=schema.LineList).lines
        if each.id == stage.line_id
    )
    status = msgspec.json.decode(look("status", "--json"), type=schema.StatusView)
    told = {line.serving.run} if line.serving else set()
    marked = {run.id for run in listed if run.serves}
    assert marked == told
    assert {each.serving.run for each in status.serving if each.serving and each.id == line.id} == told
    for run in listed:
        shown = msgspec.json.decode(look("show", run.id, "--json"), type=schema.RunView)
        assert {shown.line_serves.run if shown.line_serves else ""} == (told or {""})
        assert shown.run.serves == (run.id in told)
    traffic = [name for name, share in stage.traffic().items() if share]
    assert traffic == ([line.serving.deployment] if line.serving else []), "what Azure shows"
    words = look("lines")
    mine = words[words.index(f"{stage.folder}: ") :].splitlines()[0]
    assert ("serves nothing" in mine or "does not serve" in mine) == (not told)
    table = look("runs", "--folder", stage.folder).splitlines()
    assert {row.split()[0] for row in table if "serves now" in row} == marked
    return "".join(told)


def told_run(stage: Stage, told: str) -> Run:
    """The run that a command's answer names."""
    return stage.world.run(next(word for word in told.replace(",", " ").replace(":", " ").split() if is_run(word)))


def is_run(word: str) -> bool:
    return len(word) == 16 and word.startswith("r")


def test_after_a_rollback(stage: Stage, look: Callable[..., str]) -> None:
    before = stage.live()
    assert serves(stage, look) == before.id
    newer = stage.until(stage.version())
    assert serves(stage, look) == newer.id
    back = stage.until(told_run(stage, line_commands.rollback(stage.app, stage.line_id, by="ada")))
    assert serves(stage, look) in (before.id, back.id)
    assert "its line  serves what this run made" in look("show", before.id)
    out = look("show", newer.id)
    assert ": went live " in out
    assert "serves what this run made" not in out
    assert "address   https://" in out
    assert look("watch", newer.id).endswith("next: droptune lines\n")


def test_after_a_teardown_and_a_revival(stage: Stage, look: Callable[..., str]) -> None:
    run = stage.live()
    stage.tear_down()
    assert serves(stage, look) == ""
    assert f"next: droptune revive {stage.folder}\n" in look("lines")
    assert f"next: droptune revive {stage.folder}\n" in look("status").partition("What is torn down")[2]
    assert "its line  serves nothing now" in look("show", run.id)
    back = stage.until(told_run(stage, line_commands.revive(stage.app, stage.line_id, by="ada")))
    assert serves(stage, look) == back.id


def test_after_a_hand_s_doing_what_served_is_brought_back(stage: Stage, look: Callable[..., str]) -> None:
    """Its traffic taken, its deployment deleted, its endpoint deleted: told as Azure shows it, and revived at once."""
    run = stage.live()
    endpoints = stage.app.cloud.endpoints
    with pytest.raises(Permanent, match=r"serves .* at endpoint"):
        line_commands.revive(stage.app, stage.line_id, by="ada")
    endpoints.set_traffic(stage.endpoint, {})
    eventually(lambda: (found := endpoints.get(stage.endpoint)) and not found.busy)
    assert serves(stage, look) == "", "nobody is sent to it"
    with pytest.raises(Permanent, match=r"Azure may show late what is so new: try again after"):
        line_commands.revive(stage.app, stage.line_id, by="ada")
    again = revived(stage, look)
    assert again.deployed.name == run.deployed.name, "it still stood"

    endpoints.set_traffic(stage.endpoint, {})
    eventually(lambda: (found := endpoints.get(stage.endpoint)) and not found.busy)
    endpoints.remove_deployment(stage.endpoint, run.deployed.name)
    eventually(lambda: not stage.standing())
    assert serves(stage, look) == ""
    made = revived(stage, look)
    assert made.deployed.name != run.deployed.name

    endpoints.delete(stage.endpoint)
    eventually(lambda: endpoints.get(stage.endpoint) is None)
    assert serves(stage, look) == ""
    assert f"endpoint {stage.endpoint} is gone: somebody deleted it" in look("status")
    assert f"next: droptune revive {stage.folder}\n" in look("status")
    revived(stage, look)


def test_what_somebody_made_under_the_name_of_what_served_is_not_revived(
    stage: Stage, look: Callable[..., str]
) -> None:
    """A deployment without our tags is theirs: it gets no traffic, and is not deleted later."""
    run = stage.live()
    endpoints = stage.app.cloud.endpoints
    endpoints.set_traffic(stage.endpoint, {})
    eventually(lambda: (found := endpoints.get(stage.endpoint)) and not found.busy)
    endpoints.remove_deployment(stage.endpoint, run.deployed.name)
    eventually(lambda: not stage.standing())
    [model] = [stage.app.cloud.models.get(*run.attempt.model.rsplit(":", 1))]
    assert model
    endpoints.deploy(stage.endpoint, run.deployed.name, model.id, "Standard_DS3_v2", 1, {"team": "theirs"})
    eventually(lambda: stage.standing() == {run.deployed.name: "Succeeded"})
    stage.world.clock.jump(FRESH + timedelta(seconds=1))
    before = stage.line
    with pytest.raises(Permanent, match="lacks"):
        line_commands.revive(stage.app, stage.line_id, by="ada")
    assert stage.line == before
    assert stage.traffic() == {}
    assert serves(stage, look) == ""


def revived(stage: Stage, look: Callable[..., str]) -> Run:
    """What serves again by the command, once it is long enough ago that it was made."""
    stage.world.clock.jump(FRESH + timedelta(seconds=1))
    back = stage.until(told_run(stage, line_commands.revive(stage.app, stage.line_id, by="ada")))
    assert serves(stage, look) == back.id
    assert "last was served" not in look("lines")
    return back


def test_a_run_that_waits_for_approval_or_that_was_worse(stage: Stage, look: Callable[..., str]) -> None:
    before = stage.live()
    run = stage.version(promotion=MANUAL)
    stage.until(run, lambda run: run.hold == "approval")
    assert f"next: droptune approve {run.id}\n" in look("watch", run.id, code=3)
    assert f"next: droptune approve {run.id}\n" in look("status")
    assert serves(stage, look) == before.id
    out = look("compare", run.id)
    assert " better, " in out
    gate = re.search(r"gate +passed: (?P<score>chrf \d+\.\d) on .*, (?P<live>\d+\.\d) serves", look("show", run.id))
    assert gate
    assert f"; {gate['score']} new, {gate['live']} live\n" in out, "in the gate's own points"
    assert look("show", run.id, "--answers").count("expected  ") > 0
    run_commands.cancel(stage.app, run.id, by="ada")
    stage.until(run)
    stage.pretend(WRONG)
    worse = stage.until(stage.version())
    assert "next: droptune show" in look("watch", worse.id, code=1)
    assert serves(stage, look) == before.id
