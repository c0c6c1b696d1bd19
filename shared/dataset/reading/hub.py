"""Datasets of the Hugging Face Hub, read as a stream: nothing of them is kept on disk.

The package `datasets` tells which files are a split of a configuration. What is in them is read by `hub_files`, as
files that were uploaded are: a stranger made them, and the card as well, which decides nothing about how much is read.
What is read is one commit: a branch or tag is resolved to its commit first, so that all splits, and a run that is tried
again, see the same rows. No code of a dataset is ever run. `datasets` costs a second and 170 MB to import, so it is
imported when a dataset is opened. HF_TOKEN and HF_ENDPOINT are honoured by the library. Used by the action `prepare` (a
run whose finetune.yaml names a `source`) and by `droptune fetch`.
"""

from __future__ import annotations

import difflib
import logging
import os
import re
import threading
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, fields, replace
from datetime import timedelta
from functools import cache, partial
from importlib import import_module
from itertools import chain
from tempfile import TemporaryDirectory
from typing import Any, Literal

from shared import naming
from shared.dataset.kinds import ENDINGS
from shared.dataset.reading.files import MIB, FileFault, Limits, size_text
from shared.dataset.reading.hub_card import Card, splits_that_differ
from shared.dataset.reading.hub_files import Batch, HubFile, batches, counted_rows, first, readable
from shared.dataset.spec.choices import Hub
from shared.dataset.split import Part
from shared.errors import Permanent, Transient

type Counted = Literal["parquet", "rows"]
"""What a split's number of rows is known from: its parquet files' footers, or by counting them."""

_CARDS = ("README.md", "dataset_infos.json", ".huggingface.yaml")
_CARD = 8 * MIB  # what the library reads of a dataset at once, whole
# What a card may say of how its files are read, and our readers find out by themselves or don't need.
_READ_ALIKE = frozenset(
    ("name", "version", "data_dir", "data_files", "description", "features", "sep", "delimiter", "chunksize")
)
_DETAIL = 300
_TIMEOUT = 30  # seconds, for what is asked of the hub before rows are read
_cards = threading.Lock()


def resolve(hub: Hub) -> str:
    """The commit that `hub.revision` is at now: 40 hex digits. Raises Permanent and Transient."""
    return _look(hub.name, hub.revision).commit


def tables(hub: Hub) -> tuple[str, dict[Part, HubTable]]:
    """The commit that `hub` is at now, and the rows of its splits at that commit, ready for `scan.prepare`.

    To read the same rows later, give the commit as `hub.revision`. Raises Permanent and Transient.
    """
    dataset = open_dataset(hub.name, revision=hub.revision, config=hub.config)
    found = {part: dataset.table(split, hub.percent) for part, split in hub.splits.items()}
    return dataset.commit, found | {"train": replace(found["train"], about=dataset.notes)}


