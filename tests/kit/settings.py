"""Settings that a test wants otherwise than the stack has them, each under its name as in the environment."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from shared.app import App
from shared.settings import Settings, every_setting

KNOWN = {setting.name: setting for setting in every_setting()}
"""Each setting by that name."""


def changed(settings: Settings, **values: Any) -> Settings:
    """The same but for these, as in `changed(settings, MAX_ACTIVE_JOBS=0)`: values that nobody checks."""
    for name, value in values.items():
        at = KNOWN[name]
        group = replace(getattr(settings, at.group), **{at.attribute: value})
        settings = replace(settings, **{at.group: group})
    return settings


def with_settings(app: App, **values: Any) -> App:
    """The same app with these settings changed."""
    return replace(app, settings=changed(app.settings, **values))
