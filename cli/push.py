"""`droptune push`: a dataset's files into the container of datasets, checked first, and what that starts.

What the app would refuse sends no byte. Goes on where it was stopped; cli/upload.py is the way of the bytes. Called by
`__main__`.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from cli.client_options import add_client_options, client_of, local_state_of
from cli.errors import CliError
from cli.look import ALL
from cli.say import complain, escaped, say, say_json, tell, titled
from cli.steer import add_by, who

if TYPE_CHECKING:
    from cli.check import Plan
    from cli.client import AppClient
    from cli.upload import Sending
    from shared.api.schema import About, LineView, RunSummary
    from shared.cloud.uploads import Stored, Uploads
    from shared.dataset.folder import Contents
    from shared.dataset.report import Report
    from shared.dataset.spec.choices import Spec

BAD = 1
"""Exit code where the app would refuse the dataset."""
INTERRUPTED = 130
_SHOWS = "shows"
STARTS = 60.0
"""Seconds in which the upload's event is expected to have made a run."""
_FIRST, _LONGEST = 0.1, 2.0  # seconds between two looks for it
_MUCH = 64 * 1024 * 1024  # bytes of data


class Ready(NamedTuple):
    """What is good to go. `files`: path and state of each by its name, in the order in which they are to appear.

    `train`: those of them that are trained on; `rows` by the last part of their names, as far as they were counted;
    `left`: what stays here. `notes`: what else to know before, a word and a text each.
    """

    folder: str
    files: Mapping[str, tuple[Path, tuple[int, ...]]]
    train: tuple[str, ...]
    rows: Mapping[str, int]
    left: tuple[str, ...]
    spec: Spec | None
    notes: tuple[tuple[str, str], ...] = ()


def add(commands: argparse._SubParsersAction[Any]) -> None:
    """Adds the command to the parser."""
    command = commands.add_parser("push", help="uploads a dataset, which starts a run")
    command.add_argument("path", type=Path, metavar="DIR|FILE", help="a dataset's folder, or a file to train on")
    command.add_argument("--as", dest="name", metavar="NAME", help="its folder in the cloud (default: its own name)")
    command.add_argument("--follow", action="store_true", help="then watches the run, as `droptune watch` does")
    command.add_argument("--yes", action="store_true", help="replaces files of other content without a question")
    add_by(command)
    add_client_options(command)
    command.set_defaults(run=push)


def push(options: argparse.Namespace) -> int:
    """The command. Returns its exit code. Raises CliError."""
    from shared.cloud.uploads import Changed
    from shared.errors import Conflict, NotFound, Permanent, Transient

    if options.json and options.follow:
        raise CliError("--json prints the run that was started: use it without --follow")
    try:
        return _push(options)
    except BrokenPipeError:
        raise
    except Changed as error:
        raise CliError(f"{error}: nothing was uploaded; push again once nobody writes to it") from None
    except (Permanent, Transient, Conflict, NotFound) as error:
        raise CliError(str(error)) from error
    except OSError as error:
        raise CliError(f"{error.filename or options.path} can't be read: {error.strerror or error}") from error
    except KeyboardInterrupt:
        complain("stopped: the same command goes on with what is still missing")
        return INTERRUPTED


def _push(options: argparse.Namespace) -> int:
    from cli.upload import compared, container_at

    folder = folder_of(options.path, options.name)
    client = client_of(options)
    about = client.about()
    ready = _ready(options, folder, client)
    if ready is None:
        return BAD
    uploads = container_at(about.datasets, local_state_of(client, options))
    try:
        there = uploads.there(folder)
        files = compared(ready.files, there)
        sending = _to_send(ready, files, there)
        found = _contents(ready, there)
        if not options.json:
            _tell_plan(client, about, ready, files, found, starts=bool(sending) and not found.waiting)
        if not sending:
            return _unsent(options, client, folder)
        _ask_before(options, folder, sending)
        known = {run.id for run in client.runs(folder=folder, limit=ALL).runs}
        _upload(options, uploads, folder, sending)
    finally:
        uploads.close()
    if waiting := found.waiting:
        if options.json:
            _as_json([])
        else:
            tell(f"datasets/{folder} waits for {waiting}: push it too, which starts a run")
        return 0
    pieces = any(len(each.train) > 1 for each in found.datasets)
    return _tell_runs(options, client, folder, _started(client, folder, known, pieces=pieces))


