"""What keeps an endpoint whatever its use: words of people, by a command or a tag, and what ends them."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from shared.cloud.endpoints import Endpoint
from shared.line.kept import HOURS_TAG, KEEP_TAG, day_or_time, hours_end, why_kept
from shared.records.line import Keep, Line

NOW = datetime(2026, 11, 30, 12, tzinfo=UTC)
"""A Monday."""
LINE = Line(id="l1", folder="faq", base_model="Phi-4", endpoint="faq-1")
HOUR = timedelta(hours=1)


def endpoint(**tags: str) -> Endpoint:
    named = {{"keep": KEEP_TAG, "hours": HOURS_TAG}[name]: value for name, value in tags.items()}
    return Endpoint(name="faq-1", id="/faq-1", state="Succeeded", scoring_uri="", traffic={}, tags=named)


@pytest.mark.parametrize(
    ("fields", "tags", "told"),
    [
        ({"pinned_by": "ada"}, {}, "ada has pinned it: droptune unpin l1 ends that"),
        (
            {"keep": Keep(until=NOW + HOUR, who="bob", why="a demo")},
            {},
            "bob keeps it until 2026-11-30 13:00 UTC (a demo): droptune keep l1 --end ends that",
        ),
        ({"keep": Keep(until=None, who="bob", why="")}, {}, "bob keeps it: droptune keep l1 --end ends that"),
        ({"keep": Keep(until=NOW, who="bob", why="")}, {}, ""),
        ({}, {"keep": "yes"}, "the endpoint has the tag droptune.keep: to remove it ends that"),
        ({}, {"keep": ""}, "the endpoint has the tag droptune.keep: to remove it ends that"),
        ({}, {"keep": "2026-11-30"}, "the endpoint has the tag droptune.keep, until 2026-12-01 00:00 UTC: to remove"),
        ({}, {"keep": "2026-11-29"}, ""),
        ({}, {"keep": "2026-11-30T13:00+02:00"}, ""),
        ({}, {"keep": "2026-11-30T13:00"}, "until 2026-11-30 13:00 UTC"),
        ({}, {"keep": "next week"}, "the endpoint has the tag droptune.keep: to remove it ends that"),
        ({}, {"hours": "nine to five"}, "its tag droptune.hours can't be read: office hours are written as in"),
        ({}, {"hours": "Mon-Fri 08:00-18:00 Europe/Berlin"}, ""),
        ({}, {}, ""),
    ],
)
def test_who_keeps_it_and_what_ends_that(fields: dict[str, Any], tags: dict[str, str], told: str) -> None:
    found = why_kept(replace(LINE, **fields), endpoint(**tags), {}, (), NOW, rolling_out=False)
    assert told in found if told else not found


@pytest.mark.parametrize("name", ["droptune.keep", "Droptune.Keep"])
def test_a_tag_counts_in_any_case(name: str) -> None:
    assert "droptune.keep" in why_kept(LINE, replace(endpoint(), tags={name: "x"}), {}, (), NOW, rolling_out=False)


def test_what_a_command_said_of_office_hours_comes_before_the_tag() -> None:
    tagged = endpoint(hours="Mon-Fri 08:00-18:00 UTC")
    assert hours_end(LINE, tagged, NOW) == NOW + 6 * HOUR
    assert hours_end(replace(LINE, hours="Mon-Fri 08:00-14:00 UTC"), tagged, NOW) == NOW + 2 * HOUR
    assert hours_end(LINE, endpoint(), NOW) is None
    assert hours_end(LINE, tagged, NOW + 6 * HOUR) is None


@pytest.mark.parametrize("text", ["", "yes", "true", "forever", "2026-13-01"])
def test_what_is_no_day_keeps_for_good(text: str) -> None:
    assert day_or_time(text) is None
