"""`droptune check`: what the app would say of a dataset, before it is uploaded; offline, over all cores.

A file is checked alone, a folder as the app would take it: with its finetune.yaml, or its one training file. Reads
only; needs neither Azure nor the hub. Called by `__main__`.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from cli.errors import CliError
from cli.say import complain, say_json

if TYPE_CHECKING:
    from cli.base_model import Known
    from cli.client import AppClient
    from cli.screen import Screen
    from shared.dataset.folder import Contents, DataFile, Dataset
    from shared.dataset.judging.rules import Facts
    from shared.dataset.reading.files import LocalFile
    from shared.dataset.report import Report
    from shared.dataset.spec.choices import Policy, Safety, Spec
    from shared.dataset.split import Part
    from shared.serving.gate import Gate

BAD = 1
"""Exit code where the app would refuse a dataset."""
INTERRUPTED = 130
NO_EFFECT = "no effect"
"""What stands beside a key of finetune.yaml that counts for nothing."""
_IGNORED = 20  # files that are told to be ignored


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What was asked for on the command line."""

    path: Path
    spec: Path | None = None
    context: int | None = None
    tools: bool | None = None
    json: bool = False
    everything: bool = False
    online: bool = False
    map: Mapping[str, str] | None = None
    ignore: Sequence[str] = ()
    safety: Safety | None = None

    def policy(self, given: Policy) -> Policy:
        """A policy with what the command line says of keys and safety."""
        return replace(
            given, map=self.map or given.map, ignore=(*given.ignore, *self.ignore), safety=self.safety or given.safety
        )


@dataclass(frozen=True, kw_only=True)
class Files:
    """Files that make a dataset: of each part, by their names in its folder, in order."""

    files: Mapping[Part, Mapping[str, LocalFile]]

    @property
    def size(self) -> int:
        return sum(self.sizes.values())

    @property
    def sizes(self) -> dict[str, int]:
        """Bytes of each part."""
        return {part: sum(file.size for file in each.values()) for part, each in self.files.items()}

    @property
    def name(self) -> str:
        from shared.dataset.report import brief

        return brief(list(self.files["train"]))


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What is to be checked, and what to say about it: first, and at the end."""

    sets: tuple[Files, ...]
    policy: Policy
    notes: tuple[str, ...]
    ignored: Mapping[str, str]
    facts: Facts
    gate: Gate | None = None
    starts: tuple[tuple[str, str], ...] = ()
    licences: tuple[str, ...] = ()


def wanted(options: argparse.Namespace) -> Wanted:
    """The options as they were meant."""
    return Wanted(
        path=options.path,
        spec=options.spec,
        context=options.context,
        tools=options.tools,
        json=options.json,
        everything=options.everything,
        online=options.online,
        map=options.map,
        ignore=options.ignore,
        safety=options.safety,
    )


def check(asked: Wanted) -> int:
    """Checks and tells. Returns the exit code: 0 if the app would take it, BAD if not. Raises CliError."""
    try:
        return _check(asked)
    except BrokenPipeError:  # nobody reads on: not the dataset's fault
        raise
    except OSError as error:
        raise CliError(f"{error.filename or asked.path} can't be read: {error.strerror or error}") from error
    except KeyboardInterrupt:
        complain("stopped")
        return INTERRUPTED


def _check(asked: Wanted) -> int:
    from cli.screen import Screen

    screen = Screen()
    plan = planned(asked, _app(asked))
    begun = time.monotonic()
    reports = judged(plan)
    tell(screen, asked, plan, reports, time.monotonic() - begun)
    return BAD if any(report.rejected for report in reports) else 0


def _app(asked: Wanted) -> AppClient | None:
    """Whom to ask of the base model: the app that a command takes, or that of a local cloud that runs here; or nobody.

    Raises CliError.
    """
    from cli.base_model import local_app

    if not asked.online:
        return local_app()
    from cli.client import AppClient

    return AppClient.of(os.environ)


def planned(asked: Wanted, app: AppClient | None = None) -> Plan:
    """What of the file or folder is to be checked. `app`: whom to ask of the base model and its parameters.

    Raises CliError where it gives nothing to train on, or names what planning would refuse; OSError.
    """
    return _of_folder(asked, app) if asked.path.is_dir() else _of_file(asked, app)


def _facts(asked: Wanted, found: Known) -> Facts:
    """What the rules ask of the base model: what the options say counts more than what is known of it."""
    from shared.dataset.judging.rules import Facts

    tools = found.tools if asked.tools is None else asked.tools
    return Facts(context=asked.context or found.context, tools=bool(tools))


def tell(screen: Screen, asked: Wanted, plan: Plan, reports: list[Report], seconds: float) -> None:
    """Shows the reports, or prints them as JSON."""
    if asked.json:
        told = [report.as_dict() for report in reports]
        say_json(json.dumps(told[0] if len(told) == 1 else told, indent=2))
    else:
        _tell(screen, asked, plan, reports, seconds)


def judged(plan: Plan, *, processes: int | None = None) -> list[Report]:
    """A report on each of the plan's datasets, over all cores or so many. Raises CliError, OSError."""
    from concurrent.futures.process import BrokenProcessPool

    from shared.dataset.preparing.parallel import prepare_files
    from shared.dataset.safety.licences import told

    reports = []
    with _progress(sum(each.size for each in plan.sets)) as show:
        for each in plan.sets:
            try:
                report = prepare_files(
                    files={part: list(of.values()) for part, of in each.files.items()},
                    out=None,
                    policy=plan.policy,
                    facts=plan.facts,
                    processes=processes or cores(),
                    progress=show(each),
                )
                reports.append(told(report, plan.licences))
            except BrokenProcessPool:
                raise CliError("another process of the check was ended, perhaps for want of memory") from None
    return reports


