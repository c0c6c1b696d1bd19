"""`droptune status`, `runs`, `show`, `lines`: what an app has done, what it does, and what serves now."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from cli.client_options import OF_RUN, add_client_options, client_of
from cli.moments import ago, local
from cli.say import NAME, SENTENCE, escaped, say, say_json

if TYPE_CHECKING:
    from shared.api.schema import AnswerView, GateView, LineView, NeedView, RunSummary, RunView


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds these commands to the parser."""
    status = commands.add_parser("status", help="what serves, what needs you, what goes on by itself")
    status.set_defaults(run=_status)
    runs = commands.add_parser("runs", help="the runs that changed last, and which of them serve now")
    runs.add_argument("--folder", default="", help="only those of this dataset folder")
    runs.add_argument("--phase", default="", help="only those in this phase: training, failed, ...")
    few = runs.add_mutually_exclusive_group()
    few.add_argument("--limit", default="", metavar="N", help="at most N of them (default: 50)")
    few.add_argument("--all", action="store_const", dest="limit", const=MOST, help=f"the last {MOST}")
    runs.set_defaults(run=_runs)
    show = commands.add_parser("show", help="one run: its history, its data's faults, its losses")
    show.add_argument("id", metavar="RUN", help=OF_RUN)
    part = show.add_mutually_exclusive_group()
    part.add_argument("--answers", action="store_true", help="what the gate asked and was answered, the worst first")
    part.add_argument("--logs", action="store_true", help="the log of its deployment")
    show.set_defaults(run=_show)
    lines = commands.add_parser("lines", help="the model lines: what each serves now, and what it costs or saved")
    lines.set_defaults(run=_lines)
    for command in (status, runs, show, lines):
        add_client_options(command)


MOST = "1000"
"""Runs that the app lists at most."""


def _status(options: argparse.Namespace) -> int:
    from cli.client import as_json

    found = client_of(options).status()
    if options.json:
        say_json(as_json(found))
        return 0
    if found.unseen:
        say(found.unseen)
    for title, rows in (
        ("serves", [_where(line) for line in found.serving]),
        ("needs you", [row for need in found.needs for row in _need(need)]),
        ("works", [f"{run.folder}  {run.id}  {_doing(run)}" for run in found.working]),
        ("waits for files", [f"datasets/{folder}: {', '.join(files)}" for folder, files in found.waiting.items()]),
    ):
        if rows:
            say(title)
            for row in rows:
                say(f"  {escaped(row, SENTENCE)}")
    if not (found.serving or found.needs or found.working or found.waiting):
        say("nothing serves and nothing runs: upload a dataset as datasets/NAME/FILE.jsonl")
    return 0


def _folder(line: LineView) -> str:
    return f"{line.folder} ({line.base_model})"


def _where(line: LineView) -> str:
    since = local(line.serving.since) if line.serving else ""
    return f"{_folder(line)}  since {since}  {line.address}"


def _need(need: NeedView) -> list[str]:
    of = "  ".join(filter(None, (need.folder, need.run)))
    told = [f"{of}  {need.what}" if of and need.folder not in need.what else need.what]
    return [*told, f"  next: {need.command}"] if need.command else told


def _doing(run: RunSummary) -> str:
    return f"is {run.phase}, {ago(run.since)}" + (f"; {run.status}" if run.status else "")


def _lines(options: argparse.Namespace) -> int:
    from cli.client import as_json

    found = client_of(options).lines()
    if options.json:
        say_json(as_json(found))
        return 0
    if found.unseen:
        say(found.unseen)
    if not found.lines:
        say("no lines yet: a line begins with the first dataset of a folder")
    for line in found.lines:
        say(f"{_folder(line)}  {line.id}")
        for told in _told_of_line(line):
            say(f"  {escaped(told, SENTENCE)}")
    for record in found.unreadable:
        say(f"{record.id}  can't be read: {record.why}")
    return 0


