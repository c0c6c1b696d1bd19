"""The text of others, made visible; and the log, in which nothing that others have written passes for a record."""

from __future__ import annotations

import ast
import io
import logging
import re
from collections.abc import Iterator

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from shared import logs
from shared.logs import visible
from tests.kit.hostile import HARMFUL, LONE, WORST, harm, texts
from tests.kit.paths import ROOT

any_text = texts | st.text(st.characters() | st.sampled_from(sorted(HARMFUL | LONE)))


@given(any_text)
@example(WORST)
def test_nothing_that_is_obeyed_is_left_and_twice_is_once(text: str) -> None:
    shown = visible(text)
    assert not HARMFUL.intersection(shown)
    assert visible(shown) == shown
    shown.encode()


@given(any_text, st.integers(1, 30))
def test_it_is_no_longer_than_asked_and_says_where_it_was_cut(text: str, length: int) -> None:
    whole, cut = visible(text), visible(text, length)
    assert len(cut) <= length
    assert cut == whole or (cut[-1] == "…" and whole.startswith(cut[:-1]))


@given(st.text(st.characters(categories=["L", "M", "N", "P", "S"])).filter(lambda text: not logs._UNSEEN.search(text)))
def test_what_people_write_stays_as_it_is(text: str) -> None:
    assert visible(text) == text


@pytest.mark.parametrize(
    "text",
    [
        "größe 北京 مرحبا שלום नमस्ते",
        "می\u200cخواهم",
        "ක්\u200dරි",
        "👩🏽\u200d🚀 🏳\ufe0f\u200d🌈 ❤\ufe0f 1\ufe0f\u20e3 ©\ufe0f",
        "葛\U000e0100城市",
        "e\u0301 a\u00a0b",
        "C:\\new",
    ],
)
def test_joiners_and_variants_stay_where_they_belong(text: str) -> None:
    assert visible(text) == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("pay\u200dpal", r"pay\u200dpal"),
        ("\u200cadmin", r"\u200cadmin"),
        ("👩\u200d\u200d", r"👩‍\u200d"),
        ("a\ufe0fb", r"a\ufe0fb"),
        ("a\u3164b\u115f\u034f", r"a\u3164b\u115f\u034f"),
        ("a\U000e0100", r"a\U000e0100"),
    ],
)
def test_what_nobody_would_see_is_shown(text: str, shown: str) -> None:
    assert visible(text) == shown


# The log -------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def log() -> Iterator[io.StringIO]:
    """What a handler of the root logger writes, in this process made harmless for a while."""
    written, before = io.StringIO(), logging.getLogRecordFactory()
    handler = logging.StreamHandler(written)
    handler.setFormatter(logging.Formatter("[time] %(message)s"))
    logging.getLogger().addHandler(handler)
    logs.harmless()
    yield written
    logging.setLogRecordFactory(before)
    logs.harmless.cache_clear()
    logging.getLogger().removeHandler(handler)


def lines_of(log: io.StringIO) -> list[str]:
    """What was written since it was asked last."""
    text = log.getvalue()
    log.seek(0)
    log.truncate()
    assert not harm(text)
    return text.removesuffix("\n").split("\n")


@settings(max_examples=30)
@given(a=any_text, b=any_text)
@example(a=WORST, b=WORST)
def test_a_record_of_ours_is_one_line(log: io.StringIO, a: str, b: str) -> None:
    for name in ("droptune.run.loop", "shared.cloud.topic"):
        logging.getLogger(name).warning(f"run %s ({a.replace('%', '')}): %s", a, b)
        (line,) = lines_of(log)
        assert line == f"[time] run {visible(a)} ({visible(a.replace('%', ''))}): {visible(b)}"


def fail(a: str, b: str) -> None:
    try:
        raise ExceptionGroup(a, [KeyError(b)])  # noqa: TRY301 - so that it has a traceback
    except ExceptionGroup as error:
        error.add_note(b)
        raise ValueError(b) from error


@settings(max_examples=30)
@given(a=any_text, b=any_text)
@example(a=WORST, b=WORST)
def test_an_errors_text_forges_nothing_either(log: io.StringIO, a: str, b: str) -> None:
    try:
        fail(a, b)
    except ValueError:
        logging.getLogger("droptune.x").exception("run %s can't be looked at", a)
    first, *rest = lines_of(log)
    assert first == f"[time] run {visible(a)} can't be looked at"
    assert rest[0] == "Traceback (most recent call last):"
    assert f"ValueError: {visible(b)}" in rest
    assert any(line.startswith("ExceptionGroup: ") and visible(b) in line for line in rest)
    assert any("raise ValueError(b) from error" in line for line in rest), "where it was raised"
    assert not any(line.startswith("[") for line in rest)


@settings(max_examples=30)
@given(a=any_text)
@example(a=WORST)
def test_others_may_have_several_lines_that_pass_for_no_record(log: io.StringIO, a: str) -> None:
    logging.getLogger("azure.core").warning("Request:\n%s", a)
    first, *rest = lines_of(log)
    assert first == "[time] Request:"
    assert rest == [f"    {visible(line)}" for line in a.split("\n")]


def test_every_logger_of_the_app_is_one_of_ours() -> None:
    """So that each of its records is one line."""
    found = [
        (node.args[0], path)
        for folder in ("shared", "functions")
        for path in (ROOT / folder).rglob("*.py")
        for each in ast.walk(ast.parse(path.read_text()))
        if isinstance(each, ast.Assign) and isinstance(node := each.value, ast.Call)
        if isinstance(node.func, ast.Attribute) and node.func.attr == "getLogger"
    ]
    assert len(found) > 20
    for name, path in found:
        given = ast.literal_eval(name) if isinstance(name, ast.Constant) else str(path.relative_to(ROOT))
        assert re.split("[./]", given)[0] in logs._OURS, path


class _Odd(Exception):
    def __str__(self) -> str:
        raise RuntimeError


def test_what_can_not_be_told_ends_nothing(log: io.StringIO) -> None:
    odd = _Odd()
    odd.__cause__ = odd  # a ring
    logging.getLogger("droptune.x").error("odd", exc_info=odd)
    assert lines_of(log)[-1].endswith("_Odd: its text can't be made")
    logging.getLogger("droptune.x").error("nothing was raised", exc_info=True)
    assert lines_of(log)[0] == "[time] nothing was raised"
    logs.harmless()
    logging.getLogger("droptune.x").error("once")
    assert lines_of(log) == ["[time] once"]
