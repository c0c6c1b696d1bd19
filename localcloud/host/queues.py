"""Queue triggers and queue outputs, with the rules of the Functions host's storage extension.

A listener takes messages while it has room, keeps each one invisible to others as long as its function runs, and
deletes it only when the function succeeded. So a host that dies loses nothing, and two hosts on the same queue don't
hand out a message twice. One difference is meant: the real host takes a message for ten minutes at a time; here it is
`lease`, seconds, so that a killed host's work comes back while somebody watches. Made by `__main__`.
"""

from __future__ import annotations

import asyncio
import binascii
import contextlib
import logging
import random
from enum import Enum, auto
from typing import TYPE_CHECKING, Any

from localcloud.host.connections import one_line
from localcloud.host.invocations import Invocations
from localcloud.host.settings import QueueSettings
from localcloud.host.worker import Function

if TYPE_CHECKING:
    from azure.storage.queue import QueueClient, QueueMessage

log = logging.getLogger("host")

FIRST_POLL = 0.1
"""Seconds; the host's shortest polling interval."""
HIDDEN = 600
"""Seconds; for how long the real host takes a message."""


class Then(Enum):
    """What becomes of a message."""

    DELETE = auto()
    RETRY = auto()
    POISON = auto()


class QueueListener:
    """Feeds one function from one queue.

    `poison` None: the queue is a poison queue itself. A message that fails there is hidden for ten minutes, again and
    again, and no longer run once it has had its attempts.
    """

    def __init__(
        self,
        function: Function,
        queue: QueueClient,
        poison: QueueClient | None,
        *,
        settings: QueueSettings,
        lease: int,
        invocations: Invocations,
    ) -> None:
        self._function = function
        self._queue = queue
        self._poison = poison
        self._settings = settings
        self._lease = lease
        self._invocations = invocations
        self._trouble = ""
        self.processing: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Listen until cancelled. What is being processed then goes on, see `processing`."""
        backoff = Backoff(self._settings.max_polling_interval.total_seconds())
        while True:
            if len(self.processing) > self._settings.new_batch_threshold:
                await asyncio.wait(self.processing, return_when=asyncio.FIRST_COMPLETED)
                continue
            messages = await self._receive()
            for message in messages:
                task = asyncio.create_task(self._process(message))
                self.processing.add(task)
                task.add_done_callback(self.processing.discard)
            if messages:
                backoff.reset()
            else:
                await asyncio.sleep(backoff.next())

    async def _receive(self) -> list[QueueMessage]:
        from azure.core.exceptions import AzureError, ResourceNotFoundError

        def receive() -> list[QueueMessage]:
            size = self._settings.batch_size
            pages = self._queue.receive_messages(
                messages_per_page=size, max_messages=size, visibility_timeout=self._lease
            )
            return list(pages)

        trouble = ""
        try:
            return await asyncio.to_thread(receive)
        except ResourceNotFoundError:
            trouble = "it doesn't exist"  # making a trigger's queue is not the host's business
        except AzureError as error:
            trouble = one_line(error)
        finally:
            if trouble and not self._trouble:
                log.warning("Queue %s can't be read, trying on: %s", self._queue.queue_name, trouble)
            self._trouble = trouble
        return []

    async def _process(self, message: QueueMessage) -> None:
        from azure.core.exceptions import AzureError

        held = _Held(self._queue, message, self._lease)
        renewing = asyncio.create_task(held.keep())
        try:
            then = await self._invoke(message)
        finally:
            held.release.set()
            await renewing
        if held.lost:
            return
        try:
            if then is not Then.DELETE and self._poison is None:
                await held.hide(HIDDEN)
            elif then is Then.RETRY:
                await held.hide(int(self._settings.visibility_timeout.total_seconds()))
            else:
                if then is Then.POISON and self._poison is not None:
                    log.warning("Message %s goes to queue %s", message.id, self._poison.queue_name)
                    await asyncio.to_thread(add, self._poison, str(message.content))
                await asyncio.to_thread(self._queue.delete_message, message.id, held.receipt)
        except AzureError as error:
            log.warning("Message %s of %s may come again: %s", message.id, self._queue.queue_name, one_line(error))

    async def _invoke(self, message: QueueMessage) -> Then:
        count = message.dequeue_count or 0
        if count > self._settings.max_dequeue_count:
            return Then.POISON  # it was running each time a host died
        try:
            body = decode(str(message.content), base64=self._settings.base64)
        except ValueError as error:
            where = (message.id, self._queue.queue_name, self._function.name)
            log.error("Message %s of %s can't reach 'Functions.%s': %s", *where, error)  # noqa: TRY400 - no traceback
            return Then.POISON
        times = {
            "InsertionTime": message.inserted_on,
            "ExpirationTime": message.expires_on,
            "NextVisibleTime": message.next_visible_on,
        }
        answer = await self._invocations.run(
            self._function,
            queue_data(self._function, body),
            {
                "QueueTrigger": body.decode(errors="replace"),
                "Id": message.id,
                "DequeueCount": count,
                "PopReceipt": message.pop_receipt,
                **{name: moment.isoformat() for name, moment in times.items() if moment},
            },
            reason=f"New queue message detected on '{self._queue.queue_name}'.",
        )
        if answer.error is None:
            return Then.DELETE
        return Then.POISON if count >= self._settings.max_dequeue_count else Then.RETRY


class QueueSender:
    """An output binding's queue, made when it is missing, as the host does."""

    def __init__(self, queue: QueueClient, *, base64: bool) -> None:
        self._queue = queue
        self._base64 = base64

    async def send(self, texts: list[str | bytes]) -> None:
        """Add the messages, in order."""
        for text in texts:
            await asyncio.to_thread(add, self._queue, encode(text, base64=self._base64))


