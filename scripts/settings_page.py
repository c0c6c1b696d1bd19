"""Writes docs/settings.md from shared/settings.py, and from the timers' bindings what the Functions host reads itself.

`.venv/bin/python -m scripts.settings_page`; tests/test_docs.py fails when the page is stale.
"""

from __future__ import annotations

import re
from dataclasses import MISSING, fields
from datetime import timedelta
from pathlib import Path
from typing import Any

from shared.settings import Settings

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "settings.md"
KINDS = {
    "str": "text",
    "int": "whole number",
    "float": "number",
    "bool": "`true` or `false`",
    "timedelta": "duration",
    "frozenset[str]": "names",
}
HEAD = """# Settings

Application settings of the Function App: in Azure set by the deployment, in the local cloud by `droptune local up`.
Durations are ISO 8601 in days, hours, minutes and seconds (`PT60S`, `P1DT12H`). A setting that is missing or can't be
read stops the app with a message that names all of them.

Many have a variable of azd, mostly with `DROPTUNE_` before the name; [azure.md](azure.md#switches) says how to set the
others, and that each `azd provision` sets all anew. `AZURE_RESOURCE_GROUP` and `AZURE_LOCATION` are the workspace's
here, the app's in azd. Made from `shared/settings.py` by `scripts/settings_page.py`.

| setting | what | kind | default |
|---|---|---|---|
"""
HOST = """
The Functions host reads the two schedules as well, from the triggers' bindings: NCRONTAB expressions of six fields,
seconds first, in UTC. `DROPTUNE_STORAGE__*` and `AzureWebJobsStorage__*` are the identity-based connections of its
queues and of the host.
"""


def page() -> str:
    """The page as it should be. Raises ValueError for a `%SETTING%` of a binding that Settings does not have."""
    rows = []
    for setting in fields(Settings):
        default = "needed" if setting.default is MISSING else shown(setting.default)
        rows.append(
            f"| `{setting.metadata['name']}` | {setting.metadata['help']} | {KINDS[str(setting.type)]} | {default} |\n"
        )
    sources = "".join(path.read_text() for path in sorted((ROOT / "functions").glob("*.py")))
    unknown = set(re.findall(r"%(\w+)%", sources)) - {setting.metadata["name"] for setting in fields(Settings)}
    if unknown:
        raise ValueError(f"functions/ binds settings that shared/settings.py does not have: {sorted(unknown)}")
    rows.append(HOST)
    return HEAD + "".join(rows)


def shown(default: Any) -> str:
    """A default as one would write it."""
    if isinstance(default, timedelta):
        minutes, seconds = divmod(int(default.total_seconds()), 60)
        hours, minutes = divmod(minutes, 60)
        parts = [f"{n}{unit}" for n, unit in ((hours, "H"), (minutes, "M"), (seconds, "S")) if n]
        return f"`PT{''.join(parts) or '0S'}`"
    if isinstance(default, bool):
        return f"`{str(default).lower()}`"
    return f"`{default}`" if default not in ("", frozenset()) else "empty"


if __name__ == "__main__":
    PAGE.write_text(page())
