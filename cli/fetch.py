"""`droptune fetch`: the splits of a dataset of the Hugging Face Hub, or the first few percent of each, as .jsonl files.

The rows are streamed at one commit and written as they are, all columns. The files appear together at the end, or,
after an error or Ctrl-C, not at all. Called by `__main__`.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, BinaryIO

from cli.errors import CliError
from cli.say import complain, say

if TYPE_CHECKING:
    from cli.screen import Bar
    from shared.dataset.reading.files import Limits
    from shared.dataset.reading.hub import Dataset, HubTable
    from shared.dataset.reading.hub_files import Batch

INTERRUPTED = 130
"""Exit code after Ctrl-C, as shells have it."""

_SHOWN_ROWS = 2
_SHOWN_TEXT = 100  # characters of a text in them
_LOOKED_AT = 4096  # characters of it: it is masked before it is cut
_SHOWN_ITEMS = 4
_ROW_LIMIT = 1024**3  # bytes: what is only copied may have rows that nobody would train on


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What was asked for on the command line. Without `splits`: all there are."""

    name: str
    out: Path
    percent: float = 100.0
    revision: str = "main"
    config: str | None = None
    splits: tuple[str, ...] = ()
    force: bool = False


def wanted(options: argparse.Namespace) -> Wanted:
    """The options as they were meant. Raises CliError, before anything is loaded or asked."""
    from shared import naming
    from shared.dataset.spec.hub_address import NoAddress, read

    if bool(options.dataset) == bool(options.named):
        raise CliError("name one dataset: droptune fetch OWNER/NAME")
    source = options.dataset or options.named
    if not 0 < options.percent <= 100:
        raise CliError(f"--percent {options.percent:g}: it must be above 0 and at most 100")
    given = [("--revision", naming.HUB_REVISION, options.revision), ("--config", naming.HUB_CONFIG, options.config)]
    given += [("--split", naming.HUB_SPLIT, split) for split in options.split]
    for option, kind, name in given:
        if name is not None and naming.refused(kind, name):
            part = "; of a split's beginning: --percent" if option == "--split" and "[" in name else ""
            raise CliError(f"{option} {name!r}: it must be {kind.must}{part}")
    try:
        address = read(source)
    except NoAddress as error:
        raise CliError(f"{source!r} {error}") from None
    splits = tuple(dict.fromkeys(options.split))
    for option, mine, said in (
        ("--revision", options.revision, address.revision),
        ("--config", options.config, address.config),
        ("--split", ", ".join(splits) or None, address.split),
    ):
        if None not in (mine, said) and mine != said:
            raise CliError(f"{option} {mine}: the address says {said}; keep one of them")
    return Wanted(
        name=address.name,
        out=options.out or Path(f"{address.name.rsplit('/', 1)[-1]}_dataset"),
        percent=options.percent,
        revision=address.revision or options.revision or "main",
        config=address.config or options.config,
        splits=(address.split,) if address.split else splits,
        force=options.force,
    )


def fetch(asked: Wanted) -> int:
    """Writes DIR/SPLIT.jsonl for each split, and shows what is in them. Returns the exit code. Raises CliError."""
    from shared.dataset.reading.files import FileFault
    from shared.errors import Permanent, Transient

    try:
        return _fetch(asked)
    except (Permanent, Transient, FileFault) as error:
        raise CliError(str(error)) from error
    except KeyboardInterrupt:
        complain(f"stopped; nothing was written to {asked.out}")
        return INTERRUPTED


def _fetch(asked: Wanted) -> int:
    from cli.screen import Screen
    from shared.dataset.reading.hub import open_dataset
    from shared.dataset.safety.licences import against

    dataset = open_dataset(asked.name, revision=asked.revision, config=asked.config)
    say(f"{dataset.name} at commit {dataset.commit}")
    tables = {split: dataset.table(split, asked.percent) for split in asked.splits or dataset.splits}
    screen = Screen()
    first: list[str] = []
    rows: dict[str, int] = {}
    with _folder(asked, dataset, tables) as folder:
        for split, table in tables.items():
            with screen.progress(split) as bar, (folder / _file(split)).open("wb") as file:
                rows[split] = _write(table, file, first if not rows else [], bar)
    _told(asked, tables, rows)
    stale = (note for table in tables.values() for note in table.stale)
    for told in (*dataset.notes, *stale, *against(dataset.licences, "")):
        say(f"note: {told}")
    say()
    say(f"The first rows of {_file(next(iter(tables)))}:")
    for line in first:
        say(line)
    return 0


