"""Every phase against everything that it can be shown."""

import dataclasses
from collections.abc import Iterator

import pytest

from scripts import lifecycle_page
from scripts.lifecycle_page import LOOKS, shown, target
from shared.lifecycle.phase import WORK, Phase, refused
from shared.lifecycle.rules import Do, Go, Poll, Stop, Wait, next_step
from shared.lifecycle.seen import Check, Job, Plan, Rollout, Seen, Upload

SHOWN: dict[Phase, list[Seen]] = {phase: list(shown(phase)) for phase in LOOKS}
ONWARD = {
    Phase.RECEIVED: {Phase.PREPARED, Phase.REJECTED, Phase.UNCHANGED, Phase.FAILED, Phase.SUPERSEDED},
    Phase.PREPARED: {Phase.TRAINING, Phase.FAILED, Phase.SUPERSEDED},
    Phase.TRAINING: {Phase.REGISTERED, Phase.FAILED, Phase.REJECTED, Phase.SUPERSEDED},
    Phase.REGISTERED: {Phase.DEPLOYING, Phase.FAILED, Phase.SUPERSEDED},
    Phase.DEPLOYING: {Phase.CHECKING, Phase.ROLLED_BACK},
    Phase.CHECKING: {Phase.LIVE, Phase.ROLLED_BACK, Phase.SUPERSEDED},
}


def everything() -> Iterator[tuple[Phase, Seen]]:
    for phase, looks in SHOWN.items():
        for seen in looks:
            yield phase, seen


def test_the_page_is_made_of_the_code() -> None:
    assert lifecycle_page.PAGE.read_text() == lifecycle_page.page(), "run `.venv/bin/python -m scripts.pages`"


def test_every_phase_has_something_it_can_be_shown() -> None:
    assert tuple(SHOWN) == WORK


def test_a_run_stays_or_moves_only_where_the_design_lets_it() -> None:
    for phase, seen in everything():
        to = target(next_step(phase, seen))
        assert to is None or to == phase or to in ONWARD[phase], (phase, seen)


def test_every_allowed_move_is_made_for_something() -> None:
    made = {(phase, target(next_step(phase, seen))) for phase, seen in everything()}
    made |= {(phase, refused(phase)) for phase in WORK}
    for phase, onward in ONWARD.items():
        assert onward == {to for at, to in made if at is phase and to not in (None, phase)}


def test_whoever_waits_or_stops_says_what_for() -> None:
    for phase, seen in everything():
        match next_step(phase, seen):
            case Wait(seconds, why, held):
                assert why
                assert not held or seconds is None or held in ("slot", "quota")
                assert seconds is None or seconds > 0
            case Poll(why) | Stop(_, why):
                assert why or (isinstance(seen, Check) and not seen.why)


def test_an_end_and_a_look_of_another_phase_are_bugs() -> None:
    for phase in Phase:
        for other, looks in SHOWN.items():
            if phase.ended or other is not phase:
                with pytest.raises(ValueError, match=str(phase)):
                    next_step(phase, looks[0])


def test_no_money_is_spent_on_bad_or_unsettled_data() -> None:
    for seen in SHOWN[Phase.RECEIVED]:
        assert isinstance(seen, Upload)
        step = next_step(Phase.RECEIVED, seen)
        if step == Go(Phase.PREPARED):
            assert seen.gone is None
            assert seen.settles_in <= 0
            assert seen.in_job or (seen.faults is not None and not seen.reason)


def test_a_job_starts_only_on_pinned_versions_and_ready_computes() -> None:
    for seen in SHOWN[Phase.PREPARED]:
        assert isinstance(seen, Plan)
        starts = next_step(Phase.PREPARED, seen) == Do("train", Phase.TRAINING)
        ready = seen.pinned and not (seen.missing or seen.pending or seen.unusable or seen.changed or seen.quota)
        assert starts == (ready and seen.slot and seen.heads and not seen.newer and not seen.before)


def test_who_waits_for_a_slot_has_everything_else_and_says_for_what() -> None:
    waiting = Plan(slot=False, queue="2 runs are before it")
    assert next_step(Phase.PREPARED, waiting) == Wait(None, "2 runs are before it", held="slot")
    assert next_step(Phase.PREPARED, Plan(slot=False)) == Do("admit", Phase.PREPARED)
    for seen in SHOWN[Phase.PREPARED]:
        assert isinstance(seen, Plan)
        if next_step(Phase.PREPARED, seen) == Do("admit", Phase.PREPARED):
            asked = dataclasses.replace(seen, slot=True, queue="", room_in=None, queued=False)
            assert dataclasses.replace(asked, heads=True, wasteful=False) == Plan()


def test_an_older_run_gives_way_to_a_newer_one_until_it_is_trained() -> None:
    for seen in SHOWN[Phase.TRAINING]:
        assert isinstance(seen, Job)
        told = seen.report == "taken" and not (seen.reason or seen.changed)
        if told and seen.newer and seen.status not in ("Completed", "Failed", "Canceled", "NotResponding"):
            assert target(next_step(Phase.TRAINING, seen)) is Phase.SUPERSEDED
    assert next_step(Phase.TRAINING, Job(status="Completed", newer="ra")) == Do("register", Phase.REGISTERED)


