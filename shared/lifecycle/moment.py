"""A time in a record: one with a zone, or it can't be compared with others, and one such record would end every list.

A type of its own, so that whoever reads a record finds that out while reading, at no cost.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

import msgspec

Moment = Annotated[datetime, msgspec.Meta(tz=True)]


def minute(at: datetime) -> str:
    """A time in UTC, to the minute, as people are told it."""
    return f"{at:%Y-%m-%d %H:%M} UTC"
