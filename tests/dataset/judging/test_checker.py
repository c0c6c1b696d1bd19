"""The checker of a file's rows: where each bad row is, and that the fast way says what the exact one says."""

from __future__ import annotations

import itertools
import json
import tracemalloc
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.dataset.judging import formats
from shared.dataset.judging.checked import Checked
from shared.dataset.judging.checker import BLOCK, MOST_SHAPES, Checker, excerpt
from shared.dataset.judging.formats import BY_NAME
from shared.dataset.judging.rules import Facts, Fault
from shared.dataset.reading.files import EXCERPT, Broken, Elements, Limits, Records
from shared.dataset.split import position
from tests.kit.dataset.conversations import ASSISTANT, BAD_ROWS, CALL, GOOD, SAME, TOOL, USER, exact
from tests.kit.dataset.reading import pieces
from tests.kit.rows import messages, of, row


@dataclass
class Outcome:
    """All batches of a file together."""

    rows: list[bytes] = field(default_factory=list)
    hashes: list[int] = field(default_factory=list)
    positions: list[int] = field(default_factory=list)
    begun: list[tuple[int, int]] = field(default_factory=list)
    turns: list[int] = field(default_factory=list)
    numbers: list[int] = field(default_factory=list)
    where: list[dict[str, Any]] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    count: int = 0
    lines: int = 0
    format: str = ""

    def add(self, batch: Checked) -> None:
        self.begun += [(len(self.rows) + by, at) for by, at in zip(batch.begun_by, batch.begun, strict=True)]
        for name in ("rows", "hashes", "positions", "turns", "numbers", "faults"):
            getattr(self, name).extend(getattr(batch, name))
        self.where += map(batch.where, range(len(batch.rows)))
        self.count += batch.count
        self.lines += batch.lines
        self.format = self.format or batch.format

    @property
    def bad(self) -> list[tuple[int, str]]:
        return [(fault.line, fault.rule) for fault in self.faults]


def checker(*, tools: bool = False, limit: int = 1 << 20, chosen: str | None = None, seed: int = 0) -> Checker:
    return Checker(
        file="data.jsonl",
        part="train",
        facts=Facts(tools=tools),
        limits=Limits(row=limit),
        seed=seed,
        chosen=BY_NAME[chosen] if chosen else None,
    )


def check(*chunks: bytes, offset: int = 0, **options: Any) -> Outcome:
    """A file that comes in these chunks. What a chunk teaches is known in the next."""
    found = Outcome()
    for batch in checker(**options).lines(chunks, offset=offset):
        found.add(batch)
    assert len(found.rows) + len(found.faults) == found.count
    return found


def joined(*rows: bytes) -> bytes:
    return b"".join(each + b"\n" for each in rows)


# The fast way says what the exact one says

WARM = joined(row(), row(x="y"), row(x=7))
BAD_MESSAGES = [(rule, data) for rule, data in BAD_ROWS if exact(data, formats.MESSAGES) != "mixed_formats"]


@pytest.mark.parametrize(("rule", "data"), BAD_MESSAGES)
def test_a_bad_row_among_good_ones_is_told_with_its_place(rule: str, data: bytes) -> None:
    found = check(WARM, joined(row("before"), data, row("behind")))
    (fault,) = found.faults
    offset = len(WARM) + len(row("before")) + 1
    assert (fault.rule, fault.line, fault.offset) == (rule, 5, offset)
    assert (fault.file, fault.part) == ("data.jsonl", "train")
    assert fault.excerpt == data[:1000].decode(errors="replace")[:EXCERPT]
    assert found.count == 6
    assert found.numbers == [1, 2, 3, 4, 6]


@pytest.mark.parametrize("data", GOOD)
@pytest.mark.parametrize("warm", [0, 3])
def test_a_good_row_is_written_alike_whether_its_like_was_seen(data: bytes, warm: int) -> None:
    found = check(joined(*[data] * warm), joined(data))
    assert not found.faults
    assert set(found.rows) == {exact(data)}
    assert len(set(found.hashes)) == len(set(found.positions)) == 1


