"""The app's settings: every name, type, default and meaning, in one place.

Read once a process from the environment (in Azure: the Function App's application settings), checked as a whole, and
passed on as one frozen value, so that nothing else in `shared/` reads the environment. Each belongs to a group, whose
docstring introduces its table in docs/settings.md; that page is checked against this file.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import MISSING, dataclass, field, fields
from datetime import timedelta
from decimal import Decimal
from typing import Any, get_type_hints

from shared import naming

MOST_AN_HOUR = 1_000_000
"""A price of an hour that is no price any more, in any currency."""
_INSTALLATION = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,30}[a-z0-9])?")
_DURATION = re.compile(r"^P(?:(?P<days>\d+)D)?(?:T(?:(?P<hours>\d+)H)?(?:(?P<minutes>\d+)M)?(?:(?P<seconds>\d+)S)?)?$")


class SettingError(ValueError):
    """A setting is missing or can't be read. Names the setting, its value, and what it should look like."""


def duration(text: str) -> timedelta:
    """An ISO 8601 duration in days, hours, minutes and seconds: `PT60S`, `P1DT12H`. Raises ValueError."""
    match = _DURATION.match(text)
    if not match or text.endswith(("P", "T")):
        raise ValueError("an ISO 8601 duration such as PT30S, PT2H or P7D")
    return timedelta(**{unit: int(number) for unit, number in match.groupdict(default="0").items()})


def installation_id(text: str) -> str:
    """The id of an installation, which goes into tags. Raises ValueError."""
    if not _INSTALLATION.fullmatch(text):
        raise ValueError("1 to 32 of a-z, 0-9 and -, the first and the last no -")
    return text


def _setting(
    name: str,
    help_: str,
    default: Any = MISSING,
    *,
    cast: Callable[[str], Any] | None = None,
    choices: tuple[str, ...] = (),
) -> Any:
    """`cast`: how its text is read, where that is not the way of its type. `choices`: what alone is allowed."""
    return field(metadata={"name": name, "help": help_, "cast": cast, "choices": choices}, default=default)


def _said(text: str) -> bool:
    """A flag that Azure sets: whatever else it may say there means no."""
    return text.lower() == "true"


def _price(text: str) -> Decimal:
    try:
        price = Decimal(text)
    except ArithmeticError:
        price = Decimal("nan")
    if not (price.is_finite() and 0 <= price < MOST_AN_HOUR):
        raise ValueError("a price of 0 or more, as in 3.67")
    return price


def _currency(text: str) -> str:
    if not re.fullmatch("[A-Za-z]{3}", text):
        raise ValueError("a currency of three letters, as in EUR")
    return text.upper()


def _address(text: str) -> str:
    """An origin that may be asked: over https, or on this machine. Raises ValueError."""
    parts = re.fullmatch(r"(https?)://([A-Za-z0-9.-]+|\[::1\])(:[0-9]{1,5})?/?", text)
    if not parts or (parts[1] == "http" and parts[2] not in ("localhost", "127.0.0.1", "[::1]")):
        raise ValueError("an https address without a path, as in https://prices.azure.com")
    return text.rstrip("/")


def _named(kind: naming.Kind) -> Callable[[str], str]:
    """How a name is read that ends in addresses: as it is, if it can be one of its kind."""

    def read(text: str) -> str:
        if naming.refused(kind, text):
            raise ValueError(f"{kind.what}: it must be {kind.must}")
        return text

    return read


