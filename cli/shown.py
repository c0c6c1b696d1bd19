"""`droptune show`: one run in people's words, from its upload to what its line serves now."""

from __future__ import annotations

import argparse
import math
import shlex
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from cli.client_options import OF_RUN, add_client_options, client_of
from cli.errors import CliError
from cli.look import did
from cli.moments import ago, clock, lasted, local, now, zone
from cli.say import TITLE, listed, say, say_json, tell, tell_cuts, titled

if TYPE_CHECKING:
    from cli.client import AppClient
    from cli.screen import Screen
    from shared.api.schema import GateView, PlanView, RunView

type Points = Sequence[tuple[int, float | None]]

WIDTH, HEIGHT = 56, 6
"""Characters of a curve."""
_EIGHTHS = " ▁▂▃▄▅▆▇█"
_FEW = 3
"""Points that make no curve yet, but for one more."""
_WORST = 3
"""Answers that are shown with the rest of a run."""
_ALL = 1000
_PARTS = {
    "answers": "what the gate asked, and the answers, worst first",
    "data": "the report on its data, with all faults that it has",
    "logs": "the last lines of its deployment's log",
    "metrics": "its job's metrics, each as a curve",
}


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the command to the parser."""
    show = commands.add_parser("show", help="one run: its history, its data's faults, its losses, what serves now")
    show.add_argument("id", metavar="RUN", help=OF_RUN)
    parts = show.add_mutually_exclusive_group()
    for name, what in _PARTS.items():
        parts.add_argument(f"--{name}", dest="part", action="store_const", const=name, help=f"only {what}")
    show.set_defaults(run=_show, part="")
    add_client_options(show)


def _show(options: argparse.Namespace) -> int:
    from cli.client import as_json
    from cli.screen import Screen

    client, part = client_of(options), options.part
    if part == "answers":
        answers = client.answers(options.id)
        if options.json:
            say_json(as_json(answers))
        else:
            from cli.compare import rows

            tell(f"run {answers.run}: deployment {answers.new}, scored by {answers.score or 'nothing'}, worst first")
            rows(Screen(), answers.rows)
            tell_cuts("--json has all of it")
        return 0
    if part == "logs":
        logs = client.logs(options.id)
        if options.json:
            say_json(as_json(logs))
        else:
            for line in logs.text.rstrip("\n").split("\n"):
                say(line)  # whole, as everybody's tools expect a log to be
        return 0
    view = client.run(options.id)
    if options.json:
        say_json(as_json(view))
    elif part == "data":
        _data(view, _ALL)
    elif part == "metrics":
        _metrics(Screen(), view, everything=True)
    else:
        _whole(Screen(), client, view, options.id)
    return 0


def _whole(screen: Screen, client: AppClient, view: RunView, name: str) -> None:
    from cli.watch import next_of

    _head(client, view)
    _timeline(screen, view)
    if view.deployment and view.deployment.gate:
        _answers(screen, client, name)
    if view.report:
        screen.title("Data")
        _data(view)
    if view.plan:
        screen.title("Training")
        _plan(screen, view.plan)
    if view.metrics or view.metrics_problem:
        _metrics(screen, view)
    if command := next_of(view.run, serves=view.serves, shown=True):
        screen.gap()
        screen.text(f"next: {command}")


def _head(client: AppClient, view: RunView) -> None:
    run, deployment, restores = view.run, view.deployment, view.restores
    titled("run", f"{run.id}, attempt {run.attempt}: {did(run)} {ago(run.since)}")
    of = f" in the place of run {restores.instead_of}" if restores and restores.instead_of else ""
    smoke = deployment.smoke if deployment else None
    for title, text in (
        ("dataset", f"{run.folder} ({view.data.address})"),
        ("model", run.base_model),
        ("status", run.status),
        ("serves", f"again what run {restores.run} made{of}" if restores else ""),
        ("rows", ", ".join(f"{count:,} {name}" for name, count in view.data.rows.items())),
        ("job", view.job),
        ("made", view.model),
        ("endpoint", f"{deployment.endpoint}, deployment {deployment.name}" if deployment else ""),
        ("smoke", f"{'passed' if smoke.passed else 'failed'}: {smoke.why}" if smoke else ""),
        ("gate", _scores(deployment.gate) if deployment and deployment.gate else ""),
        ("asked", ", ".join(map(local, deployment.asked)) if deployment and not deployment.approved_by else ""),
        ("approved", deployment.approved_by if deployment else ""),
        ("its line", _serves(view)),
        ("address", _address(client, view) if deployment else ""),
    ):
        if text:
            titled(title, text)


def _address(client: AppClient, view: RunView) -> str:
    """Where its line's endpoint is asked; "" where there is none."""
    try:
        return client.line(view.run.line).address
    except CliError:  # the line is gone, or was never made: the rest is shown all the same
        return ""


def _timeline(screen: Screen, view: RunView) -> None:
    """What happened when, and how long it was until what came next."""
    history = view.history
    if not history:
        return
    first = history[0].at
    screen.title(f"Timeline, {local(first)[:10]} ({zone(first)})")
    ends = [*(entry.at for entry in history[1:]), None]
    times = [clock(entry.at, first) for entry in history]
    width = max(map(len, times))
    for entry, end, time in zip(history, ends, times, strict=True):
        until = end or (None if view.run.outcome else now())
        took = lasted(until - entry.at) if until else ""
        screen.text(f"{time:>{width}}  {took:>12}  {entry.phase:<11}  {entry.what}".rstrip(), indent=2)


