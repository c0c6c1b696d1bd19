"""Writes docs/settings.md from shared/settings.py, and from the timers' bindings what the Functions host reads itself.

`.venv/bin/python -m scripts.settings_page`; tests/test_docs.py fails when the page is stale.
"""

from __future__ import annotations

import re
from dataclasses import MISSING
from datetime import timedelta
from pathlib import Path
from typing import Any

from shared.settings import Setting, every_setting, groups

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "settings.md"
KINDS = {
    "str": "text",
    "int": "whole number",
    "float": "number",
    "bool": "`true` or `false`",
    "timedelta": "duration",
    "frozenset[str]": "names",
    "tuple[tuple[str, str], ...]": "tags",
    "Decimal | None": "price",
}
HEAD = """# Settings

Application settings of the Function App: in Azure set by the deployment, in the local cloud by `droptune local up`.
Durations are ISO 8601 in days, hours, minutes and seconds (`PT60S`, `P1DT12H`). A setting that is missing or can't be
read stops the app with a message that names all of them.

Many have a variable of azd, mostly with `DROPTUNE_` before the name; [azure.md](azure.md#switches) says how to set the
others, and that each `azd provision` sets all anew. `AZURE_RESOURCE_GROUP` and `AZURE_LOCATION` are the workspace's
here, the app's in azd. Made from `shared/settings.py` by `scripts/settings_page.py`.
"""
GROUP = """
## {heading}

{about}

| setting | what | kind | default |
|---|---|---|---|
{rows}
"""
HOST = """
## What the Functions host reads

The Functions host reads the two schedules as well, from the triggers' bindings: NCRONTAB expressions of six fields,
seconds first, in UTC. `DROPTUNE_STORAGE__*` and `AzureWebJobsStorage__*` are the identity-based connections of its
queues and of the host.
"""


def page() -> str:
    """The page as it should be. Raises ValueError for a `%SETTING%` of a binding that Settings does not have."""
    tables = []
    for name, group in groups().items():
        rows = "\n".join(row(setting) for setting in every_setting() if setting.group == name)
        tables.append(GROUP.format(heading=group.__name__, about=group.__doc__, rows=rows))
    sources = "".join(path.read_text() for path in sorted((ROOT / "functions").glob("*.py")))
    unknown = set(re.findall(r"%(\w+)%", sources)) - {setting.name for setting in every_setting()}
    if unknown:
        raise ValueError(f"functions/ binds settings that shared/settings.py does not have: {sorted(unknown)}")
    return HEAD + "".join(tables) + HOST


def row(setting: Setting) -> str:
    """Its row of a table."""
    default = "needed" if setting.default is MISSING else shown(setting.default)
    return f"| `{setting.name}` | {setting.help} | {KINDS[setting.kind]} | {default} |"


def shown(default: Any) -> str:
    """A default as one would write it."""
    if isinstance(default, timedelta):
        minutes, seconds = divmod(int(default.total_seconds()), 60)
        hours, minutes = divmod(minutes, 60)
        parts = [f"{n}{unit}" for n, unit in ((hours, "H"), (minutes, "M"), (seconds, "S")) if n]
        return f"`PT{''.join(parts) or '0S'}`"
    if isinstance(default, bool):
        return f"`{str(default).lower()}`"
    return f"`{default}`" if default not in (None, "", frozenset(), ()) else "empty"


if __name__ == "__main__":
    PAGE.write_text(page())