def open_dataset(name: str, *, revision: str = "main", config: str | None = None) -> Dataset:
    """The dataset `name` (OWNER/NAME) at the commit that `revision` is at now.

    Reads its card and its list of files, no data. Without `config`: the default one. Raises Permanent where somebody
    has to correct something, and Transient where the hub is out of reach or busy.
    """
    if config is not None:
        _check(naming.HUB_CONFIG, config)
    found = _look(name, revision)
    name, commit = found.name, found.commit
    library = _library()
    with _explained(name):
        for card in library.huggingface_hub.HfApi().get_paths_info(
            name, list(_CARDS), revision=commit, repo_type="dataset"
        ):
            if (card.size or 0) > _CARD:
                raise Permanent(f"{name}: its {card.path} has {size_text(card.size)}; one may have {size_text(_CARD)}")
        builder = _builder(library, name, commit, config)
        if builder.config.data_files is None:
            raise Permanent(f"{name}: it has no data files that can be read as a stream; export it to files first")
        for file in chain.from_iterable(builder.config.data_files.values()):
            if not file.startswith(f"hf://datasets/{name}@{commit}/") or "::" in file or naming.has_steps(file):
                raise _outside(str(file))
    _read_alike(name, builder.config)
    return Dataset(name=name, commit=commit, builder=builder, licences=found.licences)


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """A dataset at one commit, in one of its configurations. `name` is the hub's own spelling of it; `licences`: as its
    card names them."""

    name: str
    commit: str
    builder: Any
    """datasets.DatasetBuilder"""
    licences: tuple[str, ...] = ()

    @property
    def splits(self) -> tuple[str, ...]:
        """The names of its splits, in its own order."""
        return tuple(str(split) for split in self.builder.config.data_files)

    @property
    def notes(self) -> tuple[str, ...]:
        """What its card says of splits, and the files do not have, or the other way."""
        return tuple(splits_that_differ(self.builder.info.splits, self.builder.config.data_files))

    def table(self, split: str, percent: float = 100.0) -> HubTable:
        """The first `percent` (above 0, up to 100) of a split, rounded to rows as `split[:5%]` is by `datasets`.

        Reads parquet files' footers where not all is wanted. Raises Permanent, Transient and FileFault.
        """
        if not 0 < percent <= 100:
            raise Permanent(f"{self.name}: percent is {percent:g}; it must be above 0 and at most 100")
        if split not in self.splits:
            raise Permanent(f"{self.name} has no split {split!r}{_meant(split, self.splits)}")
        with _explained(f"{self.name}/{split}"):
            files = self._files(split)
            size = sum(file.size for file in files)
            rows = whole = None
            counted: Counted = "rows"
            if percent < 100 and all(file.name.lower().endswith(".parquet") for file in files):
                whole = sum(map(_rows, files))
                rows, counted = _first(whole, percent), "parquet"
                size = round(size * percent / 100)  # others are read to their end, to count their rows
        told = (self.builder.info.splits or {}).get(split)
        return HubTable(
            name=f"{self.name}/{split}",
            size=size,
            rows=rows,
            whole=whole,
            expected=rows or (_first(int(told.num_examples), percent) if told and told.num_examples else None),
            counted=counted,
            percent=percent,
            dataset=self,
            split=split,
        )

    def card(self, split: str) -> Card:
        """What its card says of a split."""
        told = (self.builder.info.splits or {}).get(split)
        return Card(self.builder.info.features, int(told.num_examples) if told and told.num_examples else None)

    def batches(self, split: str, limits: Limits, card: Card | None = None) -> Iterator[Batch]:
        """All rows of a split, numbered from 1; `card` looks at them. Raises Permanent, Transient and FileFault."""
        with _explained(f"{self.name}/{split}"):
            yield from batches(self._files(split), limits, *((card.look,) if card else ()))

    def _files(self, split: str) -> list[HubFile]:
        """Its files. Raises Permanent for one that there is no reader for."""
        here = f"hf://datasets/{self.name}@{self.commit}/"
        found = []
        for address in map(str, self.builder.config.data_files[split]):
            name = address.removeprefix(here)
            if not readable(name):
                raise Permanent(
                    f"{self.name}: there is no reader for {name[:_DETAIL]}: Droptune reads what ends in {ENDINGS}; "
                    "the revision refs/convert/parquet may have it so"
                )
            found.append(HubFile(_file_system(), address, name))
        return found


