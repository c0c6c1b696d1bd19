"""What somebody forbids in Azure, and what ends that: locks, policies, deny assignments, a network that is shut.

None of these is a missing role, and none passes by itself: whoever waits for it is told the service's own words, and
what a person can do. Pure; `failures` asks here first.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

_LOCKED = re.compile(r"\bscopes?(\(s\))? (is|are) locked\b", re.IGNORECASE)
_SHUT = re.compile(
    r"public ?network ?access\b.{0,60}\b(disabled|not allowed|denied|forbidden)|"
    r"\b(disabled|denied|not allowed)\b.{0,20}\bpublic ?(network ?)?access|public access is not allowed",
    re.IGNORECASE,
)
_SHUT_CODES = {"PublicNetworkAccessDisabled", "ForbiddenByConnection", "ForbiddenByFirewall"}
# A policy's condition on a tag, as in `tags[costCenter]`, `tags['cost center']` or `tags.costCenter`.
_TAG = re.compile(r"\btags(?:\[\s*['\"]?(?P<quoted>[^\]'\"]+)['\"]?\s*\]|\.(?P<plain>[\w.-]+))", re.IGNORECASE)
_ASSIGNMENT = re.compile(r'"policyAssignment"\s*:\s*\{\s*"name"\s*:\s*"(?P<name>[^"]+)"', re.IGNORECASE)
_MOST = 10
"""Policies, and tags, that a sentence names."""


@dataclass(frozen=True, kw_only=True)
class Violation:
    """A policy's assignment that something breaks, by its name and id, and the tags that it asks for."""

    assignment: str
    id: str = ""
    tags: tuple[str, ...] = ()


def way_out(status: int, code: str, message: str, broken: tuple[Violation, ...] = ()) -> str:
    """What ends the wait, as a sentence, where a rule of somebody's forbids something; "" for any other answer."""
    if code == "ScopeLocked" or (status == 409 and _LOCKED.search(message)):
        return "It is tried again by itself, and works once the lock is deleted: az lock list, az lock delete"
    if code == "RequestDisallowedByPolicy":
        return _out_of_policy(broken or _named(message))
    if code == "DenyAssignmentAuthorizationFailed":
        return (
            "It is tried again by itself, and works once the deny assignment is gone or excludes the app's identity: "
            "az role deny-assignment list, or whatever made it (a managed application, a deployment stack)"
        )
    if status == 403 and (code in _SHUT_CODES or _SHUT.search(message)):
        return (
            "No role is missing. It is tried again by itself, and works once public network access is enabled there "
            "again (publicNetworkAccess), or the app reaches it through a private endpoint"
        )
    return ""


def _out_of_policy(broken: tuple[Violation, ...]) -> str:
    names = ", ".join(f"{each.assignment} ({each.id})" if each.id else each.assignment for each in broken[:_MOST])
    which = f"policy assignment {names}" if names else "the policy"
    ways = [f"{which} is changed or exempts it: az policy exemption create"]
    if tags := list(dict.fromkeys(tag for each in broken for tag in each.tags))[:_MOST]:
        ways.insert(0, f"the setting RESOURCE_TAGS gives {', '.join(tags)} with a value that the policy takes")
    return f"No role is missing. It is tried again by itself, and works once {', or once '.join(ways)}"


def violations(response: Any) -> tuple[Violation, ...]:
    """The policies that an answer of Resource Manager names in `additionalInfo`; none where it can't be read."""
    try:
        found = json.loads(response.text())
        return tuple(_violations(found["error"]))
    except (AttributeError, KeyError, TypeError, ValueError):
        return ()


def _violations(error: Mapping[str, Any]) -> Iterator[Violation]:
    for each in error.get("additionalInfo") or ():
        if each.get("type") != "PolicyViolation":
            continue
        info = each["info"]
        details = (info.get("evaluationDetails") or {}).get("evaluatedExpressions") or ()
        looked_at = " ".join(str(one.get("path") or one.get("expression") or "") for one in details)
        yield Violation(
            assignment=str(info.get("policyAssignmentDisplayName") or info.get("policyAssignmentName") or "")[:200],
            id=str(info.get("policyAssignmentId") or "")[:400],
            tags=tuple((found["quoted"] or found["plain"]).strip()[:100] for found in _TAG.finditer(looked_at)),
        )
    for each in error.get("details") or ():
        yield from _violations(each)


def _named(message: str) -> tuple[Violation, ...]:
    """Older answers name the assignments in the message alone."""
    return tuple(Violation(assignment=found["name"][:200]) for found in _ASSIGNMENT.finditer(message))
