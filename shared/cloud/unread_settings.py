"""Names in the environment that are meant for a setting of the app and that nothing reads: told at the start.

Azure takes any name for an application setting, and a mistyped one changes nothing. Called by the app when it starts,
and by health.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping

from shared.settings import every_setting

_OF_OTHERS = (
    *("azure", "website", "functions_", "applicationinsights", "appinsights", "scm", "hf_", "python", "docker"),
    *("webjobs", "override_use_", "microsoft_provider_", "enable_oryx", "build_", "diagnostics_", "remotedebugging"),
)
"""How names begin that Azure, the host and libraries read: one of them has to be much like a setting to be told."""
_OF_HOST = ("droptune_storage__credential", "droptune_storage__clientid", "droptune_storage__tableserviceuri")
"""What the host reads beside the setting whose name begins so: never taken for a mistyped one."""
_NEAR, _NEAREST = 0.85, 0.5
"""How like a setting's name another one is, from 0 to 1: that is taken for it; and that is offered for it at all."""
_APP_SETTING = "APPSETTING_"
"""Azure gives each application setting to the process under such a name, too: it is one that somebody made."""


def unread(environ: Mapping[str, str]) -> list[str]:
    """A sentence for each name in `environ` that is meant for a setting, or seems to be, and that nothing reads."""
    known = {setting.name.upper(): setting.name for setting in every_setting()}
    found = []
    made = {name.removeprefix(_APP_SETTING) for name in environ if name.startswith(_APP_SETTING)}
    others = {name for name in environ if not name.startswith(_APP_SETTING)}
    for name in sorted((made | others) - set(known.values())):
        if name.upper() in known:
            found.append(f"{name} is a setting that nothing reads, for its case: it is named {known[name.upper()]}")
        elif not name.casefold().startswith(_OF_HOST) and len(name) <= 2 * max(map(len, known)):
            of_others = name.casefold().startswith(_OF_OTHERS)
            cutoff = _NEAREST if name in made and not of_others else _NEAR
            near = [known[each] for each in difflib.get_close_matches(name.upper(), known, n=1, cutoff=cutoff)]
            if near or (name in made and not of_others):
                found.append(f"{name} is a setting that nothing reads{f': is {near[0]} meant?' if near else ''}")
    return found
