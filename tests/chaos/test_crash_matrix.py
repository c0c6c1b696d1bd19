"""The crash matrix: at every external call of a run the host dies, the answer is lost, or the cloud fails.

The calls are recorded from a run that meets with nothing; which they are is nobody's list. The run replaces a version
that serves, so that what users notice can be held against it: see truth.py. Several cases share a run; a run with which
something is wrong is taken apart, case by case. `make test` takes a sample.
"""

from __future__ import annotations

import logging
import random
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from uuid import uuid4

import pytest

from localcloud.stack import Stack
from tests.kit.worlds.breaks import CRASHES, Break, every
from tests.kit.worlds.scene import Scene, emptied, pretend
from tests.kit.worlds.truth import Clean, events
from tests.kit.worlds.wire import Call
from tests.kit.worlds.world import World

log = logging.getLogger("tests.chaos")

SHARDS = 4
TOGETHER = 24
"""Cases in a run."""
AT_A_STAGE = 4


@dataclass(kw_only=True)
class Matrix:
    """Runs cases one after the other, each on what the last one left."""

    stack: Stack
    first: bool = False
    """Whether each case is the first version of a folder of its own, with computes that are to be made."""
    wrong: list[str] = field(default_factory=list)
    unmet: list[str] = field(default_factory=list)
    told: Counter[str] = field(default_factory=Counter)

    world: World = field(init=False)
    scene: Scene = field(init=False)
    clean: Clean = field(init=False)

    def __post_init__(self) -> None:
        self.world = World(self.stack)
        self._scene()

    def record(self) -> list[Call]:
        """The calls that each of two runs makes that meet with nothing; they are what the others are held against."""
        names, calls = set[str](), list[Call]()
        for _ in range(2):
            if self.first:
                self._other_folder()
            run, made = self.scene.upload()
            calls = [call for call in made if call.name in names]
            names = {call.name for call in made}
            self.clean = Clean(run=run, events=events(self.world, run))
        return calls

    def run(self, cases: Sequence[Break], rng: random.Random) -> None:
        """All of the cases."""
        again: list[Break] = []
        apart: list[tuple[list[Break], list[str]]] = []
        left = list(cases)
        while left:
            # A run meets with few of its cases when one of them sends it another way: the others meet in a new round.
            unmet: list[Break] = []
            for together in grouped(left, rng):
                if wrong := self._case(together):
                    again += together
                    apart.append((together, wrong))
                else:
                    unmet += [case for case in together if not case.met]
            if len(unmet) > len(left) / 2:
                again += unmet
                break
            left = unmet
        alone: set[str] = set()
        for case in again:
            case.met = False
            if wrong := self._case([case]):
                self.wrong.append(f"{case.name}\n    " + "\n    ".join(wrong))
            elif not case.met:
                self.unmet.append(case.name)
            else:
                alone.add(case.name)
        for together, wrong in apart:
            if all(case.name in alone for case in together):
                self.wrong.append(
                    "together: " + "; ".join(case.name for case in together) + "\n    " + "\n    ".join(wrong)
                )

    def _case(self, cases: Sequence[Break]) -> list[str]:
        # Every other time the message dies with its host, so that nothing but the sweep can find the run.
        self.world.lost_with_host = not self.world.lost_with_host
        if self.first:
            self._other_folder()
        started = time.monotonic()
        wrong = self.scene.case(cases, self.clean)
        took = time.monotonic() - started
        log.info("%.1f s, %s: %s", took, "WRONG" if wrong else "right", "; ".join(case.name for case in cases))
        self.told.update(case.what for case in cases if case.met)
        if wrong:
            log.warning("%s", "\n".join(wrong))
            self._scene()
        return wrong

    def _scene(self) -> None:
        """A world in which nothing is left of an earlier one."""
        self.world.close()
        self.world = World(self.stack)
        emptied(self.world)
        pretend(self.world)
        self.scene = Scene(world=self.world)
        if not self.first:
            self.scene.first()

    def _other_folder(self) -> None:
        """A folder whose endpoint is to be made, and computes that are; the endpoint of the last one goes."""
        if line := self.scene.line():
            self.world.app.cloud.endpoints.delete(line.endpoint)
        name = uuid4().hex[:8]
        self.world.change(FINETUNE_COMPUTE=f"gpu-{name}", PREPROCESS_COMPUTE=f"cpu-{name}")
        self.world.hosts[0].reborn(cold=True)
        self.scene = Scene(world=self.world)


def grouped(cases: Sequence[Break], rng: random.Random) -> Iterator[list[Break]]:
    """The cases by `TOGETHER`, at most `AT_A_STAGE` of a group at the same stage."""
    groups: list[list[Break]] = []
    for case in rng.sample(cases, len(cases)):
        stage = case.call.partition(":")[0]
        for group in groups:
            if len(group) < TOGETHER and sum(other.call.startswith(f"{stage}:") for other in group) < AT_A_STAGE:
                group.append(case)
                break
        else:
            groups.append([case])
    yield from groups


@pytest.fixture
def told(record_property: Callable[[str, object], None]) -> Callable[[Matrix], None]:
    """Tells the numbers of cases, and fails with what was wrong."""

    def tell(matrix: Matrix) -> None:
        for what, cases in matrix.told.items():
            record_property(f"crash matrix: {what}", cases)
        assert not matrix.wrong, f"{len(matrix.wrong)} cases are wrong:\n" + "\n".join(matrix.wrong)
        assert not matrix.unmet, f"these calls did not come again: {matrix.unmet}"

    return tell


@pytest.mark.timeout(240)
def test_a_sample_of_the_crash_matrix(stack: Stack, told: Callable[[Matrix], None]) -> None:
    matrix = Matrix(stack=stack)
    cases = list(every(matrix.record()))
    assert len({case.call for case in cases}) > 80
    rng = random.Random(4)
    crashes = [case for case in cases if case.what in CRASHES]
    faults = [case for case in cases if case.what not in CRASHES]
    matrix.run([*rng.sample(crashes, 3), *rng.sample(faults, 2)], rng)
    told(matrix)


@pytest.mark.thorough
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("shard", range(SHARDS))
def test_every_call_of_a_run_that_replaces_a_version(stack: Stack, shard: int, told: Callable[[Matrix], None]) -> None:
    matrix = Matrix(stack=stack)
    # By their names, so that all shards agree whatever each has recorded.
    cases = [case for case in every(matrix.record()) if sum(case.name.encode()) % SHARDS == shard]
    matrix.run(cases, random.Random(shard))
    told(matrix)


@pytest.mark.thorough
@pytest.mark.timeout(1200)
def test_every_call_that_only_the_first_run_makes(stack: Stack, told: Callable[[Matrix], None]) -> None:
    later = {call.name for call in Matrix(stack=stack).record()}
    matrix = Matrix(stack=stack, first=True)
    calls = [call for call in matrix.record() if call.name not in later]
    assert any(call.method == "PUT" and call.place.endswith("/computes/COMPUTE") for call in calls)
    matrix.run(list(every(calls)), random.Random(0))
    told(matrix)