class Backoff:
    """Waiting times between polls of an empty queue: doubling from 100 ms up to `longest` seconds, roughly."""

    def __init__(self, longest: float) -> None:
        self._longest = max(longest, FIRST_POLL)
        self.reset()

    def reset(self) -> None:
        """Something was there: start over."""
        self._empty = 0

    def next(self) -> float:
        """Seconds until the next poll."""
        wait = FIRST_POLL
        if self._empty:
            wait += FIRST_POLL * 2 ** min(self._empty - 1, 30) * random.uniform(0.8, 1.2)  # noqa: S311 - spreads load
        self._empty += 1
        return min(wait, self._longest)


class _Held:
    """A message that is ours for now. A renewal changes its receipt, so renewing ends before anything else uses it."""

    def __init__(self, queue: QueueClient, message: QueueMessage, lease: int) -> None:
        self._queue = queue
        self._id = str(message.id)
        self._lease = lease
        self.receipt = str(message.pop_receipt)
        self.release = asyncio.Event()
        self.lost = False

    async def hide(self, seconds: int) -> None:
        """Make it visible in so many seconds. Raises AzureError."""
        changed = await asyncio.to_thread(
            self._queue.update_message, self._id, self.receipt, visibility_timeout=seconds
        )
        self.receipt = str(changed.pop_receipt)

    async def keep(self) -> None:
        """Renew until released, or until it turns out that the message is no longer ours."""
        from azure.core.exceptions import AzureError, HttpResponseError

        while not self.lost:
            try:
                async with asyncio.timeout(self._lease / 3):
                    await self.release.wait()
                return
            except TimeoutError:
                pass
            try:
                await self.hide(self._lease)
            except AzureError as error:
                # 404: it was deleted. 400: its receipt is another's.
                self.lost = isinstance(error, HttpResponseError) and error.status_code in (400, 404)
                what = "belongs to another host now" if self.lost else "is not renewed"
                log.warning("Message %s of %s %s: %s", self._id, self._queue.queue_name, what, one_line(error))


def add(queue: QueueClient, text: str) -> None:
    """Send a message as it is, to a queue that is made when it is missing."""
    from azure.core.exceptions import ResourceExistsError, ResourceNotFoundError

    try:
        queue.send_message(text)
    except ResourceNotFoundError:
        with contextlib.suppress(ResourceExistsError):
            queue.create_queue()
        queue.send_message(text)


def decode(text: str, *, base64: bool) -> bytes:
    """The body of a message. Raises ValueError when it isn't in the encoding that host.json asks for."""
    if not base64:
        return text.encode()
    try:
        return binascii.a2b_base64("".join(text.split()), strict_mode=True)
    except (binascii.Error, ValueError) as error:
        raise ValueError(f"it is not Base64, which host.json's messageEncoding asks for ({error})") from None


def encode(text: str | bytes, *, base64: bool) -> str:
    """A message's text for the queue."""
    content = text.encode() if isinstance(text, str) else text
    return binascii.b2a_base64(content, newline=False).decode() if base64 else content.decode()


def queue_data(function: Function, body: bytes) -> dict[str, Any]:
    """A message as the worker gets it: text, unless the binding's dataType is binary."""
    if str(function.trigger.get("dataType", "")).upper() == "BINARY":
        return {"bytes": body}
    return {"string": body.decode(errors="replace")}