@contextmanager
def _folder(asked: Wanted, dataset: Dataset, splits: Sequence[str] | dict[str, Any]) -> Iterator[Path]:
    """A folder to write in; its files go to `asked.out` when the block is left without an error."""
    odd = [split for split in splits if Path(split).name != split or split.startswith(".")]
    if odd:
        raise CliError(f"{dataset.name} has a split {odd[0]!r}, which is no file's name: choose others with --split")
    targets = [asked.out / _file(split) for split in splits]
    there = [str(target) for target in targets if target.exists()]
    if there and not asked.force:
        raise CliError(f"there already: {', '.join(there)}; overwrite with --force, or choose another folder")
    made = not asked.out.exists()
    try:
        asked.out.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=asked.out, prefix=".fetch-") as folder:
            yield Path(folder)
            for target in targets:
                (Path(folder) / target.name).replace(target)
    except OSError as error:
        raise CliError(f"{asked.out} can't be written to: {error.strerror or error}") from error
    finally:
        if made:
            with suppress(OSError):  # it is not empty, as it should be
                asked.out.rmdir()


def _write(table: HubTable, file: BinaryIO, first: list[str], bar: Bar) -> int:
    """Writes the rows as JSON Lines. Returns how many; the first few are also shown in `first`. Raises CliError."""
    from shared.dataset.reading.files import Limits

    limits = Limits(row=_ROW_LIMIT, decompressed=sys.maxsize)
    done = 0
    for batch in table.records(limits):
        for number, (row, data) in zip(batch.numbers, _written(batch, limits), strict=True):
            if row is None:
                raise CliError(f"{table.name}, row {number} can't be written as JSON: {data}")
            if len(first) < _SHOWN_ROWS:
                first.append(json.dumps(_short(row), ensure_ascii=False))
            file.write(data)
        done += len(batch.numbers)
        bar(min(1.0, done / table.expected) if table.expected else 0.0, f"{done:,} rows")
    bar(1.0, f"{done:,} rows")
    return done


def _written(batch: Batch, limits: Limits) -> Iterator[tuple[Any, Any]]:
    """Each row, and the line that says it; or None and why it can't be said."""
    import msgspec

    from shared.dataset.judging.rules import parse
    from shared.dataset.reading.files import Broken, Elements, size_text

    if isinstance(batch, Elements):
        for data in batch.data:
            if len(data) > limits.row:
                yield None, f"it has more than {size_text(limits.row)}"
                continue
            parsed = parse(data)
            if len(parsed) == 2:
                yield None, parsed[1]
            else:  # a line break is white space in JSON, wherever it stands
                yield parsed[0], data.strip().replace(b"\r", b" ").replace(b"\n", b" ") + b"\n"
        return
    encode = msgspec.json.Encoder().encode
    for row in batch.rows:
        yield (None, row.reason) if isinstance(row, Broken) else (row, encode(row) + b"\n")


def _told(asked: Wanted, tables: dict[str, HubTable], rows: dict[str, int]) -> None:
    """Rows per file, what its name says it is for, and what the percentage was taken of."""
    from shared.dataset.names import use_of

    uses = {"train": "train", "validation": "validation", "test": "test"}
    counted = {"parquet": "by its parquet files", "rows": "by reading all of them"}
    for split, table in tables.items():
        share = f"  (the first {asked.percent:g} %, counted {counted[table.counted]})" if asked.percent < 100 else ""
        use = uses.get(use_of(_file(split)), "not used")
        say(f"{rows[split]:>12,} rows  {asked.out / _file(split)}  {use}{share}")


def _file(split: str) -> str:
    return f"{split}.jsonl"


def _short(value: Any) -> Any:
    """A value with its long texts and lists cut, for people to look at; secrets and persons' data are masked."""
    from shared.dataset.safety.search import masked_text

    match value:
        case str():
            text = masked_text(value[:_LOOKED_AT])
            return text if len(text) <= _SHOWN_TEXT else text[:_SHOWN_TEXT] + "…"
        case dict():
            return {key: _short(each) for key, each in value.items()}
        case list():
            more = ["…"] if len(value) > _SHOWN_ITEMS else []
            return [_short(each) for each in value[:_SHOWN_ITEMS]] + more
    return value
