"""The door: every route but health goes through it, so that whoever may not call gets no further.

access.py decides. Called by functions/__init__.py.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping

from shared.api.access import Caller, Refusal, judge
from shared.api.answers import Answer, turned_away, unset
from shared.app import App, app
from shared.settings import SettingError

log = logging.getLogger("droptune.api.door")


def answer(method: str, headers: Mapping[str, str], ask: Callable[[App, Caller], Answer], *, has_key: bool) -> Answer:
    """The answer to a request: what `ask` says to a caller who may have it, else why not.

    `has_key`: the Functions host has seen one. While the settings are no good nobody knows who may call, so nobody may,
    and what is wrong with them is not for everybody.
    """
    try:
        ours = app()
    except SettingError as error:
        log.error("the app's settings are no good: %s", error)  # noqa: TRY400 - it is no bug
        return unset(error, told=has_key)
    judged = judge(ours.settings.api, method, headers)
    return turned_away(judged) if isinstance(judged, Refusal) else ask(ours, judged)