def folder_of(path: Path, name: str | None) -> str:
    """The name of the dataset's folder. Raises CliError for one that can't be used, or where there is nothing."""
    from shared import naming
    from shared.dataset.kinds import kind_of

    if not path.exists():
        raise CliError(f"there is no file or folder {path}")
    own = path.resolve().name
    found = name if name is not None else own if path.is_dir() else own[: -len(kind_of(own) or "") or None]
    if why := naming.refused(naming.FOLDER, found):
        raise CliError(f"{why}: give another with --as NAME")
    return found


# What is to go ------------------------------------------------------------------------------------------------------


def _ready(options: argparse.Namespace, folder: str, client: AppClient) -> Ready | None:
    """The dataset, checked as `droptune check` does; None where it is refused, which has been told then.

    The app is asked for base model and parameters. Raises CliError where it would refuse them.
    """
    from cli import check
    from cli.base_model import known
    from cli.screen import Screen
    from shared.cloud.uploads import state_of
    from shared.dataset.spec.choices import FILE_NAME
    from shared.serving.chance import shown

    path: Path = options.path
    spec_path = path / FILE_NAME
    spec_state = {FILE_NAME: (spec_path, state_of(spec_path))} if path.is_dir() and spec_path.is_file() else {}
    spec = check.spec_in(spec_path) if spec_state else None
    if spec and spec.hub:
        known(spec, spec_path, client)
        return Ready(folder=folder, files=spec_state, train=(), rows={}, left=(), spec=spec)
    _unless_held_out(path)
    asked = check.Wanted(path=path, json=options.json)
    plan = check.planned(asked, client)
    of_part: dict[str, Path] = {}
    for part in ("validation", "test", "train"):
        of_part |= {name: file.path for each in plan.sets for name, file in each.files.get(part, {}).items()}
    train = tuple(name for each in plan.sets for name in each.files["train"])
    files = {name: (at, state_of(at)) for name, at in of_part.items()}
    begun = time.monotonic()
    reports = _judged(plan)
    if any(report.rejected for report in reports):
        check.tell(Screen(), asked, plan, reports, time.monotonic() - begun)
        complain(f"nothing was uploaded of {path}")
        return None
    left = tuple(name for name in sorted(plan.ignored) if not name.startswith("."))
    notes = [(word, text) for word, text in plan.starts if word == check.NO_EFFECT]
    notes += [(_SHOWS, told) for report in reports if (told := shown(report.splits.get("test", 0), plan.gate))]
    return Ready(
        folder=folder,
        files=spec_state | files,
        train=train,
        rows=_rows(reports),
        left=left,
        spec=spec,
        notes=tuple(notes),
    )


def _judged(plan: Plan) -> list[Report]:
    """What `droptune check` finds; of much data in a process of its own, whose memory is free again for the upload."""
    import os
    import signal
    from concurrent.futures.process import BrokenProcessPool, ProcessPoolExecutor
    from multiprocessing import get_context

    from cli import check
    from shared.dataset.preparing.interrupts import deaf_to_interrupts

    if sum(each.size for each in plan.sets) < _MUCH:
        return check.judged(plan)
    # A fork shares what this process has loaded; elsewhere than on Linux that is not safe.
    how = "fork" if sys.platform == "linux" else "spawn"
    with ProcessPoolExecutor(1, mp_context=get_context(how)) as pool:
        with deaf_to_interrupts():
            judging = pool.submit(_judged_apart, plan)
        try:
            return judging.result()
        except BrokenProcessPool:
            raise CliError("the process of the check was ended, perhaps for want of memory") from None
        except KeyboardInterrupt:  # it may be ours alone: not all Ctrl-C are typed on a terminal
            for process in pool._processes:
                os.kill(process, signal.SIGINT)
            raise


def _judged_apart(plan: Plan) -> list[Report]:
    """In the process of the check: the first Ctrl-C ends it, and another must not disturb that."""
    import signal

    from cli import check

    def stop(*_: object) -> None:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        raise KeyboardInterrupt

    signal.signal(signal.SIGINT, stop)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])
    try:
        # In one process: what all of the push takes stays below 100 MB, and its network is slower than that as a rule.
        return check.judged(plan, processes=1)
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # whoever waits for it tells


