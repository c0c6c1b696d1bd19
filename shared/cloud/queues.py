"""Messages into the app's own queues: a run is woken, now or later.

The Functions host expects base64 (host.json, `messageEncoding`) while the SDK sends plain text unless told otherwise.
Called by whatever wakes a run or hands it on.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from shared.cloud.clients import Clients
from shared.cloud.failures import translated

_ROLE = "Storage Queue Data Contributor on the app's storage account"
PEEKED = 32
"""Messages that one request can look at: of the queue service."""
_LONGEST = timedelta(days=7)  # of the queue service; whoever is woken too early looks at the due time and sleeps again


class Queues:
    """The queue service of the app's storage account."""

    def __init__(self, clients: Clients) -> None:
        self._clients = clients

    def send(self, queue: str, message: Mapping[str, Any], after: timedelta = timedelta(0)) -> None:
        """Puts `message` into `queue` as JSON, hidden for `after` (whole seconds, at most 7 days). It never expires."""
        from azure.storage.queue import TextBase64EncodePolicy

        hidden = math.ceil(min(max(after, timedelta(0)), _LONGEST).total_seconds())
        with translated(f"queue {queue}", role=_ROLE):
            self._clients.queue_service.get_queue_client(
                queue, message_encode_policy=TextBase64EncodePolicy()
            ).send_message(
                json.dumps(message, ensure_ascii=False, separators=(",", ":")),
                visibility_timeout=hidden,
                time_to_live=-1,
            )

    def waiting(self, queue: str) -> int:
        """How many messages could be taken out of `queue` right now; at most PEEKED are counted."""
        with translated(f"queue {queue}", role=_ROLE):
            return len(self._clients.queue_service.get_queue_client(queue).peek_messages(PEEKED))
