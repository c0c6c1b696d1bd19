"""What people upload, at whatever pace, wastes next to no GPU-hours, and every line goes live in the end.

Hypothesis makes up uploads of several folders: new content, the same again, what was there before, other settings,
pieces. The hours are those that the local cloud's jobs ran.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import Phase as Stages
from hypothesis import strategies as st

from shared.lifecycle.phase import Phase
from shared.records.layout import DATASETS
from shared.run import older
from tests.kit.rows import chats
from tests.kit.worlds.stage import RIGHT, Stage

pytestmark = [pytest.mark.thorough, pytest.mark.timeout(1200)]

HOUR = timedelta(hours=1)
NAMES = ("", " & more", "%20ü")
"""What the folders' names end with."""
BY_ITSELF = (Phase.LIVE, Phase.FAILED, Phase.ROLLED_BACK)
OVER = ("Completed", "Failed", "Canceled")
ROLLOUT = HOUR
"""From a model to the traffic, and what hosts take to notice; far more than it takes."""
type Step = tuple[int, str, float, bool]
"""Which folder, what is put there, the hours until the next step, and whether its job would fail."""
type Key = tuple[int, int] | None
"""What lies in a folder: its content and its number of epochs; None where nothing can be trained on."""

steps = st.lists(
    st.tuples(
        st.integers(0, len(NAMES) - 1),
        st.sampled_from(("new", "new", "new", "again", "again", "back", "epochs", "piece")),
        st.floats(0.1, 12),
        st.sampled_from((False, False, False, True)),
    ),
    min_size=12,
    max_size=12,
)


@dataclass(kw_only=True)
class Folder:
    """A folder, and all that lay in it: since when, and what. `ends`: when which of that ended by itself."""

    stage: Stage
    content: int = 0
    epochs: int = 0
    piece: bool = False
    lay: list[tuple[datetime, Key]] = field(default_factory=list)
    runs: dict[str, Key] = field(default_factory=dict)

    @property
    def key(self) -> Key:
        return None if self.piece and not self.epochs else (self.content, self.epochs)

    def put(self, what: str) -> None:
        """Uploads, or deletes."""
        world, known = self.stage.world, len(self.stage.world.known)
        world.clock.jump(timedelta(seconds=2))
        contents = [key[0] for _, key in self.lay if key]
        match what:
            case "piece" if self.piece:
                world.app.cloud.blobs.delete(DATASETS, f"{self.stage.folder}/part-2.jsonl")
                self.piece = False
            case "piece":
                self.piece = True
                self._upload("part-2.jsonl", self._rows(-1))
            case "epochs":
                self.epochs += 1
                text = f"train: train.jsonl\nparameters: {{num_train_epochs: {self.epochs}}}\n"
                self._upload("finetune.yaml", text.encode())
            case _:
                before = [each for each in contents if each != self.content]
                self.content = (
                    before[-1]
                    if what == "back" and before
                    else max([0, *contents]) + 1
                    if what == "new"
                    else self.content
                )
                self._upload("train.jsonl", self._rows(self.content))
        while world.turn() or world.look():
            pass
        self.lay.append((self.stage.now(), self.key))
        self.runs |= dict.fromkeys(world.known[known:], self.key)

    def ends(self) -> list[tuple[datetime, Key]]:
        """When what of it went live, or failed by itself."""
        runs = [self.stage.world.run(run_id) for run_id in self.runs]
        return sorted(
            ((run.since, self.runs[run.id]) for run in runs if run.phase in BY_ITSELF and run.attempt.job),
            key=lambda end: end[0],
        )

    def longest_wait(self) -> timedelta:
        """The longest time in which something untried lay there all the time, and nothing came to its end."""
        longest, tried, began = timedelta(0), set[Key](), None
        for at, lay, key in sorted(
            [(at, True, key) for at, key in self.lay] + [(at, False, key) for at, key in self.ends()],
            key=lambda e: e[0],
        ):
            if began is not None:
                longest = max(longest, at - began)
            if lay:
                now = key
            else:
                tried.add(key)
                began = None
            untried = now is not None and now not in tried
            began = (began or at) if untried else None
        return longest

    def _rows(self, salt: int) -> bytes:
        return chats(salt=f"{self.stage.folder} {salt}", answer=RIGHT)

    def _upload(self, name: str, data: bytes) -> None:
        self.stage.world.upload(f"{self.stage.folder}/{name}", data)


