"""Deployments of infra/, one for each parameter file, and a recorded run to hold them against."""

from __future__ import annotations

import pytest

from localcloud.stack import Stack
from tests.kit.clouds import point
from tests.kit.infra.plan import Plan, parameter_files, planned
from tests.kit.infra.recording import Recording, recorded


@pytest.fixture(params=parameter_files())
def plan(request: pytest.FixtureRequest) -> Plan:
    """What is made with each of infra/parameters/."""
    return planned(request.param)


@pytest.fixture
def default() -> Plan:
    """What is made when nothing is chosen."""
    return planned("default")


@pytest.fixture(scope="session")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Recording:
    """All that runs and their ends ask of Azure, from a local cloud of its own, whose clock jumps. One file uses it."""
    stack = Stack(tmp_path_factory.mktemp("recorded"))
    stack.start(host=False)
    try:
        with pytest.MonkeyPatch.context() as patch:
            point(patch, stack)  # no longer than this: other tests of the session have a cloud of their own
            return recorded(stack)
    finally:
        stack.stop()