@dataclass(frozen=True, kw_only=True)
class Storage:
    """The storage account with the datasets, what is made of them, and the app's records and queues."""

    blob_uri: str = _setting("DROPTUNE_STORAGE__blobServiceUri", "Blob service of the app's storage account")
    queue_uri: str = _setting("DROPTUNE_STORAGE__queueServiceUri", "Queue service of the app's storage account")
    installation_given: str = _setting(
        "INSTALLATION",
        "Id of this installation, in the names and tags of all that it makes; empty: derived from the address of its "
        "storage account. What was made under another id is somebody else's: choose it before the first upload",
        "",
        cast=installation_id,
    )

    @property
    def installation(self) -> str:
        """The installation's id. The account's address is its own for good: lost records change nothing."""
        if self.installation_given:
            return self.installation_given
        digest = hashlib.sha256(self.blob_uri.lower().rstrip("/").encode()).digest()
        return f"i{base64.b32encode(digest).decode().lower()[:9]}"


@dataclass(frozen=True, kw_only=True)
class Identity:
    """Who the app is when it asks Azure for something."""

    client_id: str = _setting("AZURE_CLIENT_ID", "Client id of the app's user-assigned managed identity", "")
    token_credentials: str = _setting(
        "AZURE_TOKEN_CREDENTIALS", "Which credentials azure-identity tries; on Azure `ManagedIdentityCredential`", ""
    )


@dataclass(frozen=True, kw_only=True)
class Workspace:
    """The Azure ML workspace that trains and serves."""

    subscription: str = _setting("AZURE_SUBSCRIPTION_ID", "Subscription of the Azure ML workspace")
    resource_group: str = _setting("AZURE_RESOURCE_GROUP", "Resource group of the Azure ML workspace")
    name: str = _setting("AZUREML_WORKSPACE", "Name of the Azure ML workspace")
    location: str = _setting("AZURE_LOCATION", "Region of the workspace, as in `westeurope`")

    @property
    def scope(self) -> tuple[str, str, str]:
        """What no other workspace has in common with it: subscription, resource group and name."""
        return self.subscription, self.resource_group, self.name


@dataclass(frozen=True, kw_only=True)
class Training:
    """What a job trains, on which clusters, and how many jobs there may be."""

    registry: str = _setting(
        "AZUREML_REGISTRY", "Registry of base models and of the component", "azureml", cast=_named(naming.REGISTRY)
    )
    component: str = _setting(
        "FINETUNE_COMPONENT",
        "Fine-tune component in the registry",
        "chat_completion_pipeline",
        cast=_named(naming.COMPONENT),
    )
    base_model: str = _setting(
        "BASE_MODEL", "Base model when finetune.yaml names none", "Phi-4", cast=_named(naming.BASE_MODEL)
    )
    identity: str = _setting("TRAINING_IDENTITY_ID", "Resource id of the identity that jobs run as")
    gpu_compute: str = _setting(
        "FINETUNE_COMPUTE", "Compute cluster of the fine-tune step", "gpu-cluster", cast=_named(naming.COMPUTE)
    )
    gpu_size: str = _setting("FINETUNE_SIZE", "VM size of that cluster when it is created", "Standard_NC24ads_A100_v4")
    cpu_compute: str = _setting(
        "PREPROCESS_COMPUTE",
        "Compute cluster of the import and preprocess steps",
        "cpu-cluster",
        cast=_named(naming.COMPUTE),
    )
    cpu_size: str = _setting("PREPROCESS_SIZE", "VM size of that cluster when it is created", "Standard_E8ds_v5")
    nodes: int = _setting("FINETUNE_NODES", "Nodes of the fine-tune step", 1)
    create_clusters: bool = _setting(
        "CREATE_CLUSTERS",
        "`true`: the app makes a cluster that is missing, for FINETUNE_NODES x MAX_ACTIVE_JOBS nodes; `false`: "
        "it says which one to make",
        default=False,
    )
    max_active_jobs: int = _setting("MAX_ACTIVE_JOBS", "Jobs that train at once, of all datasets; others wait", 2)
    max_jobs_per_day: int = _setting("MAX_JOBS_PER_DAY", "Jobs that are started in any 24 hours; others wait", 20)
    max_hours: int = _setting(
        "MAX_TRAINING_HOURS", "A job whose fine-tune step has run for longer than this is cancelled", 24
    )
    max_queue_hours: int = _setting(
        "MAX_QUEUE_HOURS", "A job whose fine-tune step waits to run for longer than this, in all, is cancelled", 48
    )

    @property
    def cluster_nodes(self) -> int:
        """How many nodes a cluster has to have at most, for no job to wait for another one's."""
        return self.nodes * self.max_active_jobs