# A row that teaches its shape, and one of the same shape with a flaw or an oddity.
LIKE: list[tuple[bytes, bytes]] = [
    (row(x="y"), row()[:-1] + rb', "x": {"y\\": 1, "y\\": 2}}'),
    (row(x="y"), row()[:-1] + rb', "x": {"y\\\\\\": 1, "y\\\\\\": 2}}'),
    (row(x="y"), row()[:-1] + b', "x": {"y" : 1, "y"\t: 2}}'),
    (row(x="y"), row()[:-1] + b', "x": {"y": 1}}'),
    (row(x="y"), row()[:-1] + b', "x": [{"y": 1, "y": 1}]}'),
    (row(x="y"), row(':"')[:-1] + rb', "x": {"y\\": 1, "y\\": 2}}'),
    (row(x="y"), row(":", x=":")),
    (row(x="y"), row('say \\": ok')),
    (row(x="y"), row(r"{\"a\": 1, \"a\": 2}", x=r'\\": "')),
    (row(x="y"), row(x=None)),
    (row(), row().replace(b'"Hi"', b'  "Hi"')),
    (row(), row().replace(b'"Hi"', b'  "  "')),
    (row(), row().replace(b'"Hi"', b'\t""')),
    (row(), row().replace(b'"Hi"', b"null")),
    (row(), row().replace(b'"Hi"', rb'"\u0020\u00a0"')),
    (row(), row().replace(b'"Hi"', rb'"\n\t "')),
    (row(), row("\u2003\u3000")),
    (row(), row("\u2003\u3000x")),
    (row(), row("\x7f")),
    (row(), row().replace(b'"Hi"', rb'"\u0009\u000a\u000d x"')),
    (row(), row().replace(b'"Hi"', rb'"\u007F"')),
    (row(), row().replace(b'"Hi"', rb'"\\b\\f\\u0000"')),
    (row(), row().replace(b"user", rb"us\u0065r")),
    (row(), row().replace(b"user", b"usher")),
    (row(), of(USER, ASSISTANT, USER)),
    (row(), of()),
    (row(), b'{"messages": null}'),
    (row(), b'{"messages": [null]}'),
    (row(), b"{}"),
    (row(), b'{"messages": [{"role": "user"}]}'),
    (of(USER | {"name": "a"}, ASSISTANT | {"name": "b"}), of(USER | {"name": ""}, ASSISTANT | {"name": None})),
    (of(USER | {"name": "a"}, ASSISTANT | {"name": "b"}), of(USER | {"name": 1}, USER | {"name": 1})),
    (of(USER | {"name": "a"}, ASSISTANT | {"name": "b"}), of(USER | {"name": {"name": 1}}, ASSISTANT | {"name": []})),
    *(
        (of(USER | one, ASSISTANT | other), of(USER | one, ASSISTANT | other).replace(b"x", b"\xe4"))
        for one, other in (
            ({"name": "x"}, {"name": "b"}),
            ({"name": "a"}, {"name": "x"}),
            ({"name": ["x"]}, {"name": 1}),
        )
    ),
    *(
        (json.dumps(each | {"id": "x"}).encode(), json.dumps(each | {"id": "x"}).encode().replace(b'"x"', changed))
        for each in SAME.values()
        for changed in (b'"\xe4"', '"ä"'.encode(), rb'"\ud800"', rb'"\x41"', b"nul", b"NaN", b'{"a": 1}', b'["a", {}]')
    ),
    *(
        (json.dumps(each).encode(), json.dumps(each).encode().replace(b'"Hi"', changed))
        for each in SAME.values()
        for changed in (
            b'""',
            b'" "',
            b"null",
            b"5",
            b"[]",
            b'{"a": 1}',
            rb'"\u0001"',
            rb'"\ud800"',
            b'"\xe4"',
            b'":"',
            rb'"a\/b"',
        )
    ),
    *(
        (json.dumps({"system": "s", "history": [], **each}).encode(), json.dumps({**more, **each}).encode())
        for each in (SAME["alpaca"] | {"input": "x"}, SAME["prompt_completion"])
        for more in (
            {"system": "", "history": []},
            {"system": " ", "history": []},
            {"system": None, "history": None},
            {"system": 5, "history": ""},
            {"system": "s", "history": "a"},
            {"system": "s", "history": [["a", "b"]]},
            {"system": "s", "history": [["a", ""]]},
            {"system": ["s"], "history": [1]},
        )
    ),
    *(
        (json.dumps(SAME["alpaca"] | {"input": "x"}).encode(), json.dumps(SAME["alpaca"] | more).encode())
        for more in (
            {"input": "\n"},
            {"input": None},
            {"input": 5},
            {"instruction": "", "input": "x"},
            {"instruction": "", "input": ""},
            {"instruction": " ", "input": "x"},
            {"instruction": "", "input": "\u00a0"},
            {"input": "\x00"},
            {"input": "ä"},
            {"output": "\t"},
        )
    ),
    (json.dumps(SAME["sharegpt"]).encode(), json.dumps(SAME["sharegpt"]).encode().replace(b"human", b"narrator")),
    (json.dumps(SAME["sharegpt"]).encode(), json.dumps(SAME["sharegpt"]).encode().replace(b"human", b"function")),
    (json.dumps(SAME["sharegpt"]).encode(), json.dumps(SAME["sharegpt"]).encode().replace(b'"human"', b"null")),
    (json.dumps(SAME["sharegpt"]).encode(), json.dumps({"system": "s", **SAME["sharegpt"]}).encode()),
]


