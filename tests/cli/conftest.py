"""No test of the command line reads the apps, keys and tokens of whoever runs it."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def config(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where `droptune login` keeps its addresses."""
    settings = ("BASE_MODEL", "FINETUNE_SIZE", "SERVING_SIZE", "FINETUNE_COMPONENT")  # those that `check` looks at
    for name in ("DROPTUNE_URL", "DROPTUNE_KEY", "DROPTUNE_TOKEN", "DROPTUNE_APP", *settings):
        monkeypatch.delenv(name, raising=False)
    folder = tmp_path_factory.mktemp("config")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(folder))
    return folder / "droptune" / "apps.json"
