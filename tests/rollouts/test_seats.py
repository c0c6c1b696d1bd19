"""The cap on live endpoints, over days in which more is uploaded than anybody calls.

What stands is what the cloud's own history says, at every moment of it, never a record.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import uuid4

import msgspec
import pytest

from shared.api import line_commands, run_commands, schema, views
from shared.api.recover import recover
from shared.errors import Transient
from shared.lifecycle.phase import Phase
from shared.line.waits import kept_needs
from shared.records.layout import DATASETS, SEATS, SLOTS, STATE, WATERMARK, damaged, marker
from shared.records.run import Run
from tests.kit.rows import chats
from tests.kit.worlds.stage import RIGHT, Stage, waits_for
from tests.kit.worlds.world import World

DAY = timedelta(days=1)
TIMERS = timedelta(hours=6)
"""How often the sweep and the cleanup come here: more rarely than in Azure, which makes every wait longer."""
log = logging.getLogger("tests.rollouts.seats")
GPUS = "standardNCADSA100v4Family"
FOLDERS = 20
"""New ones a day."""


@pytest.fixture(autouse=True)
def nothing_stands(stage: Stage) -> None:
    """What an earlier test left standing would be found by the sweep, and keep its seat."""
    endpoints = stage.app.cloud.endpoints

    def gone() -> bool:
        for each in endpoints.list():
            with suppress(Transient):  # it is on its way here, or away
                endpoints.delete(each.name)
        return not list(endpoints.list())

    stage.world.until(gone)


def work(world: World) -> None:
    """Hosts do what there is to do now."""
    while world.turn() or world.look():
        pass


def passes(world: World, time: timedelta, seen: Callable[[], object] = lambda: None) -> None:
    """Hosts work through so much time; `seen` is called before and after each of the timers."""
    until = world.clock.now() + time
    due = world.clock.now() + TIMERS
    while (now := world.clock.now()) < until:
        work(world)
        if now >= due:
            seen()
            world.cleanup()
            world.sweep()
            seen()
            due += TIMERS
        else:
            world.wait(min(until, due) - now)
    work(world)


def stood(world: World) -> Iterator[tuple[str, int]]:
    """When deployments were made or went, and how many stood from then on."""
    standing = set[str]()
    for each in world.control("GET", "/_local/history"):
        if each["kind"] == "deployments":
            (standing.discard if each["state"] == "Deleted" else standing.add)(each["name"])
            yield each["at"], len(standing)


def most(world: World) -> int:
    return max((count for _, count in stood(world)), default=0)


def upload(world: World, folder: str) -> None:
    world.upload(f"{folder}/train.jsonl", chats(salt=folder, answer=RIGHT))


def day_of(run: Run) -> str:
    return run.source.folder.partition("-")[0]


def told_of(world: World) -> dict[str, str]:
    """The reason that the topic was told, by run; of the latest events, which are all that the local cloud keeps."""
    sent = [each.get("event", each) for each in world.control("GET", "/_local/eventgrid")["events"]]
    kind = "Droptune.Run.SeatNeeded"
    return {event["data"]["run"]: event["data"]["reason"] for event in sent if event.get("type") == kind}


def days_of_uploads(stage: Stage, *, days: int, cap: int, folders: int, mode: str) -> dict[str, int]:
    """So many days in which nobody calls, each with so many new folders. Asserts the cap at every moment of them."""
    world, started = stage.world, uuid4().hex[:6]
    world.sweeps = False
    world.change(MAX_LIVE_ENDPOINTS=cap, CLEANUP_MODE=mode, MAX_ACTIVE_JOBS=2, MAX_JOBS_PER_DAY=20)
    world.control("DELETE", "/_local/history")
    first, told = len(world.known), dict[str, str]()

    def seen() -> None:
        """Before the reminders of all who wait push it out."""
        told.update(told_of(world))

    for day in range(days):
        for number in range(folders):
            upload(world, f"d{day:02}-{number:02}-{started}")
        work(world)
        passes(world, DAY, seen)
        assert most(world) <= cap, "what stands is the cloud's own word"
        seen()
        log.info("%s, day %d: %d at most", mode, day, most(world))
    own = [world.run(run_id) for run_id in world.known[first:]]
    waiting = [run for run in own if not run.phase.ended]
    for run in waiting:
        assert (run.phase, run.hold) == (Phase.PREPARED, "seat"), f"{run.phase}: {run.waiting}"
        assert f"of MAX_LIVE_ENDPOINTS={cap} lines serve or are on their way" in waits_for(run)
        assert ("CLEANUP_MODE=report" in waits_for(run)) == (mode == "report")
        assert "MAX_LIVE_ENDPOINTS" in told[run.id]
    live = [run for run in own if run.phase is Phase.LIVE]
    assert len(own) == days * folders
    assert len(live) + len(waiting) == len(own), [(run.phase, run.why) for run in own if run not in (*live, *waiting)]
    jobs = [each for each in world.control("GET", "/_local/history") if each["kind"] == "jobs"]
    ran = {each["name"] for each in jobs}
    assert ran == {run.attempt.job for run in live}, "who waits has had nothing paid for"
    if waiting:
        assert max(map(day_of, live)) <= min(map(day_of, waiting)), "who came first goes first"
    return {"runs": len(own), "live": len(live), "waiting": len(waiting), "most at once": most(world)}


@pytest.mark.thorough
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("mode", ["report", "delete"])
def test_forty_days_of_twenty_folders_that_nobody_calls(stage: Stage, mode: str) -> None:
    counts = days_of_uploads(stage, days=40, cap=5, folders=FOLDERS, mode=mode)
    log.warning("%s: %s", mode, counts)
    if mode == "report":
        assert counts == {"runs": 800, "live": 5, "waiting": 795, "most at once": 5}
    else:
        assert counts["live"] > 60, "what nobody calls goes, and others follow"
        assert counts["most at once"] == 5


@pytest.mark.thorough
def test_a_few_days_of_uploads_that_nobody_calls(stage: Stage) -> None:
    counts = days_of_uploads(stage, days=4, cap=2, folders=3, mode="delete")
    log.warning("%s", counts)
    assert counts["live"] > 2


# What ends the wait, to the word --------------------------------------------------------------------------------------


def two_of_one_seat(stage: Stage, **settings: Any) -> tuple[Stage, Run]:
    """What serves has the only seat; another folder, and its run, which waits for one."""
    world = stage.world
    world.change(MAX_LIVE_ENDPOINTS=1, **{"CLEANUP_MODE": "report"} | settings)
    live = stage.until(stage.upload())
    assert live.phase is Phase.LIVE, live.why
    other = replace(stage, folder=f"{stage.folder}-b")
    waits = other.until(other.upload(), lambda run: run.hold == "seat")
    assert waits_for(waits).startswith(
        f"a free seat: 1 of MAX_LIVE_ENDPOINTS=1 line serves or is on its way ({stage.folder})"
    )
    assert other.jobs() == []
    return other, waits


@pytest.mark.thorough
def test_an_endpoint_that_a_person_deletes_frees_its_seat(stage: Stage) -> None:
    other, waits = two_of_one_seat(stage)
    assert f"delete one (az ml online-endpoint delete --name {stage.endpoint})" in waits_for(waits)
    assert [why for kind, why in other.events() if kind == "Run.SeatNeeded"] == [f"it waits for {waits_for(waits)}"]
    status = msgspec.json.decode(views.status(stage.app)[1], type=schema.StatusView)
    assert status.seats.startswith("1 of MAX_LIVE_ENDPOINTS=1 line serves")
    assert [need.what for need in status.needs if "seat" in need.what] == [f"1 run waits for {waits_for(waits)}"]
    stage.app.cloud.endpoints.delete(stage.endpoint)
    assert other.until(waits).phase is Phase.LIVE


def third_of(stage: Stage) -> tuple[Stage, Run]:
    """One more folder whose run waits for a seat."""
    third = replace(stage, folder=f"{stage.folder}-c")
    return third, third.until(third.upload(), lambda run: run.hold == "seat")


@pytest.mark.thorough
@pytest.mark.parametrize("what", ["archived", "line", "run", "mark"])
def test_who_can_not_go_on_when_its_turn_comes_keeps_nobody_out(stage: Stage, what: str) -> None:
    blobs = stage.app.cloud.blobs
    stage.world.change(INLINE_LIMIT_MB=0.000001)
    other, head = two_of_one_seat(stage)
    third, waits = third_of(stage)
    body, _ = blobs.read(STATE, f"runs/{head.id}.json")
    if what == "archived":
        data = stage.app.cloud.clients.blob_service.get_blob_client(DATASETS, f"{other.folder}/train.jsonl")
        data.set_standard_blob_tier("Archive")
    elif what == "mark":  # its marker says what it did before
        blobs.write(STATE, f"runs/{head.id}.json", body.replace(b'"since":"', b'"since":"x', 1))
    else:
        blobs.write(
            STATE, f"lines/{other.line_id}.json" if what == "line" else f"runs/{head.id}.json", b'{"phase": "prepared"}'
        )
    stage.app.cloud.endpoints.delete(stage.endpoint)
    assert third.until(waits).phase is Phase.LIVE
    blobs.write(STATE, f"runs/{head.id}.json", body)


@pytest.mark.thorough
def test_who_waits_for_quota_keeps_nobody_out(stage: Stage) -> None:
    other, head = two_of_one_seat(stage)
    third, waits = third_of(stage)
    quota = stage.world.control("POST", "/_local/quota", {})[GPUS]
    stage.world.control("POST", "/_local/quota", {GPUS: 0})
    try:
        stage.app.cloud.endpoints.delete(stage.endpoint)
        short = [each.until(run, lambda run: run.hold == "quota") for each, run in ((other, head), (third, waits))]
        asking = msgspec.json.decode(stage.app.cloud.blobs.read(STATE, SEATS)[0])["asking"]
        assert asking == {}, "what they wait for is no seat"
    finally:
        stage.world.control("POST", "/_local/quota", {GPUS: quota})
    assert other.until(short[0]).phase is Phase.LIVE, "it has waited longest"
    assert third.until(short[1], lambda run: run.hold == "seat")


@pytest.mark.thorough
def test_the_words_of_a_wait_name_no_endpoint_that_is_gone(stage: Stage) -> None:
    other, head = two_of_one_seat(stage)
    third, waits = third_of(stage)
    stage.app.cloud.endpoints.delete(stage.endpoint)
    assert other.until(head).phase is Phase.LIVE
    waits = third.until(waits, lambda run: stage.endpoint not in waits_for(run))
    assert waits.hold == "seat"
    waits = third.until(waits, lambda run: other.endpoint in waits_for(run) or "cancel a run" in waits_for(run))


@pytest.mark.thorough
@pytest.mark.parametrize("lost", ["state", "record"])
def test_what_has_lost_its_record_still_counts(stage: Stage, lost: str) -> None:
    """It costs as before, and people are told of it."""
    blobs = stage.app.cloud.blobs
    if lost == "record":
        other, waits = two_of_one_seat(stage)
        blobs.delete(STATE, f"lines/{stage.line_id}.json")
    else:
        stage.world.change(MAX_LIVE_ENDPOINTS=1, CLEANUP_MODE="report")
        for each in stage.app.cloud.endpoints.list():
            stage.app.cloud.endpoints.delete(each.name)
        assert stage.until(stage.upload()).phase is Phase.LIVE
        for blob in list(blobs.list(STATE)):
            blobs.delete(STATE, blob.name)
        stage.world.known.clear()
        other = replace(stage, folder=f"{stage.folder}-b")
        waits = other.until(other.upload(), lambda run: run.hold or run.phase.ended)
    passes(stage.world, 2 * TIMERS)
    waits = other.run(waits)
    assert (waits.hold, other.standing()) == ("seat", {})
    assert stage.standing()
    status = msgspec.json.decode(views.status(stage.app)[1], type=schema.StatusView)
    assert status.seats.startswith("1 of MAX_LIVE_ENDPOINTS=1 line serves")
    assert any(stage.endpoint in need.why for need, _ in kept_needs(stage.app))
    stage.app.cloud.endpoints.delete(stage.endpoint)
    assert other.until(waits).phase is Phase.LIVE


@pytest.mark.thorough
def test_a_line_that_is_looked_after_again_has_its_seat(stage: Stage) -> None:
    stage.world.change(MAX_LIVE_ENDPOINTS=1, CLEANUP_MODE="report")
    assert stage.until(stage.upload()).phase is Phase.LIVE
    stage.app.cloud.blobs.delete(STATE, marker("standing", stage.line_id))
    stage.app.cloud.blobs.write(STATE, SEATS, b'{"version": 1, "taken": {}, "asking": {}}')
    assert any(stage.line_id in each for each in recover(stage.app).rebuilt)
    assert stage.line_id in msgspec.json.decode(stage.app.cloud.blobs.read(STATE, SEATS)[0])["taken"]


@pytest.mark.thorough
def test_the_sweep_gives_a_seat_to_what_has_lost_both_its_record_and_its_seat(stage: Stage) -> None:
    blobs = stage.app.cloud.blobs
    assert stage.until(stage.upload()).phase is Phase.LIVE
    blobs.delete(STATE, f"lines/{stage.line_id}.json")
    blobs.write(STATE, SEATS, b'{"version": 1, "taken": {}, "asking": {}}')
    blobs.delete(STATE, WATERMARK)
    stage.world.sweep()
    assert stage.line_id in msgspec.json.decode(blobs.read(STATE, SEATS)[0])["taken"]


@pytest.mark.thorough
@pytest.mark.parametrize("name", [SLOTS, SEATS])
def test_a_record_that_is_emptied_counts_as_broken(stage: Stage, name: str) -> None:
    world = stage.world
    world.change(MAX_LIVE_ENDPOINTS=1 if name == SEATS else 5, MAX_ACTIVE_JOBS=1, CLEANUP_MODE="report")
    stage.pretend(job=9 * 3600)
    trains = stage.until(stage.upload(), lambda run: run.phase is Phase.TRAINING)
    stage.app.cloud.blobs.write(STATE, name, b"{}")
    other = replace(stage, folder=f"{stage.folder}-b")
    waits = other.until(other.upload(), lambda run: run.hold or run.phase is Phase.TRAINING)
    assert waits.hold == ("seat" if name == SEATS else "slot")
    assert stage.app.cloud.blobs.read(STATE, damaged(name))[0] == b"{}"
    status = msgspec.json.decode(views.status(stage.app)[1], type=schema.StatusView)
    assert any(need.what.startswith(f"state/{name} could not be read") for need in status.needs)
    stage.app.cloud.blobs.delete(STATE, damaged(name))
    for each, run in ((other, waits), (stage, trains)):  # else they would go live in a later test's hours
        run_commands.cancel(stage.app, run.id)
        assert each.until(run).phase is Phase.CANCELLED


@pytest.mark.thorough
@pytest.mark.parametrize("settings", [{"MAX_LIVE_ENDPOINTS": 2}, {"CLEANUP_MODE": "delete"}])
def test_a_setting_that_is_changed_ends_the_wait(stage: Stage, settings: dict[str, Any]) -> None:
    other, waits = two_of_one_seat(stage)
    stage.world.change(**settings)
    stage.world.until(lambda: stage.run(waits).phase.ended, patience=4 * DAY)
    assert other.run(waits).phase is Phase.LIVE
    assert (stage.line.serving is None) == ("CLEANUP_MODE" in settings)


@pytest.mark.thorough
def test_a_newer_upload_has_the_place_of_the_one_that_waits(stage: Stage) -> None:
    other, older = two_of_one_seat(stage)
    newer = other.until(other.upload("b"), lambda run: run.hold == "seat")
    older = other.until(older)
    assert (older.phase, newer.id in older.why) == (Phase.SUPERSEDED, True)
    assert stage.app.lines.load(newer.line) is None, "nothing for the cleanup to judge"
    stage.world.change(MAX_LIVE_ENDPOINTS=2)
    assert other.until(newer).phase is Phase.LIVE


@pytest.mark.thorough
def test_a_line_that_serves_is_not_held_up(stage: Stage) -> None:
    two_of_one_seat(stage)
    assert stage.until(stage.upload("b")).phase is Phase.LIVE


@pytest.mark.thorough
def test_a_revive_beyond_the_cap_is_told_at_once_and_waits_before_those_without_a_model(stage: Stage) -> None:
    other, waits = two_of_one_seat(stage)
    stage.tear_down()
    other.until(waits, lambda run: run.phase is Phase.TRAINING)
    third = replace(stage, folder=f"{stage.folder}-c")
    last = third.until(third.upload(), lambda run: run.hold == "seat")
    told = line_commands.revive(stage.app, stage.line_id, by="ann")
    assert "it waits for a free seat: 1 of MAX_LIVE_ENDPOINTS=1" in told
    revived = stage.world.newest()
    assert revived
    revived = stage.until(revived, lambda run: run.hold == "seat")
    assert revived.phase is Phase.REGISTERED
    assert other.until(waits).phase is Phase.LIVE
    stage.app.cloud.endpoints.delete(other.endpoint)
    assert stage.until(revived).phase is Phase.LIVE
    assert stage.run(last).hold == "seat"


@pytest.mark.thorough
def test_a_cap_that_is_lowered_while_it_trains_is_looked_at_before_it_deploys(stage: Stage) -> None:
    world, other = stage.world, replace(stage, folder=f"{stage.folder}-b")
    world.change(MAX_LIVE_ENDPOINTS=2, CLEANUP_MODE="report")
    assert stage.until(stage.upload()).phase is Phase.LIVE
    trains = other.until(other.upload(), lambda run: run.phase is Phase.TRAINING)
    world.change(MAX_LIVE_ENDPOINTS=1)
    trains = other.until(trains, lambda run: run.hold == "seat")
    assert trains.phase is Phase.REGISTERED
    assert "2 of MAX_LIVE_ENDPOINTS=1" in waits_for(trains)
    assert other.made("deployments") == []
    run_commands.cancel(stage.app, trains.id)
    assert other.until(trains).phase is Phase.CANCELLED


@pytest.mark.thorough
def test_a_run_that_does_not_go_live_gives_its_seat_to_the_next(stage: Stage) -> None:
    other, waits = two_of_one_seat(stage)
    third = replace(stage, folder=f"{stage.folder}-c")
    next_ = third.until(third.upload(), lambda run: run.hold == "seat")
    stage.pretend(jobs={"outcome": "Failed"})
    stage.tear_down()
    assert other.until(waits).phase is Phase.FAILED
    stage.pretend()
    third.until(next_, lambda run: run.phase.ended)
    assert third.run(next_).phase in (Phase.LIVE, Phase.FAILED)
    assert third.run(next_).attempt.job
