"""Where everything lies in the storage account: each container, queue, prefix and blob that Droptune reads or writes.

Whoever needs a blob's path has it made here.
"""

from __future__ import annotations

from typing import Literal

# Containers ----------------------------------------------------------------------------------------------------------

DATASETS = "datasets"
"""What people upload, as `<folder>/<file>`. Droptune only reads it."""
PREPARED = "prepared"
"""The runs' immutable copies of their data, and what is said of them; jobs read it through a datastore of that name."""
STATE = "state"
"""The records, and all else that Droptune remembers."""
DEAD_LETTERS = "deadletter"
"""What Event Grid could not deliver, under names of its own."""

# Queues; what fails too often in one comes to `<queue>-poison` --------------------------------------------------------
# functions/ spells them once more: the index of the app loads nothing of shared/. A test holds the two together.

DATASET_EVENTS_QUEUE = "dataset-events"
JOB_EVENTS_QUEUE = "job-events"
PREPARE_QUEUE = "prepare"
"""Runs whose data are to be checked and copied: a long dataset must not block the short steps."""
STEPS_QUEUE = "run-steps"

# In `state` ----------------------------------------------------------------------------------------------------------

RUNS, ACTIVE_RUNS, ENDED_RUNS = "runs", "active", "ended"
LINES, STANDING_LINES, REMOVED_LINES = "lines", "standing", "removed"
"""Prefixes of records, of the markers of those that are open, and of the index of those that are over."""


def record(kind: str, key: str) -> str:
    """Blob in `state` with a record; `kind` is RUNS or LINES."""
    return f"{kind}/{key}.json"


def marker(open_: str, key: str = "") -> str:
    """Empty blob in `state` that stands beside a record as long as it is open; without a key, the prefix of all."""
    return f"{open_}/{key}"


def entry(over: str, newest_first: str = "", key: str = "") -> str:
    """Empty blob in `state` for a record that is over, in an order that listings have; without a key, their prefix."""
    return f"{over}/{newest_first}-{key}" if key else f"{over}/"


SLOTS = "slots.json"
SEATS = "seats.json"
"""Which lines have a seat among the live endpoints, and who waits for one."""
WATERMARK = "watermark.json"
"""When the sweep did what last."""
DELETIONS = "deletions.json"
"""Which endpoints were torn down in CLEANUP_DELETION_WINDOW."""
UPLOADS_TOLD = "uploads-told.json"
"""Of which folders' uploads that yield no run people heard last, and when."""
LISTING = "listing.gz"
"""What the datasets were at the last listing, eight bytes a blob."""
ADOPTED = "adopted.json"
"""When a listing had none before it to be compared with, and which folders with data had no run then."""
NEEDS = "needs.json"
"""What goes on only when a person does something, as it was found last, and when people heard of it."""
BILL = "bill/"
"""Prefix of the bill, a blob a month: what ran for how long in it, at which price."""
PRICES = "prices.json"
"""What an hour costs, as PRICE_SOURCE told it last."""
POISON = "poison/"
"""Prefix of the messages and dead letters that could not be handled."""
WAITING = "waiting/"
"""Prefix of what incomplete folders wait for, each a JSON list of file names."""


def observed(part: int) -> str:
    """Blob in `state` with what the cleanup saw last of some of the lines' endpoints; parts count from 0."""
    return f"observed/{part}.json"


def bill(month: str) -> str:
    """Blob in `state` with what cost something in a month, as `2026-11`."""
    return f"{BILL}{month}.json"


def waiting(folder: str) -> str:
    """Blob in `state` with what an incomplete folder waits for."""
    return f"{WAITING}{folder}.json"


def trained(line: str, fingerprint: str) -> str:
    """Blob in `state` that remembers which run made a model of these data and settings."""
    return f"trained/{line}/{fingerprint}.json"


def content(line: str, content: str) -> str:
    """Blob in `state` that remembers what a job has found in these files, read with these settings."""
    return f"content/{line}/{content}.json"


def curves(job: str) -> str:
    """Blob in `state` that keeps a job's metrics for a while, as people saw them last."""
    return f"curves/{job}.json"


def log_of(deployment: str) -> str:
    """Blob in `state` with the last log of a deployment that was taken away."""
    return f"logs/{deployment}.txt"


def damaged(name: str) -> str:
    """Blob in `state` that keeps what a record held that could not be read, and was made anew."""
    return f"damaged/{name}"


def poisoned(source: str, name: str) -> str:
    """Blob in `state` that keeps a message of a queue, or a dead letter, that could not be handled."""
    return f"{POISON}{source}/{name}"


# In `datasets` -------------------------------------------------------------------------------------------------------


def dataset_file(folder: str, file: str = "") -> str:
    """Blob in `datasets`; without a file, the prefix of the folder's."""
    return f"{folder}/{file}"


# In `prepared`, below the folder of an attempt -----------------------------------------------------------------------


def attempt(run: str, number: int) -> str:
    """Folder in `prepared` of what an attempt of a run made of its data; all below is made from it."""
    return f"{run}/{number}"


def part_of(prepared: str, part: Literal["train", "validation", "test"]) -> str:
    """A part of the data as the job reads it, and `test` as the gate does."""
    return f"{prepared}/{part}.jsonl"


def report(prepared: str) -> str:
    """What became of the data, for the app. It is written last: where it is, all else is."""
    return f"{prepared}/report.json"


def report_page(prepared: str) -> str:
    """The same for people."""
    return f"{prepared}/report.md"


def answers(prepared: str) -> str:
    """What the gate asked, and what it was answered."""
    return f"{prepared}/answers.json"


def task(prepared: str) -> str:
    """What a job's first step is to do, where that prepares the data."""
    return f"{prepared}/task.json"


def code(name: str) -> str:
    """The code of a job's first step, by its content's name; shared by all runs."""
    return f"code/{name}"


def in_datastore(container: str, path: str) -> str:
    """The address under which a job reads a blob of a container, through the datastore of the same name."""
    return f"azureml://datastores/{container}/paths/{path}"
