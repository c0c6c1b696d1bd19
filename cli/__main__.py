"""The command `droptune`: the local cloud, the runs of an app, datasets, the demo.

Started by the script `droptune` in the repository's root. What a subcommand needs is imported when it is chosen, so
that `--help` and mistakes answer at once. Exit code 2 and one line on stderr when a command can't be carried out.
"""

from __future__ import annotations

import argparse
import io
import os
import sys
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from cli import check, fetch
from cli import commands as asked
from cli.errors import CliError
from cli.say import NAME, SENTENCE, complain, escaped, say, say_json

if TYPE_CHECKING:
    from cli.client import AppClient
    from shared.api.schema import GateView, RunSummary, RunView


def main(arguments: Sequence[str] | None = None) -> int:
    """The command. Returns its exit code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    options = _parser().parse_args(given)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # rows and names hold what the terminal's encoding may lack
    try:
        code: int = options.run(options)
    except CliError as error:
        complain(str(error))
        return 2
    except BrokenPipeError:  # `droptune runs | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    return code


class _Parser(argparse.ArgumentParser):
    """Says what is wrong with the arguments, which may be names of files: other people's text."""

    def error(self, message: str) -> NoReturn:
        """Ends the command with exit code 2."""
        super().error(escaped(message))


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="droptune", description="Datasets in, answering endpoints out.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    local = commands.add_parser("local", help="the local cloud: up, down, env, fault, pretend", add_help=False)
    local.add_argument("rest", nargs=argparse.REMAINDER)
    local.set_defaults(run=_local)

    runs = commands.add_parser("runs", help="the runs that changed last")
    runs.set_defaults(run=_runs)
    show = commands.add_parser("show", help="one run: its history, its data's faults, its losses")
    show.add_argument("id", metavar="RUN")
    show.set_defaults(run=_show)
    for command in (runs, show, *asked.add(commands, _client)):
        command.add_argument("--url", help="the app's address (default: DROPTUNE_URL, else the local cloud)")
        command.add_argument("--key", help="a function key of the app (default: DROPTUNE_KEY)")
        command.add_argument("--state", type=Path, default=Path(".droptune"), help="the local cloud's state folder")
        command.add_argument("--json", action="store_true", help="as JSON")

    demo = commands.add_parser("demo", help="the whole way, on this machine")
    demo.add_argument("--model", help="base model (default: the local Phi-3-mini-4k-instruct)")
    demo.add_argument("--data", type=Path, help="folder with a dataset (default: facts made by examples/make_facts.py)")
    demo.add_argument("--state", type=Path, default=Path(".droptune/demo"), help="state folder, emptied first")
    demo.set_defaults(run=_demo)

    fetching = commands.add_parser("fetch", help="a dataset of the Hugging Face Hub, as .jsonl files")
    fetch.add_arguments(fetching)
    fetching.set_defaults(run=_fetch)

    checking = commands.add_parser("check", help="whether a dataset may be trained on, before it is uploaded")
    check.add_arguments(checking)
    checking.set_defaults(run=_check)
    return parser


def _local(options: argparse.Namespace) -> int:
    from localcloud.__main__ import main as local

    return local(options.rest)


def _client(options: argparse.Namespace) -> AppClient:
    from cli.client import AppClient

    return AppClient.of(os.environ, url=options.url, key=options.key, state=options.state)


def _runs(options: argparse.Namespace) -> int:
    from cli.client import as_json

    client = _client(options)
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

    view = _client(options).run(options.id)
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


def _demo(options: argparse.Namespace) -> int:
    from cli.demo.show import demo

    return demo(model=options.model, data=options.data, state=options.state)


def _check(options: argparse.Namespace) -> int:
    return check.check(check.wanted(options))


def _fetch(options: argparse.Namespace) -> int:
    return fetch.fetch(fetch.wanted(options))


if __name__ == "__main__":
    sys.exit(main())