@dataclass(frozen=True, kw_only=True)
class Data:
    """How a dataset is read, checked and prepared."""

    settle: timedelta = _setting(
        "SETTLE_TIME", "Wait after an upload for the rest of its folder", timedelta(seconds=60)
    )
    inline_limit_mb: float = _setting(
        "INLINE_LIMIT_MB", "Data above so many MiB are prepared by the job's first step, not by a function", 2048
    )
    hub_endpoint: str = _setting("HF_ENDPOINT", "Address of the Hugging Face Hub; empty: the public one", "")
    max_rows_shown: int = _setting("MAX_FAULTS_SHOWN", "Bad rows told in full; all are counted", 1000)


@dataclass(frozen=True, kw_only=True)
class Serving:
    """What a deployment runs on."""

    size: str = _setting("SERVING_SIZE", "VM size of a deployment", "Standard_NC24ads_A100_v4")
    instances: int = _setting("SERVING_INSTANCES", "Instances of a deployment", 1)
    max_live: int = _setting(
        "MAX_LIVE_ENDPOINTS", "Lines that serve, or train for that, at once; the runs of others wait", 5
    )


@dataclass(frozen=True, kw_only=True)
class Rollout:
    """How long a new version may take until it serves, and how long the one before it stays."""

    poll_interval: timedelta = _setting(
        "POLL_INTERVAL", "First wait between two looks at a deployment; it backs off", timedelta(seconds=30)
    )
    max_registered_days: int = _setting(
        "MAX_REGISTERED_DAYS", "A model that is not deployed within so many days is given up; it is told of daily", 14
    )
    max_deploying_hours: int = _setting(
        "MAX_DEPLOYING_HOURS", "A deployment that takes longer to be made is rolled back", 3
    )
    max_checking_hours: int = _setting(
        "MAX_CHECKING_HOURS",
        "A deployment that does not serve so many hours after it was made, or approved, is rolled back",
        6,
    )
    max_approval_days: int = _setting(
        "MAX_APPROVAL_DAYS", "A version that nobody approves is told of daily, and rolled back after so many days", 7
    )
    grace: timedelta = _setting(
        "ROLLOUT_GRACE", "How long what served before stays, without traffic, after a rollout", timedelta(minutes=30)
    )


@dataclass(frozen=True, kw_only=True)
class Cleanup:
    """What becomes of an endpoint that nobody calls."""

    mode: str = _setting(
        "CLEANUP_MODE", "`delete`, or `report` to only say what would go", "report", choices=("delete", "report")
    )
    target: str = _setting(
        "CLEANUP_TARGET",
        "`deployments` (the URL stays) or `endpoint`",
        "deployments",
        choices=("deployments", "endpoint"),
    )
    idle_window: timedelta = _setting("IDLE_WINDOW", "No request for this long is idle", timedelta(days=1))
    trickle: float = _setting(
        "IDLE_REQUESTS_PER_HOUR", "So many requests in an hour, of probes and monitors, are no use of an endpoint", 0.0
    )
    metrics_lag: timedelta = _setting(
        "METRICS_LAG", "How late metrics may come: waited out after the grace", timedelta(minutes=15)
    )
    idle_grace: timedelta = _setting("IDLE_GRACE", "Time between notice and deletion", timedelta(hours=12))
    minimum_age: timedelta = _setting("ENDPOINT_MINIMUM_AGE", "A younger deployment is never idle", timedelta(hours=6))
    shell_days: int = _setting(
        "ENDPOINT_SHELL_DAYS", "An endpoint without deployments goes after so many days, with its keys", 30
    )
    max_deletions: int = _setting("CLEANUP_MAX_DELETIONS", "Endpoints torn down at most in a deletion window", 3)
    deletion_window: timedelta = _setting("CLEANUP_DELETION_WINDOW", "The window of that cap", timedelta(hours=24))