def _told_of_line(line: LineView) -> list[str]:
    """What it is, a sentence each."""
    serving = line.serving
    told = [f"serves {serving.model} of run {serving.run} since {local(serving.since)}" if serving else _empty(line)]
    told += [line.address] if serving and line.address else []
    told += [f"no calls since {local(line.idle_since)}"] if line.idle_since else []
    told += [f"kept by {line.pinned_by}: newer versions wait (droptune unpin {line.id})"] if line.pinned_by else []
    told += [f"run {line.rollout} is rolled out"] if line.rollout else []
    told += [each.why for each in line.refused]
    told += [f"saved {line.saved:,.2f} since it is empty"] if line.saved else []
    return told


def _empty(line: LineView) -> str:
    if line.seen:
        return (
            f"serves nothing: {line.seen}; the cleanup finds that too, then droptune revive {line.id} serves it again"
        )
    if line.latest is None:
        return "has served nothing yet"
    going = "is being torn down" if line.state == "tearing_down" else "is torn down"
    return f"{going}: droptune revive {line.id} serves {line.latest.model} again"


def _runs(options: argparse.Namespace) -> int:
    from cli.client import as_json

    client = client_of(options)
    found = client.runs(folder=options.folder, phase=options.phase, limit=options.limit)
    if options.json:
        say_json(as_json(found))
        return 0
    chosen = options.folder or options.phase
    waiting = {} if chosen else client.folders().waiting
    for folder, files in waiting.items():
        say(f"datasets/{folder} waits for {', '.join(files)}")
    if found.unseen:
        say(found.unseen)
    if not found.runs:
        say("no such runs" if chosen else "no runs yet: upload a dataset as datasets/NAME/FILE.jsonl")
    for run in found.runs:
        id_, did, folder = (escaped(text, NAME) for text in (run.id, _did(run), run.folder))
        status = escaped(run.status, SENTENCE)
        say(f"{id_}  {did:<22}  {ago(run.since):<10}  {folder:<24}  {status}".rstrip())
    for record in found.unreadable:
        say(f"{record.id}  can't be read: {record.why}")
    return 0


def _show(options: argparse.Namespace) -> int:
    from cli.client import as_json, as_number

    if options.answers or options.logs:
        return _show_part(options)
    view = client_of(options).run(options.id)
    if options.json:
        say_json(as_json(view))
        return 0
    run, deployment = view.run, view.deployment
    say(f"run       {run.id}, attempt {run.attempt}: {_did(run)} {ago(run.since)}")
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
        say(f"  {local(entry.at)}  {entry.phase:<11}  {entry.what}")
    if view.report:
        from cli.report import lines

        for line in lines(view.report):
            say(line)
    for name, points in view.metrics.items():
        if "loss" in name and points:
            (first, begun), (last, ended) = points[0], points[-1]
            say(f"  {name}: {as_number(begun):.3f} (step {first}) -> {as_number(ended):.3f} (step {last})")
    return 0


def _show_part(options: argparse.Namespace) -> int:
    """The run's answers, or its log."""
    from cli.client import as_json
    from shared.api.schema import LogsView

    client = client_of(options)
    found = client.answers(options.id) if options.answers else client.logs(options.id)
    if options.json:
        say_json(as_json(found))
        return 0
    if isinstance(found, LogsView):
        for line in found.text.splitlines():
            say(line)
        return 0
    for row in found.rows:
        say(f"row {row.line}: {escaped(row.question, SENTENCE)}")
        for title, text in (("expected", row.expected), ("new", _answer(row.new)), ("live", _answer(row.live))):
            if text:
                say(f"  {title:<9} {escaped(text, SENTENCE)}")
    return 0


def _answer(answer: AnswerView | None) -> str:
    if answer is None:
        return ""
    return f"no answer: {answer.error}" if answer.error else f"{answer.score:.2f}  {answer.answer}"


def _did(run: RunSummary) -> str:
    """What the run has come to, or where it is."""
    return f"{run.outcome}, serves" if run.serves else run.outcome or f"is {run.phase}"


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
