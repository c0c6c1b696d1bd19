"""Mutated names, asked for through the SDKs: each goes to the one address that is meant, or nowhere."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest

from localcloud.azureml.arm import WORKSPACE_ID
from localcloud.azureml.registry import REGISTRY_ID
from localcloud.stack import Stack
from shared import naming
from shared.app import App
from shared.errors import NotFound, Permanent
from shared.naming import Kind
from shared.records.layout import DATASETS, dataset_file
from tests.kit import mutated

FRONT = f"/mferp/managementfrontend{REGISTRY_ID}"
BLOBS = "/droptune"
ENDPOINTS = f"{WORKSPACE_ID}/onlineEndpoints"

type Way = tuple[Kind, Callable[[App, str], object], Callable[[str], str]]
"""A kind of name, what asks for one, and the address that is meant."""
WAYS: tuple[Way, ...] = (
    (
        naming.BASE_MODEL,
        lambda app, name: app.cloud.registry.model(name),
        lambda name: f"{FRONT}/models/{name}/versions",
    ),
    (
        naming.VERSION,
        lambda app, name: app.cloud.registry.model("Phi-4", name),
        lambda name: f"{FRONT}/models/Phi-4/versions/{name}",
    ),
    (
        naming.COMPONENT,
        lambda app, name: app.cloud.registry.component(name),
        lambda name: f"{FRONT}/components/{name}/versions",
    ),
    (
        naming.VERSION,
        lambda app, name: app.cloud.registry.component("none-such", name),
        lambda name: f"{FRONT}/components/none-such/versions/{name}",
    ),
    (
        naming.COMPUTE,
        lambda app, name: app.cloud.computes.get(name),
        lambda name: f"{WORKSPACE_ID}/computes/{name}",
    ),
    (
        naming.MODEL,
        lambda app, name: app.cloud.models.get(name, "1"),
        lambda name: f"{WORKSPACE_ID}/models/{name}/versions/1",
    ),
    (
        naming.VERSION,
        lambda app, name: app.cloud.models.get("none-such", name),
        lambda name: f"{WORKSPACE_ID}/models/none-such/versions/{name}",
    ),
    (naming.JOB, lambda app, name: app.cloud.jobs.get(name), lambda name: f"{WORKSPACE_ID}/jobs/{name}"),
    (naming.JOB, lambda app, name: app.cloud.jobs.cancel(name), lambda name: f"{WORKSPACE_ID}/jobs/{name}/cancel"),
    (naming.ENDPOINT, lambda app, name: app.cloud.endpoints.get(name), lambda name: f"{ENDPOINTS}/{name}"),
    (naming.ENDPOINT, lambda app, name: app.cloud.endpoints.delete(name), lambda name: f"{ENDPOINTS}/{name}"),
    (
        naming.ENDPOINT,
        lambda app, name: app.cloud.endpoints.deployments(name),
        lambda name: f"{ENDPOINTS}/{name}/deployments",
    ),
    (
        naming.DEPLOYMENT,
        lambda app, name: app.cloud.endpoints.deployment("none-such", name),
        lambda name: f"{ENDPOINTS}/none-such/deployments/{name}",
    ),
    (
        naming.DEPLOYMENT,
        lambda app, name: app.cloud.endpoints.remove_deployment("none-such", name),
        lambda name: f"{ENDPOINTS}/none-such/deployments/{name}",
    ),
    (
        naming.FOLDER,
        lambda app, name: app.cloud.blobs.head(DATASETS, dataset_file(name, "finetune.yaml")),
        lambda name: f"{BLOBS}/{DATASETS}/{name}/finetune.yaml",
    ),
    (naming.ID, lambda app, name: app.runs.load(name), lambda name: f"{BLOBS}/state/runs/{name}.json"),
    (naming.ID, lambda app, name: app.lines.load(name), lambda name: f"{BLOBS}/state/lines/{name}.json"),
)


def is_blob(name: str) -> bool:
    """Whether a blob could begin like that, though no dataset's folder: what is no folder is refused before."""
    return naming.is_unicode(name) and not naming.has_steps(name)


def strayed(asked: set[str], meant: set[str]) -> set[str]:
    """What was asked for and not meant. Of a model that there is the newest version is asked for as well."""
    return {path for path in asked if not {path, re.sub(r"(?<=/versions)/\d+$", "", path)} & meant}


@pytest.fixture
def ledger(app: App, cloud: Stack) -> Iterator[Callable[[], set[str]]]:
    """The paths, as the service understood them, that were asked for since the last call."""
    cloud.control("POST", "/_local/ledger", {"storage": True})
    app.cloud.computes.get("none-such")  # whoever makes a client asks for what the cloud is like first
    with suppress(Permanent):
        app.cloud.registry.model("none-such")

    def taken() -> set[str]:
        found = {entry["path"] for entry in cloud.control("GET", "/_local/ledger")}
        cloud.control("DELETE", "/_local/ledger")
        return found

    taken()
    yield taken
    cloud.control("POST", "/_local/ledger", {"storage": False})


@pytest.mark.parametrize(
    "numbers",
    [
        range(17),
        *(pytest.param(range(at, at + 1_000), marks=pytest.mark.thorough) for at in range(0, 10_000, 1_000)),
    ],
)
def test_a_mutated_name_is_asked_for_where_it_is_meant_or_nowhere(
    app: App, ledger: Callable[[], set[str]], numbers: range
) -> None:
    meant, asked = set[str](), set[str]()
    for number in numbers:
        kind, ask, address = WAYS[number % len(WAYS)]
        name = mutated.name(number) or "x"  # no version is the newest one
        with suppress(NotFound, Permanent):
            ask(app, name)
        if not naming.refused(kind, name) or (kind is naming.FOLDER and is_blob(name)):
            meant.add(address(name))
        elif number % 10 == 0:
            asked |= ledger()
            assert not strayed(asked, meant), f"{number}: {name!r} was refused, and asked for"
    asked |= ledger()
    assert not strayed(asked, meant)
    assert len(numbers) < 100 or len(asked) > 50, "some are taken"


@pytest.mark.parametrize(
    "name", ["a b", "50 % & more", "#1", "a?b=c", "a%2fb", "ä", "\U0001f600", "a+b;c", "..a", "x" * 500]
)
def test_a_folder_of_any_name_is_asked_for_by_it(app: App, ledger: Callable[[], set[str]], name: str) -> None:
    app.cloud.blobs.write(DATASETS, dataset_file(name, name), b"x")
    assert app.cloud.blobs.read(DATASETS, dataset_file(name, name))[0] == b"x"
    assert [blob.name for blob in app.cloud.blobs.list(DATASETS, dataset_file(name))] == [f"{name}/{name}"]
    assert ledger() == {f"{BLOBS}/{DATASETS}/{name}/{name}", f"{BLOBS}/{DATASETS}"}
    app.cloud.blobs.delete(DATASETS, dataset_file(name, name))