def _answers(screen: Screen, client: AppClient, name: str) -> None:
    """What the gate heard, the worst of it."""
    from cli.compare import rows

    try:
        found = client.answers(name).rows
    except CliError:  # somebody has deleted them: the gate's scores are shown all the same
        return
    if found:
        screen.title("Answers, the worst first")
        rows(screen, found, most=_WORST, all_by=f"droptune show {shlex.quote(name)} --answers")


def _data(view: RunView, told: int = 10) -> None:
    from cli.report import lines

    if not view.report:
        tell("no report yet: it comes when the data are read")
        return
    for line in lines(view.report, told):
        if line.startswith(" "):
            listed(line.strip())
        else:
            titled(line[:TITLE].rstrip(), line[TITLE:])


def _plan(screen: Screen, plan: PlanView) -> None:
    screen.text(f"model version {plan.model_version}, component version {plan.component_version}", indent=2)
    screen.text(f"{plan.gpus} GPU{'' if plan.gpus == 1 else 's'} a node", indent=2)
    if plan.parameters:
        screen.columns((name, str(value)) for name, value in plan.parameters.items())
    for note in plan.notes:
        screen.text(f"note: {note}", indent=2)


def _metrics(screen: Screen, view: RunView, *, everything: bool = False) -> None:
    """The losses, or all metrics: first and last value, and the curve where there is one."""
    screen.title("Metrics")
    if view.metrics_problem:
        screen.text(f"can't be read: {view.metrics_problem}", indent=2)
    elif not view.metrics:
        screen.text("none yet", indent=2)
    for name, points in view.metrics.items():
        if points and (everything or "loss" in name):
            (begun, first), (ended, last) = points[0], points[-1]
            screen.text(f"{name}: {_value(first)} (step {begun}) -> {_value(last)} (step {ended})", indent=2)
            for line in curve(points, blocks=screen.block != "#"):
                screen.text(line, indent=4)


def curve(points: Points, *, blocks: bool, width: int = WIDTH, height: int = HEIGHT) -> Iterator[str]:
    """The values as columns, the last lines for their steps; nothing for a few. What is no number is left blank."""
    finite = [value for _, value in points if value is not None and math.isfinite(value)]
    if len(points) <= _FEW or not finite:
        return
    low, high = min(finite), max(finite)
    columns = [_mean(part) for part in _parts(points, width)]
    eighths = [None if each is None else _level(each, low, high, 8 * height) for each in columns]
    labels = {0: _short(high), height - 1: _short(low)}
    for row in range(height):
        floor = 8 * (height - 1 - row)
        filled = "".join(_cell(None if each is None else each - floor, blocks=blocks) for each in eighths)
        yield f"{labels.get(row, ''):>9} {'│' if blocks else '|'}{filled.rstrip()}"
    first, last = f"step {points[0][0]}", f"step {points[-1][0]}"
    yield f"{'':9}  {first}{last:>{max(len(columns) - len(first), len(last) + 1)}}"


def _parts(points: Points, width: int) -> Iterator[list[float | None]]:
    """The values in `width` parts that follow each other, of about as many points each."""
    count = min(len(points), width)
    for at in range(count):
        yield [value for _, value in points[at * len(points) // count : (at + 1) * len(points) // count]]


def _mean(values: Sequence[float | None]) -> float | None:
    finite = [value for value in values if value is not None and math.isfinite(value)]
    return sum(value / len(finite) for value in finite) if finite else None


def _level(value: float, low: float, high: float, most: int) -> int:
    """From 1 to `most`, in eighths of a line; the middle where all are the same."""
    share = (
        (value / 2 - low / 2) / (high / 2 - low / 2) if high > low else 0.5
    )  # halved: their distance may be no float
    return 1 + round(min(max(share, 0.0), 1.0) * (most - 1))


def _cell(eighths: int | None, *, blocks: bool) -> str:
    """One character, of so many eighths from its floor."""
    if eighths is None or eighths <= 0:
        return " "
    return _EIGHTHS[min(eighths, 8)] if blocks else "#"


def _short(value: float) -> str:
    return f"{value:.3f}" if abs(value) < 10_000 else f"{value:.2e}"


def _value(value: float | None) -> str:
    from cli.client import as_number

    return f"{as_number(value):.3f}"


def _serves(view: RunView) -> str:
    """What the run's model line serves now, which may be another one's model."""
    if view.serves:
        return "serves what this run made"
    if view.line_serves is None:
        return "serves nothing now" if view.run.outcome else ""
    return f"serves {view.line_serves.model} of run {view.line_serves.run}"


def _scores(gate: GateView) -> str:
    """What the gate said: the new version's score, that of the one that serves, and the reason."""
    live = f"{gate.live:.1f} serves" if gate.live is not None else "nothing served"
    said = "passed" if gate.passed else "stopped"
    return f"{said}: {gate.score} {gate.new:.1f} on {gate.rows} rows, {live}: {gate.why}"