def cores() -> int:
    """The cores that this process may use."""
    return os.process_cpu_count() or 1


@contextmanager
def _progress(size: int) -> Iterator[Callable[[Files], Callable[[int], None]]]:
    """A bar of bytes on standard error, if that is a terminal; gone when all is read."""
    from cli.screen import bytes_bar

    with bytes_bar(size) as bar:
        yield lambda each: bar(each.name)


# What to check -------------------------------------------------------------------------------------------------------


def _of_file(asked: Wanted, app: AppClient | None) -> Plan:
    from cli.base_model import known
    from shared.dataset.kinds import kind_of, unread
    from shared.dataset.reading.files import LocalFile
    from shared.dataset.spec.choices import FILE_NAME, Policy

    shown = asked.path
    if not asked.path.exists():
        raise CliError(f"there is no file or folder {shown}")
    if asked.path.name == FILE_NAME:
        raise CliError(f"{shown} is a specification: check its folder, {asked.path.parent}")
    if not asked.path.is_file():
        raise CliError(f"{shown} is no file")
    if not kind_of(asked.path.name):
        raise CliError(f"{shown} is not read: {unread(shown.name)}")
    spec = spec_in(asked.spec) if asked.spec else None
    found = known(spec, asked.spec, app, insist=asked.online)
    policy = "the defaults" if spec is None else str(asked.spec)
    return Plan(
        sets=(Files(files={"train": {asked.path.name: LocalFile(asked.path)}}),),
        policy=asked.policy(spec.policy if spec else Policy()),
        notes=(
            f"Checked alone, as a file to train on, by {policy}. Its folder would be checked with the test and "
            f"validation files and the {FILE_NAME} in it.",
            *found.notes,
        ),
        ignored={},
        facts=_facts(asked, found),
        gate=_gate(spec),
    )


def _of_folder(asked: Wanted, app: AppClient | None) -> Plan:
    from cli.base_model import known
    from shared.dataset.folder import contents
    from shared.dataset.reading.files import LocalFile
    from shared.dataset.spec.choices import FILE_NAME, Policy

    folder = asked.path
    place = asked.spec or (folder / FILE_NAME if (folder / FILE_NAME).is_file() else None)
    spec = spec_in(place) if place else None
    base = known(spec, place, app, insist=asked.online)
    found = contents(folder.name, listed(folder, place), spec)
    if spec and spec.hub and found.datasets:
        (_, starts), *_ = _starts(found.datasets, spec, base)
        raise CliError(
            f"{place} names {spec.hub.name} on the hub: get it with `droptune fetch`, and check what that writes; an "
            f"upload of it as it is starts {starts}"
        )
    if found.waiting:
        raise CliError(f"{folder} waits for {found.waiting}: put it there, as an upload starts nothing without it")
    if found.problem:
        raise CliError(f"{folder}: {_of_another_kind(folder, found) or found.problem}")
    if not found.datasets:
        raise CliError(f"nothing to train on in {folder}{_why(found)}")
    sets = []
    for each in found.datasets:
        parts: dict[Part, tuple[DataFile, ...]] = {
            "train": each.train,
            "validation": each.validation,
            "test": each.test,
        }
        of = {part: {file.name: LocalFile(folder / file.name) for file in files} for part, files in parts.items()}
        sets.append(Files(files={part: files for part, files in of.items() if files}))
    used = {name for each in sets for files in each.files.values() for name in files}
    notes = [f"Checked by {place}." if spec else f"There is no {FILE_NAME}: checked by the defaults."]
    return Plan(
        sets=tuple(sets),
        policy=asked.policy(spec.policy if spec else Policy()),
        notes=(*notes, *base.notes),
        facts=_facts(asked, base),
        ignored={name: why for name, why in found.ignored.items() if name not in used},
        gate=_gate(spec),
        starts=tuple(_starts(found.datasets, spec, base)),
        licences=_licences(folder, base),
    )


def _licences(folder: Path, base: Known) -> tuple[str, ...]:
    """What the licence in the folder's card says against training the base model on it."""
    from shared.dataset.safety import licences

    card = folder / licences.CARD
    return tuple(licences.against(licences.in_card(card), base.name)) if card.is_file() else ()


def _starts(datasets: Iterable[Dataset], spec: Spec | None, base: Known) -> Iterator[tuple[str, str]]:
    """What an upload of the folder starts, and what of its finetune.yaml counts for nothing."""
    from shared.dataset.upload import starts, without_effect

    for each in datasets:
        yield from starts(each, spec, base.name)
        yield from ((NO_EFFECT, text) for text in without_effect(each, spec))