@dataclass(frozen=True, kw_only=True)
class HubTable:
    """The first `percent` of a split, to be read as often as wanted. `size`: stored bytes that are read, about.

    `rows`: how many that will be; None where it isn't known before they are read. `counted`: what that is known from.
    `expected`: the same, or what the card says, for people to look at while they wait. `whole`: rows of the split,
    where they are known before. `stale`: what the card says otherwise than the files, once the rows have been read,
    and before that what is told `about` the dataset.
    """

    name: str
    size: int
    rows: int | None
    expected: int | None
    counted: Counted
    percent: float
    dataset: Dataset
    split: str
    whole: int | None = None
    about: tuple[str, ...] = ()
    stale: list[str] = field(default_factory=list)

    @property
    def licences(self) -> tuple[str, ...]:
        """Those that the dataset's card names."""
        return self.dataset.licences

    def records(self, limits: Limits) -> Iterator[Batch]:
        """The rows in batches, numbered from 1 within the split. Raises Permanent, Transient and FileFault.

        Where nothing tells how many rows the split has, and not all are wanted, it is read once just to count them.
        """
        card, whole, left = self.dataset.card(self.split), self.whole, self.rows
        found = self.dataset.batches(self.split, limits, card)
        if self.percent < 100:
            if left is None:
                whole = sum(len(batch.numbers) for batch in self.dataset.batches(self.split, limits))
                left = _first(whole, self.percent)
            found = first(found, left)
        count = 0
        for batch in found:
            count += len(batch.numbers)
            yield batch
        self.stale[:] = [*self.about, *card.stale(count if self.percent == 100 else whole)]


# The library ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class _Library:
    datasets: Any
    huggingface_hub: Any


@cache
def _library() -> _Library:
    """`datasets` and what it stands on, told to be quiet: no lines of log, no bars, no telemetry, no counting."""
    # Read when they are imported, and by one of them as it is.
    if endpoint := os.environ.pop("HF_ENDPOINT", "").rstrip("/"):
        os.environ["HF_ENDPOINT"] = endpoint
    for library in ("HUB", "DATASETS"):  # they would go before what is said below
        os.environ.pop(f"HF_{library}_DISABLE_PROGRESS_BARS", None)
    import datasets
    import huggingface_hub
    import huggingface_hub.constants
    import huggingface_hub.errors
    from huggingface_hub.utils.tqdm import disable_progress_bars

    datasets.disable_progress_bars()
    disable_progress_bars()
    _silence()
    import_module("tqdm").tqdm.monitor_interval = 0  # it would watch over the bars in threads, shown or not
    huggingface_hub.constants.HF_HUB_DISABLE_TELEMETRY = True
    datasets.config.HF_UPDATE_DOWNLOAD_COUNTS = False
    # It would go on trying for nine minutes; whoever called tries again when the hub is back.
    datasets.config.STREAMING_OPEN_MAX_RETRIES = datasets.config.STREAMING_READ_MAX_RETRIES = 3
    data_files: Any = import_module("datasets.data_files")
    data_files.resolve_pattern = partial(_resolved, data_files.resolve_pattern)
    return _Library(datasets=datasets, huggingface_hub=huggingface_hub)


def _silence() -> None:
    """Keeps lines of the libraries to themselves: what they have to say is in the errors that they raise.

    Who wants them sets DATASETS_VERBOSITY or HF_HUB_VERBOSITY, as the libraries have it.
    """
    for name, chosen in _LOUD.items():
        if not os.environ.get(chosen):
            logger = logging.getLogger(name)
            logger.handlers[:] = [logging.NullHandler()]
            logger.propagate = False
            warnings.filterwarnings("ignore", module=rf"{name}(\.|$)")


_LOUD = {
    "datasets": "DATASETS_VERBOSITY",
    **dict.fromkeys(("huggingface_hub", "fsspec", "filelock", "httpx", "urllib3"), "HF_HUB_VERBOSITY"),
}


def _resolved(resolve: Callable[..., list[str]], pattern: str, base_path: str, *others: Any, **options: Any) -> Any:
    """What the library does with a pattern of a dataset's card, for one that stays in the dataset.

    A card is text of others: the library would follow it to files of this machine and to any address.
    """
    inside = base_path.startswith("hf://datasets/") and not pattern.startswith("/")
    if not inside or "://" in pattern or "::" in pattern or naming.has_steps(f"{base_path}/{pattern}"):
        raise _outside(pattern)
    return resolve(pattern, base_path, *others, **options)


def _outside(path: str) -> Permanent:
    return Permanent(
        f"the dataset's card names data outside of the dataset ({path[:_DETAIL]!r}), and Droptune reads none of those; "
        "take a dataset, a configuration or a revision that has its own"
    )


