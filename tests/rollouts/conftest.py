"""A local cloud and a world of this package's own, and a line in them whose jobs and deployments only pretend.

The world's hosts work on real messages, and its clock jumps to the next one that is due: grace times and training cost
no time. Each test has a `Stage`: a dataset folder, its line, and what people do to them.
"""

from __future__ import annotations

from collections.abc import Iterator
from uuid import uuid4

import pytest

from localcloud.stack import Stack
from shared.lifecycle.phase import Phase
from tests.kit.clouds import SETTINGS, point
from tests.kit.worlds.stage import GRACE, QUOTA, Stage, empty
from tests.kit.worlds.world import World


@pytest.fixture(scope="package")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Started without a host: the world is its host."""
    made = Stack(tmp_path_factory.mktemp("rollouts"), settings=SETTINGS)
    made.start(host=False)
    with pytest.MonkeyPatch.context() as patch:
        point(patch, made)
        made.control("POST", "/_local/quota", QUOTA)
        yield made
    made.stop()


@pytest.fixture(scope="package")
def _world(stack: Stack) -> Iterator[World]:
    made = World(stack, ROLLOUT_GRACE=GRACE, MAX_ACTIVE_JOBS=1000)
    yield made
    made.close()


@pytest.fixture
def world(_world: World) -> Iterator[World]:
    """At rest, with nothing of other tests in it. No handler may raise what is a bug."""
    settings = _world.settings
    yield _world
    for route in ("pretend", "faults", "eventgrid", "rules"):
        _world.control("DELETE", f"/_local/{route}")
    empty(_world)
    errors, _world.errors, _world.sweeps = _world.errors, [], True
    _world.begin_anew(settings)
    for host in (*_world.hosts, _world.person):
        vars(host.app.cloud.clients).pop("topic", None)  # it may be that of a test's own settings
    assert not errors


@pytest.fixture(scope="package")
def trained(_world: World) -> str:
    """The job of a run that was cancelled once it was trained: models are made of its output."""
    stage = Stage(world=_world, job="", folder=f"first-{uuid4().hex[:6]}")
    stage.pretend()
    run = stage.until(stage.upload(), lambda run: run.phase not in (Phase.RECEIVED, Phase.PREPARED, Phase.TRAINING))
    assert run.attempt.job, f"{run.phase}: {run.why}"
    return run.attempt.job


@pytest.fixture
def stage(world: World, trained: str) -> Stage:
    """A folder of the test's own, where everything goes well until it is asked to go otherwise."""
    empty(world)
    made = Stage(world=world, job=trained, folder=f"faq-{uuid4().hex[:6]}")
    made.pretend()
    return made