def _gate(spec: Spec | None) -> Gate:
    """What the folder's new versions have to be like."""
    from shared.serving.gate import Gate, Promotion

    wanted = spec.promotion if spec else Promotion()
    return wanted.gate if wanted.strategy == "blue_green" else Gate(rows=0)  # nothing is left to compare with


def _of_another_kind(folder: Path, found: Contents) -> str:
    """What those of several training files are that are no data at all: mending that comes first; "" where all are."""
    from shared.dataset.kinds import packing_of
    from shared.dataset.reading.beginnings import HEAD, foreign
    from shared.dataset.reading.files import LocalFile

    told: dict[str, list[str]] = {}
    for name in (file.name for file in found.several[:_IGNORED]):
        if not packing_of(name) and (what := foreign(name, LocalFile(folder / name).read_at(0, HEAD))):
            told.setdefault(what, []).append(name)
    return "; ".join(f"{', '.join(files)}: {what}" for what, files in told.items())


def _why(found: Contents) -> str:
    ignored = sorted(found.ignored.items())
    told = [f"{name}: {why}" for name, why in ignored[:3]]
    more = [f"and {len(ignored) - 3} more"] if len(ignored) > 3 else []
    return f" ({'; '.join(told + more)})" if told else ": it is empty"


def listed(folder: Path, spec: Path | None) -> list[DataFile]:
    """The folder as the app would list it, with `spec` as its finetune.yaml.

    Folders in it are named, and but for data/ not entered.
    """
    from shared.dataset.folder import DataFile
    from shared.dataset.names import DATA
    from shared.dataset.spec.choices import FILE_NAME

    found = []
    for path in sorted(folder.iterdir()):
        within = sorted(path.iterdir()) if path.is_dir() and f"{path.name}/" == DATA else [path]
        for each in within:
            if each != folder / FILE_NAME and (each.is_file() or each.is_dir()):
                stat = each.stat()
                name = each.relative_to(folder).as_posix() + "/" * each.is_dir()
                found.append(DataFile(name=name, etag="", size=stat.st_size, modified=_time(stat.st_mtime)))
    if spec:
        found.append(DataFile(name=FILE_NAME, etag="", size=spec.stat().st_size, modified=_time(spec.stat().st_mtime)))
    return found


def _time(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def spec_in(path: Path) -> Spec:
    """What a finetune.yaml says. Raises CliError with all that is wrong with it, OSError."""
    from shared.dataset.spec.choices import FILE_NAME, SIZE_LIMIT
    from shared.dataset.spec.finetune import parse
    from shared.errors import Permanent

    with path.open("rb") as file:
        data = file.read(SIZE_LIMIT + 1)
    try:
        return parse(data)
    except Permanent as error:
        told = str(error).removeprefix(FILE_NAME)
        raise CliError(f"{path}{told if told.startswith((',', ':')) else f': {error}'}") from None


# What is told --------------------------------------------------------------------------------------------------------


def _tell(screen: Screen, asked: Wanted, plan: Plan, reports: list[Report], seconds: float) -> None:
    from cli.report import View, show
    from shared.dataset.reading.files import size_text

    for each, report in zip(plan.sets, reports, strict=True):
        if len(plan.sets) > 1:
            screen.rule(each.name)
        show(screen, report, View(sizes=each.sizes, everything=asked.everything, gate=plan.gate))
    if plan.starts:
        screen.title("What an upload starts")
        if any(report.rejected for report in reports):
            screen.text("a run that is rejected, as said above: nothing is trained, and what serves stays", indent=2)
        else:
            screen.columns(plan.starts)
    if plan.ignored:
        screen.title("Not used")
        told = sorted(plan.ignored.items())
        screen.columns((name, _ignored(name, why)) for name, why in told[:_IGNORED])
        if len(told) > _IGNORED:
            screen.text(f"and {len(told) - _IGNORED:,} more", indent=2)
    screen.gap()
    for note in (*plan.notes, *_unchecked(plan, reports)):
        screen.text(note, style="dim")
    size = sum(each.size for each in plan.sets)
    screen.text(f"{size_text(size)} in {seconds:.1f} s.", style="dim")
    if len(plan.sets) > 1:
        bad = [each.name for each, report in zip(plan.sets, reports, strict=True) if report.rejected]
        text = f"{len(bad)} of {len(reports)} datasets are bad: {', '.join(bad)}" if bad else "all datasets are good"
        screen.verdict(good=not bad, text=text)


def _ignored(name: str, why: str) -> str:
    return "a folder; only the files beside it are taken" if name.endswith("/") else why


def _unchecked(plan: Plan, reports: list[Report]) -> Iterator[str]:
    if plan.facts.context is None:
        yield "Not checked: over_context, for which --context TOKENS tells what the base model's context holds."
    if not plan.facts.tools and any("tool_turn" in report.by_rule for report in reports):
        yield "Tool turns are good rows for a base model whose chat template takes them: --tools."