@pytest.mark.parametrize(("like", "data"), LIKE)
def test_the_fast_way_agrees_with_the_exact_one(like: bytes, data: bytes) -> None:
    chosen = formats.shown(json.loads(like))
    expected = exact(data, chosen)
    found = check(joined(like, like), joined(like, data, like), joined(data))
    assert found.rows[:2] == [exact(like)] * 2
    if isinstance(expected, str):
        assert found.bad == [(4, expected), (6, expected)]
        assert found.rows == [exact(like)] * 4
    else:
        assert not found.bad
        assert found.rows == [exact(each, chosen) for each in (like, like, like, data, like, data)]
        assert found.positions[3] == found.positions[5]
        assert found.hashes[3] == found.hashes[5]
        assert found.turns[3] == len(json.loads(expected)["messages"])


def variants(text: str) -> st.SearchStrategy[bytes]:
    """Ways to write a JSON object: spaces, escapes, the order of keys."""

    def written(ascii_only: bool, separators: tuple[str, str], sort: bool) -> bytes:
        return json.dumps(json.loads(text), ensure_ascii=ascii_only, separators=separators, sort_keys=sort).encode()

    return st.builds(
        written,
        st.booleans(),
        st.sampled_from([(", ", ": "), (",", ":"), (" , ", " : "), (",\t", ":  ")]),
        st.booleans(),
    )


TEXTS = st.text(st.characters(exclude_categories=["Cs"]) | st.sampled_from('":\\ \n{}[]\x7f\u2003'), max_size=6)
ROWS = st.builds(
    lambda name, asked, said, more: json.dumps(
        json.loads(json.dumps(SAME[name]).replace('"Hi"', json.dumps(asked)).replace('"Hello"', json.dumps(said)))
        | more
    ),
    st.sampled_from(list(SAME)),
    TEXTS,
    TEXTS,
    st.dictionaries(
        st.sampled_from(["id", "x\\", ":", "name"]), TEXTS | st.dictionaries(TEXTS, TEXTS, max_size=2), max_size=2
    ),
).flatmap(variants)


@given(st.lists(ROWS, min_size=1, max_size=12), st.lists(st.integers(1, 400), min_size=1, max_size=4))
def test_rows_in_whatever_spelling_are_judged_exactly(lines: list[bytes], sizes: list[int]) -> None:
    shown = [formats.shown(json.loads(line)) for line in lines]
    expected = [exact(line, shown[0]) for line in lines]
    found = check(*pieces(joined(*lines), sizes))
    assert found.bad == [(at, each) for at, each in enumerate(expected, 1) if isinstance(each, str)]
    assert found.rows == [each for each in expected if isinstance(each, bytes)]


