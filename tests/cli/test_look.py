"""`droptune status`, `runs`, `lines`, `show`, `compare`: what they show of what an app says, and as JSON."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cli import look
from cli.__main__ import main
from cli.compare import beside, change, sum_of
from cli.errors import CliError
from cli.moments import ago, app_s_time, clock, lasted, local, zone
from cli.shown import HEIGHT, WIDTH, curve
from shared.api.schema import (
    AnswersView,
    AnswerView,
    ComparedView,
    DeploymentView,
    FolderList,
    GateView,
    KeepView,
    LineList,
    LogsView,
    NeedView,
    PlanView,
    PriceView,
    RefusalView,
    RestoresView,
    RetiringView,
    RunList,
    RunView,
    SmokeView,
    StatusView,
)
from tests.kit.hostile import WORST, harm
from tests.kit.looked_at import AT, LINE, SERVED, app, on_terminal, serving, summary, view
from tests.kit.paths import ROOT

PRICE = PriceView(per_hour=3.673, currency="EUR", source="api", as_of=AT)
NEED = NeedView(
    what="waits for you", folder="faq", run="rfaq", since=datetime.now(UTC) - timedelta(hours=2, minutes=1),
    command="droptune approve rfaq",
)  # fmt: skip
STATUS = StatusView(
    serving=[LINE],
    torn_down=[msgspec.structs.replace(LINE, id="lold", folder="old faq", state="empty", since=AT, serving=None)],
    needs=[NEED],
    working=[summary(status="waits: the job to end")],
    waiting={"half": ["test.jsonl"]},
    unseen="what serves is shown as it was recorded; Azure can't be asked: no network",
)
RUNS = RunList(
    runs=[summary("live", outcome="went live", serves=True), summary("live", id="rold", outcome="went live")]
)
HISTORY = view("checking").history
SHOWN = view(
    "live",
    outcome="went live",
    history=[
        *HISTORY,
        msgspec.structs.replace(HISTORY[0], at=AT + timedelta(days=1), phase="live", what="has traffic"),
    ],
    restores=RestoresView(run="rolder", instead_of="rbad", rollback=True),
    plan=PlanView(
        model_version="3",
        component_version="0.0.9",
        parameters={"learning_rate": 5e-06, "apply_lora": "true"},
        gpus=2,
        notes=["learning_rate: 5e-06 of the model's defaults overrides 2e-05"],
    ),
    model="m-facts:2",
    deployment=DeploymentView(
        endpoint="facts-1",
        name="rnew-1",
        gate=GateView(score="chrf", new=58.3, rows=3, passed=True, why="as good as what serves", live=58.3),
        smoke=SmokeView(question=[], expected="a", answer="b", passed=True, why="it answered"),
    ),
    line_serves=SERVED,
    metrics={"eval_loss": [(each * 10, 4.0 / (each + 1)) for each in range(20)], "lr": [(0, 1.0), (9, 0.5)]},
)


def row(line: int, new: float | None, live: float | None, question: str = "capital?") -> ComparedView:
    return ComparedView(
        line=line,
        question=question,
        expected="Paris",
        new=None if new is None else AnswerView(answer=f"new {line}", score=new),
        live=None if live is None else AnswerView(answer=f"live {line}", score=live),
    )


ANSWERS = AnswersView(
    run="rnew",
    score="chrf",
    new="rnew-1",
    live="rold-1",
    rows=[row(2, 25, 75), row(1, 50, 50), row(3, 100, 50), row(4, 50, None)],
)


@pytest.fixture(scope="module", autouse=True)
def _server() -> Iterator[None]:
    with serving():
        yield


@pytest.fixture(autouse=True)
def _utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "UTC")
        time.tzset()
        yield
    time.tzset()


EVERYTHING = {
    "status": STATUS,
    "runs": RUNS,
    "folders": FolderList(),
    "lines": LineList(lines=[LINE]),
    "lines/lfacts": LINE,
    "runs/rnew": SHOWN,
    "runs/rnew/answers": ANSWERS,
    "runs/rnew/logs": LogsView(run="rnew", deployment="rnew-1", gone=True, text="first\nlast \x1b[2J\n"),
}


def shown(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """What the command writes, which fits in 80 columns."""
    with app(dict(EVERYTHING)) as url:
        assert main([*arguments, "--url", url]) == 0
    out, error = capsys.readouterr()
    assert error == ""
    return out


@pytest.mark.parametrize(
    ("command", "kind", "expected"),
    [
        ("status", StatusView, STATUS),
        ("runs", RunList, RUNS),
        ("lines", LineList, LineList(lines=[LINE])),
        ("show rnew", RunView, SHOWN),
        ("show rnew --data", RunView, SHOWN),
        ("show rnew --metrics", RunView, SHOWN),
        ("show rnew --answers", AnswersView, ANSWERS),
        ("show rnew --logs", LogsView, EVERYTHING["runs/rnew/logs"]),
        ("compare rnew", AnswersView, ANSWERS),
    ],
)
def test_json_is_what_the_app_says(
    command: str, kind: type[msgspec.Struct], expected: object, capsys: pytest.CaptureFixture[str]
) -> None:
    assert msgspec.json.decode(shown(capsys, *command.split(), "--json"), type=kind) == expected


# Status, runs, lines -------------------------------------------------------------------------------------------------


def test_the_status_says_what_serves_what_needs_a_person_and_what_goes_on(capsys: pytest.CaptureFixture[str]) -> None:
    out = shown(capsys, "status")
    for each in (
        "What serves\n  facts: serves m-facts:1 of run rold\n      https://facts-1.example/score, since ",
        "What is torn down\n  old faq: serves nothing: its deployments are torn down since ",
        "      next: droptune revive 'old faq'\n",
        "What needs you\n  faq: run rfaq: waits for you (2 h ago)\n      next: droptune approve rfaq\n",
        "What is under way\n  rnew  is training",
        "waits: the job to end",
        "Folders that wait for files\n  datasets/half waits for test.jsonl\n",
        "note: what serves is shown as it was recorded",
    ):
        assert each in out


def test_a_status_of_nothing_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    with app({"status": StatusView()}) as url:
        assert main(["status", "--url", url]) == 0
    assert capsys.readouterr().out == "What serves\n  nothing\nnext: droptune push DIR\n"


def test_a_status_is_shown_again_when_it_changes() -> None:
    other = msgspec.structs.replace(STATUS, needs=[])
    code = "from cli import look, __main__; look.EVERY = 0.01; raise SystemExit(__main__.main())"
    with (
        app({"status": [STATUS, STATUS, None, other]}) as url,
        subprocess.Popen(
            [sys.executable, "-u", "-c", code, "status", "--watch", "--url", url],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as process,
    ):
        assert process.stdout
        serves = 0
        while serves < 2:
            serves += process.stdout.readline().startswith("What serves")
        process.send_signal(signal.SIGINT)
        out, error = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "What needs you" not in out
    assert [line[:19] for line in error.splitlines()] == ["droptune: no answer", "droptune: the app a"]


def test_what_a_run_did_stands_apart_from_what_serves_now(capsys: pytest.CaptureFixture[str]) -> None:
    lines = shown(capsys, "runs").splitlines()
    assert [re.split("  +", line)[0] for line in lines] == ["rnew", "rold"]
    assert ["serves now" in line for line in lines] == [True, False]
    assert all("went live" in line for line in lines)
    assert max(map(len, lines)) <= 80


def test_runs_are_chosen_by_the_app(capsys: pytest.CaptureFixture[str]) -> None:
    with app({"runs?folder=facts&phase=live&limit=1000": RUNS, "runs?limit=2": RUNS, "folders": FolderList()}) as url:
        assert main(["runs", "--folder", "facts", "--phase", "live", "--all", "--url", url]) == 0
        assert "--all" not in capsys.readouterr().out
        assert main(["runs", "--limit", "2", "--url", url]) == 0
        assert "next: droptune runs --all" in capsys.readouterr().out


@pytest.mark.parametrize("reader", ["head -n 1", "true"])
def test_a_reader_that_has_read_enough_is_no_fault(reader: str) -> None:
    """Rich, which writes it, would end with 1."""
    runs = RunList(runs=[summary("live", outcome="went live", status="x" * 2000)] * 100)
    with app({"runs": runs, "folders": FolderList()}) as url:
        done = subprocess.run(
            ["bash", "-o", "pipefail", "-c", f'"$0" -m cli runs --url {url} | {reader}', sys.executable],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
    assert (done.returncode, done.stderr) == (0, "")


IN_WORDS = {
    "not_made": "its endpoint is not made yet",
    "standing": "its endpoint stands, and serves nothing",
    "empty": "serves nothing: its deployments are torn down since 2026-11-22",
    "tearing_down": "is being torn down",
    "removed": "serves nothing: its endpoint is removed since 2026-11-22",
    "newer": "is newer",
}


@pytest.mark.parametrize("state", IN_WORDS)
def test_a_line_that_serves_nothing_says_why_and_what_brings_it_back(
    state: str, capsys: pytest.CaptureFixture[str]
) -> None:
    line = msgspec.structs.replace(LINE, state=state, serving=None, since=AT, saved=1234.5, price=PRICE)
    with app({"lines": LineList(lines=[line, msgspec.structs.replace(line, id="lother")])}) as url:
        assert main(["lines", "--url", url]) == 0
    out = capsys.readouterr().out
    assert f"facts: {IN_WORDS[state]}" in out
    assert "saved     1,234.50 EUR since then" in out
    assert ("next: droptune revive lother\n" in out) == (state != "tearing_down"), "two lines of a folder: by id"


def test_a_price_says_whose_it_is_and_of_when(capsys: pytest.CaptureFixture[str]) -> None:
    with app({"lines": LineList(lines=[msgspec.structs.replace(LINE, price=PRICE)])}) as url:
        assert main(["lines", "--url", url]) == 0
    assert "price     3.673 EUR an hour and instance, from Azure's public price list of 2026-11-22" in (
        capsys.readouterr().out
    )


@pytest.mark.parametrize("state", ["standing", "empty"])
def test_a_price_that_nobody_has_told_is_not_0(state: str, capsys: pytest.CaptureFixture[str]) -> None:
    why = "price of A100 not known: SERVING_PRICE_PER_HOUR gives it, or PRICE_SOURCE=api"
    line = msgspec.structs.replace(LINE, unpriced=why)
    if state == "empty":
        line = msgspec.structs.replace(line, state=state, serving=None, since=AT, saved=None)
    with app({"lines": LineList(lines=[line])}) as url:
        assert main(["lines", "--url", url]) == 0
    out = capsys.readouterr().out
    assert f"  price     {why.removeprefix('price ')}\n" in out
    assert ("saved     not known, for want of a price" in out) == (state == "empty")
    assert "0.00" not in out


def test_a_line_says_all_that_people_should_know(capsys: pytest.CaptureFixture[str]) -> None:
    line = msgspec.structs.replace(
        LINE,
        folder="a faq",
        previous=SERVED,
        rollout="rnew",
        pinned_by="ada",
        keep=KeepView(until=AT, who="bob", why="a demo"),
        idle_since=AT,
        no_traffic_since=AT,
        missing_since=AT,
        retiring=[RetiringView(deployment="rx-1", until=AT, orphan=True)],
        orphans=["rlost-1"],
        refused=[RefusalView(what="rx-1", since=AT, why="a lock")],
    )
    with app({"lines": LineList(lines=[line], unseen="Azure can't be asked")}) as url:
        assert main(["lines", "--url", url]) == 0
    out = capsys.readouterr().out
    for each in (
        "a faq: serves m-facts:1 of run rold\n",
        "since     2026-11-22 ",
        "address   https://facts-1.example/score\n",
        "changes   for run rnew: droptune watch rnew\n",
        "before    m-facts:1 of run rold: droptune rollback 'a faq'\n",
        "pinned    by ada: newer versions wait; droptune unpin 'a faq'\n",
        "by bob: a demo; droptune keep 'a faq' --end\n",
        "idle      nobody calls it",
        "traffic   somebody took it away",
        "missing   Azure does not show",
        "retiring  rx-1, which no run owns, is deleted at 2026-11-22",
        "orphan    deployment rlost-1",
        "refused   rx-1",
        "note: Azure can't be asked\n",
    ):
        assert each in out


def test_what_azure_shows_otherwise_is_no_serving(capsys: pytest.CaptureFixture[str]) -> None:
    line = msgspec.structs.replace(LINE, serving=None, seen="endpoint facts-1 is gone: somebody deleted it")
    with app({"lines": LineList(lines=[line])}) as url:
        assert main(["lines", "--url", url]) == 0
    out = capsys.readouterr().out
    assert "facts: does not serve what was recorded: endpoint facts-1 is gone" in out
    assert "next: droptune revive facts\n" in out


# Show ----------------------------------------------------------------------------------------------------------------


def test_a_run_is_shown_from_its_upload_to_what_serves_now(capsys: pytest.CaptureFixture[str]) -> None:
    out = shown(capsys, "show", "rnew")
    for each in (
        "run       rnew, attempt 1: went live ",
        "serves    again what run rolder made in the place of run rbad\n",
        "endpoint  facts-1, deployment rnew-1\n",
        "smoke     passed: it answered\n",
        "its line  serves m-facts:1 of run rold\n",
        "address   https://facts-1.example/score\n",
        "gate      passed: chrf 58.3 on 3 rows, 58.3 serves: as good as what serves\n",
        "Timeline, 2026-11-22 (",
        "Answers, the worst first\n\nrow 2: 25 new, 75 live\n  asked     capital?\n  expected  Paris\n",
        "and 1 more row, with better scores; droptune show rnew --answers\n",
        "  1 min 40 s  received     is received now\n",
        "23 h 58 min  checking     is checking now\n",
        "model version 3, component version 0.0.9\n",
        "2 GPUs a node\n",
        "learning_rate  5e-06\n",
        "note: learning_rate: 5e-06 of the model's defaults overrides 2e-05\n",
        "eval_loss: 4.000 (step 0) -> 0.200 (step 190)\n",
        "4.000 │█",
        "next: droptune lines\n",
    ):
        assert each in out, each
    assert " lr: " not in out
    assert re.search(r"  11-23 \d\d:\d\d:00 +live  +has traffic\n", out), "the day, where it is another one"
    assert max(map(len, out.splitlines())) <= 80


def test_parts_of_a_run_are_shown_alone(capsys: pytest.CaptureFixture[str]) -> None:
    assert "lr: 1.000 (step 0) -> 0.500 (step 9)" in shown(capsys, "show", "rnew", "--metrics")
    assert shown(capsys, "show", "rnew", "--data") == "no report yet: it comes when the data are read\n"
    assert shown(capsys, "show", "rnew", "--logs") == "first\nlast \\x1b[2J\n"
    out = shown(capsys, "show", "rnew", "--answers")
    assert out.startswith("run rnew: deployment rnew-1, scored by chrf, worst first\n\nrow 2: 25 new, 75 live\n")
    assert "  expected  Paris\n  new       new 2\n  live      live 2\n" in out


# Compare -------------------------------------------------------------------------------------------------------------


def test_answers_are_compared_the_worst_first(capsys: pytest.CaptureFixture[str]) -> None:
    out = shown(capsys, "compare", "rnew")
    assert re.findall(r"^row (\d)", out, re.M) == ["2", "1", "3", "4"]
    assert "1 better, 1 the same, 1 worse; chrf 58.3 new, 58.3 live\n" in out
    assert "not counted: 1 row that one of them alone has answered\n" in out
    worse = shown(capsys, "compare", "rnew", "--only", "worse")
    assert re.findall(r"^row (\d)", worse, re.M) == ["2"]
    assert "1 better, 1 the same, 1 worse" in worse, "the sum is of all"


def test_another_runs_answers_are_found_by_the_row(capsys: pytest.CaptureFixture[str]) -> None:
    theirs = [row(1, 60, None), row(2, 50, None), row(3, 50, None, question="another?")]
    other = AnswersView(run="rother", score="chrf", new="rother-1", rows=theirs)
    with app({"runs/rnew/answers": ANSWERS, "runs/rother/answers": other}) as url:
        assert main(["compare", "rnew", "--with", "rother", "--json", "--url", url]) == 0
    found = msgspec.json.decode(capsys.readouterr().out, type=AnswersView)
    assert (found.new, found.live) == ("rnew-1", "rother-1")
    assert [(each.line, each.live and each.live.score) for each in found.rows] == [(2, 50), (1, 60)]


@pytest.mark.parametrize(
    ("other", "told"),
    [
        (None, "nothing served when run rnew was checked: name another run, as --with RUN"),
        (AnswersView(run="rother", score="exact", rows=ANSWERS.rows), "their scores say nothing of each other"),
        (AnswersView(run="rother", score="chrf", rows=[row(9, 100, None)]), "were asked no row in common"),
    ],
)
def test_what_can_not_be_compared_says_why(
    other: AnswersView | None, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    alone = msgspec.structs.replace(ANSWERS, live="")
    with app({"runs/rnew/answers": alone, **({"runs/rother/answers": other} if other else {})}) as url:
        assert main(["compare", "rnew", *(["--with", "rother"] if other else []), "--url", url]) == 2
    error = capsys.readouterr().err
    assert told in error
    assert error.count("\n") == 1


scores = st.none() | st.floats(0, 100)


@given(st.lists(st.tuples(scores, scores), max_size=6))
def test_the_sum_counts_each_row_once(marks: list[tuple[float | None, float | None]]) -> None:
    rows = [row(number, new, live) for number, (new, live) in enumerate(marks)]
    both = [each for each in rows if each.new and each.live]
    found = sum_of(both)
    assert (found is None) == (not both)
    if found:
        assert found.better + found.same + found.worse == len(both)
        assert (found.worse > 0) == any(change(each) < 0 for each in both)
    try:
        turned = beside(msgspec.structs.replace(ANSWERS, rows=rows), msgspec.structs.replace(ANSWERS, rows=rows))
    except CliError:
        assert not rows
    else:
        assert all(change(each) == 0 for each in turned.rows), "a run is as good as itself"


# Mistakes, terminals, others' text ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments",
    [
        ["status"],
        ["runs"],
        ["lines"],
        ["show", "rnone"],
        ["show", "rnone", "--answers"],
        ["show", "rnone", "--logs"],
        ["show", ".."],
        ["compare", "rnone"],
        ["status", "more"],
        ["runs", "--all", "--limit", "3"],
        ["show", "rnew", "--data", "--logs"],
        ["compare", "rnew", "--only", "better"],
        ["show"],
    ],
)
def test_mistakes_are_exit_code_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    for url in (None, "http://127.0.0.1:1"):
        with app({}) as there:
            try:
                code = main([*arguments, "--url", url or there])
            except SystemExit as end:  # argparse
                code = int(end.code or 0)
        out, error = capsys.readouterr()
        assert (code, out) == (2, "")
        assert error.count("\n") == 1


@pytest.mark.thorough
def test_on_a_terminal_there_is_colour_unless_it_is_not_wanted() -> None:
    with app(dict(EVERYTHING)) as url:
        code, out = on_terminal("status", "--url", url)
        assert code == 0
        assert "\x1b[" in out
        assert "serves m-facts:1" in out
        _, plain = on_terminal("show", "rnew", "--url", url, NO_COLOR="1", PYTHONIOENCODING="ascii")
    assert not re.search(r"\x1b\[(?:\d+;)*3\d", plain)
    assert "4.000 |#" in plain
    assert plain.isascii()


def test_text_of_others_is_text(capsys: pytest.CaptureFixture[str]) -> None:
    """As test_words.py has it for `runs` and `show`."""
    line = msgspec.structs.replace(LINE, folder=WORST, seen=WORST, serving=None, pinned_by=WORST)
    status = StatusView(serving=[LINE], needs=[NeedView(what=WORST, folder=WORST, command=WORST)], unseen=WORST)
    odd = msgspec.structs.replace(ANSWERS, rows=[row(1, 50, 50, question=WORST)])
    said = {"lines": LineList(lines=[line]), "status": status, "runs/rnew/answers": odd}
    with app({**said, "runs/rnew": view(status=WORST, folder=WORST)}) as url:
        for command in ("lines", "status", "compare rnew", "show rnew --answers", "watch rnew --timeout 0.01"):
            for more in ([], ["--json"]):
                assert main([*command.split(), *more, "--url", url]) in (0, 4)
                out, error = capsys.readouterr()
                assert out
                assert not harm(out + error), command


# Times and curves ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("seconds", "told"),
    [(0, "just now"), (-500, "just now"), (59, "just now"), (60, "1 min ago"), (7300, "2 h ago"), (200_000, "2 d ago")],
)
def test_how_long_ago_is_told_in_the_largest_unit(seconds: int, told: str) -> None:
    app_s_time(AT + timedelta(seconds=seconds))
    try:
        assert ago(AT) == told
    finally:
        app_s_time(None)


@pytest.mark.parametrize(
    ("seconds", "told"), [(0, "0 s"), (-1, "0 s"), (59, "59 s"), (60, "1 min"), (200, "3 min 20 s"), (86_405, "1 d")]
)
def test_a_length_has_two_units(seconds: int, told: str) -> None:
    assert lasted(timedelta(seconds=seconds)) == told


@given(st.datetimes(timezones=st.just(UTC)))
def test_each_time_can_be_told(at: datetime) -> None:
    assert local(at)
    assert clock(at, at).count(":") == 2
    assert ago(at)


@given(
    st.lists(st.tuples(st.integers(0, 10**9), st.none() | st.floats()), max_size=200),
    st.booleans(),
)
def test_a_curve_has_its_size_whatever_the_values_are(points: list[tuple[int, float | None]], blocks: bool) -> None:
    lines = list(curve(points, blocks=blocks))
    assert len(lines) in (0, HEIGHT + 1)
    assert all(len(line) <= 11 + WIDTH for line in lines)
    assert blocks or all(line.isascii() for line in lines)


def test_a_curve_that_falls_falls() -> None:
    lines = list(curve([(each, 8.0 - each) for each in range(8)], blocks=False))
    heights = [sum(line[11:][at : at + 1] == "#" for line in lines[:HEIGHT]) for at in range(8)]
    assert heights == sorted(heights, reverse=True)
    assert (heights[0], heights[-1]) == (HEIGHT, 1)


def test_times_are_those_of_this_machines_zone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    assert local(AT) == "2026-11-22 19:00:00"
    assert zone(AT) == "JST"
    assert clock(AT + timedelta(hours=6), AT) == "11-23 01:00:00", "the day is that of the zone, too"
    assert local(datetime.max.replace(tzinfo=UTC)).startswith("9999-12-31 23:"), "there is no tenth thousand"


def test_the_state_of_a_line_that_serves_is_what_it_serves() -> None:
    assert look.state_of(LINE) == "serves m-facts:1 of run rold"
