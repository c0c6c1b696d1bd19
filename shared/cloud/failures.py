"""What an SDK raises, said in the app's four errors.

Every call in this package runs under `translated`, so that whoever reads a run's record learns what failed, where, in
the service's own words, and what to do; and so that the loop only ever decides between stopping and coming back.
The mapping is one function of plain facts; SDK modules are imported only once something was raised.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta

from shared import naming
from shared.cloud import rules
from shared.errors import Conflict, NotFound, Permanent, Refused, Transient
from shared.lifecycle import again
from shared.naming import same_owner

_SOON = timedelta(seconds=30)
_ARCHIVED_WAIT = timedelta(hours=1)
_IDENTITY_WAIT = timedelta(minutes=5)
_LONGEST_WAIT = timedelta(hours=1)

# 404 means that the thing asked for is missing; these codes mean that the place it should be in is.
_MISSING_PLACE = {"ContainerNotFound", "QueueNotFound", "ResourceGroupNotFound", "SubscriptionNotFound"}
# A create with If-None-Match that somebody else won is 409 on the blob service, not 412.
_LOST_RACE = {"BlobAlreadyExists", "ConditionNotMet", "TargetConditionNotMet"}
# Azure ML answers some of what passes by itself with 400: an endpoint in mid-update, a cancelled operation, no quota.
_BUSY = re.compile(
    r"operation\s?cancel|being (updated|created|deleted)|is updating|in (the )?updating state|"
    r"(state|status)\W+(updating|creating|deleting)\b|another operation|already in progress|try again later",
    re.IGNORECASE,
)
_ARCHIVED, _REHYDRATED = "BlobArchived", "BlobBeingRehydrated"
_SDKS, _APP = ("azure.", "msrest."), "shared."
_TRIPS = (AttributeError, TypeError, KeyError, IndexError)
"""What an SDK raises that trips over an answer: of another class, or without something that it takes for granted."""
_ANSI = re.compile(r"\x1b\[[0-9;]*m")  # azure-ai-ml colours some of its messages
# ARM's AuthorizationFailed names what the caller may not do, and where.
_DENIED = re.compile(r"perform action '(?P<action>[^']+)' over scope '(?P<scope>[^']+)'", re.IGNORECASE)
# Only a message tells this one: the SDK turned the failed request for the cloud's metadata into an "unknown cloud".
_NO_METADATA = re.compile(r"unknown cloud environment", re.IGNORECASE)


@contextmanager
def translated(what: str, *, role: str = "", credential: str = "") -> Iterator[None]:
    """Runs a block (or, as a decorator, a function) whose SDK errors become the app's.

    `what` names the thing and its place, as in `job 'a1' in workspace 'w'`; `role` names the Azure role and the scope
    that the block needs, for a 403; `credential` says what to do about a 401, where that is not the app's identity
    alone. Raises NotFound, Conflict, Transient or Permanent; what is no SDK error passes.
    """
    try:
        yield
    except (NotFound, Conflict, Transient, Permanent):
        raise
    except Exception as error:
        outcome = _outcome(error, what, role, credential)
        if outcome is None:
            raise
        raise outcome from error


def unless_foreign(what: str, tags: Mapping[str, str], wanted: Mapping[str, str]) -> None:
    """Raises Permanent where what is there already, with `tags`, was not made for what `wanted` says."""
    if not same_owner(tags, wanted):
        raise Permanent(f"{what} is there already, and its tags say that it is somebody else's: it is left alone")


def asked(kind: naming.Kind, name: str) -> str:
    """`name`, if a request may ask for it. Raises NotFound for one that nothing of its kind can have: none is sent.

    The SDKs put names into addresses, some of them as they are: see naming.py.
    """
    if why := naming.refused(kind, name):
        raise NotFound(why)
    return name


def _outcome(error: Exception, what: str, role: str, credential: str) -> Exception | None:
    from azure.core import exceptions as core

    match error:
        case core.DecodeError():  # an answer that was cut off; its status may well be 200
            return Transient(f"{what}: the answer was cut off or unreadable: {_first_line(error)}")
        case core.HttpResponseError() if error.response is not None:
            headers = getattr(error.response, "headers", None) or {}
            code, message = _words(error)
            status, more = int(error.status_code or 0), rules.violations(error.response)
            return judged(what, status, code, message, headers, role=role, credential=credential, violations=more)
        case core.ServiceRequestError() | core.ServiceResponseError():
            return Transient(f"{what}: no answer: {_first_line(error)}")
        case core.ClientAuthenticationError():
            return Transient(
                f"{what}: no token for the app's identity: {_first_line(error)}. Check AZURE_CLIENT_ID and that the"
                " identity is assigned to the app.",
                _IDENTITY_WAIT,
                shut_out=True,
            )
        case core.AzureError():
            return _of_ml(error, what)
    # Validation inside azure-ai-ml raises marshmallow's errors in places.
    if type(error).__module__.startswith("marshmallow"):
        return Permanent(f"{what}: {_first_line(error)}")
    if isinstance(error, _TRIPS) and _in_sdk(error):
        return Transient(f"{what}: the SDK can't read the answer: {type(error).__name__}: {_first_line(error)}")
    return None


def _in_sdk(error: Exception) -> bool:
    """Whether it was raised in an SDK, or in what that has called, and not in the app's own code."""
    sdk, trace = False, error.__traceback__
    while trace:
        module = str(trace.tb_frame.f_globals.get("__name__", ""))
        sdk = module.startswith(_SDKS) or (sdk and not module.startswith(_APP))
        trace = trace.tb_next
    return sdk


