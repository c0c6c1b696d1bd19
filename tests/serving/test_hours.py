"""Office hours: by the clock on the wall, also on the days on which it is changed."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.serving.hours import EXAMPLE, OfficeHours, office_hours

BERLIN = ZoneInfo("Europe/Berlin")
MINUTE = timedelta(minutes=1)
WEEK = office_hours(EXAMPLE)


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)


@pytest.mark.parametrize(
    ("now", "ends"),
    [
        ("2026-11-30T07:59:59+01:00", None),
        ("2026-11-30T08:00:00+01:00", "2026-11-30T18:00+01:00"),
        ("2026-11-30T17:59:59+01:00", "2026-11-30T18:00+01:00"),
        ("2026-11-30T18:00:00+01:00", None),
        ("2026-11-29T12:00:00+01:00", None),  # a Sunday
        ("2026-07-06T06:30:00+00:00", "2026-07-06T16:00+00:00"),  # in summer 08:30 there
        ("2026-07-06T05:59:00+00:00", None),
    ],
)
def test_a_working_week(now: str, ends: str | None) -> None:
    assert WEEK.ends(at(now)) == (at(ends) if ends else None)
    assert WEEK.has(at(now)) is (ends is not None)


@pytest.mark.parametrize(
    ("text", "now", "ends"),
    [
        ("daily 22:00-06:00 Europe/Berlin", "2026-11-30T23:00+01:00", "2026-12-01T06:00+01:00"),
        ("daily 22:00-06:00 Europe/Berlin", "2026-12-01T05:59+01:00", "2026-12-01T06:00+01:00"),
        ("Fri 22:00-06:00 Europe/Berlin", "2026-12-05T03:00+01:00", "2026-12-05T06:00+01:00"),  # Friday's night
        ("Sat,Sun 00:00-24:00 UTC", "2026-12-05T03:00+00:00", "2026-12-07T00:00+00:00"),
        ("Sat-Mon 00:00-24:00 UTC", "2026-12-05T03:00+00:00", "2026-12-08T00:00+00:00"),
        ("Mon-Fri 08:00-24:00 UTC", "2026-11-30T09:00+00:00", "2026-12-01T00:00+00:00"),
        ("mon-fri  8:00 - 18:00 europe/berlin", "2026-11-30T09:00+01:00", "2026-11-30T18:00+01:00"),
        # 25 October 2026: 03:00 becomes 02:00, so that the hour from 02:00 on is there twice.
        ("daily 01:00-05:00 Europe/Berlin", "2026-10-25T01:30+02:00", "2026-10-25T05:00+01:00"),
        ("daily 02:15-02:45 Europe/Berlin", "2026-10-25T02:20+02:00", "2026-10-25T02:45+02:00"),
        ("daily 02:15-02:45 Europe/Berlin", "2026-10-25T02:20+01:00", "2026-10-25T02:45+01:00"),
        ("daily 02:00-03:00 Europe/Berlin", "2026-10-25T02:20+02:00", "2026-10-25T03:00+01:00"),
        # 29 March 2026: 02:00 becomes 03:00.
        ("daily 01:00-05:00 Europe/Berlin", "2026-03-29T01:30+01:00", "2026-03-29T05:00+02:00"),
        ("daily 01:00-02:30 Europe/Berlin", "2026-03-29T01:30+01:00", "2026-03-29T03:00+02:00"),
        # Samoa had no 30 December 2011.
        ("daily 08:00-07:00 Pacific/Apia", "2011-12-29T20:00-10:00", "2011-12-31T07:00+14:00"),
    ],
)
def test_nights_weekends_and_clocks_that_change(text: str, now: str, ends: str) -> None:
    assert office_hours(text).ends(at(now)) == at(ends)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "written as in"),
        ("office", "written as in"),
        ("Mon-Fri 8-18 Europe/Berlin", "written as in"),
        ("Mon-Fri 08:00-18:00", "written as in"),
        ("Mon-Fri 08:00-25:00 UTC", "no such time of day"),
        ("Mon-Fri 08:61-18:00 UTC", "no such time of day"),
        ("Mon-Fri 24:00-18:00 UTC", "no such time of day"),
        ("Foo 08:00-18:00 UTC", "no day 'Foo'"),
        ("Mon- 08:00-18:00 UTC and more", "written as in"),
        ("Mon-Fri 08:00-18:00 Europe/Berlinn", "no time zone 'Europe/Berlinn'"),
        ("Mon-Fri 08:00-18:00 ../../etc/passwd", "no time zone"),
        ("daily 00:00-24:00 UTC", "droptune keep"),
        ("Mon-Sun 08:00-08:00 UTC", "droptune keep"),
    ],
)
def test_what_is_wrong_is_told_with_how_it_is_written(text: str, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        office_hours(text)


zones = st.sampled_from(
    ("UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu", "Pacific/Apia")
)
clocks = st.integers(min_value=0, max_value=24 * 60 - 1).map(lambda minute: f"{minute // 60:02}:{minute % 60:02}")
hours = st.builds(
    "{} {}-{} {}".format,
    st.sampled_from(("Mon-Thu", "Wed,Fri", "Sat", "Sat-Mon")),
    clocks,
    clocks,
    zones,
).map(office_hours)
moments = st.timedeltas(min_value=timedelta(0), max_value=timedelta(days=275)).map(
    lambda later: datetime(2026, 3, 1, tzinfo=UTC) + later
)


@given(hours, moments)
def test_until_their_end_it_is_in_them_and_then_it_is_not(hours: OfficeHours, now: datetime) -> None:
    ends = hours.ends(now)
    assert hours.has(now) is (ends is not None)
    if ends is None:
        return
    assert now < ends
    assert not hours.has(ends)
    for share in range(20):
        assert hours.has(now + share * (ends - now) / 20)
    assert hours.has(ends - MINUTE / 60)