@dataclass(frozen=True, kw_only=True)
class _Found:
    """The hub's own spelling of a dataset's name, the commit of a revision, and the licences that its card names."""

    name: str
    commit: str
    licences: tuple[str, ...]


def _look(name: str, revision: str) -> _Found:
    _check(naming.HUB_DATASET, name)
    _check(naming.HUB_REVISION, revision)
    library = _library()
    api = library.huggingface_hub.HfApi()
    with _explained(name):
        try:
            found = api.dataset_info(name, revision=revision, timeout=_TIMEOUT)
            if found.gated:  # anybody may look at it, but not read it
                api.auth_check(found.id, repo_type="dataset")
        except library.huggingface_hub.errors.RevisionNotFoundError:
            refs = api.list_repo_refs(name, repo_type="dataset")
            names = [ref.name for ref in (*refs.branches, *refs.tags)] + [ref.ref for ref in refs.converts]
            raise Permanent(
                f"{name} has no revision {revision!r}{_meant(revision, names)}, or a commit's full id"
            ) from None
        if not found.sha:
            raise Transient(f"{name}: the hub doesn't tell the commit of {revision!r} now", timedelta(minutes=1))
        _check(naming.HUB_DATASET, found.id)
        _check(naming.HUB_COMMIT, found.sha)
        named = found.card_data.get("license") if found.card_data else None
        listed = named if isinstance(named, list) else [named]
        licences = tuple(each for each in listed if isinstance(each, str))
        return _Found(name=found.id, commit=found.sha, licences=licences)


def _check(kind: naming.Kind, name: str) -> None:
    """Raises Permanent for a name that can't be one of that kind: nothing is asked for it."""
    if why := naming.refused(kind, name):
        raise Permanent(why)


def _builder(library: _Library, name: str, commit: str, config: str | None) -> Any:
    """The library's reader for a dataset. Raises what the library raises, and Permanent for the configuration."""
    with _scratch(library) as folder:
        # With hf:// it is never a folder of this machine, or a reader of the library, that has the same name.
        path = f"hf://datasets/{name}"
        try:
            return library.datasets.load_dataset_builder(path, config, revision=commit, cache_dir=folder)
        except ValueError as error:
            if not re.match(r"BuilderConfig .* not found|Config name is missing", str(error)):
                raise
            names = library.datasets.get_dataset_config_names(path, revision=commit)
            if config is None:
                raise Permanent(f"{name} has several configurations: choose one of {_listed(names)}") from None
            raise Permanent(f"{name} has no configuration {config!r}{_meant(config, names)}") from None


@contextmanager
def _scratch(library: _Library) -> Iterator[str]:
    """A folder for the cards and lists that the library keeps, gone afterwards. It knows just one at a time."""
    constants = library.huggingface_hub.constants
    with _cards, TemporaryDirectory(prefix="droptune-hub-") as folder:
        kept, constants.HF_HUB_CACHE = constants.HF_HUB_CACHE, folder
        try:
            yield folder
        finally:
            constants.HF_HUB_CACHE = kept


def _file_system() -> Any:
    """The hub as a file system: the one that the library uses too in this thread, with its listings."""
    library = _library()
    return library.huggingface_hub.HfFileSystem(endpoint=library.datasets.config.HF_ENDPOINT, token=None)


def _rows(file: HubFile) -> int:
    with closing(file):
        return counted_rows(file)


def _read_alike(name: str, config: Any) -> None:
    """Refuses a card that has its files read in another way than ours: by a field of an object, without a header."""
    usual = type(config)()
    for each in fields(config):
        value = getattr(config, each.name)
        if each.name not in _READ_ALIKE and value != getattr(usual, each.name):
            raise Permanent(
                f"{name}: its card wants {each.name}={str(value)[:100]} when its files are read, which Droptune does "
                "not do; the revision refs/convert/parquet may have its rows"
            )


def _first(rows: int, percent: float) -> int:
    """As `datasets` rounds `split[:5%]`."""
    return round(percent * rows / 100.0)


# What goes wrong -----------------------------------------------------------------------------------------------------