@dataclass(frozen=True, kw_only=True)
class Schedules:
    """When the app looks by itself, without an event."""

    sweep: str = _setting("SWEEP_SCHEDULE", "When the sweep looks for what events missed; the host reads it")
    cleanup: str = _setting("CLEANUP_SCHEDULE", "When endpoints are judged; the host reads it")
    uploads_sweep: timedelta = _setting(
        "UPLOADS_SWEEP", "Time between two listings of all datasets, for uploads without an event", timedelta(hours=1)
    )


@dataclass(frozen=True, kw_only=True)
class Events:
    """Whom the app tells what becomes of runs and endpoints."""

    topic_endpoint: str = _setting("EVENTS_TOPIC_ENDPOINT", "Event Grid topic for lifecycle events; empty: none", "")


@dataclass(frozen=True, kw_only=True)
class Metrics:
    """Where the app asks how much an endpoint is called."""

    endpoint: str = _setting("METRICS_ENDPOINT", "Azure Monitor's metrics endpoint; empty: the region's own", "")
    audience: str = _setting("METRICS_AUDIENCE", "Token audience of that endpoint", "https://metrics.monitor.azure.com")


@dataclass(frozen=True, kw_only=True)
class Access:
    """Who may call the app over HTTP."""

    auth: str = _setting(
        "API_AUTH",
        "Who may call: `key`, whoever has a function key, or `entra`, two groups",
        "key",
        choices=("key", "entra"),
    )
    viewers: frozenset[str] = _setting(
        "API_VIEWERS", "With `entra`: groups that may look, by object id, with commas between", frozenset()
    )
    operators: frozenset[str] = _setting(
        "API_OPERATORS", "The same for groups that may look and step in; with `entra` it is needed", frozenset()
    )
    platform_login: bool = _setting(
        "WEBSITE_AUTH_ENABLED",
        "Whether App Service's authentication is on; Azure sets it, nobody else should",
        False,
        cast=_said,
    )
    hostname: str = _setting("WEBSITE_HOSTNAME", "The app's own host name; Azure sets it", "")


@dataclass(frozen=True, kw_only=True)
class Prices:
    """What an hour costs, for the money that is told. What none of these gives is not known, which is never 0."""

    serving: Decimal | None = _setting(
        "SERVING_PRICE_PER_HOUR", "Price of an hour of an instance of SERVING_SIZE; empty: that of PRICE_SOURCE", None
    )
    node: Decimal | None = _setting(
        "FINETUNE_PRICE_PER_HOUR", "Price of an hour of a node of FINETUNE_SIZE; empty: that of PRICE_SOURCE", None
    )
    currency: str = _setting("PRICE_CURRENCY", "Currency of all prices, as in `EUR`", "USD", cast=_currency)
    source: str = _setting(
        "PRICE_SOURCE",
        "What tells the other prices: `api`, Azure's public price list, which the cleanup asks once a day; `file`, "
        "PRICE_FILE; `off`, nothing. A size has to be spelled as Azure spells it",
        "api",
        choices=("api", "file", "off"),
    )
    file: str = _setting(
        "PRICE_FILE",
        'Blob in container `state` with prices of an hour by VM size, as in `{"Standard_NC24ads_A100_v4": 3.67}`',
        "price-list.json",
    )
    address: str = _setting(
        "PRICE_API", "Address of Azure's price list; nothing else is asked", "https://prices.azure.com", cast=_address
    )