def test_keys_in_another_order_are_the_same_row() -> None:
    turned = b'{"messages": [{"content": "Hi", "role": "user"}, {"content": "Hello", "role": "assistant"}]}'
    for first, second in ((turned, row()), (row(), turned)):
        found = check(joined(first), joined(first, second), joined(second))
        assert set(found.rows) == {exact(row())}
        assert len(set(found.hashes)) == 1


def test_a_line_is_a_row_of_its_own() -> None:
    """JSON goes on over line breaks, and may have one object behind the other; JSON Lines may not."""
    for broken in (
        [row()[:-1], b"}", row() + row()],
        [row()[:-1], b"}", row() + b" " + row()],
        [row(x={})[:-1], b"}", row(x={}) * 2],
        [row() + row(), row()[:-1], b"}"],
        [b"{", row()[1:], row() * 2],
    ):
        found = check(joined(row(), row(x={})), joined(*broken))
        assert found.bad == [(3, "not_json"), (4, "not_json"), (5, "not_json")]


def test_more_shapes_of_rows_than_are_learned() -> None:
    many = [row(**{f"key{number % (2 * MOST_SHAPES)}": "x"}) for number in range(200)]
    bad = [joined(each[:-1] + b', "messages": []}') for each in many[:20]]
    found = check(*[joined(each) for each in many], *bad)
    assert found.rows == [exact(row())] * 200
    one = checker()
    for _ in one.lines([joined(each) for each in many]):
        pass
    assert len(one._shapes) == MOST_SHAPES  # a file of rows with ever other keys would fill memory
    assert found.bad == [(201 + at, "duplicate_keys") for at in range(20)]


def test_keys_that_no_decoder_can_have() -> None:
    for key in ('"', "\\", "\n", "\x00", "", "é", "class", "messages2", "0", "__init__", "other0", "turns"):
        data = row(**{key: "x"})
        assert check(joined(data), joined(data, data)).rows == [exact(row())] * 3


def test_a_conversation_is_known_by_its_prompts_up_to_the_last_answer() -> None:
    def at(*turns: object, seed: int = 0) -> int:
        data = of(*turns)
        slow, fast = check(joined(data), joined(data), seed=seed).positions  # the first one teaches the shape
        assert slow == fast
        return slow

    system, more = {"role": "system", "content": "Be  short."}, messages("And then?", "No.")
    same = {"role": "system", "content": "be short."}, *messages("HI", "Good day!"), *messages("and then? ", "Yes.")
    chat = at(system, *messages("Hi"), *more)
    assert at(*same) == chat
    for other in (
        (*messages("Hi"), *more),
        (system, *messages("Hi")),
        (system, *more, *messages("Hi")),
        (system, *messages("Hi"), *messages("And now?")),
    ):
        assert at(*other) != chat
    assert at(system, *messages("Hi"), *more, seed=1) != chat
    assert at(*messages("A question")) == position("a question")


def test_tools_results_are_prompts_and_calls_are_answers() -> None:
    def at(result: str, call: str) -> list[int]:
        called = json.loads(json.dumps(CALL).replace('"f"', f'"{call}"'))
        return check(joined(of(USER, called, {"role": "tool", "content": result}, ASSISTANT)), tools=True).positions

    assert at("4", "f") == at("4 ", "g")
    assert at("4", "f") != at("5", "f")


def test_the_shorter_conversations_that_a_row_begins_with() -> None:
    data = of(*messages("a"), *messages("b"), *messages("c"))
    found = check(joined(of(*messages("a")), data), joined(row("x"), data))
    first, second = found.positions[0], check(joined(of(*messages("a"), *messages("b")))).positions[0]
    assert found.begun == [(1, first), (1, second), (3, first), (3, second)]
    assert check(joined(of(ASSISTANT, *messages("a"), *messages("b")))).begun == [(0, first)]


# Formats


@pytest.mark.parametrize("name", SAME)
def test_the_format_is_found_out_and_kept(name: str) -> None:
    data = json.dumps(SAME[name]).encode()
    found = check(joined(data, data), joined(*[data] * 3))
    assert found.format == name
    assert found.rows == [exact(row())] * 5


