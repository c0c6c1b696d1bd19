"""Counts of events that were rightly ignored: a log line each, and a number that /api/health shows.

The counts are this process's own and start at zero with it; the log lines are what Application Insights keeps.
"""

from __future__ import annotations

import logging
from collections import Counter

log = logging.getLogger("droptune.ignored")

ignored_so_far: Counter[str] = Counter()


def ignored(kind: str, what: str) -> None:
    """Notes that something of this kind was seen and rightly left alone."""
    ignored_so_far[kind] += 1
    log.info("ignored (%s, %d so far): %s", kind, ignored_so_far[kind], what)
