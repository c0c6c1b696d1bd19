"""`droptune watch`: what it shows as a run goes, and with which exit code it ends."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from typing import Any, get_args

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from cli import watch
from cli.__main__ import main
from cli.client import AppClient
from cli.errors import CliError
from cli.watch import code_of, follow, next_of, trained
from shared.api.schema import PlanView, RunView
from shared.lifecycle.phase import Hold, Phase
from shared.run.waits import BY_PEOPLE
from tests.kit.looked_at import SERVED, app, on_terminal, serving, summary, view
from tests.kit.paths import ROOT

HOLDS = [hold for hold in get_args(Hold.__value__) if hold]
PLAN = PlanView(model_version="1", component_version="2", parameters={"num_train_epochs": "4"}, gpus=1)
TRAINING = view(plan=PLAN, status="waits: the job to end")
LIVE = view("live", outcome="went live", status="m-facts:2 answers at facts-1", serves=True)
OUTCOMES = {
    "live": "went live",
    "rejected": "was rejected",
    "unchanged": "was trained before",
    "failed": "failed",
    "rolled_back": "was rolled back",
    "superseded": "was superseded",
    "cancelled": "was cancelled",
}


@pytest.fixture(scope="module", autouse=True)
def _server() -> Iterator[None]:
    with serving():
        yield


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits between two looks, but for a moment."""
    monkeypatch.setattr(watch, "SOON", 0.01)


def at(step: int, loss: float | None = 2.5) -> RunView:
    return msgspec.structs.replace(TRAINING, metrics={"loss": [(step, loss)], "epoch": [(step, step / 10)]})


def watched(url: str, *more: str) -> int:
    return main(["watch", "rnew", "--url", url, *more])


def test_a_run_is_followed_until_it_is_live(capsys: pytest.CaptureFixture[str]) -> None:
    with app({"runs/rnew": [view("received"), TRAINING, at(4), at(5), at(20), TRAINING, LIVE]}) as url:
        assert watched(url) == 0
    out, error = capsys.readouterr()
    lines = out.splitlines()
    assert error == ""
    assert lines[0] == "run rnew of facts, attempt 1, Phi-4"
    assert re.fullmatch(r"\d\d:\d\d:00  received     is received now", lines[1])
    assert sum("received     is" in line for line in lines) == 1, "each change is told once"
    assert "          waits: the job to end" in lines
    assert any("10%, step 4 of 40, loss 2.500" in line for line in lines)
    assert not any("step 5 of 40" in line for line in lines), "a line for each tenth"
    assert any(re.search(r"50%, step 20 of 40, loss 2.500, about \d+ \w+.* left", line) for line in lines)
    assert lines[-2:] == ["run rnew went live: m-facts:2 answers at facts-1", "next: droptune ask facts"]
    assert max(map(len, lines)) <= 80