def _of_ml(error: Exception, what: str) -> Exception:
    """azure-ai-ml wraps what it finds wrong in advice; the findings are the lines that begin with `(x)`."""
    findings = re.findall(r"^\(x\)\s*(.+)", _ANSI.sub("", str(error)), re.MULTILINE)
    message = " ".join(findings) or _first_line(error)
    if _NO_METADATA.search(message):
        return Transient(f"{what}: Azure's cloud metadata could not be read: {message}")
    return Permanent(f"{what}: {message}")


def judged(
    what: str,
    status: int,
    code: str,
    message: str,
    headers: Mapping[str, str],
    *,
    role: str = "",
    credential: str = "",
    violations: tuple[rules.Violation, ...] = (),
) -> NotFound | Conflict | Transient | Permanent:
    """The error for an HTTP answer of `status` with the service's `code` and `message`; else as for `translated`.

    `violations`: the policies that the answer names.
    """
    said = f"{what}: {message or 'no message'} ({' '.join(filter(None, (str(status), code)))})"
    after = _retry_after(headers)
    if way_out := rules.way_out(status, code, message, violations):
        return Refused(f"{said}. {way_out}")
    if again.no_quota(f"{code} {message}"):
        return Transient(f"{said}. Free quota or ask for more; the run waits.", after or again.PAUSE, scarce=True)
    if again.no_machines(f"{code} {message}"):
        return Transient(
            f"{said}. The region has none left just now; the run waits.", after or again.PAUSE, scarce=True
        )
    if code == _ARCHIVED:
        return Refused(
            f"{said}. It is in the access tier Archive: rehydrate it (az storage blob set-tier --tier Hot, see "
            "docs/operations.md)",
            _ARCHIVED_WAIT,
        )
    if code == _REHYDRATED:
        return Transient(f"{said}. It comes back from the access tier Archive, which takes hours", _ARCHIVED_WAIT)
    if code in _LOST_RACE or status == 412:
        return Conflict(said)
    if status == 404:
        if code in _MISSING_PLACE:
            return Permanent(f"{said}. Create it (infra/ does), or correct the setting that names it.")
        return NotFound(said)
    if status in (408, 409, 429) or status >= 500 or _BUSY.search(f"{code} {message}"):
        return Transient(said, after or _SOON)
    if status == 401:
        wrong = credential or "The token of the app's identity was refused: check AZURE_CLIENT_ID and the tenant."
        return Transient(f"{said}. {wrong}", _IDENTITY_WAIT, shut_out=True)
    if status == 403 and (refused := _DENIED.search(message)):
        wanted = f"a role with {refused['action']} on {refused['scope']}{f' ({role})' if role else ''}"
        return Transient(
            f"{said}. Give the app's identity {wanted}; it takes up to a day to show.", _IDENTITY_WAIT, shut_out=True
        )
    if status == 403:
        wanted = role or "the role that infra/ gives it for this"
        # Storage says AuthorizationPermissionMismatch for a missing role, and this for its firewall too.
        network = ", and that the account's network rules let it in" if code == "AuthorizationFailure" else ""
        return Transient(
            f"{said}. Check that the app's identity has {wanted}{network}; a new role takes up to a day to show.",
            _IDENTITY_WAIT,
            shut_out=True,
        )
    return Permanent(said)


def _words(error: Exception) -> tuple[str, str]:
    """The service's error code and message, with the details that Azure ML nests under a general one."""
    details = getattr(error, "error", None)
    code = getattr(error, "error_code", None) or getattr(details, "code", None) or ""
    message = getattr(details, "message", None) or _first_line(error)
    parts = [_line(message)]
    for detail in getattr(details, "details", None) or []:
        text = _line(getattr(detail, "message", "") or "")
        if text and text not in parts[0]:
            parts.append(text)
    return str(getattr(code, "value", code)), " ".join(parts)


def _first_line(error: Exception) -> str:
    return _line(getattr(error, "message", None) or str(error)) or type(error).__name__


def _line(text: object) -> str:
    """The first line with something in it: storage and ARM put request ids and times on those that follow."""
    plain = _ANSI.sub("", str(text))
    return next((line.strip() for line in plain.splitlines() if line.strip()), "")[:2000]


def _retry_after(headers: Mapping[str, str]) -> timedelta | None:
    """Retry-After in seconds; a date, a zero or nonsense is no answer."""
    text = headers.get("Retry-After") or headers.get("retry-after") or ""
    if not text.strip().isdigit() or int(text) == 0:
        return None
    return min(timedelta(seconds=int(text)), _LONGEST_WAIT)