def test_the_line_where_the_format_changes_is_told() -> None:
    one, other = (json.dumps(SAME[name]).encode() for name in ("sharegpt", "alpaca"))
    found = check(joined(*[one] * 3, other, one), joined(other))
    assert found.bad == [(4, "mixed_formats"), (6, "mixed_formats")]
    assert found.faults[0].reason == "the row is in the format alpaca, the rows before it are in sharegpt"


def test_rows_without_a_conversation_choose_no_format() -> None:
    found = check(joined(b'{"words": "a"}', b"[]", b"{", json.dumps(SAME["alpaca"]).encode(), row()))
    assert found.bad == [(1, "no_messages"), (2, "not_object"), (3, "not_json"), (5, "mixed_formats")]
    assert found.format == "alpaca"


def test_a_format_that_is_known_already() -> None:
    found = check(joined(row(), json.dumps(SAME["alpaca"]).encode()), chosen="alpaca")
    assert found.bad == [(1, "mixed_formats")]


# Tool turns


def test_tool_turns_are_kept_or_refused_as_the_base_model_takes_them() -> None:
    talk = of(USER, CALL, TOOL | {"tool_call_id": "1"}, ASSISTANT)
    data = joined(row(), row(), talk, row()), joined(talk)
    assert check(*data).bad == [(3, "tool_turn"), (5, "tool_turn")]
    kept = check(*data, tools=True)
    assert not kept.faults
    assert kept.rows[2] == exact(talk, facts=Facts(tools=True))
    assert kept.turns == [2, 2, 4, 2, 4]


def test_a_call_in_its_old_form_is_not_passed_over() -> None:
    plain = of(USER, ASSISTANT | {"function_call": None})
    assert check(joined(plain), joined(plain, of(USER, ASSISTANT | {"function_call": {"name": "f"}}))).bad == [
        (3, "tool_turn")
    ]


def test_tool_turns_of_sharegpt() -> None:
    said = [("human", "a"), ("gpt", "b"), ("observation", "c"), ("gpt", "d")]
    data = json.dumps({"conversations": [{"from": who, "value": what} for who, what in said]}).encode()
    plain = json.dumps(SAME["sharegpt"]).encode()
    assert check(joined(plain), joined(data)).bad == [(2, "tool_turn")]
    kept = check(joined(plain), joined(data), tools=True).rows[1]
    assert [each["role"] for each in json.loads(kept)["messages"]] == ["user", "assistant", "tool", "assistant"]


# Lines, their ends and their sizes


def test_how_the_file_is_chunked_does_not_matter() -> None:
    lines = [each for pair in zip(itertools.cycle(GOOD[:7]), BAD_ROWS, strict=False) for each in (pair[0], pair[1][1])]
    data = b"\xef\xbb\xbf" + b"\r\n".join([*lines, b"", b" \t", *GOOD[8:], row() + b" " * 30_000, row()])
    whole = check(data, limit=20_000)
    assert {rule for _, rule in whole.bad} >= {"row_too_large", "not_json", "mixed_formats", "tool_turn"}
    for sizes in ([1], [2, 3], [97], [1000, 1], [19_999], [BLOCK]):
        assert check(*pieces(data, sizes), limit=20_000) == whole


def test_a_byte_order_mark_is_no_part_of_the_first_row() -> None:
    mark = b"\xef\xbb\xbf"
    found = check(mark + joined(b"{", row(), b"{"))
    assert [(fault.line, fault.offset, fault.excerpt) for fault in found.faults] == [
        (1, 3, "{"),
        (3, 3 + 2 + len(row()) + 1, "{"),
    ]
    assert check(mark + row()).rows == [exact(row())]
    assert check(joined(row()), mark + joined(row())).bad == [(2, "not_json")]
    for nothing in (mark, mark + b"\n", mark + b"\r\n \n"):
        assert check(nothing).count == 0


