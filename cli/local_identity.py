"""The local cloud that an address belongs to, and a token of its one identity: who types a command is that there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from cli.errors import CliError

if TYPE_CHECKING:
    from localcloud.environment import Description

TIMEOUT = 30.0


def local_cloud_of(address: str, state: Path) -> Description | None:
    """The local cloud whose address it is; None for one that is not on this machine.

    `state`: the state folder of the local cloud. Raises CliError where that one's it is not.
    """
    from cli.https import on_this_machine

    if not on_this_machine(address):
        return None
    from localcloud.environment import Description, DescriptionError

    try:
        local = Description.load(state)
    except (DescriptionError, OSError) as error:
        raise CliError(str(error)) from None
    if local is None or not address.startswith((f"{local.management_url}/", f"{local.storage_url('blob')}/")):
        raise CliError(
            f"{address} is on this machine, and not of the local cloud in {state}: name its folder with --state"
        )
    return local


def token_of(local: Description, scope: str) -> tuple[str, int]:
    """A token, asked for as on App Service, and when it ends (seconds since 1970). Raises CliError."""
    import urllib.request
    from urllib.parse import urlencode

    from localcloud.environment import app_environment

    found = app_environment(local)
    query = urlencode({"api-version": "2019-08-01", "resource": scope.removesuffix("/.default")})
    request = urllib.request.Request(f"{found['IDENTITY_ENDPOINT']}?{query}")  # noqa: S310 - of the local cloud
    request.add_unredirected_header("X-IDENTITY-HEADER", found["IDENTITY_HEADER"])
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=TIMEOUT) as answer:
            told = json.load(answer)
            return str(told["access_token"]), int(told["expires_on"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CliError(f"the local cloud in {local.state} gives out no token: {error}: does it run?") from None
