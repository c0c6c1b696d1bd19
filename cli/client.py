"""A running Droptune app over its HTTP API: how commands and the demo see runs and lines, and ask for something.

The app is the one in Azure (`--url`, `--key`) or, when neither is given, the one in the local cloud's state folder. An
app that wants people of Entra (API_AUTH) gets the token in DROPTUNE_TOKEN.
"""

from __future__ import annotations

import http.client
import json
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from cli.errors import CliError

TIMEOUT = 30.0
READ = 64 * 1024


@dataclass(frozen=True, kw_only=True)
class AppClient:
    """The app's API. `url` has no slash at the end; `key` is a function or host key, never shown, like the token."""

    url: str
    key: str = field(repr=False)
    token: str = field(default="", repr=False)

    @classmethod
    def of(cls, environ: Mapping[str, str], *, url: str | None, key: str | None, state: Path) -> Self:
        """By the options, else DROPTUNE_URL and DROPTUNE_KEY, else the local cloud in `state`. Raises CliError.

        A token goes only where one of them names the app: whoever listens on this machine must not get it.
        """
        url, key = url or environ.get("DROPTUNE_URL"), key or environ.get("DROPTUNE_KEY")
        if url:
            return cls(url=url.rstrip("/"), key=key or "", token=environ.get("DROPTUNE_TOKEN", "").strip())
        from localcloud.environment import Description

        local = Description.load(state)
        if local is None or "host" not in local.processes:
            raise CliError(f"no app is running in {state}: start one with `droptune local up`, or name one with --url")
        return cls(url=local.host_url, key=local.function_key)

    def runs(self) -> list[dict[str, Any]]:
        """The records of the runs that changed last, newest first."""
        found: list[dict[str, Any]] = self._get("runs")
        return found

    def run(self, run_id: str) -> dict[str, Any]:
        """One run, with the report on its data and its job's metrics. Raises CliError when there is none."""
        found: dict[str, Any] = self._get(f"runs/{run_id}")
        return found

    def folders(self) -> dict[str, list[str]]:
        """Folders that are no run yet: name to the files that each waits for."""
        found: dict[str, list[str]] = self._get("folders")
        return found

    def lines(self) -> list[dict[str, Any]]:
        """The lines: what serves, what is idle."""
        found: list[dict[str, Any]] = self._get("lines")
        return found

    def ask(self, path: str, by: str, timeout: float = TIMEOUT) -> dict[str, Any]:
        """Has a command carried out: `runs/ID/COMMAND`, `lines/ID/COMMAND`, or `recover`; `by`: who asks.

        Raises CliError with the app's reason when it can't be.
        """
        done: dict[str, Any] = self._get(path, json.dumps({"by": by}).encode(), timeout)
        return done

    def _get(self, path: str, body: bytes | None = None, timeout: float = TIMEOUT) -> Any:
        """The answer to a GET, or to a POST of `body`."""
        if not self.url.startswith(("http://", "https://")):
            raise CliError(f"--url must start with https:// (or http:// on this machine), not {self.url}")
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(f"{self.url}/api/{path}", body, headers)  # noqa: S310
        # Neither goes along to where an answer may send us: a login page is somebody else's.
        request.add_unredirected_header("x-functions-key", self.key)
        if self.token:
            request.add_unredirected_header("Authorization", f"Bearer {self.token}")
        try:
            with urllib.request.urlopen(request, timeout=timeout) as answer:  # noqa: S310
                return json.loads(answer.read())
        except urllib.error.HTTPError as error:
            why = _reason(error)
            if error.code == 401:
                raise CliError(self._unknown(why)) from None
            if why and (body is not None or error.code in (403, 503)):
                raise CliError(why) from None
            if error.code == 404:
                raise CliError(
                    f"there is no {path.replace('s/', ' ', 1) if '/' in path else path} at {self.url}"
                ) from None
            raise CliError(f"{self.url}/api/{path} answered {error.code}: see the app's log") from None
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise CliError(f"{self.url}/api/{path} can't be read: {error}") from None

    def _unknown(self, why: str) -> str:
        """What to do where the app does not know who asks; `why`: what it says itself, with `API_AUTH=entra`."""
        if self.token:
            return f"{self.url} refuses the token in DROPTUNE_TOKEN: get a new one (docs/api.md says how)"
        if why:
            return f"{self.url} wants a token in DROPTUNE_TOKEN (docs/api.md says how): {why}"
        return f"{self.url} refuses the key: give it with --key or DROPTUNE_KEY"


def _reason(error: urllib.error.HTTPError) -> str:
    """What an answer that is an error says; empty where it does not come from the app."""
    with error:
        try:
            return " ".join(str(json.loads(error.read(READ))["error"]).split())
        except (OSError, http.client.HTTPException, ValueError, KeyError, TypeError):
            return ""
