"""Which lines may have deployments: the rules, by property."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from shared.lifecycle.seats import (
    Asking,
    Limit,
    Seat,
    Seats,
    ahead,
    asked,
    fits,
    free,
    gets,
    granted,
    held,
    in_order,
    is_stale,
    left,
    rivals,
    told,
    upcoming,
    why,
)

START = datetime(2026, 11, 22, 12, tzinfo=UTC)
TWO = Limit(most=2)


def seat(line: str, second: int = 0) -> Seat:
    return Seat(since=START + timedelta(seconds=second), folder=line, endpoint=f"ft-{line}")


def asking(line: str, second: int = 0, *, trained: bool = False) -> Asking:
    at = START + timedelta(seconds=second)
    return Asking(line=line, since=at, uploaded=at, trained=trained)


def after(seats: Seats, *runs: str, limit: Limit = TWO) -> Seats:
    """Each run is of the line that its first letter names, and comes in its turn."""
    for second, run in enumerate(runs):
        seats = asked(seats, run, asking(run[0], second), seat(run[0], second), limit)
    return seats


def test_who_comes_first_has_a_seat_and_the_others_wait_in_order() -> None:
    full = after(Seats(), "d1", "c1", "b1", "a1")
    assert set(full.taken) == {"d", "c"}
    assert in_order(full) == ["b1", "a1"]
    assert granted(full, "d1", "d", TWO)
    assert not granted(full, "b1", "b", TWO)
    assert after(full, "d1") == full, "again, it changes nothing"
    assert upcoming(full, TWO) == []
    freed = left(full, {"d1"}, {"d": False})
    assert upcoming(freed, TWO) == ["b1"]
    assert not gets(freed, "a1", asking("a", 3), TWO), "the one before it has not come yet"
    assert not gets(freed, "new", asking("n", 9), TWO)
    assert upcoming(left(freed, {"b1"}, {}), TWO) == ["a1"]


def test_a_line_with_a_seat_needs_none_for_its_next_version_and_keeps_it_while_one_is_on_its_way() -> None:
    full = after(Seats(), "d1", "c1", "d2")
    assert full.taken["d"].runs == ("d1", "d2")
    assert left(full, {"d1"}, {"d": False}).taken["d"].runs == ("d2",)
    assert "d" not in left(full, {"d1", "d2"}, {"d": False}).taken
    assert left(full, {"d1", "d2"}, {"d": True}).taken["d"].runs == ()
    assert left(full, {"other"}, {}) == full


def test_a_newer_run_has_the_place_of_its_line() -> None:
    full = after(Seats(), "x1", "y1", "b1", "a1")
    newer = asked(full, "b2", asking("b", 99), seat("b"), TWO)
    assert rivals(newer, "b1", asking("b", 2)) == {"b2": True}, "that one is superseded"
    assert rivals(newer, "b2", asking("b", 99)) == {"b1": False}
    older_gone = left(newer, {"b1"}, {})
    assert in_order(older_gone) == ["b2", "a1"]


def test_who_has_a_model_goes_before_who_has_none() -> None:
    full = after(Seats(), "x1", "y1", "b1")
    waits = asked(full, "r1", asking("r", 99, trained=True), seat("r"), TWO)
    assert in_order(waits) == ["r1", "b1"]
    freed = left(waits, {"x1"}, {"x": False})
    assert upcoming(freed, TWO) == ["r1"]


def test_after_the_cap_was_lowered_what_stands_goes_on_and_then_who_came_first() -> None:
    full = after(Seats(), "a1", "b1", "c1", "d1", limit=Limit(most=4))
    lower = Limit(most=2, standing=frozenset("d"))
    assert [line for line in "abcd" if fits(full, line, lower)] == ["a", "d"]
    waits = asked(full, "b1", asking("b", 1), seat("b"), lower)
    assert not granted(waits, "b1", "b", lower)
    assert upcoming(waits, lower) == []
    gone = left(waits, {"d1"}, {"d": False})
    assert upcoming(gone, Limit(most=2)) == ["b1"], "one is free, and it came before c"
    assert granted(asked(gone, "b1", asking("b", 1), seat("b"), TWO), "b1", "b", TWO)


def test_what_stands_has_a_seat_whatever_the_cap() -> None:
    full = after(Seats(), "a1", "b1")
    more = held(full, "z", seat("z"))
    assert free(more, TWO) == 0
    assert held(more, "z", seat("z", 9)) == more


def test_the_reason_says_how_many_who_and_what_ends_it() -> None:
    full = after(Seats(), "a1", "b1", "c1", "d1", "e1", "f1", limit=Limit(most=5))
    five = Limit(most=5)
    assert told(full, five) == "5 of MAX_LIVE_ENDPOINTS=5 lines serve or are on their way (a, b, c and 2 more)"
    assert told(Seats(), five) == "0 of MAX_LIVE_ENDPOINTS=5 lines serve or are on their way"
    assert "cancel a run" in why(full, five, deletes=False), "nothing stands yet that could be deleted"
    stands = left(full, {"b1"}, {"b": True})
    assert why(stands, five, deletes=False) == (
        "a free seat: 5 of MAX_LIVE_ENDPOINTS=5 lines serve or are on their way (a, b, c and 2 more), and none goes by "
        "itself with CLEANUP_MODE=report: delete one (az ml online-endpoint delete --name ft-b), set "
        "CLEANUP_MODE=delete, or raise MAX_LIVE_ENDPOINTS"
    )
    assert "torn down" in why(stands, five, deletes=True)
    assert "report" not in why(stands, five, deletes=True)


def test_who_waits_while_seats_are_free_hears_how_many_are_before_it() -> None:
    full = after(Seats(), "a1", "b1", "c1", "d1")
    free_now = left(full, {"a1"}, {"a": False})
    before = ahead(free_now, "d1", asking("d", 3))
    words = why(free_now, TWO, deletes=False, before=before)
    assert words == "a free seat: 1 of MAX_LIVE_ENDPOINTS=2 lines serve or are on their way (b), and 1 run is before it"
    assert not is_stale(words, free_now, TWO)
    assert is_stale(words, full, TWO), "no seat is free any more"


def test_words_are_made_anew_where_they_name_an_endpoint_that_has_gone() -> None:
    full = left(after(Seats(), "a1", "b1", "c1"), {"a1"}, {"a": True})
    words = why(full, TWO, deletes=False)
    assert not is_stale(words, full, TWO)
    assert is_stale(words, left(full, [], {"a": False}), TWO)
    assert not is_stale(words[:90], left(full, [], {"a": False}), TWO), "a mark keeps the beginning alone"
    assert not is_stale(why(full, TWO, deletes=True), Seats(), TWO)


@given(st.permutations(["a", "b", "c", "d"]), st.integers(min_value=1, max_value=4))
def test_the_order_does_not_hang_on_a_dictionary(lines: list[str], most: int) -> None:
    limit, made = Limit(most=most), {f"{line}1": asking(line, ord(line)) for line in sorted(lines)}
    seats = Seats(asking={run: made[run] for run in (f"{line}1" for line in lines)})
    assert upcoming(seats, limit) == [f"{line}1" for line in sorted(lines)][:most]


class Cap(RuleBasedStateMachine):
    """Runs of six lines ask, end with and without serving, and lines are torn down, while the cap moves."""

    def __init__(self) -> None:
        super().__init__()
        self.seats, self.most, self.second = Seats(), 2, 0
        self.runs: dict[str, Asking] = {}
        self.standing: set[str] = set()

    @property
    def limit(self) -> Limit:
        over = len(self.seats.taken) > self.most
        return Limit(most=self.most, standing=frozenset(self.standing) if over else frozenset())

    @rule(line=st.sampled_from("abcdef"), trained=st.booleans())
    def comes(self, line: str, trained: bool) -> None:
        self.second += 1
        run = f"{line}{self.second}"
        self.runs[run] = asking(line, self.second, trained=trained)
        self._ask(run)

    @rule(data=st.data())
    @precondition(lambda self: self.runs)
    def looks_again(self, data: st.DataObject) -> None:
        self._ask(data.draw(st.sampled_from(sorted(self.runs))))

    @rule(data=st.data())
    @precondition(lambda self: self.runs)
    def deploys(self, data: st.DataObject) -> None:
        """Asks the rule once more, and nothing else: that bounds what stands."""
        run = data.draw(st.sampled_from(sorted(self.runs)))
        line = self.runs[run].line
        if granted(self.seats, run, line, self.limit):
            before = len(self.standing)
            self.standing.add(line)
            assert len(self.standing) <= max(self.most, before), "no more than there may be stand by our doing"

    @rule(data=st.data())
    @precondition(lambda self: self.runs)
    def ends(self, data: st.DataObject) -> None:
        run = data.draw(st.sampled_from(sorted(self.runs)))
        line = self.runs.pop(run).line
        self.seats = left(self.seats, {run}, {line: line in self.standing})

    @rule(data=st.data())
    @precondition(lambda self: self.standing)
    def is_torn_down(self, data: st.DataObject) -> None:
        line = data.draw(st.sampled_from(sorted(self.standing)))
        self.standing.discard(line)
        self.seats = left(self.seats, set(), {line: False})

    @rule(most=st.integers(min_value=1, max_value=4))
    def cap_moves(self, most: int) -> None:
        self.most = most

    def _ask(self, run: str) -> None:
        before, line = len(self.seats.taken), self.runs[run].line
        self.seats = asked(self.seats, run, self.runs[run], seat(line, self.second), self.limit)
        assert len(self.seats.taken) <= max(self.most, before)
        assert granted(self.seats, run, line, self.limit) != (run in self.seats.asking)

    @invariant()
    def what_stands_has_a_seat(self) -> None:
        assert self.standing <= self.seats.taken.keys()

    @invariant()
    def whose_turn_it_is_is_granted_in_that_order_and_a_seat_that_is_free_is_somebody_s(self) -> None:
        lines = {other.line for other in self.seats.asking.values()} - self.seats.taken.keys()
        if lines and free(self.seats, self.limit):
            assert upcoming(self.seats, self.limit)
        for run in upcoming(self.seats, self.limit):
            line = self.seats.asking[run].line
            then = asked(self.seats, run, self.seats.asking[run], seat(line), self.limit)
            assert run not in then.asking


TestCap = Cap.TestCase