def test_what_serves_is_touched_only_for_a_rollout_that_may_go_on() -> None:
    for seen in SHOWN[Phase.REGISTERED]:
        assert isinstance(seen, Rollout)
        step = next_step(Phase.REGISTERED, seen)
        if isinstance(step, Do) and step.action in ("clear", "make_room", "deploy"):
            assert (seen.newer, seen.busy, seen.pinned, seen.gone) == (None, None, "", None)
            assert seen.endpoint == "Succeeded"
        if step == Do("deploy", Phase.DEPLOYING):
            assert dataclasses.replace(seen, fresh=False, queued=False) == Rollout()
        if isinstance(step, Do) and step.action == "make_endpoint":
            assert not seen.fresh, "it would take the traffic from what one look has missed"


def test_traffic_goes_only_to_what_passed_and_a_run_is_live_only_when_it_serves_alone() -> None:
    for seen in SHOWN[Phase.CHECKING]:
        assert isinstance(seen, Check)
        step = next_step(Phase.CHECKING, seen)
        if step == Do("give_traffic", Phase.CHECKING):
            assert seen.passed
            assert seen.gate
            assert (seen.busy, seen.approval, seen.gone) == (False, False, None)
        if step == Do("serve", Phase.CHECKING):
            rest = dataclasses.replace(seen, why="", fresh=False, ask=False, unanswered=False, overdue="")
            assert rest == Check(passed=True, gate=True, traffic=100)
        assert (target(step) is Phase.LIVE) == seen.serves


def test_nothing_is_waited_for_in_checking_longer_than_its_limits_and_the_reason_says_what_it_was() -> None:
    for seen in SHOWN[Phase.CHECKING]:
        assert isinstance(seen, Check)
        step = next_step(Phase.CHECKING, seen)
        over = seen.serves or seen.newer or seen.gone or seen.passed is False or (seen.passed and seen.gate is False)
        asks = bool(seen.passed and seen.gate and seen.approval)
        if seen.overdue and not over and not asks and step != Do("serve", Phase.CHECKING):
            assert target(step) is Phase.ROLLED_BACK, seen
            assert isinstance(step, Stop)
            assert all(each in step.why for each in (seen.overdue, "MAX_CHECKING_HOURS", "droptune retry"))
        if isinstance(step, Stop) and "MAX_CHECKING_HOURS" in step.why:
            assert seen.overdue, "no sooner"
        if step == Do("serve", Phase.CHECKING):
            assert step == next_step(Phase.CHECKING, dataclasses.replace(seen, overdue="")), "callers have it already"


def test_an_approval_has_a_limit_of_its_own_and_people_are_told_before_that() -> None:
    for seen in SHOWN[Phase.CHECKING]:
        assert isinstance(seen, Check)
        step = next_step(Phase.CHECKING, seen)
        assert (
            step == next_step(Phase.CHECKING, dataclasses.replace(seen, overdue=""))
            or not seen.approval
            or (seen.passed is None or seen.gate is None)
        ), "the time in which it waits for a person counts for that alone"
        good = bool(seen.passed and seen.gate and not (seen.serves or seen.newer or seen.gone))
        unanswered = isinstance(step, Stop) and "MAX_APPROVAL_DAYS" in step.why
        assert unanswered == (good and seen.approval and seen.unanswered)
        assert (step == Do("ask", Phase.CHECKING)) == (good and seen.approval and seen.ask and not seen.unanswered)
        if good and seen.approval and not (seen.ask or seen.unanswered):
            assert isinstance(step, Wait)
            assert step.held == "approval"


def test_a_model_is_registered_only_of_data_that_were_found_good() -> None:
    for seen in SHOWN[Phase.TRAINING]:
        assert isinstance(seen, Job)
        if next_step(Phase.TRAINING, seen) == Do("register", Phase.REGISTERED):
            assert (seen.status, seen.report, seen.reason, seen.changed) == ("Completed", "taken", "", None)


def test_a_job_that_failed_over_bad_data_is_a_rejection_and_any_other_is_a_failure() -> None:
    failed = Job(status="Failed", why="exit code 3", report="new")
    assert next_step(Phase.TRAINING, failed) == Do("take_report", Phase.TRAINING)
    rejected = dataclasses.replace(failed, report="taken", reason="2 of 9 rows are bad")
    assert next_step(Phase.TRAINING, rejected) == Stop(Phase.REJECTED, "2 of 9 rows are bad")
    killed = dataclasses.replace(failed, report="missing", why="exit code -9")
    assert next_step(Phase.TRAINING, killed) == Stop(Phase.FAILED, "the job ended as Failed: exit code -9")
    trained_badly = dataclasses.replace(failed, report="taken", why="out of memory")
    assert next_step(Phase.TRAINING, trained_badly) == Stop(Phase.FAILED, "the job ended as Failed: out of memory")


def test_an_overdue_job_is_cancelled_once_and_never_while_it_is_done() -> None:
    assert next_step(Phase.TRAINING, Job(status="Running", overdue=True)) == Do("cancel_job", Phase.TRAINING)
    assert next_step(Phase.TRAINING, Job(status="CancelRequested", overdue=True)) == Wait(
        None, "the job to be cancelled"
    )
    assert next_step(Phase.TRAINING, Job(status="Completed", overdue=True)) == Do("register", Phase.REGISTERED)
