"""A local cloud of this package's own: its clock jumps, its queues are read by the worlds alone."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from localcloud.environment import foreign
from localcloud.stack import Stack


@pytest.fixture(scope="package")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Started without a host: the worlds are its hosts."""
    made = Stack(tmp_path_factory.mktemp("chaos"))
    made.start(host=False)
    with pytest.MonkeyPatch.context() as patch:
        point(patch, made)
        yield made
    made.stop()


def point(patch: pytest.MonkeyPatch, stack: Stack) -> None:
    """Points this process's SDKs at the stack, and remembers what they would ask it for at every turn."""
    for name in foreign():
        patch.delenv(name)
    for name, value in stack.environment.items():
        patch.setenv(name, value)
    from azure.ai.ml import _azure_environments as known

    # In Azure the SDK knows its cloud; of any other it asks the metadata service again and again.
    cloud = os.environ["AZUREML_CURRENT_CLOUD"]
    patch.delitem(known._environments, cloud, raising=False)  # of another stack, of the same name
    patch.setitem(known._environments, cloud, known._get_cloud_details(cloud))

    # Pauses between retries cost a test nothing; storage's clients wrap the transport, and sleep as its base does.
    from azure.core.pipeline.transport import HttpTransport

    patch.setattr(HttpTransport, "sleep", lambda *_: None)
