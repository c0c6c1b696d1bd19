"""A running Droptune app over its HTTP API: how commands see runs and lines, and ask for something.

The app is the one that `--app`, `--url` or `--state` names, or their variables, or the last `droptune login`; without
any of them that of a local cloud that is found. An app that wants people of Entra (API_AUTH) gets the token in
DROPTUNE_TOKEN.
"""

from __future__ import annotations

import http.client
import json
import math
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self
from urllib.parse import quote, urlencode

import msgspec

from cli.apps import STATE, AppAddress, Apps, file, local_state
from cli.errors import CliError
from shared import naming
from shared.api.cost_schema import CostView
from shared.api.models_schema import ModelList
from shared.api.schema import (
    VERSION,
    About,
    AnswersView,
    CleanupView,
    FolderList,
    LineList,
    LineView,
    LogsView,
    QuestionView,
    Recovered,
    RunList,
    RunView,
    StatusView,
    Told,
)

TIMEOUT = 30.0
PATIENT = 90.0
"""Seconds for what asks the registry about many models, or adds up all months."""
LONG = 600.0
"""Seconds for what asks Azure for everything."""
READ = 64 * 1024


@dataclass(frozen=True, kw_only=True)
class AppClient:
    """The app's API. `url` has no slash at the end; `key` is a function or host key, never shown, like the token.

    `state`: the state folder of the local cloud whose app it is; None for one that has an address.
    """

    url: str
    key: str = field(repr=False)
    token: str = field(default="", repr=False)
    state: Path | None = None

    @classmethod
    def of(
        cls,
        environ: Mapping[str, str],
        *,
        url: str | None = None,
        key: str | None = None,
        state: Path | None = None,
        app: str | None = None,
    ) -> Self:
        """The app that the options name, else the environment, else the last `login`, else a local cloud that is found.

        Raises CliError. A key or token of the environment goes only where a person has named the app (whoever listens
        on this machine must not get it), and where DROPTUNE_URL is set, to that address alone or to `url`.
        """
        if not (url or app or state):
            url, app = environ.get("DROPTUNE_URL"), environ.get("DROPTUNE_APP")
        if url:
            return cls._with_secrets(environ, AppAddress(url=url), key)
        if state:
            return cls._local(state)
        known = Apps.load(file(environ))
        name = app or known.current
        if not name:
            return cls._found()
        address = known.named(name)
        if address.state:
            return cls._local(Path(address.state), f"app {name!r}: ")
        of_another = environ.get("DROPTUNE_URL", "").rstrip("/") not in ("", address.url)
        return cls._with_secrets({} if of_another else environ, address, key)

    @classmethod
    def _with_secrets(cls, environ: Mapping[str, str], address: AppAddress, key: str | None) -> Self:
        """With what lets in there; a function key is asked of Azure where neither key nor token is given."""
        key = (key or environ.get("DROPTUNE_KEY", "")).strip()
        token = environ.get("DROPTUNE_TOKEN", "").strip()
        if address.function_app and not key and not token:
            from cli.azure import function_key

            key = function_key(address.subscription, address.group, address.function_app)
        return cls(url=address.url.rstrip("/"), key=key, token=token)

    @classmethod
    def _found(cls) -> Self:
        """Of the local cloud that runs in this folder, in one above it, or in the repository. Raises CliError."""
        if state := local_state(Path.cwd()):
            return cls._local(state)
        raise CliError(
            f"no app is running in {STATE} of this folder, of one above it or of the repository: "
            "start one with `droptune local up`, or name one with `droptune login`, --app or --url"
        )

    @classmethod
    def _local(cls, state: Path, which: str = "") -> Self:
        """Of the local cloud in that folder. Raises CliError."""
        from localcloud.environment import Description, DescriptionError

        try:
            local = Description.load(state)
        except (DescriptionError, OSError) as error:
            raise CliError(f"{which}{error}") from None
        if local is None or "host" not in local.processes:
            raise CliError(
                f"{which}no app is running in {state}: start one with `droptune local up`, "
                "or name one with `droptune login`, --app or --url"
            )
        return cls(url=local.host_url, key=local.function_key, state=state)

    def about(self) -> About:
        """Whether the app is well, and where uploads go."""
        return self._get("about", About)

    def status(self) -> StatusView:
        """What serves, what needs a person, and what goes on by itself."""
        return self._get("status", StatusView)

    def runs(self, **wanted: str) -> RunList:
        """The runs that changed last, newest first; `folder`, `phase` and `limit` choose among them."""
        query = urlencode({name: value for name, value in wanted.items() if value})
        return self._get(f"runs?{query}" if query else "runs", RunList)

    def run(self, name: str) -> RunView:
        """One run, with the report on its data and its job's metrics: by its id, the beginning of it, or its folder.

        Raises CliError when there is none, or more than one.
        """
        return self._get(f"runs/{part(naming.FOLDER, name)}", RunView)

    def answers(self, name: str) -> AnswersView:
        """What the gate asked a run's deployment. Raises CliError where nothing was asked."""
        return self._get(f"runs/{part(naming.FOLDER, name)}/answers", AnswersView)

    def logs(self, name: str) -> LogsView:
        """The log of a run's deployment. Raises CliError where it has none."""
        return self._get(f"runs/{part(naming.FOLDER, name)}/logs", LogsView)

    def folders(self) -> FolderList:
        """Folders that are no run yet, and the files that each waits for."""
        return self._get("folders", FolderList)

    def lines(self) -> LineList:
        """The model lines: what serves, what is idle."""
        return self._get("lines", LineList)

    def line(self, name: str) -> LineView:
        """One line: by its id, its endpoint, or its folder. Raises CliError when there is none."""
        return self._get(f"lines/{part(naming.FOLDER, name)}", LineView)

    def cleanup(self, line: str = "") -> CleanupView:
        """What the cleanup made of the lines at its last look, or of one. Raises CliError when there is none."""
        query = f"?{urlencode({'line': line}, errors='surrogatepass')}" if line else ""
        return self._get(f"cleanup{query}", CleanupView)

    def question(self, name: str, row: str = "") -> QuestionView:
        """A held-out row of what a line served last: number `row`, or any. Raises CliError when there is none."""
        query = f"?{urlencode({'row': row})}" if row else ""
        return self._get(f"lines/{part(naming.FOLDER, name)}/question{query}", QuestionView)

    def cost(self, period: str = "", by: str = "") -> CostView:
        """What a period cost (this month), by line, run or day, and what was saved. Raises CliError for no period."""
        query = urlencode(
            {name: value for name, value in (("for", period), ("by", by)) if value}, errors="surrogatepass"
        )
        return self._get(f"cost?{query}" if query else "cost", CostView, timeout=PATIENT)

    def models(self, name: str = "") -> ModelList:
        """The base models that a finetune.yaml may name, or those with `name` in theirs."""
        query = f"?{urlencode({'name': name}, errors='surrogatepass')}" if name else ""
        return self._get(f"models{query}", ModelList, timeout=PATIENT)

    def model(self, name: str) -> ModelList:
        """The base model of that name, or with "" the app's own, and what the fine-tune component takes."""
        query = urlencode({"name": name, "exact": "true"}, errors="surrogatepass")
        return self._get(f"models?{query}", ModelList, timeout=PATIENT)

    def start(self, folder: str, by: str) -> Told:
        """Has the app look into a dataset's folder. Raises CliError where that yields no run."""
        return self._get(f"folders/{part(naming.FOLDER, folder)}/start", Told, _asked(by))

    def ask(self, path: str, by: str, more: Mapping[str, object] | None = None) -> Told:
        """Has a command carried out: `runs/ID/COMMAND` or `lines/ID/COMMAND`; `by`: who asks; `more`: what it takes.

        Raises CliError with the app's reason when it can't be.
        """
        return self._get(path, Told, _asked(by, more))

    def recover(self, by: str) -> Recovered:
        """Has lost records made again. Raises CliError."""
        return self._get("recover", Recovered, _asked(by), LONG)

    def _get[A](self, path: str, kind: type[A], body: bytes | None = None, timeout: float = TIMEOUT) -> A:
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
                return self._of_known_version(msgspec.json.decode(answer.read(), type=kind))
        except urllib.error.HTTPError as error:
            why = _reason(error)
            if error.code == 401:
                raise CliError(self._unknown(why)) from None
            if why and (body is not None or error.code in (403, 404, 409, 503)):
                raise CliError(why) from None
            if error.code == 404:
                raise CliError(
                    f"there is no {path.replace('s/', ' ', 1) if '/' in path else path} at {self.url}"
                ) from None
            raise CliError(f"{self.url}/api/{path} answered {error.code}: see the app's log") from None
        except msgspec.ValidationError as error:
            raise CliError(
                f"{self.url}/api/{path} answers in another version's words ({error}): use the droptune of that app"
            ) from None
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise CliError(f"{self.url}/api/{path} can't be read: {self._silence(error)}") from None

    def _silence(self, error: Exception) -> str:
        """Why there was no answer, and what to do."""
        reason = error.reason if isinstance(error, urllib.error.URLError) else error
        why = (reason.strerror if isinstance(reason, OSError) else "") or str(reason) or type(reason).__name__
        if isinstance(reason, TimeoutError | http.client.RemoteDisconnected | ConnectionResetError):
            return f"{why}: try again in a moment"
        if self.state:
            return f"{why}: start the local cloud with `droptune local up`"
        return f"{why}: is the app's address right? --url, --app or `droptune login` name another"

    def _of_known_version[A](self, answer: A) -> A:
        """The answer, if it is of a version that this command knows. Raises CliError."""
        version = getattr(answer, "version", VERSION)
        if version > VERSION:
            raise CliError(f"{self.url} answers in version {version}, and this droptune knows {VERSION}: update it")
        return answer

    def _unknown(self, why: str) -> str:
        """What to do where the app does not know who asks; `why`: what it says itself, with `API_AUTH=entra`."""
        if self.token:
            return f"{self.url} refuses the token in DROPTUNE_TOKEN: get a new one (docs/api.md says how)"
        if why:
            return f"{self.url} wants a token in DROPTUNE_TOKEN (docs/api.md says how): {why}"
        return f"{self.url} refuses the key: give it with --key or DROPTUNE_KEY"


def part(kind: naming.Kind, name: str) -> str:
    """A name as a part of an address. Raises CliError for one that can't be of its kind: nothing is asked for it."""
    if why := naming.refused(kind, name):
        raise CliError(why)
    return quote(name, safe="")


def as_json(answer: msgspec.Struct) -> str:
    """An answer with the fields that this command knows, to be read by people and programs."""
    return msgspec.json.format(msgspec.json.encode(answer), indent=2).decode()


def as_number(value: float | None) -> float:
    """A metric's value: JSON has none for what is no number, as the loss of a training that diverged."""
    return math.nan if value is None else value


def _asked(by: str, more: Mapping[str, object] | None = None) -> bytes:
    return json.dumps({"by": by, **(more or {})}).encode()


def _reason(error: urllib.error.HTTPError) -> str:
    """What an answer that is an error says; empty where it does not come from the app."""
    with error:
        try:
            return " ".join(str(json.loads(error.read(READ))["error"]).split())
        except (OSError, http.client.HTTPException, ValueError, KeyError, TypeError):
            return ""
