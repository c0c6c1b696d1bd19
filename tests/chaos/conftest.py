"""A local cloud of this package's own: its clock jumps, its queues are read by the worlds alone."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from localcloud.stack import Stack
from tests.kit.clouds import SETTINGS, point


@pytest.fixture(scope="package")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Started without a host: the worlds are its hosts."""
    made = Stack(tmp_path_factory.mktemp("chaos"), settings=SETTINGS)
    made.start(host=False)
    with pytest.MonkeyPatch.context() as patch:
        point(patch, made)
        yield made
    made.stop()
