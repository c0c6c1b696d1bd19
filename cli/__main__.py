"""The command `droptune`: the local cloud, the runs of an app, datasets, the demo.

Started by the script `droptune` in the repository's root. What a subcommand needs is imported when it is chosen, so
that `--help` and mistakes answer at once. Exit code 2 and one line on stderr when a command can't be carried out.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cli import check, fetch
from cli import commands as asked
from cli.errors import CliError

if TYPE_CHECKING:
    from cli.client import AppClient


def main(arguments: Sequence[str] | None = None) -> int:
    """The command. Returns its exit code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    options = _parser().parse_args(given)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # rows and names hold what the terminal's encoding may lack
    try:
        code: int = options.run(options)
    except CliError as error:
        print(f"droptune: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:  # `droptune runs | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="droptune", description="Datasets in, answering endpoints out.")
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
    client = _client(options)
    found = client.runs()
    if options.json:
        print(json.dumps(found, indent=2))
        return 0
    for folder, files in client.folders().items():
        print(f"datasets/{folder} waits for {', '.join(files)}")
    if not found:
        print("no runs yet: upload a dataset as datasets/NAME/FILE.jsonl")
    for run in found:
        print(f"{run['id']}  {run['phase']:<11}  {run['since'][:19]}  {run['folder']:<24}  {_state(run)}".rstrip())
    return 0


def _show(options: argparse.Namespace) -> int:
    run = _client(options).run(options.id)
    if options.json:
        print(json.dumps(run, indent=2))
        return 0
    print(f"run       {run['id']}, attempt {run['attempt']}: {run['phase']} since {run['since'][:19]}")
    scores = run.get("scores")
    for title, text in (
        ("dataset", f"{run['folder']} ({(run.get('hub') or run['train'])['name']})"),
        ("model", run["base_model"]),
        ("state", _state(run)),
        ("job", run["job"]),
        ("made", run["model"]),
        ("endpoint", run["endpoint"]),
        ("gate", _scores(scores) if scores else ""),
        ("approved", run.get("approved", "")),
    ):
        if text:
            print(f"{title:<9} {text}")
    for entry in run["history"]:
        print(f"  {entry['at'][:19]}  {entry['phase']:<11}  {entry['what']}")
    if run.get("report"):
        from cli.report import lines

        for line in lines(run["report"]):
            print(line)
    for name, points in (run.get("metrics") or {}).items():
        if "loss" in name and points:
            print(f"  {name}: {points[0][1]:.3f} (step {points[0][0]}) -> {points[-1][1]:.3f} (step {points[-1][0]})")
    return 0


def _state(run: dict[str, Any]) -> str:
    if run["parked"]:
        return f"parked: {run['parked']}"
    if run.get("held") == "approval":
        return f"waits for you: droptune approve {run['id']}"
    return f"waits: {run['waiting']}" if run["waiting"] else str(run["reason"])


def _scores(scores: dict[str, Any]) -> str:
    """What the gate said: the new version's score, that of the one that serves, and the reason."""
    live = f"{scores['compared']['live']:.1f} serves" if scores.get("compared") else "nothing served"
    said = "passed" if scores["passed"] else "stopped"
    return f"{said}: {scores['score']} {scores['new']:.1f} on {scores['rows']} rows, {live}: {scores['why']}"


def _demo(options: argparse.Namespace) -> int:
    from cli.demo.show import demo

    return demo(model=options.model, data=options.data, state=options.state)


def _check(options: argparse.Namespace) -> int:
    return check.check(check.wanted(options))


def _fetch(options: argparse.Namespace) -> int:
    return fetch.fetch(fetch.wanted(options))


if __name__ == "__main__":
    sys.exit(main())
