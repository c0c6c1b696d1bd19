"""A request over HTTPS with a secret that goes to nobody else, and into no error.

For Resource Manager and for endpoints: the app's own API is asked by cli/client.py.
"""

from __future__ import annotations

import http.client
import ssl
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from cli.errors import CliError

MOST = 8 * 1024 * 1024
"""Bytes of an answer that are read."""
HIDDEN = "***"
_LOOPBACK = ("localhost", "127.0.0.1", "::1")


class Silent(Exception):
    """No answer came. The text says why, in some words; `late`: none came in time."""

    def __init__(self, why: str, *, late: bool = False) -> None:
        super().__init__(why)
        self.late = late


@dataclass(frozen=True, kw_only=True)
class Reply:
    """An answer, whatever its status. The secret that was sent is in none of it."""

    status: int
    reason: str
    body: str
    headers: Mapping[str, str] = field(default_factory=dict)


class _Stays(urllib.request.HTTPRedirectHandler):
    """Follows nobody elsewhere: neither Resource Manager nor an endpoint sends its callers away."""

    def redirect_request(self, *_: Any) -> None:
        return None


def on_this_machine(address: str) -> bool:
    """Whether the address is a loopback one, as all of the local cloud are."""
    try:
        return urlsplit(address).hostname in _LOOPBACK
    except ValueError:
        return False


def send(
    method: str,
    address: str,
    *,
    secret: str,
    body: bytes | None = None,
    headers: Mapping[str, str] | None = None,
    ca: Path | None = None,
    timeout: float,
) -> Reply:
    """Asks, with the `secret` as the bearer. Raises Silent; CliError where it can't be sent safely.

    `ca`: the only certificate authority that is trusted; None: this machine's. `timeout`: seconds without a byte.
    """
    if urlsplit(address).scheme != "https":
        raise CliError(f"{address} is no https:// address: no key is sent there")
    if not (secret.isascii() and secret.isprintable()):  # http.client would quote it in its error
        raise CliError(f"what was given out for {address} is no key: it has characters that can't be sent")
    request = urllib.request.Request(address, body, dict(headers or {}), method=method)  # noqa: S310 - checked above
    request.add_header("Accept", "application/json")
    if body is not None:
        request.add_header("Content-Type", "application/json")
    request.add_unredirected_header("Authorization", f"Bearer {secret}")
    handlers: list[urllib.request.BaseHandler] = [_Stays()]
    if on_this_machine(address):
        handlers.append(urllib.request.ProxyHandler({}))
    handlers.append(urllib.request.HTTPSHandler(context=ssl.create_default_context(cafile=ca)))
    try:
        with urllib.request.build_opener(*handlers).open(request, timeout=timeout) as answer:
            return _reply(answer.status, answer, secret)
    except urllib.error.HTTPError as error:
        with error:
            return _reply(error.code, error, secret)
    except TimeoutError:
        raise Silent(f"no answer came within {timeout:.0f} s", late=True) from None
    except urllib.error.URLError as error:
        if isinstance(error.reason, TimeoutError):
            raise Silent(f"no answer came within {timeout:.0f} s", late=True) from None
        raise Silent(f"it can't be reached: {error.reason}".replace(secret, HIDDEN)) from None
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise Silent(f"its answer can't be read: {error or type(error).__name__}".replace(secret, HIDDEN)) from None


def _reply(status: int, answer: Any, secret: str) -> Reply:
    try:
        read = answer.read(MOST + 1)
    except (OSError, http.client.HTTPException) as error:
        raise Silent(f"its answer was cut off: {error}", late=isinstance(error, TimeoutError)) from None
    if len(read) > MOST:
        raise Silent(f"its answer is longer than {MOST // 1024**2} MB")
    return Reply(
        status=status,
        reason=str(answer.reason or ""),
        body=read.decode(errors="replace").replace(secret, HIDDEN),
        headers={name.lower(): value.replace(secret, HIDDEN) for name, value in answer.headers.items()},
    )