def passed(stage: Stage, time: timedelta) -> None:
    """Messages come when they are due, the sweep once an hour: to look more often costs real time and shows nothing."""
    world, until = stage.world, stage.now() + time
    world.sweeps, swept = False, stage.now()
    while True:
        while world.turn() or world.look():
            pass
        if (left := until - stage.now()) <= timedelta(0):
            return
        world.wait(min(left, HOUR))
        if stage.now() - swept >= HOUR:
            world.sweep()
            swept = stage.now()


def hours(stage: Stage) -> dict[str, timedelta]:
    """How long each job of the cloud ran."""
    began, ran = dict[str, datetime](), dict[str, timedelta]()
    for each in stage.world.control("GET", "/_local/history"):
        if each["kind"] != "jobs":
            continue
        at = datetime.fromisoformat(each["at"])
        if each["state"] == "Running":
            began.setdefault(each["name"], at)
        if each["state"] in OVER and each["name"] in began:
            ran[each["name"]] = at - began[each["name"]]
    return ran


def lived_through(stage: Stage, takes: float, all_of_it: list[Step]) -> tuple[Any, ...]:
    """GPU-hours that were paid, those of what went live or failed by itself, and the folders."""
    stage.world.control("DELETE", "/_local/history")
    prefix = f"{stage.folder}-{len(stage.world.known)}"
    folders = [Folder(stage=replace(stage, folder=f"{prefix}{name}")) for name in NAMES]
    for which, what, gap, fails in all_of_it:
        stage.pretend(job=takes * 3600, jobs={"outcome": "Failed"} if fails else None)
        folders[which].put(what)
        passed(stage, gap * HOUR)
    while list(stage.app.runs.active()):
        passed(stage, HOUR)
    ran = hours(stage)
    own = {run_id for folder in folders for run_id in folder.runs}
    paid, useful = timedelta(0), timedelta(0)
    for name, time in ran.items():
        run_id = name.rpartition("-")[0]
        if run_id in own:
            paid += time
            useful += time if stage.world.run(run_id).phase in BY_ITSELF else timedelta(0)
    return paid, useful, folders


@settings(
    max_examples=3,
    deadline=None,
    derandomize=True,
    phases=[Stages.generate],
    suppress_health_check=list(HealthCheck),
)
@given(takes=st.floats(2, 12), all_of_it=steps)
def test_what_is_paid_comes_to_something_and_each_line_goes_live(
    stage: Stage, record_property: Callable[[str, object], None], takes: float, all_of_it: list[Step]
) -> None:
    paid, useful, folders = lived_through(stage, takes, all_of_it)
    told = f"{paid / HOUR:.1f} were paid, {useful / HOUR:.1f} of them for what went live or failed by itself"
    record_property(f"GPU-hours, jobs of {takes:.1f} h", told)
    assert paid <= 1.3 * useful
    for folder in folders:
        assert folder.longest_wait() <= 4 * takes * HOUR + ROLLOUT, folder


TURNS = [
    (0, "new", 0.2, False),
    (1, "new", 0.2, False),
    (0, "new", 5.0, False),
    (1, "again", 5.0, False),
    (0, "back", 5.0, False),
    (1, "new", 0.2, False),
    (0, "new", 0.2, False),
]


def test_folders_that_share_one_slot_waste_no_more(stage: Stage) -> None:
    """A job is not ended where its slot would go to another folder, which waits for it."""
    stage.world.change(MAX_ACTIVE_JOBS=1)
    paid, useful, folders = lived_through(stage, 3.0, TURNS)
    assert paid <= 1.3 * useful
    assert stage.world.run(next(iter(folders[0].runs))).phase is Phase.LIVE, "though a newer one came within 30 minutes"
    for folder in folders[:2]:
        assert folder.longest_wait() <= 2 * 4 * 3 * HOUR + ROLLOUT, folder


NINE_HOURS = [(0, what, 6.0, False) for what in ("new", "again", "again", "new", "new", "new")]


@pytest.mark.parametrize("decided", [True, False], ids=["as decided", "as before"])
def test_a_nine_hour_job_and_an_upload_every_six_hours(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, decided: bool
) -> None:
    """The rule of before, which ended the older job always, fails both."""
    if not decided:
        never: Callable[..., str] = lambda *_, **__: ""  # noqa: E731
        monkeypatch.setattr(older, "behind", never)
    paid, useful, folders = lived_through(stage, 9.0, NINE_HOURS)
    assert (paid <= 1.3 * useful) == decided
    assert (folders[0].longest_wait() <= 36 * HOUR) == decided
