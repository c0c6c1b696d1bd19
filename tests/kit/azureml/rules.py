"""Locks, policies and other rules that people set in Azure, in the local cloud's place for them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from localcloud.azureml.rules import GROUP_ID

Control = Callable[..., Any]
LOCK_ID = f"{GROUP_ID}/providers/Microsoft.Authorization/locks/keep"
"""Of the lock that `locked` sets as a rule."""


@contextmanager
def ruled(control: Control, kind: str, name: str = "keep", **fields: Any) -> Iterator[None]:
    """In the block the rule holds. A scope that begins without a slash is below the workspace."""
    control("POST", "/_local/rules", {"kind": kind, "name": name, **fields})
    try:
        yield
    finally:
        lifted(control, name)


def lifted(control: Control, name: str = "keep") -> None:
    """The rules of that name are gone."""
    control("DELETE", f"/_local/rules?name={name}")


@contextmanager
def unreadable(control: Control) -> Iterator[None]:
    """In the block nobody may read the locks. Forgets all faults at its end."""
    fault = {"method": "GET", "path": "/providers/Microsoft.Authorization/locks$", "status": 403, "count": None}
    control("POST", "/_local/faults", fault)
    try:
        yield
    finally:
        control("DELETE", "/_local/faults")
