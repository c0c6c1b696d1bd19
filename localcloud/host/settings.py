"""host.json and app settings, read as the Functions host reads them.

Everything that can be wrong in them is found here, before a listener starts, as one line that names the setting.
Called by `__main__` (host.json), and by whoever resolves a binding's attribute.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

OVERRIDE = "AzureFunctionsJobHost__"


class HostError(Exception):
    """The app can't be run as it is configured. The text names the function or file and the setting.

    `trace`: the app's own traceback, when it raised.
    """

    def __init__(self, message: str, *, trace: str = "") -> None:
        super().__init__(message)
        self.trace = trace


@dataclass(frozen=True, kw_only=True)
class QueueSettings:
    """host.json's `extensions.queues`, with the host's defaults."""

    batch_size: int = 16
    new_batch_threshold: int = 8
    max_dequeue_count: int = 5
    visibility_timeout: timedelta = timedelta(0)
    max_polling_interval: timedelta = timedelta(minutes=1)
    base64: bool = True


@dataclass(frozen=True, kw_only=True)
class HostSettings:
    """The parts of host.json that are honoured. `function_timeout` None: no limit."""

    function_timeout: timedelta | None = timedelta(minutes=30)
    route_prefix: str = "api"
    queues: QueueSettings = QueueSettings()


def load(app: Path, environ: Mapping[str, str]) -> HostSettings:
    """Read DIR/host.json. `AzureFunctionsJobHost__a__b` in the environment overrides its `a.b`, as on Azure.

    Raises:
        HostError: the file is missing or not JSON, or a value has the wrong form.
    """
    path = app / "host.json"
    try:
        document = json.loads(path.read_text())
    except FileNotFoundError:
        raise HostError(f"{path} is missing: a Functions app needs it, at least with {{'version': '2.0'}}") from None
    except json.JSONDecodeError as error:
        raise HostError(f"{path} is not JSON: {error}") from None
    for name, value in environ.items():
        if name.startswith(OVERRIDE):
            _override(document, name.removeprefix(OVERRIDE).split("__"), value)
    extensions = document.get("extensions", {})
    timeout = document.get("functionTimeout", "00:30:00")
    return HostSettings(
        function_timeout=None if str(timeout) == "-1" else timespan("functionTimeout", timeout),
        route_prefix=str(extensions.get("http", {}).get("routePrefix", "api")).strip("/"),
        queues=_queues(extensions.get("queues", {})),
    )


def is_disabled(function: str, environ: Mapping[str, str]) -> bool:
    """Whether the app setting `AzureWebJobs.NAME.Disabled` has the host leave a function alone, as on Azure."""
    return environ.get(f"AzureWebJobs.{function}.Disabled", "").lower() in ("true", "1")


def timespan(name: str, value: Any) -> timedelta:
    """A .NET TimeSpan, `[d.]hh:mm:ss[.fffffff]`."""
    match = re.fullmatch(r"(?:(\d+)\.)?(\d\d?):(\d\d):(\d\d(?:\.\d{1,7})?)", str(value))
    if match is None:
        raise HostError(f"host.json: {name} is {value!r}, but has to look like '00:00:30'")
    days, hours, minutes, seconds = match.groups(default="0")
    return timedelta(days=int(days), hours=int(hours), minutes=int(minutes), seconds=float(seconds))


def resolve(text: str, environ: Mapping[str, str], *, where: str) -> str:
    """Replace each `%NAME%` by the app setting NAME; `where` says whose attribute it is, for the error."""

    def setting(match: re.Match[str]) -> str:
        try:
            return environ[match[1]]
        except KeyError:
            raise HostError(f"{where} is {text!r}, but there is no app setting {match[1]}") from None

    return re.sub(r"%([^%]+)%", setting, text)


def _queues(document: Mapping[str, Any]) -> QueueSettings:
    def whole(name: str, default: int, low: int, high: int) -> int:
        value = document.get(name, default)
        if not (isinstance(value, int) or str(value).isdecimal()) or not low <= int(value) <= high:
            raise HostError(f"host.json: extensions.queues.{name} is {value!r}, but has to be between {low} and {high}")
        return int(value)

    encoding = str(document.get("messageEncoding", "base64")).lower()
    if encoding not in ("base64", "none"):
        raise HostError(f"host.json: extensions.queues.messageEncoding is {encoding!r}, but has to be base64 or none")
    batch_size = whole("batchSize", 16, 1, 32)
    return QueueSettings(
        batch_size=batch_size,
        new_batch_threshold=whole("newBatchThreshold", batch_size // 2, 0, 1000),
        max_dequeue_count=whole("maxDequeueCount", 5, 1, 1000),
        visibility_timeout=timespan(
            "extensions.queues.visibilityTimeout", document.get("visibilityTimeout", "00:00:00")
        ),
        max_polling_interval=timespan(
            "extensions.queues.maxPollingInterval", document.get("maxPollingInterval", "00:01:00")
        ),
        base64=encoding == "base64",
    )


def _override(document: dict[str, Any], path: list[str], value: str) -> None:
    *parents, name = path
    for parent in parents:
        document = document.setdefault(parent, {})
    document[name] = value
