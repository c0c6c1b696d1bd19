"""What needs a person is told with the command for it, and what goes on by itself is not."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cli.__main__ import parser
from shared.api import views
from shared.api.needs import needs_of_kept, needs_of_lines, needs_of_runs
from shared.api.schema import LineView, NeedView, RefusalView
from shared.app import App
from shared.lifecycle.phase import WORK, Hold, Phase
from shared.line.waits import unreadable_record
from shared.records.mark import Mark
from shared.records.run import Run, Waiting
from tests.kit.settings import with_settings

AT = datetime(2026, 11, 1, 10, tzinfo=UTC)
ENDED_BADLY = (Phase.REJECTED, Phase.FAILED, Phase.ROLLED_BACK)


def mark(number: int, phase: Phase, hold: str = "", *, folder: str = "faq", parked: bool = False) -> Mark:
    return Mark(
        id=f"r{number}",
        line=f"l{folder}",
        folder=folder,
        base_model="Phi-4",
        attempt=1,
        phase=phase,
        since=AT + timedelta(minutes=number),
        status="why",
        hold=hold,  # type: ignore[arg-type]
        parked=parked,
    )


@given(st.lists(st.tuples(st.sampled_from(list(Phase)), st.sampled_from(["", "slot", "quota", "approval", "pin"]))))
def test_of_a_folder_only_what_ended_badly_last_needs_somebody(found: list[tuple[Phase, str]]) -> None:
    marks = [mark(number, phase, hold if phase in WORK else "") for number, (phase, hold) in enumerate(found)]
    needs = {need.run: need for need in needs_of_runs(marks)}
    waiting = {each.id for each in marks if each.hold in ("approval", "pin")}
    bad = {marks[-1].id} if marks and marks[-1].phase in ENDED_BADLY else set()
    assert set(needs) == waiting | bad
    for need in needs.values():
        _can_be_pasted(need)


def test_each_is_told_with_what_helps() -> None:
    marks = [
        mark(1, Phase.CHECKING, "approval", folder="a"),
        mark(2, Phase.CHECKING, "pin", folder="b"),
        mark(3, Phase.TRAINING, folder="c", parked=True),
        mark(4, Phase.FAILED, folder="d"),
        mark(5, Phase.REJECTED, folder="e"),
    ]
    assert {need.run: need.command for need in needs_of_runs(marks)} == {
        "r1": "droptune approve r1",
        "r2": "droptune unpin lb",
        "r3": "droptune retry r3",
        "r4": "droptune retry r4",
        "r5": "",
    }


def test_what_azure_refuses_or_shows_otherwise_is_told() -> None:
    line = LineView(
        id="l1",
        folder="faq",
        base_model="m",
        endpoint="e",
        state="standing",
        refused=[RefusalView(what="r1-1", since=AT, why="a lock: take it away")],
        seen="endpoint e is gone: somebody deleted it",
    )
    refused, gone = needs_of_lines([line])
    assert (refused.what, refused.command) == ("a lock: take it away", "")
    assert (gone.what, gone.command) == (line.seen, "droptune revive faq")


def test_a_record_that_can_not_be_read_is_told_once_whether_or_not_a_listing_shows_it() -> None:
    kept = [(unreadable_record("runs/r1", 0), AT), (unreadable_record("slots.json", 0), AT)]
    [told] = needs_of_kept(kept, [])
    assert told.what.startswith("state/runs/r1.json can't be read")
    assert list(needs_of_kept(kept, [("r1", 0)])) == [], "needs_of_records tells it"


def _can_be_pasted(need: NeedView) -> None:
    if need.command:
        name, *arguments = need.command.split()
        assert name == "droptune"
        parser().parse_args(arguments)


@pytest.mark.parametrize(
    ("hold", "mode", "told"),
    [("seat", "report", True), ("seat", "delete", False), ("pin", "delete", True), ("slot", "report", False)],
)
def test_a_run_says_whether_only_people_end_its_wait(
    app: App, make_run: Callable[..., Run], hold: Hold, mode: str, told: bool
) -> None:
    run = make_run("r", phase=Phase.REGISTERED, waiting=Waiting(why="it", hold=hold))
    shown = views.run(with_settings(app, CLEANUP_MODE=mode), run.id)[1]
    assert json.loads(shown)["run"]["by_people"] is told