@pytest.mark.parametrize(
    ("changes", "code", "told"),
    [
        ({"phase": "unchanged"}, 0, "was trained before"),
        ({"phase": "rejected"}, 1, "next: droptune show rnew --data"),
        ({"phase": "failed"}, 1, "next: droptune show rnew"),
        ({"phase": "rolled_back"}, 1, "next: droptune show rnew"),
        ({"phase": "cancelled"}, 1, "next: droptune retry rnew"),
        ({"phase": "checking", "hold": "approval"}, 3, "next: droptune approve rnew"),
        ({"phase": "checking", "hold": "pin"}, 3, "next: droptune unpin lfacts"),
        (
            {"phase": "checking", "hold": "endpoint", "status": "waits: x is away"},
            3,
            "run rnew waits for you: x is away",
        ),
        ({"phase": "checking", "hold": "endpoint"}, 3, "next: droptune watch rnew"),
        ({"phase": "prepared", "hold": "seat", "by_people": True}, 3, "next: droptune watch rnew"),
        ({"phase": "training", "parked": True, "status": "parked: x"}, 3, "next: droptune retry rnew"),
    ],
)
def test_the_exit_code_says_how_it_went(
    changes: dict[str, Any], code: int, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with app({"runs/rnew": view(outcome=OUTCOMES.get(changes["phase"], ""), **changes)}) as url:
        assert watched(url) == code
        assert told in capsys.readouterr().out
        assert follow(AppClient(url=url, key=""), "rnew") == code, "as push --follow has it"


def test_what_the_line_serves_is_told_of_a_run_that_went_live_before(capsys: pytest.CaptureFixture[str]) -> None:
    with app({"runs/rnew": view("live", outcome="went live", line_serves=SERVED)}) as url:
        assert watched(url) == 0
    assert "its line serves m-facts:1 of run rold now\nnext: droptune lines\n" in capsys.readouterr().out


OLD = view("superseded", id="rold", outcome="was superseded")


def test_of_a_superseded_run_the_newer_one_is_followed(capsys: pytest.CaptureFixture[str]) -> None:
    with app({"runs/rold": OLD, "runs/facts": LIVE, "runs/rnew": [TRAINING, LIVE]}) as url:
        assert main(["watch", "rold", "--url", url]) == 0
        out = capsys.readouterr().out
        assert "run rold was superseded; followed from here on: run rnew of the same folder" in out
        assert "run rnew of facts" in out
        assert main(["watch", "rold", "--url", url, "--strict"]) == 1
        assert "run rnew" not in capsys.readouterr().out


def test_a_superseded_run_that_is_the_newest_ends_it() -> None:
    with app({"runs/rold": OLD, "runs/facts": OLD}) as url:
        assert main(["watch", "rold", "--url", url]) == 1


def test_the_newer_one_is_found_although_the_app_does_not_answer_for_a_moment() -> None:
    with app({"runs/rold": OLD, "runs/facts": [None, LIVE], "runs/rnew": LIVE}) as url:
        assert main(["watch", "rold", "--url", url]) == 0


def test_the_time_may_be_over(capsys: pytest.CaptureFixture[str]) -> None:
    with app({"runs/rnew": TRAINING, "runs/facts": TRAINING}) as url:
        assert main(["watch", "facts", "--timeout", "0.05", "--url", url]) == 4
    assert "not done after 0.05 s; next: droptune watch rnew\n" in capsys.readouterr().out, "that run, whatever comes"


def test_a_short_outage_is_told_once_and_ends_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with app({"runs/rnew": [TRAINING, None, None, LIVE]}) as url:
        assert watched(url) == 0
    out = capsys.readouterr().out
    assert out.count("no answer, asked again for up to 2 min: the app is not ready") == 1
    assert out.count("the app answers again") == 1


def test_a_long_outage_ends_it(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "PATIENCE", 0.05)
    with app({"runs/rnew": [TRAINING, None]}) as url:
        assert watched(url) == 2
        with pytest.raises(CliError, match="not ready"):
            follow(AppClient(url=url, key=""), "rnew")
    assert capsys.readouterr().err == "droptune: the app is not ready\n"


def test_json_is_the_run_as_it_was_seen_last(capsys: pytest.CaptureFixture[str]) -> None:
    with app({"runs/rnew": [TRAINING, LIVE]}) as url:
        assert watched(url, "--json") == 0
    out, error = capsys.readouterr()
    assert msgspec.json.decode(out, type=RunView) == LIVE
    assert "is training now" in error, "what is said meanwhile is no data"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["rnone"], "there is no runs/rnone"),
        ([".."], "must be"),
        (["rnew", "--timeout", "-1"], "is no number of seconds above 0"),
        (["rnew", "--timeout", "soon"], "is no number of seconds above 0"),
        (["rnew", "--timeout", "nan"], "is no number of seconds above 0"),
        ([], "RUN"),
    ],
)
def test_mistakes_are_exit_code_2(arguments: list[str], told: str, capsys: pytest.CaptureFixture[str]) -> None:
    with app({}) as url:
        try:
            code = main(["watch", *arguments, "--url", url])
        except SystemExit as end:  # argparse
            code = int(end.code or 0)
    assert code == 2
    assert told in capsys.readouterr().err