@dataclass(frozen=True, kw_only=True)
class Resources:
    """What carries everything that the app makes in the workspace: clusters, environments, jobs, models, endpoints."""

    tags: tuple[tuple[str, str], ...] = _setting(
        "RESOURCE_TAGS",
        "Tags for all that the app makes, as a policy may want them: `costCenter=42,owner=ml team`, or a JSON object; "
        "34 at most. An endpoint that is there gets them when its traffic changes",
        (),
    )


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What the app is told by its environment. Durations are ISO 8601; flags are spelled as listed."""

    storage: Storage
    identity: Identity
    workspace: Workspace
    training: Training
    data: Data
    serving: Serving
    rollout: Rollout
    cleanup: Cleanup
    schedules: Schedules
    events: Events
    metrics: Metrics
    prices: Prices
    resources: Resources
    api: Access

    @classmethod
    def read(cls, environ: Mapping[str, str]) -> Settings:
        """The settings that `environ` holds. Raises SettingError naming every one that is missing or wrong."""
        found: dict[str, dict[str, Any]] = {group: {} for group in groups()}
        wrong: list[str] = []
        for setting in every_setting():
            try:
                found[setting.group][setting.attribute] = setting.read(environ.get(setting.name, "").strip())
            except SettingError as error:
                wrong.append(str(error))
        if found["api"].get("auth") == "entra" and not found["api"]["operators"]:
            wrong.append("API_OPERATORS is not set: with API_AUTH=entra nobody could step in")
        if wrong:
            raise SettingError("; ".join(wrong))
        return cls(**{name: group(**found[name]) for name, group in groups().items()})


@dataclass(frozen=True, kw_only=True)
class Setting:
    """One setting: what it is called, what it means, where `Settings` has it. `default` is MISSING if it is needed."""

    group: str
    attribute: str
    kind: str
    default: Any
    name: str
    help: str
    cast: Callable[[str], Any] | None
    choices: tuple[str, ...]

    def read(self, text: str) -> Any:
        """What `text` says, or without any the default. Raises SettingError."""
        if not text:
            if self.default is MISSING:
                raise SettingError(f"{self.name} is not set ({self.help})")
            return self.default
        try:
            value = (self.cast or _CASTS[self.kind])(text)
        except ValueError as error:
            raise SettingError(f"{self.name}={text!r} is not {error}") from None
        if self.choices and value not in self.choices:
            raise SettingError(f"{self.name}={text!r} is not one of {', '.join(self.choices)}")
        return value

    def of(self, settings: Settings) -> Any:
        """What it is in `settings`."""
        return getattr(getattr(settings, self.group), self.attribute)


def groups() -> dict[str, Any]:
    """The groups' classes, each under its name in `Settings`."""
    return get_type_hints(Settings)


def every_setting() -> Iterator[Setting]:
    """All settings, group by group, for whoever lists them or looks one up by its name."""
    for group, cls in groups().items():
        for each in fields(cls):
            yield Setting(group=group, attribute=each.name, kind=str(each.type), default=each.default, **each.metadata)


def _whole(text: str) -> int:
    try:
        number = int(text)
    except ValueError:
        number = -1
    if number < 1:
        raise ValueError("a whole number of 1 or more")
    return number


def _amount(text: str) -> float:
    try:
        amount = float(text)
    except ValueError:
        raise ValueError("a number") from None
    if not 0 <= amount < float("inf"):
        raise ValueError("an amount of 0 or more")
    return amount


def _flag(text: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise ValueError("true or false")
    return text.lower() == "true"


def _names(text: str) -> frozenset[str]:
    return frozenset(text.casefold().replace(",", " ").split())


_CASTS: dict[str, Callable[[str], Any]] = {
    "str": str,
    "int": _whole,
    "float": _amount,
    "bool": _flag,
    "timedelta": duration,
    "frozenset[str]": _names,
    "tuple[tuple[str, str], ...]": naming.read_tags,
    "Decimal | None": _price,
}
