"""What is found in texts, and what is not: values planted from a seed, and what only looks like one."""

from __future__ import annotations

import json
from random import Random

import pytest

from shared.dataset.safety.persons import IBAN_LENGTHS, luhn
from shared.dataset.safety.search import beginning, masked, masked_text, search
from tests.kit.dataset import planted


def kinds(text: str) -> list[str]:
    data = planted.row(text, "Yes.")
    return [each.kind for each in search(data)]


def test_nearly_all_that_is_planted_is_found_and_next_to_nothing_else() -> None:
    chance = Random(19)
    missed = []
    for at in range(1500):
        row, value = planted.bad_row(chance, at)
        if not any(each.secret is value.secret for each in search(row)):
            missed.append((value.what, row))
    flagged = [row for row in (planted.clean_row(chance, at) for at in range(2000)) if search(row)]
    assert len(missed) <= 15, missed[:3]
    assert len(flagged) <= 2, flagged[:3]


@pytest.mark.thorough
@pytest.mark.parametrize("what", [*planted.SECRETS, *planted.PERSONS])
def test_each_kind_is_found_wherever_it_stands(what: str) -> None:
    chance = Random(what)
    make = (planted.SECRETS | planted.PERSONS)[what]
    missed = []
    for at in range(20 * len(planted.AROUND)):
        value = make(chance)
        row = planted.row(planted.AROUND[at % len(planted.AROUND)](value), "Yes.")
        if not any(each.secret is (what in planted.SECRETS) for each in search(row)):
            missed.append(row)
    assert len(missed) <= 4, missed[:3]


def test_a_block_of_rows_shows_what_each_row_shows() -> None:
    chance = Random(7)
    rows = [planted.bad_row(chance, at)[0] if at % 5 == 0 else planted.clean_row(chance, at) for at in range(300)]
    alone = [(at, each.kind, each.start, each.end) for at, row in enumerate(rows) for each in search(row)]
    begins = [sum(len(row) + 1 for row in rows[:at]) for at in range(len(rows))]
    found = search(b"\n".join(rows))
    assert [(each.kind, each.start, each.end) for each in found] == [
        (kind, begins[at] + start, begins[at] + end) for at, kind, start, end in alone
    ]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Write to jane.doe@contoso.com.", "Write to [email]."),
        ("a\njane@contoso.com\tb", "a\n[email]\tb"),
        ("„jörg.müller@contoso.de“", "„[email]“"),
        ("mailto:jane@contoso.com?subject=x", "mailto:[email]?subject=x"),
        ("Call (212) 555-0123 or +49 170 1234567!", "Call [phone] or [phone]!"),
        ("Pay with 4111 1111 1111 1111, 4111-1111-1111-1111 or 378282246310005.", "Pay with [card], [card] or [card]."),
        ("GB82 WEST 1234 5698 7654 32 and DE89370400440532013000", "[iban] and [iban]"),
        ("My password is Tr0ub4dor&3!", "My password is [secret]"),
        ("mysql://root:k7Wq2mZp9x@db.contoso.com/x", "mysql://root:[secret]@db.contoso.com/x"),
    ],
)
def test_a_word_stands_in_the_place_of_a_value_and_all_else_stays(text: str, shown: str) -> None:
    assert masked_text(text) == shown
    assert json.loads(masked(planted.row(text, "Yes.")))["messages"][0]["content"] == shown
    assert json.loads(masked(planted.row(text, "Yes.", ascii_only=True)))["messages"][0]["content"] == shown


@pytest.mark.parametrize(
    "text",
    [
        "someone@example.com, root@localhost, x@host.internal, git@github.com:a/b.git, noreply@github.com, icon@2x.png",
        "4111 1111 1111 1112 has another check digit, and 1234 5678 9012 3456 is nobody's",
        "GB82 WEST 1234 5698 7654 33",
        "order number 4539578763621486",
        "+1000000 points, 12:30, 2024-01-15, 192.168.100.200, 3.14159265358979323846",
        "password: ********, api_key=YOUR_API_KEY, token = os.environ['TOKEN'], secret: changeme123",
        "550e8400-e29b-41d4-a716-446655440000, 3f786850e387550fdab836ed7e6dc881de23001b",
        "born 01-01-2013, 05-06-1990; postgres://postgres:postgres@localhost/x, https://user:password@host.com/x",
        "auth_grant = OAuth2AuthorizationCodeGrant3(x); credentials = base64.b64encode(b'x'); key = table2Rows3X[1]",
        "AKIA is how they begin, and ghp_ too; sk-learn and sk-something-else-entirely",
    ],
)
def test_what_only_looks_so_is_nothing(text: str) -> None:
    assert kinds(text) == []


@pytest.mark.parametrize(
    "written",
    [
        rb'{"a":"jane\u0040contoso.com"}',
        rb'{"arguments":"{\"to\": \"jane\\u0040contoso.com\"}"}',
        rb'{"arguments":"{\"note\":\"x\\njane@contoso.com\\ny\"}"}',
        rb'{"a":"\u006aane@contoso.com"}',
    ],
)
def test_escapes_hide_nothing(written: bytes) -> None:
    shown = masked(written)
    assert b"contoso" not in shown
    assert b"[email]" in shown
    json.loads(shown)


@pytest.mark.parametrize("what", ["github fine", "openai project", "stripe long", "digitalocean", "jwt", "private key"])
def test_a_value_is_masked_before_it_is_cut(what: str) -> None:
    chance = Random(3)
    for before in (100, 130, 140):
        value = planted.SECRETS[what](chance)
        shown = beginning(b'{"a":"' + b"x" * (before - 7) + b" " + json.dumps(value)[1:].encode(), 160)
        assert shown.startswith('{"a":"xx')
        assert value[:16] not in shown


def test_check_digits() -> None:
    assert luhn(b"79927398713")
    assert not luhn(b"79927398710")
    assert len(IBAN_LENGTHS) > 80
    assert all(15 <= size <= 34 for size in IBAN_LENGTHS.values())