def test_carriage_returns_and_a_last_line_without_an_end() -> None:
    found = check(row("a") + b"\r\n", row("b") + b"\r\n" + row("c") + b"\r\n{\r\n" + row("d"))
    assert found.rows == [exact(row(each)) for each in "abcd"]
    assert found.bad == [(4, "not_json")]
    assert found.lines == 5
    assert found.where[3] == {"line": 5, "offset": 3 * (len(row("a")) + 2) + 3}
    assert check(row(), b"\r").rows == [exact(row())]


def test_blank_lines_are_no_rows_but_lines() -> None:
    found = check(joined(b"", row("a"), b"\r", b" \t ", b"{"), joined(b"", b"", row("b")) + b"\n\n  ")
    assert found.rows == [exact(row("a")), exact(row("b"))]
    assert found.numbers == [2, 8]
    assert found.bad == [(5, "not_json")]
    assert found.count == 3
    for nothing in (b"", b"\n", b"\r\n \n", b" "):
        assert check(nothing).count == 0


def test_other_white_space_makes_no_blank_line() -> None:
    for space in ("\x0b", "\x0c", "\u0085", "\u00a0", "\u2028"):
        assert check(joined(space.encode())).bad == [(1, "not_json")]


def test_offsets_begin_where_the_piece_of_the_file_does() -> None:
    found = check(joined(row("a"), b"{"), offset=1000)
    assert found.where[0] == {"line": 1, "offset": 1000}
    assert found.faults[0].offset == 1000 + len(row("a")) + 1


def test_a_row_may_have_so_many_bytes_and_none_more() -> None:
    exactly, over = (row("x" * (size - len(row("")))) for size in (1000, 1001))
    data = joined(exactly, over, over + b" " * 5000, row(), b" " * 1001) + over
    for size in (1, 7, 999, 1000, 1001, 3001, len(data)):
        found = check(*pieces(data, [size]), limit=1000)
        assert found.rows == [exact(exactly), exact(row())]
        assert found.bad == [(line, "row_too_large") for line in (2, 3, 5, 6)]
        assert [fault.reason for fault in found.faults][:2] == ["the row has 1,001 bytes", "the row has 6,001 bytes"]
        assert [fault.offset for fault in found.faults][:3] == [1001, 2003, 8005 + len(row()) + 1]
        assert found.faults[0].excerpt == over[:EXCERPT].decode()
        assert found.lines == 6


def test_memory_is_bounded_by_the_limit_of_a_row() -> None:
    def endless(size: int) -> Iterator[bytes]:
        for _ in range(size):
            yield b"x" * 1024 * 1024
        yield joined(b"", row())

    tracemalloc.start()
    found = Outcome()
    for batch in checker(limit=4 << 20).lines(endless(48)):
        found.add(batch)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert found.bad == [(1, "row_too_large")]
    assert found.numbers == [2]
    assert peak < 16 << 20


@pytest.mark.parametrize("last", ["assistant", pytest.param("x" * 400_000, marks=pytest.mark.thorough)])
def test_nothing_is_kept_of_rows_of_many_messages_or_long_roles(last: str) -> None:
    def lines() -> Iterator[bytes]:
        for count in range(50):
            talk = [USER, ASSISTANT] * (1000 + count)
            yield joined(of(*talk[:-1], ASSISTANT | {"role": f"{last}{count}" if len(last) > 20 else last}))

    checked = checker()
    tracemalloc.start()
    rows = sum(batch.count for batch in checked.lines(lines()))
    left, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert rows == 50
    assert left < 2 << 20


def test_an_excerpt_is_short_and_can_be_shown() -> None:
    assert excerpt(b"\xff" + "ä".encode() * 1000) == "\ufffd" + "ä" * (EXCERPT - 1)
    assert len(check(joined(b'{"' + "\U0001f600".encode() * 5000)).faults[0].excerpt) == EXCERPT


# Elements of a JSON array


def elements(*data: bytes, **options: Any) -> Outcome:
    found = Outcome()
    found.add(
        checker(**options).elements(
            Elements(
                data=list(data),
                numbers=[10 * at for at in range(1, len(data) + 1)],
                offsets=[100 * at for at in range(1, len(data) + 1)],
            )
        )
    )
    return found


