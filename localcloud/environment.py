"""What a running local cloud consists of (cloud.json), and the environment variables by which the app finds it.

The only place that knows how the app and the SDKs are pointed at another cloud. localcloud/stack.py writes the
description and gives the variables to child processes; localcloud/server.py reads it; nothing of it is ever set in the
parent's own environment.
"""

from __future__ import annotations

import json
import os
import secrets
import time
from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Self

from localcloud.azureml.arm import LOCATION, RESOURCE_GROUP, SUBSCRIPTION, SUBSCRIPTION_ID, WORKSPACE
from localcloud.identity import CLIENT_ID

ACCOUNT = "droptune"
LISTENERS = (
    *("azurite_blob", "azurite_queue", "azurite_table"),
    *("blob", "queue", "table", "management", "identity", "denied", "host"),
)
"""One port each. `azurite_*` are Azurite's own; clients use the proxies `blob`, `queue` and `table` before them."""

_IDENTITIES = f"{SUBSCRIPTION_ID}/resourceGroups/{RESOURCE_GROUP}/providers/Microsoft.ManagedIdentity"
APP_IDENTITY = f"{_IDENTITIES}/userAssignedIdentities/id-func"
TRAINING_IDENTITY = f"{_IDENTITIES}/userAssignedIdentities/id-train"

MADE = ("azurite", "azureml", "logs", "pki", "clock.json", "clock.new", "cloud.new", "cloud.json", "lock")
"""All that a local cloud makes in its state folder, in the order in which it is deleted: what tells whose the folder
is goes last."""
CHANGEABLE = ("INSTALLATION", "CREATE_CLUSTERS", "SWEEP_SCHEDULE", "CLEANUP_SCHEDULE")
"""What app_environment() sets and an app may be told otherwise; the rest is what points it at this cloud."""

_FOREIGN = ("AZURE_", "AZUREML_", "ARM_", "AzureWebJobs", "APPLICATIONINSIGHTS_", "IDENTITY_", "MSI_")
_PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")


class DescriptionError(ValueError):
    """STATE/cloud.json is not what a local cloud has written. Names it."""


@dataclass(frozen=True, kw_only=True)
class ProcessId:
    """A process that can't be mistaken for a later one with the same number: `started` is seconds since 1970."""

    pid: int
    started: float


def time_in(state: Path) -> datetime | None:
    """The local time of the cloud that runs in this state folder; None where no file there says it."""
    try:
        saved = json.loads((state / "clock.json").read_text())
        at = saved["local"] + (time.time() - saved["real"]) * saved["rate"]
        return datetime.fromtimestamp(at, UTC)
    except (OSError, ValueError, KeyError, TypeError, OverflowError):
        return None


@dataclass(frozen=True, kw_only=True)
class Description:
    """One local cloud: where it listens, its secrets, its processes. Kept in STATE/cloud.json (0600)."""

    state: Path
    ports: Mapping[str, int]
    key: str = field(default_factory=lambda: b64encode(secrets.token_bytes(64)).decode())
    """The storage account's key, base64."""
    identity_secret: str = field(default_factory=lambda: secrets.token_hex(32))
    identity_header: str = field(default_factory=lambda: secrets.token_hex(16))
    function_key: str = field(default_factory=lambda: secrets.token_hex(16))
    """Opens the app's HTTP functions; the `droptune` command reads it here."""
    processes: Mapping[str, ProcessId] = field(default_factory=dict)
    """`supervisor`, and the guards of `azurite`, `server` and `host`."""
    settings: Mapping[str, str] = field(default_factory=dict)
    """Settings of the app beside what points it here, for as long as the supervisor runs."""
    found: Sequence[str] = ()
    """Those of MADE that were in the folder before the first start: somebody else's."""

    @classmethod
    def load(cls, state: Path) -> Self | None:
        """What STATE/cloud.json says, the folder as an absolute path; None when there is none.

        Raises DescriptionError when somebody else wrote it, OSError when it can't be read.
        """
        path = state.resolve() / "cloud.json"
        if not path.exists():
            return None
        try:
            saved = json.loads(path.read_text())
            processes = {name: ProcessId(**process) for name, process in saved.pop("processes").items()}
            secret = {name: saved[name] for name in ("key", "identity_secret", "identity_header")}  # never new ones
            return cls(**{**saved, **secret, "state": path.parent, "processes": processes})
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise DescriptionError(
                f"{path} was not written by a local cloud: name another folder with --state ({error})"
            ) from None

    def save(self) -> None:
        """Write STATE/cloud.json whole, mode 0600."""
        path = self.state / "cloud.json"
        temporary = path.with_suffix(".new")
        temporary.unlink(missing_ok=True)
        with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            json.dump(asdict(self) | {"state": str(self.state)}, file, indent=2)
        temporary.replace(path)

    @property
    def ca(self) -> Path:
        """The private CA's certificate, which is all that clients trust (localcloud/pki.py)."""
        return self.state / "pki" / "ca.pem"

    def storage_url(self, service: str) -> str:
        """The account's `blob`, `queue` or `table` endpoint, no slash at the end."""
        return f"https://localhost:{self.ports[service]}/{ACCOUNT}"

    @property
    def management_url(self) -> str:
        """ARM, the registry, Event Grid, metrics, scoring and `/_local`; no slash at the end."""
        return f"https://localhost:{self.ports['management']}"

    @property
    def host_url(self) -> str:
        """The Functions host's HTTP triggers."""
        return f"http://localhost:{self.ports['host']}"