def _unless_held_out(path: Path) -> None:
    """Raises CliError for a single file that nothing would be trained on."""
    from shared.dataset.kinds import kind_of
    from shared.dataset.names import use_of

    if path.is_file() and kind_of(path.name) and use_of(path.name) != "train":
        raise CliError(
            f"{path.name} is by its name no file to train on: push the folder that holds the training file too"
        )


def _rows(reports: Sequence[Report]) -> dict[str, int]:
    return {
        name: rows
        for report in reports
        for part, told in report.files.items()
        if part in report.rows_of
        for name, rows in report.shards.get(part, {told: report.rows_of[part]}).items()
    }


def _to_send(ready: Ready, files: Sequence[Sending], there: Mapping[str, Stored]) -> list[Sending]:
    """The files that have to be sent. Raises CliError where what is there already would have them ignored.

    Without a finetune.yaml a run is made by its training file: where only others are new, that one is made once more,
    of the bytes that storage has.
    """
    from shared.dataset.spec.choices import FILE_NAME

    if FILE_NAME in there and ready.spec is None:
        raise CliError(
            f"datasets/{ready.folder} has a {FILE_NAME}, which says what is trained on: "
            f"put one into the folder that you push, or push to another folder with --as"
        )
    if problem := _contents(ready, there).problem:
        raise CliError(f"with what datasets/{ready.folder} has already (--as NAME pushes to another folder): {problem}")
    changed = [each for each in files if not each.same]
    if changed and ready.spec is None and not any(each.name in ready.train for each in changed):
        return [*changed, *(each for each in files if each.name in ready.train)]
    return changed


def _ask_before(options: argparse.Namespace, folder: str, sending: Sequence[Sending]) -> None:
    """Asks before files of other content are replaced. Raises CliError where the answer is no, or nobody is there."""
    replaced = [f"datasets/{folder}/{each.name}" for each in sending if each.stored and not each.same]
    if not replaced or options.yes:
        return
    what = ", ".join(replaced)
    if not (sys.stdin and sys.stdin.isatty() and sys.stderr.isatty()):
        raise CliError(f"{what} holds something else, which this would replace: say --yes, or give another name: --as")
    sys.stderr.write(escaped(f"Replace {what}? [y/N] "))
    sys.stderr.flush()
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise CliError("nothing was uploaded")


