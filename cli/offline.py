"""`droptune check`, `fetch` and `demo`: the arguments of what needs no running app.

What they do is in modules of their own, which load much: each is imported when its command is chosen.
"""

from __future__ import annotations

import argparse
from pathlib import Path


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds these commands to the parser."""
    demo = commands.add_parser("demo", help="the whole way on this machine, by the commands that you would type")
    demo.add_argument("--model", help="base model (default: the local Phi-3-mini-4k-instruct)")
    demo.add_argument("--data", type=Path, help="folder with a dataset (default: facts made by examples/make_facts.py)")
    demo.add_argument(
        "--state",
        type=Path,
        default=Path(".droptune/demo"),
        metavar="DIR",
        help="folder to work in (default: %(default)s); a local cloud in it is deleted first",
    )
    demo.set_defaults(run=_demo)

    _add_fetch(commands.add_parser("fetch", help="a dataset of the Hugging Face Hub, as .jsonl files"))
    _add_check(commands.add_parser("check", help="whether a dataset may be trained on, before it is uploaded"))


def _add_check(command: argparse.ArgumentParser) -> None:
    command.add_argument("path", type=Path, metavar="FILE|DIR", help="a file of rows, or a dataset's folder")
    command.add_argument(
        "--spec", type=Path, metavar="FILE", help="a finetune.yaml (default: the one in DIR, if there is one)"
    )
    command.add_argument(
        "--context",
        type=_tokens,
        metavar="TOKENS",
        help="tokens that the base model's context holds (default: as is known of it); rows over it warn",
    )
    command.add_argument(
        "--tools",
        action=argparse.BooleanOptionalAction,
        default=None,
        help="whether the base model's chat template takes tool turns (default: as is known of it)",
    )
    command.add_argument(
        "--online",
        action="store_true",
        help="ask your app for model and parameters, as is done where a local cloud runs, and not the catalogue",
    )
    command.add_argument(
        "--map",
        type=_pairs,
        metavar="KEY=NAME,...",
        help="which keys or columns hold what, as map in finetune.yaml: prompt=customer_text,response=agent_text",
    )
    command.add_argument(
        "--ignore",
        action="append",
        default=[],
        metavar="KEY",
        help="a key to pass over, as ignore in finetune.yaml; repeatable",
    )
    command.add_argument(
        "--safety",
        choices=("report", "mask", "reject"),
        help="what secrets and persons' data mean (default: as finetune.yaml has it, else report)",
    )
    command.add_argument("--all", action="store_true", dest="everything", help="show up to 1,000 faults, not 20")
    command.add_argument("--json", action="store_true", help="the report as JSON; a list if DIR has several datasets")
    command.set_defaults(run=_check)


def _add_fetch(command: argparse.ArgumentParser) -> None:
    """The options of the notebook's own download script are among them."""
    command.add_argument(
        "dataset", nargs="?", metavar="OWNER/NAME", help="the dataset's name on the hub, or its address there"
    )
    command.add_argument("--dataset", dest="named", metavar="OWNER/NAME", help="the same, as an option")
    command.add_argument(
        "--out", "--download_dir", type=_folder, metavar="DIR", help="folder for the files (default: NAME_dataset)"
    )
    command.add_argument(
        *("--percent", "--dataset_split_pc"),
        type=float,
        default=100.0,
        metavar="P",
        help="only the first P percent of each split (default: all)",
    )
    command.add_argument("--split", action="append", default=[], metavar="NAME", help="only this split; repeatable")
    command.add_argument("--config", metavar="NAME", help="the dataset's configuration (default: its default one)")
    command.add_argument("--revision", metavar="NAME", help="branch, tag or commit (default: main)")
    command.add_argument("--force", action="store_true", help="overwrite files that are there")
    command.set_defaults(run=_fetch)


def _folder(text: str) -> Path:
    if not text.strip():
        raise argparse.ArgumentTypeError("it is empty, and no folder's name")
    return Path(text)


def _pairs(text: str) -> dict[str, str]:
    from shared.dataset.spec.keys import KEYS

    pairs = [pair.partition("=") for pair in text.split(",")]
    found = {key.strip(): name.strip() for key, _, name in pairs}
    known = next(key.keys for key in KEYS if key.name == "map")
    names = [key.name for key in known]
    if wrong := [pair[0] for pair in pairs if not pair[1] or not pair[2].strip() or pair[0].strip() not in names]:
        raise argparse.ArgumentTypeError(f"{wrong[0]!r}: write KEY=NAME, KEY one of {', '.join(names)}")
    if len(found) < len(pairs) or len(set(found.values())) < len(pairs):
        raise argparse.ArgumentTypeError("a key or a name is there twice")
    return found


def _tokens(text: str) -> int:
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"{text!r} is no number of tokens")
    return int(text)


def _demo(options: argparse.Namespace) -> int:
    from cli.demo.show import demo

    return demo(model=options.model, data=options.data, state=options.state)


def _check(options: argparse.Namespace) -> int:
    from cli import check

    return check.check(check.wanted(options))


def _fetch(options: argparse.Namespace) -> int:
    from cli import fetch

    return fetch.fetch(fetch.wanted(options))