def app_environment(description: Description) -> dict[str, str]:
    """All that the function code and the Azure SDKs need to run against this cloud instead of Azure."""
    management = description.management_url
    storage = {
        "blobServiceUri": description.storage_url("blob"),
        "queueServiceUri": description.storage_url("queue"),
        "tableServiceUri": description.storage_url("table"),
        "credential": "managedidentity",
        "clientId": CLIENT_ID,
    }
    connections = ("AzureWebJobsStorage", "DROPTUNE_STORAGE")
    return {
        **{f"{connection}__{name}": value for connection in connections for name, value in storage.items()},
        "AZURE_CLIENT_ID": CLIENT_ID,
        # Only the managed identity: a developer's own login must never be tried against a stand-in.
        "AZURE_TOKEN_CREDENTIALS": "ManagedIdentityCredential",
        "IDENTITY_ENDPOINT": f"http://localhost:{description.ports['identity']}/msi/token",
        "IDENTITY_HEADER": description.identity_header,
        "ARM_CLOUD_METADATA_URL": f"{management}/metadata/endpoints?api-version=2019-05-01",
        # With a name that no built-in cloud has, a wrong metadata URL fails; without, the SDK goes to the real Azure.
        "AZUREML_CURRENT_CLOUD": "DroptuneLocal",
        "REGISTRY_DISCOVERY_ENDPOINT_URL": management,
        "REQUESTS_CA_BUNDLE": str(description.ca),
        "SSL_CERT_FILE": str(description.ca),
        "AZURE_SUBSCRIPTION_ID": SUBSCRIPTION,
        "AZURE_RESOURCE_GROUP": RESOURCE_GROUP,
        "AZUREML_WORKSPACE": WORKSPACE,
        "AZURE_LOCATION": LOCATION,
        # Not of the account's address: this cloud may come back on other ports.
        "INSTALLATION": f"local-{sha256(description.key.encode()).hexdigest()[:8]}",
        "METRICS_ENDPOINT": management,
        "METRICS_AUDIENCE": "https://metrics.monitor.azure.com",
        # Nobody pays for what runs here, and the price list is not on this machine.
        "PRICE_SOURCE": "off",
        "EVENTS_TOPIC_ENDPOINT": f"{management}/eventgrid/topics/lifecycle/api/events",
        "TRAINING_IDENTITY_ID": TRAINING_IDENTITY,
        # No infra/ has been here before: the app makes its clusters itself.
        "CREATE_CLUSTERS": "true",
        "SWEEP_SCHEDULE": "0 */5 * * * *",
        "CLEANUP_SCHEDULE": "0 */15 * * * *",
        "AZURE_CORE_COLLECT_TELEMETRY": "false",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_UPDATE_DOWNLOAD_COUNTS": "0",
        "DO_NOT_TRACK": "1",
    }


def no_internet(description: Description) -> dict[str, str]:
    """Proxy settings under which only loopback is reached; every other attempt is refused and counted by the server."""
    refusing = f"http://localhost:{description.ports['denied']}"
    values = dict.fromkeys(_PROXIES, refusing) | {"NO_PROXY": "localhost,127.0.0.1"}
    return values | {name.lower(): value for name, value in values.items()}


def foreign() -> list[str]:
    """This process's variables that would point an SDK at somebody's real Azure, or send telemetry there."""
    return [name for name in os.environ if name.startswith(_FOREIGN)]


def child_environment(description: Description, extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """A child's whole environment: ours without anybody's Azure settings, without the internet, plus `extra`."""
    others = set(foreign())
    kept = {name: value for name, value in os.environ.items() if name not in others}
    return kept | no_internet(description) | {"PYTHONUNBUFFERED": "1"} | dict(extra or {})