def _upload(options: argparse.Namespace, uploads: Uploads, folder: str, sending: Sequence[Sending]) -> None:
    from cli.screen import bytes_bar
    from cli.upload import send
    from shared.dataset.reading.files import size_text

    begun = time.monotonic()
    size = sum(each.content.size for each in sending)
    with bytes_bar(size) as bar:
        known, commit = send(uploads, folder, sending, bar)
    with _uninterrupted():
        commit()
    if not options.json:
        before = f"; {size_text(known)} of it had been sent before" if known else ""
        titled("sent", f"{size_text(size)} in {time.monotonic() - begun:.1f} s{before}")


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Ctrl-C waits for the end of the block: these seconds decide what is there."""
    import signal
    import threading

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, _: came.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if came:
        raise KeyboardInterrupt


# What is told -------------------------------------------------------------------------------------------------------


def _tell_plan(
    client: AppClient,
    about: About,
    ready: Ready,
    files: Sequence[Sending],
    found: Contents,
    *,
    starts: bool,
) -> None:
    """What goes where, what it starts, and what it replaces. `found`: what the folder yields then."""
    from cli.screen import Screen
    from shared.dataset.reading.files import size_text
    from shared.dataset.report import counted

    model = ready.spec.model if ready.spec and ready.spec.model else about.base_model
    titled("app", f"the local cloud in {client.state}" if client.state else client.url)
    titled("dataset", f"datasets/{ready.folder}")
    rows = []
    for each in files:
        state = "new" if each.stored is None else "the same is there" if each.same else "replaces what is there"
        rows_of = ready.rows.get(each.name.rpartition("/")[2])
        told = "" if rows_of is None else counted(rows_of, "row")
        rows.append((each.name, size_text(each.content.size), told, state))
    Screen().columns(rows, right=(1, 2))
    if ready.spec and ready.spec.hub:
        titled("data", f"{ready.spec.hub.name} on the hub, which the app checks when it reads it")
    if ready.left:
        titled("stays", f"{', '.join(ready.left)}: not data that is trained on (`droptune check` says why)")
    kept = _kept(ready, found)
    for word, text in ready.notes:
        if not (kept and word == _SHOWS):  # the rows of what is there already were not counted here
            titled(word, text)
    if kept:
        titled("takes", f"{', '.join(kept)} too, which datasets/{ready.folder} has already")
    if not starts:
        return
    titled("starts", f"a run that trains {model}")
    titled("serves", f"{_serving(client, ready.folder, model)}")


def _kept(ready: Ready, found: Contents) -> list[str]:
    """Files of the folder that the runs take, and that are not among those that are pushed."""
    ours = [each for each in found.datasets if any(file.name in ready.train for file in each.train)]
    taken = [name for each in ours for name in each.etags]
    return sorted({name for name in taken if name not in ready.files})


def _contents(ready: Ready, there: Mapping[str, Stored]) -> Contents:
    """What the folder yields once the files are there, beside those that it has already."""
    from datetime import UTC, datetime

    from shared.dataset.folder import DataFile, contents
    from shared.dataset.spec.choices import FILE_NAME

    names = dict.fromkeys((*there, *ready.files))
    listed = [DataFile(name=name, etag="", size=0, modified=datetime.min.replace(tzinfo=UTC)) for name in names]
    if ready.spec is None:
        listed = [each for each in listed if each.name != FILE_NAME]
    return contents(ready.folder, listed, ready.spec)


def _serving(client: AppClient, folder: str, model: str) -> str:
    """What the run's line serves now, which the new version takes the place of."""
    line: LineView | None = None
    with suppress(CliError):  # none, or several: those of other base models too
        line = client.line(folder)
    if line is None or line.base_model != model:
        found = client.lines().lines
        line = next((each for each in found if (each.folder, each.base_model) == (folder, model)), None)
    if line is None:
        return "nothing yet: this is its first version"
    if line.serving is None:
        return f"nothing now{f' ({line.seen})' if line.seen else ''}; what was served last is {_last(line)}"
    return f"{line.serving.model} of run {line.serving.run} now, until the new version has passed its checks"


def _last(line: LineView) -> str:
    return line.latest.model if line.latest else "nothing"


def _unsent(options: argparse.Namespace, client: AppClient, folder: str) -> int:
    """The same files are there: which run they made. Where their event was lost, the app makes it now."""
    told = client.start(folder, who(options))
    if options.json:
        _as_json([run for run in client.runs(folder=folder, limit=ALL).runs if run.id in told.runs])
        return 0
    titled("sent", "nothing: the same files are there")
    tell(told.told)
    return _then(options, client, told.runs[0]) if told.runs else 0


def _started(client: AppClient, folder: str, known: set[str], *, pieces: bool) -> list[RunSummary]:
    """The runs that the upload has made: none, if there are none once STARTS is over.

    Of `pieces`, the run that the pieces before have made takes this one too, as long as it has read none.
    """
    until, pause = time.monotonic() + STARTS, _FIRST
    found: list[RunSummary] = []
    while not found:
        with suppress(CliError):  # the app's silence is no fault of the upload
            runs = client.runs(folder=folder, limit=ALL).runs
            found = [run for run in runs if run.id not in known]
            found = found or [run for run in runs if pieces and run.phase == "received"]
        if found or time.monotonic() > until:
            break
        time.sleep(pause)
        pause = min(pause * 2, _LONGEST)
    return sorted(found, key=lambda run: run.since, reverse=True)


def _tell_runs(options: argparse.Namespace, client: AppClient, folder: str, runs: list[RunSummary]) -> int:
    if options.json:
        _as_json(runs)
        return 0
    if not runs:
        say(f"no run is seen after {STARTS:.0f} s: Azure may tell the app of the upload later.")
        say(f"next: droptune start {folder}")
        return 0
    for run in runs:
        say(f"run {run.id} has started")
    return _then(options, client, runs[0].id)


def _then(options: argparse.Namespace, client: AppClient, run: str) -> int:
    if not options.follow:
        say(f"next: droptune watch {run}")
        return 0
    from cli.watch import follow

    return int(follow(client, run))


def _as_json(runs: list[RunSummary]) -> None:
    from cli.client import as_json
    from shared.api.schema import RunList

    say_json(as_json(RunList(runs=runs)))
