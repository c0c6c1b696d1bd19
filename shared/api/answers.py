"""What HTTP answers: a status, and a body of JSON; an error of ours becomes a status and a sentence here alone.

200, or {"error": sentence} with 404 (no such thing), 409 (it can't be done), 400 (the request is no good), 503 (Azure
or storage is not ready: ask again; or the settings are no good) or what a caller gets who is turned away (access.py).
What the body of a 200 holds is in schema.py; `functions/` passes the answer on.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from shared.api.access import Kind, Refusal
from shared.api.schema import Refused, Shape
from shared.errors import Conflict, NotFound, Permanent, Transient
from shared.records.store import Unreadable
from shared.settings import SettingError

type Answer = tuple[int, bytes]
"""Status and body."""

_TURNED_AWAY = {Kind.SHUT: 503, Kind.NOBODY: 401, Kind.NOT_ALLOWED: 403, Kind.WRONG_TYPE: 415}


def answered(ask: Callable[[], Shape]) -> Answer:
    """What `ask` gives, as JSON; an error of Azure's or ours as a status and a sentence."""
    try:
        return 200, msgspec.json.encode(ask())
    except NotFound as error:
        return refused(404, str(error))
    except (Permanent, Conflict, Unreadable) as error:
        return refused(409, str(error))
    except Transient as error:
        return refused(503, f"{error}: ask again in a moment")


def turned_away(refusal: Refusal) -> Answer:
    """The answer to a caller who may not have what they ask for."""
    return refused(_TURNED_AWAY[refusal.kind], refusal.why)


def unset(error: SettingError, *, told: bool) -> Answer:
    """The answer while the settings are no good; what is wrong with them is `told` only to who has shown a key."""
    return refused(503, f"the app's settings are no good: {error if told else 'its log says which'}")


def refused(status: int, why: str) -> Answer:
    """An answer without what was asked for, and why."""
    return status, msgspec.json.encode(Refused(error=why))
