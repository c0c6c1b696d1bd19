"""What people ask of a line: what changes, and what is refused with which words."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from benchmarks.counting import requests_of
from shared.api import line_commands, run_commands
from shared.api.seen import Seen, after_live
from shared.app import App
from shared.cloud.endpoints import Endpoint
from shared.errors import NotFound, Permanent
from shared.lifecycle.phase import Phase
from shared.lifecycle.seen import RolloutSeen
from shared.records import layout
from shared.records.base import Order
from shared.records.layout import STATE
from shared.records.line import Empty, Keep, Line, Standing
from shared.records.run import Data, Parked, Restores, Run, Waiting
from shared.run.observe import OBSERVE
from tests.kit.records import NOW, etag_of, line_of, run_of, serving, woken


def test_a_rollback_is_one_run_however_often_it_is_asked_for(
    app: App, make_run: Callable[..., Run], make_line: Callable[..., Line], model: str
) -> None:
    origin = make_run("a", phase=Phase.LIVE, model=model, job="j", data=Data(fingerprint="f1", rows={"test": 3}))
    latest = serving("rb", order=Order(uploaded=NOW + timedelta(1)))
    line = make_line(serving=latest, latest=latest, previous=serving(origin.id, model))
    told = line_commands.rollback(app, line.id, by="ada")
    run = new_run(app, told)
    assert model in told
    assert (run.phase, run.attempt.model, run.attempt.job) == (Phase.REGISTERED, model, "j")
    assert run.restores == Restores(run=origin.id, instead_of="rb", rollback=True)
    assert (run.prepared, run.attempt.fingerprint, run.line) == (f"{origin.id}/1", "f1", line.id)
    after = Order(uploaded=latest.order.uploaded + timedelta(seconds=1))
    assert latest.order < run.order < after, "the newest until the next upload"
    assert "ada" in run.history[-1].what
    assert run.id in set(app.runs.active())
    assert "already" in line_commands.rollback(app, line.endpoint, by="eve")
    assert run_of(app, run) == run
    assert woken(app, run) == 2


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"phase": Phase.CHECKING, "waiting": Waiting(why="an approval: droptune approve", hold="approval")}, True),
        (
            {
                "phase": Phase.REGISTERED,
                "waiting": Waiting(why="quota: 1 instance (X) take 24 vCPUs of Y, of which 0 of 0"),
            },
            True,
        ),
        ({"phase": Phase.CHECKING, "parked": Parked(at=NOW, why="a bug")}, True),
        ({"phase": Phase.DEPLOYING, "waiting": Waiting(why="the deployment")}, False),
    ],
)
def test_a_rollback_tells_of_the_run_that_holds_the_line(
    app: App,
    make_run: Callable[..., Run],
    make_line: Callable[..., Line],
    model: str,
    changes: dict[str, Any],
    *,
    named: bool,
) -> None:
    """It may wait for ever: for an approval that nobody wants to give, or for quota."""
    other = make_run("n", order=Order(uploaded=NOW + timedelta(1)), **changes)
    line = make_line(rollout=other.id, serving=serving("r2"), latest=serving("r2"), previous=serving("r1", model))
    told = line_commands.rollback(app, line.id)
    run = new_run(app, told)
    assert f"after the rollout of run {other.id}" in told
    seen = OBSERVE[Phase.REGISTERED](app, run)
    assert isinstance(seen, RolloutSeen)
    assert f"the rollout of run {other.id}" in (seen.busy or "")
    for text in (told, seen.busy or ""):
        assert (f"droptune cancel {other.id}" in text) is named


def test_a_rollback_that_failed_is_tried_again(
    app: App, make_run: Callable[..., Run], make_line: Callable[..., Line], model: str
) -> None:
    origin, latest = (
        make_run("a", phase=Phase.LIVE, model=model),
        serving("rb", order=Order(uploaded=NOW + timedelta(1))),
    )
    line = make_line(serving=latest, latest=latest, previous=serving(origin.id, model))
    run = new_run(app, line_commands.rollback(app, line.id))
    app.runs.save(replace(run, phase=Phase.ROLLED_BACK), etag_of(app, run.id))
    line_commands.rollback(app, line.id, by="ada")
    again = run_of(app, run)
    assert (again.phase, again.attempt.number, again.prepared) == (Phase.REGISTERED, 2, f"{origin.id}/1")


def test_back_and_forth_are_runs_of_their_own(
    app: App, make_run: Callable[..., Run], make_line: Callable[..., Line], model: str
) -> None:
    """Back to the first, then to the second, then a third upload, and back to the first again."""
    make_run("a", phase=Phase.LIVE, model=model)
    first, second = (
        serving(make_run("x", phase=Phase.LIVE).id, model),
        serving("rb", model, order=Order(uploaded=NOW + timedelta(1))),
    )
    line = make_line(serving=second, latest=second, previous=first)
    back = new_run(app, line_commands.rollback(app, line.id))
    lives = serving(back.id, model, order=back.order)
    app.runs.save(replace(back, phase=Phase.LIVE), etag_of(app, back.id))
    _, etag = app.lines.load(line.id) or (None, "")
    etag = app.lines.save(replace(line, serving=lives, latest=lives, previous=second), etag)
    forth = new_run(app, line_commands.rollback(app, line.id))
    assert forth.order > back.order
    third = serving("rc", order=Order(uploaded=NOW + timedelta(2)))
    app.lines.save(replace(line, serving=third, latest=third, previous=lives), etag)
    again = new_run(app, line_commands.rollback(app, line.id))
    assert len({back.id, forth.id, again.id}) == 3
    assert again.restores
    assert again.restores.run == first.run, "whatever it was served by in between"


def test_a_rollback_needs_no_record_of_the_run(app: App, make_line: Callable[..., Line], model: str) -> None:
    latest = serving("rb", order=Order(uploaded=NOW + timedelta(1)))
    line = make_line(serving=latest, latest=latest, previous=serving("rlost", model))
    run = new_run(app, line_commands.rollback(app, line.id))
    assert (run.prepared, run.attempt.fingerprint, run.restores and run.restores.run) == ("rlost/1", "f", "rlost")


def test_a_rollback_needs_no_record_that_can_be_read(app: App, make_line: Callable[..., Line], model: str) -> None:
    origin = f"rbroken{model[-6:]}"
    app.cloud.blobs.write("state", f"runs/{origin}.json", b"{")
    latest = serving("rb", order=Order(uploaded=NOW + timedelta(1)))
    line = make_line(serving=latest, latest=latest, previous=serving(origin, model))
    assert new_run(app, line_commands.rollback(app, line.id)).prepared == f"{origin}/1"
    app.cloud.blobs.delete("state", f"runs/{origin}.json")


def test_what_can_not_be_rolled_back(app: App, make_line: Callable[..., Line]) -> None:
    with pytest.raises(Permanent, match="nothing to roll back to"):
        line_commands.rollback(app, make_line("a", serving=serving("ra"), latest=serving("ra")).id)
    gone = make_line("b", serving=serving("rb"), latest=serving("rb"), previous=serving("ra", "nomodel:1"))
    with pytest.raises(Permanent, match="nomodel:1 is gone"):
        line_commands.rollback(app, gone.id)


def test_a_line_that_was_torn_down_is_revived(
    app: App, make_run: Callable[..., Run], make_line: Callable[..., Line], model: str
) -> None:
    origin = make_run("a", phase=Phase.LIVE, model=model)
    line = make_line(latest=serving(origin.id, model), state=Empty(since=NOW))
    run = new_run(app, line_commands.revive(app, line.folder, by="ada"))
    assert (run.phase, run.attempt.model, run.order.ordinal) == (Phase.REGISTERED, model, 1)
    assert run.restores == Restores(run=origin.id, instead_of=origin.id, rollback=False)
    with pytest.raises(Permanent, match="has served nothing yet"):
        line_commands.revive(app, make_line("b", folder="other").id)
    deleted = make_line("c", folder="other", serving=serving("rc", model), latest=serving("rc", model))
    assert new_run(app, line_commands.revive(app, deleted.id)).attempt.model == model, "its endpoint is not there"
    assert line_of(app, deleted).serving is None


def test_a_run_that_went_live_is_named_with_what_brings_it_back(
    app: App, make_run: Callable[..., Run], make_line: Callable[..., Line]
) -> None:
    line = make_line(serving=serving("rb", "m:b"), latest=serving("rb", "m:b"), previous=serving("ra", "m:a"))
    runs = {name: make_run(name, phase=Phase.LIVE, model=f"m:{name}") for name in "abc"}
    there = Endpoint(name=line.endpoint, id="/e", state="Succeeded", scoring_uri="", traffic={"rb-1": 100})
    stands, gone = Seen(endpoints={there.name: there}), Seen(endpoints={})
    for name, shown, told in (
        ("b", stands, "went live, and serves"),
        ("a", stands, f"serves no more: droptune rollback {line.id} brings it back"),
        ("b", gone, f"serves no more: droptune revive {line.id} brings it back"),
        ("c", stands, "change its files, or push them to another folder, to train it again"),
        ("a", gone, "change its files, or push them to another folder, to train it again"),
    ):
        assert after_live(line, runs[name], shown).endswith(told), (name, told)


def test_a_line_that_is_pinned_holds_newer_runs_until_it_is_not(
    app: App, make_run: Callable[..., Run], make_line: Callable[..., Line]
) -> None:
    line = make_line(serving=serving("ra"), latest=serving("ra"))
    held = make_run("h", phase=Phase.REGISTERED, waiting=Waiting(why="the line", hold="pin"))
    other = make_run("o", phase=Phase.REGISTERED)
    assert "is pinned to m:1" in line_commands.pin(app, line.id, by="ada")
    assert line_of(app, line).pinned_by == "ada"
    assert "already, by ada" in line_commands.pin(app, line.id, by="eve")
    assert held.id in line_commands.unpin(app, line.id)
    assert line_of(app, line).pinned_by == ""
    assert (woken(app, held), woken(app, other)) == (1, 0)
    line_commands.unpin(app, line.id)
    assert woken(app, held) == 2, "the first may have died before it woke anybody"


def test_a_line_that_serves_nothing_can_not_be_pinned(app: App, make_line: Callable[..., Line]) -> None:
    with pytest.raises(Permanent, match="serves nothing"):
        line_commands.pin(app, make_line().id)


def test_a_folder_with_two_lines_is_not_clear(app: App, make_line: Callable[..., Line]) -> None:
    first, second = make_line("a"), make_line("b", base_model="Phi-3")
    with pytest.raises(Permanent, match=rf"{first.id} \(Phi-4\), {second.id} \(Phi-3\)"):
        line_commands.pin(app, first.folder)


@pytest.mark.parametrize("name", ["rnone", "", "../runs/r1", "a b", "ü", "x" * 2000])
def test_what_does_not_exist_is_told(app: App, name: str) -> None:
    with pytest.raises(NotFound, match="droptune runs"):
        run_commands.retry(app, name)
    with pytest.raises(NotFound, match="name one by its id"):
        line_commands.pin(app, name)


def new_run(app: App, told: str) -> Run:
    """The run that an answer names."""
    return run_of(app, next(word for word in told.split() if len(word) == 16 and word.startswith("r")))


def test_a_name_that_nothing_has_is_told_with_what_could_not_be_read(
    app: App, make_line: Callable[..., Line], key: str
) -> None:
    line = make_line()
    app.cloud.blobs.write(STATE, layout.record(layout.LINES, line.id), b"{")
    with pytest.raises(NotFound, match=f"among those that can be read .*{line.id}.json can't be read"):
        line_commands.pin(app, line.folder)
    app.cloud.blobs.delete(STATE, layout.marker(layout.STANDING_LINES, line.id))


def test_to_unpin_a_line_reads_no_run_of_another(
    app: App, make_run: Callable[..., Run], make_line: Callable[..., Line], key: str
) -> None:
    line = make_line(state=Standing(), serving=serving("r0"), pinned_by="ada")
    held = make_run("a", phase=Phase.REGISTERED, waiting=Waiting(why="the line", hold="pin"))
    for number in range(10):
        make_run(f"other{number}", phase=Phase.REGISTERED, line=f"other-{key}")
    with requests_of(app) as counted:
        told = line_commands.unpin(app, line.id)
    assert held.id in told
    assert woken(app, held) == 1
    assert counted.requests <= 9


@pytest.mark.parametrize(
    ("until", "end"),
    [("", None), ("90m", timedelta(minutes=90)), ("12h", timedelta(hours=12)), ("2w", timedelta(weeks=2))],
)
def test_a_line_is_kept_by_somebodys_word_until_it_ends(
    app: App, make_line: Callable[..., Line], until: str, end: timedelta | None
) -> None:
    line, before = make_line(state=Standing(), serving=serving("r0")), app.cloud.blobs.now()
    told = line_commands.keep(app, line.id, by="ada", until=until, why="a\ndemo")
    found = line_of(app, line).keep
    assert found
    assert (found.who, found.why) == ("ada", "ademo")
    if end is None:
        assert found.until is None
        assert f"until droptune keep {line.id} --end" in told
    else:
        assert found.until
        assert abs(found.until - before - end) < timedelta(minutes=5)
        assert f"{found.until:%Y-%m-%d %H:%M} UTC" in told
    assert line_of(app, line).kept_at(before) == found
    if found.until:
        assert line_of(app, line).kept_at(found.until) is None, "it is over then"
    line_commands.keep(app, line.id, by="eve")
    assert line_of(app, line).keep == Keep(until=None, who="eve", why=""), "the last word counts"
    assert "not kept any more" in line_commands.keep(app, line.id, end=True)
    assert line_of(app, line).keep is None
    assert "by nobody's word" in line_commands.keep(app, line.id, end=True)


@pytest.mark.parametrize(
    ("until", "why"),
    [
        ("soon", "'soon' is no time: it is written as in 12h, 3d, 2w or 20"),
        ("0h", "is over already; it is 20"),
        ("2020-01-01", "2020-01-02 00:00 UTC is over already"),
        ("999999w", "is no time"),
        ("-3d", "is no time"),
    ],
)
def test_a_word_that_ends_at_no_time_keeps_nothing(
    app: App, make_line: Callable[..., Line], until: str, why: str
) -> None:
    line = make_line(state=Standing(), serving=serving("r0"))
    with pytest.raises(Permanent, match=why):
        line_commands.keep(app, line.id, until=until)
    assert line_of(app, line) == line


def test_office_hours_are_given_told_and_ended(app: App, make_line: Callable[..., Line]) -> None:
    line = make_line(state=Standing(), serving=serving("r0"))
    assert "is not torn down Mon-Fri 08:00-18:00 UTC" in line_commands.hours(
        app, line.id, hours=" Mon-Fri  08:00-18:00 UTC"
    )
    assert line_of(app, line).hours == "Mon-Fri 08:00-18:00 UTC"
    with pytest.raises(Permanent, match="'nine to five': office hours are written as in"):
        line_commands.hours(app, line.id, hours="nine to five")
    assert line_of(app, line).hours == "Mon-Fri 08:00-18:00 UTC"
    assert "no office hours" in line_commands.hours(app, line.id, end=True)
    assert line_of(app, line).hours == ""


def test_what_serves_nothing_or_is_being_changed_can_not_be_stopped(
    app: App, make_run: Callable[..., Run], make_line: Callable[..., Line]
) -> None:
    run = make_run("n", phase=Phase.DEPLOYING)
    line = make_line(state=Standing(), serving=serving("r0"), rollout=run.id)
    with pytest.raises(Permanent, match=f"droptune cancel {run.id} ends that first"):
        line_commands.stop(app, line.id)
    assert line_of(app, line) == line
    loaded = app.lines.load(line.id)
    assert loaded
    app.lines.save(replace(line, serving=None), loaded.etag)
    with pytest.raises(Permanent, match="serves nothing"):
        line_commands.stop(app, line.id)