def test_without_an_app_it_ends_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    assert watched("http://127.0.0.1:1") == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_ctrl_c_detaches_and_says_how_to_come_back() -> None:
    with (
        app({"runs/rnew": TRAINING}) as url,
        subprocess.Popen(
            [sys.executable, "-u", "-m", "cli", "watch", "rnew", "--url", url],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as process,
    ):
        assert process.stdout
        assert process.stdout.readline() == "run rnew of facts, attempt 1, Phi-4\n"
        process.send_signal(signal.SIGINT)
        out, error = process.communicate(timeout=30)
    assert process.returncode == 130
    assert out.endswith("detached, nothing is stopped by that; next: droptune watch rnew\n")
    assert error == ""


def test_on_a_terminal_a_bar_shows_how_far_it_is() -> None:
    pressed = list[int]()

    def interrupt(written: bytes, process: subprocess.Popen[bytes]) -> None:
        if b"step 20 of 40" in written and not pressed:
            pressed.append(process.pid)
            os.kill(process.pid, signal.SIGINT)

    with app({"runs/rnew": at(20)}) as url:
        code, out = on_terminal("watch", "rnew", "--url", url, seen=interrupt)
    assert code == 130
    assert "50%, step 20 of 40, loss 2.500" in out
    assert "━━━" in out
    assert "next: droptune watch rnew" in out
    assert out.rfind("\x1b[?25h") > out.rfind("\x1b[?25l"), "the cursor is back"


# Decisions -----------------------------------------------------------------------------------------------------------


@given(
    phase=st.sampled_from([*Phase]),
    hold=st.sampled_from(["", *HOLDS]),
    parked=st.booleans(),
    by_people=st.booleans(),
)
def test_each_state_of_a_run_has_an_exit_code_or_goes_on(
    phase: Phase, hold: str, parked: bool, by_people: bool
) -> None:
    run = summary(phase, outcome=OUTCOMES.get(phase, ""), hold=hold, parked=parked, by_people=by_people)
    code = code_of(run)
    if phase.ended:
        assert code == (0 if phase in (Phase.LIVE, Phase.UNCHANGED) else 1)
    else:
        assert code == (3 if parked or by_people or hold in BY_PEOPLE else None)
    for serves in (True, False):
        assert next_of(run, serves=serves).startswith("droptune ")
    assert next_of(run, serves=True, shown=True) != f"droptune show {run.id}"


def test_a_run_that_is_about_to_end_is_waited_for() -> None:
    assert code_of(summary("checking", hold="approval", status="ends as cancelled: by ada")) is None


numbers = st.none() | st.floats(allow_nan=False) | st.text(max_size=4) | st.booleans()
curves = st.lists(st.tuples(st.integers(0, 10**6), st.none() | st.floats(allow_nan=False)), max_size=4)


@given(epochs=numbers, steps=numbers, loss=curves, epoch=curves)
@example(epochs=3e73, steps=None, loss=[], epoch=[(1, 1e-235)])
def test_how_far_a_training_is_is_a_share_whatever_the_metrics_are(
    epochs: object, steps: object, loss: list[tuple[int, float | None]], epoch: list[tuple[int, float | None]]
) -> None:
    plan = msgspec.structs.replace(PLAN, parameters={"num_train_epochs": epochs, "max_steps": steps})
    found = trained(view(plan=plan, metrics={"loss": loss, "epoch": epoch}))
    assert (found is None) == (not loss and not epoch)
    if found:
        assert found.fraction is None or 0 <= found.fraction <= 1
        assert "\n" not in found.told("about 1 s left")


def test_a_training_that_diverged_says_so() -> None:
    found = trained(at(10, None))
    assert found
    assert found.told() == "25%, step 10 of 40, loss nan"


def test_steps_count_before_epochs() -> None:
    plan = msgspec.structs.replace(PLAN, parameters={"max_steps": 20})
    found = trained(view(plan=plan, metrics={"loss": [(10, 1.0)], "epoch": [(10, 0.1)]}))
    assert found
    assert found.fraction == 0.5
