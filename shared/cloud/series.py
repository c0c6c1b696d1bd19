"""One metric of many resources, as Azure Monitor's batch query answers it: bytes in, points out.

metrics.py asks. Of an answer only times and averages are decoded: with all that the SDK makes of it, 50 resources take
thirty times the processor time and more (benchmarks/metrics.py).
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Annotated

import msgspec

MINUTE = timedelta(minutes=1)
_HOUR = 60
_FINE = ("", "success")
"""What a metric's errorCode is, in any case, when it was read."""


@dataclass(frozen=True, kw_only=True)
class Series:
    """One metric of one resource over a span that ends at `end`: the points that have a value, in order of time.

    A point tells the average over a grain. `begins` are the minutes since 1970 with which the points' grains begin;
    `averages` are their values. Two arrays, 16 bytes a point: a tick holds those of a thousand endpoints.
    """

    grain: timedelta
    end: datetime
    begins: array[int]
    averages: array[float]

    @property
    def points(self) -> int:
        """How many there are."""
        return len(self.begins)

    @property
    def sum(self) -> float:
        """Of RequestsPerMinute: about how many requests there were. A grain of which Azure averaged only the minutes
        with requests counts as if all its minutes had been so: never too few.
        """
        return sum(self.averages) * self._minutes

    @property
    def last(self) -> datetime | None:
        """The end of the last grain above 0, so that the last request was not later; at most `end`. None: none is."""
        for begin, average in zip(reversed(self.begins), reversed(self.averages), strict=True):
            if average > 0:
                return min(_EPOCH + begin * MINUTE + self.grain, self.end)
        return None

    @property
    def busiest_hour(self) -> float:
        """Of RequestsPerMinute: the most requests in any hour that begins with a grain, counted as in `sum`.

        Not the mean: it would hide an hour of real use in days of silence. Of a grain above an hour (spans of more than
        12 days) it is that grain's mean.
        """
        each, busiest, first, sum_ = min(self._minutes, _HOUR), 0.0, 0, 0.0
        for begin, average in zip(self.begins, self.averages, strict=True):
            sum_ += average
            while self.begins[first] <= begin - max(self._minutes, _HOUR):
                sum_ -= self.averages[first]
                first += 1
            busiest = max(busiest, sum_)
        return busiest * each

    def since(self, start: datetime) -> Series:
        """The points of grains that end after `start`: that of the first may tell of up to a grain before it, too."""
        cut = bisect_right(self.begins, _minute(start - self.grain))
        return Series(grain=self.grain, end=self.end, begins=self.begins[cut:], averages=self.averages[cut:])

    def control(self, start: datetime) -> int:
        """How many points there are in that half of the time from `start` to `end` that has fewer.

        Of CpuUtilizationPercentage, which a deployment has as long as it runs: 0 means that silence about requests
        proves nothing. A grain in which both halves meet counts for the first alone.
        """
        later = self.since(start).begins
        first = bisect_left(later, _minute(start + (self.end - start) / 2, up=True))
        return min(first, len(later) - first)

    @property
    def _minutes(self) -> int:
        return self.grain // MINUTE


def floor(moment: datetime, grain: timedelta) -> datetime:
    """When the grain begins that the moment is in; grains are counted from 1970, UTC, as Azure Monitor does."""
    return moment - (moment - _EPOCH) % grain


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def _minute(moment: datetime, *, up: bool = False) -> int:
    """Whole minutes since 1970, rounded down or up."""
    return -((_EPOCH - moment) // MINUTE) if up else (moment - _EPOCH) // MINUTE


class _Point(msgspec.Struct, gc=False):
    time: Annotated[datetime, msgspec.Meta(tz=True)] = msgspec.field(name="timeStamp")
    average: float | None = None


class _Line(msgspec.Struct, gc=False):
    data: list[_Point] | None = None


class _Name(msgspec.Struct, gc=False):
    value: str


class _Metric(msgspec.Struct, gc=False):
    name: _Name
    timeseries: list[_Line]
    error: str | None = msgspec.field(name="errorCode", default=None)
    said: str | None = msgspec.field(name="errorMessage", default=None)


class _Resource(msgspec.Struct, gc=False):
    metrics: list[_Metric] = msgspec.field(name="value")
    id: str | None = msgspec.field(name="resourceid", default=None)


class _Answer(msgspec.Struct, gc=False):
    values: list[_Resource]


_decoder = msgspec.json.Decoder(_Answer | str)


def read(body: bytes, ids: Sequence[str], metric: str, *, grain: timedelta, end: datetime) -> dict[str, Series | str]:
    """The metric of each resource in `body`, the answer about `ids` over a span to `end`; a text: why there is none.

    Answers are told apart by the ids they carry, in any case. An answer without ids counts by its order, if it has one
    for each. Raises ValueError for what is no such answer.
    """
    try:
        answer = _decoder.decode(body)
        if isinstance(answer, str):  # azure-monitor-querymetrics 1.0.0 knows of answers that are JSON in a JSON string
            answer = _decoder.decode(answer)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise ValueError(f"the answer can't be read: {error}") from error
    if isinstance(answer, str):
        raise ValueError("the answer can't be read: text in text")  # noqa: TRY004 - of the answer's form, not ours
    there = _by_id(answer, ids)
    return {
        id_: _series(there[id_.casefold()], metric, grain, end) if id_.casefold() in there else "no word about it"
        for id_ in ids
    }


def _by_id(answer: _Answer, ids: Sequence[str]) -> dict[str, _Resource]:
    if all(each.id is None for each in answer.values):
        if len(answer.values) != len(ids):
            raise ValueError(f"{len(answer.values)} answers without ids")
        return {id_.casefold(): each for id_, each in zip(ids, answer.values, strict=True)}
    return {each.id.casefold(): each for each in answer.values if each.id is not None}


def _series(resource: _Resource, metric: str, grain: timedelta, end: datetime) -> Series | str:
    found = [each for each in resource.metrics if each.name.value.casefold() == metric.casefold()]
    if not found:
        return "no word about the metric"
    points = dict[int, float]()
    for each in found:
        if (each.error or "").casefold() not in _FINE:
            return f"{each.said or 'no message'} ({each.error})"
        for line in each.timeseries:
            for point in line.data or ():
                if point.average is not None:
                    begin = int(point.time.timestamp()) // 60
                    points[begin] = points.get(begin, 0.0) + point.average
    begins = array("q", sorted(points))
    return Series(grain=grain, end=end, begins=begins, averages=array("d", (points[begin] for begin in begins)))
