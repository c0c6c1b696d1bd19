"""The effects over the session's local cloud."""

from __future__ import annotations

import os
from collections.abc import Iterator
from uuid import uuid4

import pytest

from localcloud.stack import Stack
from shared.cloud import Cloud
from shared.settings import Settings


@pytest.fixture
def azure(cloud_env: Stack) -> Iterator[Cloud]:
    """A Cloud of its own for each test, as a fresh process would have it. Faults that a test asked for end with it."""
    cloud = Cloud(Settings.read(os.environ))
    yield cloud
    cloud.close()
    cloud_env.control("DELETE", "/_local/faults")


@pytest.fixture
def unique() -> str:
    """A name that no other test uses; fit for blobs, jobs, models, endpoints and deployments."""
    return f"t{uuid4().hex[:12]}"