def test_elements_of_an_array_have_their_own_places() -> None:
    over = row("x" * 1000)
    found = elements(row("a"), b"{}", b"7", over[:501], row("b"), limit=500)
    assert found.bad == [(20, "no_messages"), (30, "not_object"), (40, "row_too_large")]
    assert [fault.offset for fault in found.faults] == [200, 300, 400]
    assert found.numbers == [10, 50]
    assert found.where == [{"line": 10, "offset": 100}, {"line": 50, "offset": 500}]


def test_an_element_may_span_lines_and_a_text_may_not() -> None:
    pretty = json.dumps(json.loads(row()), indent=2).encode()
    found = elements(row(), pretty, pretty.replace(b"\n", b"\r\n"), row("x").replace(b"x", b"a\nb"))
    assert found.rows == [exact(row())] * 3
    assert found.bad == [(40, "not_json")]


# Rows that come as objects


def records(*rows: Any, **others: Any) -> Outcome:
    found = Outcome()
    made: dict[str, Any] = {"numbers": range(1, len(rows) + 1), **others}
    found.add(checker().records(Records(rows=list(rows), **made)))
    assert len(found.rows) + len(found.faults) == found.count == len(rows)
    return found


@pytest.mark.parametrize(
    ("rule", "data"),
    [each for each in BAD_MESSAGES if each[0] not in ("not_json", "not_utf8", "duplicate_keys", "not_object")],
)
def test_objects_are_judged_as_lines_are(rule: str, data: bytes) -> None:
    assert records(json.loads(row()), json.loads(data), json.loads(row())).bad == [(2, rule)]


@pytest.mark.parametrize("data", GOOD)
def test_good_objects_are_written_as_lines_are(data: bytes) -> None:
    found = records(json.loads(data, parse_int=float))
    assert found.rows == [exact(data)]
    assert (found.hashes, found.positions) == (check(joined(data)).hashes, check(joined(data)).positions)


def test_rows_of_a_row_group_are_told_by_their_place_in_it() -> None:
    good: dict[str, Any] = {"messages": messages()}
    found = records(good, {}, good, {}, numbers=range(101, 105), row_group=3, first_of_group=100)
    assert [(each.line, each.row_group, each.row, each.offset) for each in found.faults] == [
        (102, 3, 3, None),
        (104, 3, 5, None),
    ]
    assert found.where == [{"line": 101, "row_group": 3, "row": 2}, {"line": 103, "row_group": 3, "row": 4}]
    assert found.faults[0].place == "data.jsonl, row group 3, row 3"


def test_rows_with_offsets_have_them() -> None:
    found = records({"messages": messages()}, {}, numbers=[2, 9], offsets=[10, 90])
    assert found.where == [{"line": 2, "offset": 10}]
    assert (found.faults[0].line, found.faults[0].offset) == (9, 90)


def test_what_could_not_be_read_is_a_bad_row() -> None:
    found = records(Broken(rule="wrong_columns", reason="it has 3", excerpt="a,b,c"), {"messages": messages()})
    (fault,) = found.faults
    assert (fault.line, fault.rule, fault.reason, fault.excerpt) == (1, "wrong_columns", "it has 3", "a,b,c")


def test_faults_come_in_the_order_of_the_rows() -> None:
    found = records({"messages": messages("\x00")}, {}, {"messages": messages("\x00")}, {"messages": []})
    assert found.bad == [
        (1, "control_character"),
        (2, "no_messages"),
        (3, "control_character"),
        (4, "empty_messages"),
    ]


def test_half_a_surrogate_pair_is_told_wherever_it_is() -> None:
    assert records({"messages": messages("\ud800")}).bad == [(1, "not_utf8")]
    assert records({"messages": [], "x": "\ud800"}).bad == [(1, "empty_messages")]
    assert records({"prompt": "\ud800", "completion": "b"}).bad == [(1, "not_utf8")]


def test_the_excerpt_of_an_object_is_its_json() -> None:
    assert records({"text": "ä" * 500}).faults[0].excerpt == ('{"text":"' + "ä" * 500)[:EXCERPT]
