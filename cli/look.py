"""`droptune runs`, `show`: what an app has done, and what it does."""

from __future__ import annotations

import argparse
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from cli.client_options import OF_RUN, add_client_options, client_of
from cli.say import NAME, SENTENCE, escaped, say, say_json

if TYPE_CHECKING:
    from shared.api.schema import GateView, RunSummary, RunView


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds these commands to the parser."""
    runs = commands.add_parser("runs", help="the runs that changed last")
    runs.set_defaults(run=_runs)
    show = commands.add_parser("show", help="one run: its history, its data's faults, its losses")
    show.add_argument("id", metavar="RUN", help=OF_RUN)
    show.set_defaults(run=_show)
    for command in (runs, show):
        add_client_options(command)


def _runs(options: argparse.Namespace) -> int:
    from cli.client import as_json

    client = client_of(options)
    found = client.runs()
    if options.json:
        say_json(as_json(found))
        return 0
    for folder, files in client.folders().waiting.items():
        say(f"datasets/{folder} waits for {', '.join(files)}")
    if not found.runs:
        say("no runs yet: upload a dataset as datasets/NAME/FILE.jsonl")
    for run in found.runs:
        id_, did, folder = (escaped(text, NAME) for text in (run.id, _did(run), run.folder))
        status = escaped(run.status, SENTENCE)
        say(f"{id_}  {did:<22}  {_ago(run.since):<10}  {folder:<24}  {status}".rstrip())
    for record in found.unreadable:
        say(f"{record.id}  can't be read: {record.why}")
    return 0


def _show(options: argparse.Namespace) -> int:
    from cli.client import as_json, as_number

    view = client_of(options).run(options.id)
    if options.json:
        say_json(as_json(view))
        return 0
    run, deployment = view.run, view.deployment
    say(f"run       {run.id}, attempt {run.attempt}: {_did(run)} {_ago(run.since)}")
    for title, text in (
        ("dataset", f"{run.folder} ({view.data.address})"),
        ("model", run.base_model),
        ("status", run.status),
        ("job", view.job),
        ("made", view.model),
        ("endpoint", deployment.endpoint if deployment else ""),
        ("gate", _scores(deployment.gate) if deployment and deployment.gate else ""),
        ("approved", deployment.approved_by if deployment else ""),
        ("its line", _serves(view)),
    ):
        if text:
            say(f"{title:<9} {text}")
    for entry in view.history:
        say(f"  {entry.at:%Y-%m-%d %H:%M:%S}  {entry.phase:<11}  {entry.what}")
    if view.report:
        from cli.report import lines

        for line in lines(view.report):
            say(line)
    for name, points in view.metrics.items():
        if "loss" in name and points:
            (first, begun), (last, ended) = points[0], points[-1]
            say(f"  {name}: {as_number(begun):.3f} (step {first}) -> {as_number(ended):.3f} (step {last})")
    return 0


def _did(run: RunSummary) -> str:
    """What the run has come to, or where it is."""
    return run.outcome or f"is {run.phase}"


def _ago(at: datetime) -> str:
    """How long that is past, in the largest unit that it fills."""
    passed = max(datetime.now(UTC) - at, timedelta(0))
    for unit, length in (("d", timedelta(days=1)), ("h", timedelta(hours=1)), ("min", timedelta(minutes=1))):
        if passed >= length:
            return f"{passed // length} {unit} ago"
    return "just now"


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
