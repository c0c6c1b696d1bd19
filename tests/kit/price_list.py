"""Azure's price list on loopback: what it says of a size, in which order of pages, and how it fails."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.kit.answering import answering


class PriceServer:
    """It answers with `pages`, one after the other; with `body` and `status` instead where `body` is set.

    `drips`: it sends a byte now and then until `release` is set, and never ends. `asked`: the queries that came.
    """

    def __init__(self) -> None:
        self.url = ""
        self.pages: list[list[Any]] = [[]]
        self.next_page = "{url}/api/retail/prices?page={page}"
        self.body: bytes | None = None
        self.status = 200
        self.headers: dict[str, str] = {}
        self.drips = False
        self.release = threading.Event()
        self.asked: list[dict[str, list[str]]] = []

    def answer(self, query: dict[str, list[str]]) -> bytes:
        """The body for a query."""
        if self.body is not None:
            return self.body
        page = int(query.get("page", ["0"])[0])
        more = page + 1 < len(self.pages)
        link = self.next_page.format(url=self.url, page=page + 1) if more else None
        return json.dumps({"Items": self.pages[page], "NextPageLink": link, "Count": 1}).encode()


@contextmanager
def price_list() -> Iterator[PriceServer]:
    """The server, as long as the block runs."""
    server = PriceServer()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            query = parse_qs(urlsplit(self.path).query)
            server.asked.append(query)
            body = server.answer(query)
            self.send_response(server.status)
            for name, value in server.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body) + (10**6 if server.drips else 0)))
            self.end_headers()
            try:
                self.wfile.write(body)
                while server.drips and not server.release.wait(0.01):
                    self.wfile.write(b" ")
            except OSError:  # the caller has had enough
                pass

        def log_message(self, *_: Any) -> None:
            pass

    with answering(Handler) as server.url:
        try:
            yield server
        finally:
            server.release.set()