@contextmanager
def _explained(what: str) -> Iterator[None]:
    """What the library raises, as Permanent or Transient with a sentence that says what to do."""
    try:
        yield
    except (Permanent, Transient, FileFault):
        raise
    except Exception as error:
        told = _explanation(what, error)
        if told is None:
            raise
        raise told from error


def _explanation(what: str, error: Exception) -> Permanent | Transient | None:
    library = _library()
    errors = library.huggingface_hub.errors
    where = library.huggingface_hub.constants.ENDPOINT
    name = "/".join(what.split("/")[:2])
    chain = list(_chain(error))
    for each in chain:
        status = getattr(getattr(each, "response", None), "status_code", 0)
        if isinstance(each, errors.OfflineModeIsEnabled):
            return Permanent(f"{what}: the hub may not be asked while HF_HUB_OFFLINE is set; unset it")
        if isinstance(each, errors.GatedRepoError):
            token = "the token in HF_TOKEN may not read it" if status == 403 else "it is read with a token only"
            return Permanent(
                f"{what}: the dataset is gated and {token}; accept its terms at {where}/datasets/{name}, "
                "and set HF_TOKEN to a token of that account"
            )
        if isinstance(each, errors.RepositoryNotFoundError) or status == 404:
            return Permanent(
                f"{what}: there is no such dataset at {where}, or it is private; check its name (OWNER/NAME), "
                "or set HF_TOKEN to a token that may read it"
            )
        if status in (401, 403):
            return Permanent(f"{what}: {where} refuses the token in HF_TOKEN; set a valid one, or none")
        if status == 429 or status >= 500:
            return Transient(f"{what}: {where} is busy (HTTP {status}); try again later", timedelta(minutes=2))
    unreachable = (ConnectionError, TimeoutError, errors.LocalEntryNotFoundError)
    if any(isinstance(each, unreachable) or _network(each) for each in chain):
        return Transient(
            f"{what}: {where} can't be reached ({_text(chain[-1])}); check the network, the proxy and HF_ENDPOINT",
            timedelta(minutes=2),
        )
    if "scripts are no longer supported" in str(error):
        return Permanent(
            f"{what}: the dataset is made by a script, and Droptune runs no code of a dataset; "
            "the revision refs/convert/parquet may have its rows as files"
        )
    if isinstance(error, errors.HFValidationError):
        return Permanent(f"{what} is not a dataset's name: write it as the hub does, OWNER/NAME")
    import pyarrow as pa

    if isinstance(error, FileNotFoundError):
        return Permanent(
            f"{what}: it has no data files that can be read ({_text(error)}); its card may name files that are gone: "
            "take a revision or a configuration that has them"
        )
    if isinstance(error, library.datasets.exceptions.DatasetsError | pa.ArrowException | ValueError | OSError):
        return Permanent(f"{what}: it can't be read: {_text(error)}")
    if isinstance(error, MemoryError):
        return None
    # A card and files are text of others: what a library makes of what its authors never thought of is no promise.
    return Permanent(f"{what}: it can't be read: {type(error).__name__}: {_text(error)}; mend its card or its files")


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    seen: list[BaseException] = []
    while error is not None and error not in seen:
        seen.append(error)
        yield error
        error = error.__cause__ or error.__context__


def _network(error: BaseException) -> bool:
    """Whether the HTTP client could not do its work. By name: the library changes its client from time to time."""
    return any(kind.__name__ == "TransportError" for kind in type(error).__mro__)


def _text(error: BaseException) -> str:
    """The first line of an error's text."""
    lines = str(error).strip().splitlines()
    return (lines[0] if lines else type(error).__name__)[:_DETAIL]


def _meant(given: str, names: Iterable[str]) -> str:
    names = list(names)
    close = difflib.get_close_matches(given, names, n=1)
    return (f"; did you mean {close[0]!r}?" if close else ";") + f" It has {_listed(names)}"


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:20]) + (f" and {len(names) - 20} more" if len(names) > 20 else "")
