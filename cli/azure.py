"""Azure Resource Manager as the person at the keyboard may ask it: where a function app is, and its function key.

With that person's own rights (azure-identity, `az login` among them). Tokens and keys stay in memory.
"""

from __future__ import annotations

import http.client
import json
import urllib.error
import urllib.request
from typing import Any
from urllib.parse import quote

from cli.errors import CliError

ARM = "https://management.azure.com"
API_VERSION = "2023-12-01"
TIMEOUT = 30.0
KEEPS_KEY = "give a key with DROPTUNE_KEY"
_READ = 1024 * 1024
_DEFAULT_KEY = "default"


def host_of(subscription: str, group: str, function_app: str) -> str:
    """The address of a function app. Raises CliError."""
    found = _asked("GET", _site(subscription, group, function_app), f"the function app {function_app}")
    name = (found.get("properties") or {}).get("defaultHostName")
    if not isinstance(name, str) or not name:
        raise CliError(f"Azure tells no host name of the function app {function_app}: give its address with --url")
    return f"https://{name}"


def function_key(subscription: str, group: str, function_app: str) -> str:
    """A key that opens its functions, never the master key. Raises CliError."""
    what = f"the function keys of {function_app}"
    path = f"{_site(subscription, group, function_app)}/host/default/listKeys"
    keys = _asked("POST", path, what).get("functionKeys")
    if not isinstance(keys, dict) or not keys:
        raise CliError(f"{function_app} has no function key: make one in the portal (App keys), or {KEEPS_KEY}")
    return str(keys.get(_DEFAULT_KEY) or next(iter(keys.values())))


def _site(subscription: str, group: str, function_app: str) -> str:
    parts = (quote(each, safe="") for each in (subscription, group, function_app))
    return "/subscriptions/{}/resourceGroups/{}/providers/Microsoft.Web/sites/{}".format(*parts)


def _asked(method: str, path: str, what: str) -> dict[str, Any]:
    """What ARM answers. Raises CliError, which says what to do."""
    from shared.cloud.caller import token_of_caller
    from shared.errors import Permanent

    try:
        token = token_of_caller(f"{ARM}/.default")
    except Permanent as error:
        raise CliError(str(error)) from None
    request = urllib.request.Request(f"{ARM}{path}?api-version={API_VERSION}", method=method)  # noqa: S310
    request.add_unredirected_header("Authorization", f"Bearer {token}")
    if method == "POST":
        request.data = b""
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT) as answer:  # noqa: S310
            found = json.loads(answer.read(_READ))
    except urllib.error.HTTPError as error:
        with error:
            raise CliError(_refused(error.code, what)) from None
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise CliError(f"Azure can't be asked for {what}: {error}") from None
    if not isinstance(found, dict):
        raise CliError(f"Azure can't be asked for {what}: it answers no object")
    return found


def _refused(status: int, what: str) -> str:
    match status:
        case 401:
            return f"Azure does not know you when it is asked for {what}: run `az login` for the app's tenant"
        case 403:
            return (
                f"you may not see {what}: have someone give you the role Website Contributor on it, or "
                f"name the app with --url and {KEEPS_KEY}"
            )
        case 404:
            return f"Azure knows nothing of {what}: check subscription, group and name (`az functionapp list`)"
    return f"Azure answered {status} when it was asked for {what}: try again"
