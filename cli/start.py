"""`droptune init` and `start`: a folder for a dataset, and a look into one that is there. Called by `__main__`."""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path
from typing import Any

from cli.client_options import add_client_options, client_of
from cli.errors import CliError, stopped_with
from cli.say import say, say_json, tell
from cli.steer import add_by, who

_TEMPLATE = """\
# What is made of the files beside this one. docs/finetune.md has all keys.
train: {train}  # the file to train on
{held_out}
# model: Phi-4                       # the base model (`droptune models`); without it, the app's own
# on_bad_rows: drop                  # trains on the good rows; without it, a bad row refuses all
# approve: manual                    # asks you before a version gets traffic
# parameters: {{num_train_epochs: 3}}  # inputs of the fine-tune component
"""
_NO_TEST = "# test: test.jsonl                 # held out; without it, 10 % of the rows are"
_ROW = '{"messages": [{"role": "user", "content": "..."}, {"role": "assistant", "content": "..."}]}'


def add(commands: argparse._SubParsersAction[Any]) -> None:
    """Adds these commands to the parser."""
    making = commands.add_parser("init", help="makes a folder for a dataset, with a finetune.yaml")
    making.add_argument("folder", type=Path, metavar="DIR", help="the folder; what is in it stays as it is")
    making.add_argument("--from", dest="source", type=Path, metavar="FILE", help="a file of rows that is copied to it")
    making.set_defaults(run=_init)
    starting = commands.add_parser("start", help="has the app look into a folder of datasets whose upload it missed")
    starting.add_argument("folder", metavar="FOLDER", help="its name in the container of datasets")
    add_by(starting)
    add_client_options(starting)
    starting.set_defaults(run=_start)


def _start(options: argparse.Namespace) -> int:
    from cli.client import as_json

    client, by = client_of(options), who(options)
    named = shlex.quote(options.folder)
    with stopped_with(f"the app may start a run all the same; next: droptune runs --folder {named}"):
        answer = client.start(options.folder, by)
    if options.json:
        say_json(as_json(answer))
        return 0
    tell(answer.told)
    say(f"next: droptune watch {answer.runs[0] if answer.runs else named}")
    return 0


def _init(options: argparse.Namespace) -> int:
    from shared.dataset.spec.choices import FILE_NAME

    folder: Path = options.folder
    try:
        train, held_out = _data_of(folder, options.source)
        spec = _spec(train, held_out)
        if (folder / FILE_NAME).exists():
            raise CliError(f"{folder / FILE_NAME} is there already, and is left as it is")
        folder.mkdir(parents=True, exist_ok=True)
        if options.source:
            with stopped_with(f"{folder / train[0]} and {folder / FILE_NAME} are not made"):
                _copy(options.source, folder / train[0])
        with (folder / FILE_NAME).open("xb") as file:
            file.write(spec)
    except OSError as error:
        raise CliError(f"{error.filename or folder} can't be used: {error.strerror or error}") from error
    tell(f"made {folder / FILE_NAME}", fold=False)
    if options.source:
        tell(f"made {folder / train[0]}, a copy of {options.source}", fold=False)
    named = shlex.quote(str(folder))
    if not (folder / train[0]).exists():
        tell(f"write your rows to {folder / train[0]}, each on a line of its own:", fold=False)
        say(_ROW)
    say(f"next: droptune check {named}")
    say(f"then: droptune push {named}")
    return 0


def _data_of(folder: Path, source: Path | None) -> tuple[list[str], list[str]]:
    """The names of the files to train on, and lines on those that are held out. Raises CliError, OSError."""
    import json

    from cli.check import listed
    from shared.dataset.folder import contents
    from shared.dataset.kinds import kind_of, unread
    from shared.dataset.names import use_of

    if folder.exists() and not folder.is_dir():
        raise CliError(f"{folder} is there already, and is no folder")
    if source:
        if not source.is_file():
            raise CliError(f"there is no file {source}")
        if not kind_of(source.name):
            raise CliError(f"{source} is not read: {unread(source.name)}")
        return [source.name], []
    files = listed(folder, None) if folder.exists() else []
    found = contents(folder.name, files, None)
    if found.problem:
        raise CliError(f"{folder}: {found.problem}")
    if found.waiting:
        raise CliError(f"{folder} waits for {found.waiting}: put it there")
    train = [file.name for each in found.datasets for file in each.train] or ["train.jsonl"]
    parts = {part: [file.name for file in files if use_of(file.name) == part] for part in ("validation", "test")}
    for each in found.datasets:
        parts = {"validation": [file.name for file in each.validation], "test": [file.name for file in each.test]}
    return train, [f"{part}: {json.dumps(_one_or_all(names))}" for part, names in parts.items() if names]


def _one_or_all(names: list[str]) -> str | list[str]:
    return names[0] if len(names) == 1 else names


def _spec(train: list[str], held_out: list[str]) -> bytes:
    """A finetune.yaml that the app takes. Raises CliError where a file's name can't be in one."""
    import json

    from shared.dataset.spec.finetune import parse
    from shared.errors import Permanent

    text = _TEMPLATE.format(train=json.dumps(_one_or_all(train)), held_out="\n".join(held_out) or _NO_TEST)
    data = text.encode()
    try:
        parse(data)
    except Permanent as error:
        raise CliError(
            f"{', '.join(train)} can't be named in a finetune.yaml: {error}: give the file another name"
        ) from None
    return data


def _copy(source: Path, target: Path) -> None:
    """A copy that replaces nothing, and that is whole or not there. Raises CliError, OSError."""
    if target.exists():
        if target.samefile(source):
            return
        raise CliError(f"{target} is there already, and is left as it is")
    import shutil

    new = target.with_name(f".{target.name}.new")
    try:
        shutil.copyfile(source, new)
        target.hardlink_to(new)  # fails where somebody was faster
    finally:
        new.unlink(missing_ok=True)
