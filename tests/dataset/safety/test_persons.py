"""Numbers and addresses of persons that stand beside each other, in JSON, in other writings; and what is none."""

from __future__ import annotations

import json
from random import Random

import pytest

from shared.dataset.safety.search import masked_text
from tests.kit.dataset import planted

CARD = "4111 1111 1111 1111"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Call +14155552671 +14155552672 or 415-555-2671 415-555-2672.", "Call [phone] [phone] or [phone] [phone]."),
        ("(415) 555-2671 (415) 555-2672", "[phone] [phone]"),
        ("Phone: 4155552671, 4155552672", "Phone: [phone], [phone]"),
        ("2024-01-05 +1 415 555 2671", "2024-01-05 [phone]"),
        ("at 10:30 +1 415 555 2671 17 of us", "at 10:30 [phone] 17 of us"),
        ("Order 17 +14155552671", "Order 17 [phone]"),
        ("Ann 1 +49 30 901820", "Ann 1 [phone]"),
        ("0171 1234567 0172 1234567", "[phone] [phone]"),
        ("01 42 68 53 00 01 42 68 53 01", "[phone]"),
        (f"{CARD} 12/27", "[card] 12/27"),
        (f"{CARD} 123", "[card] 123"),
        (f"50 {CARD}", "50 [card]"),
        (f"{CARD} 4242 4242 4242 4242", "[card] [card]"),
        ("4111111111111111 4242424242424242", "[card] [card]"),
        (f"Card {CARD} 2027", "Card [card] 2027"),
        (CARD.replace(" ", "\u00a0"), "[card]"),
        ("50 DE89 3704 0044 0532 0130 00 GB29 NWBK 6016 1331 9268 19 7", "50 [iban] [iban] 7"),
        ("DE89\u00a03704\u00a00044\u00a00532\u00a00130\u00a000", "[iban]"),
        ('{"role":"user","content":4111111111111111}', '{"role":"user","content":"[card]"}'),
        ('{"customer": 17, "number": 4111111111111111}', '{"customer": 17, "number": "[card]"}'),
        ('{"order": 17, "pan": [4111111111111111]}', '{"order": 17, "pan": [[card]]}'),
        ('{"customer_phone": "9876543211"}', '{"customer_phone": "[phone]"}'),
        ('{"customerPhone": 9876543211}', '{"customerPhone": "[phone]"}'),
        ("Contact: 4155552671", "Contact: [phone]"),
        ("My number is 415 555 2671", "My number is [phone]"),
        ("手机13800138000", "手机[phone]"),
        ("06-12345678, 0049 30 901820", "[phone], [phone]"),
        ("jane@mail.com.py, jane@contoso.md, jane@smith.name", "[email], [email], [email]"),
        ("jane@contoso.sh jane@contoso.so jane@contoso.zip", "[email] [email] [email]"),
        ("ivan@почта.рф и 用户@例子.中国", "[email] и [email]"),
        ("mailto:jane%40contoso.com", "mailto:[email]"),
    ],
)
def test_each_is_masked_whatever_stands_beside_it(text: str, shown: str) -> None:
    assert masked_text(text) == shown
    assert masked_text(shown) == shown
    for ascii_only in (False, True):
        (told, _) = json.loads(masked_text(planted.row(text, "Yes.", ascii_only=ascii_only).decode()))["messages"]
        assert told["content"] == shown


@pytest.mark.parametrize(
    "text",
    [
        "lottery numbers 03 11 25 33 41, or 01 02 03 04 05",
        "date 04-2023-1234, temperature +20 30 40 50",
        '{"order": 4111111111111111}, {"user_id": "4539578763621486"}',
        "4111 1111 1111 1112 1111, 1990 1995 2000 2005 2010, 0012 3456 7890 1234",
        "DE89 3704 0044 0532 0130 01 is no account, 0042 1234 5678 no telephone",
        "icon@2x.png, script@main.py, lib@1.2.so, notes@v2.md, 大家好@小明.谢谢",
    ],
)
def test_what_only_looks_so_is_nothing(text: str) -> None:
    assert masked_text(text) == text


def test_in_what_is_masked_nothing_more_is_found() -> None:
    chance = Random(20)
    makes = list(planted.PERSONS.values())
    for _ in range(250):
        some = [chance.choice(makes)(chance) for _ in range(chance.randint(1, 4))]
        text = chance.choice([" ", ", ", "; ", "\n", " or ", " 17 ", "/"]).join(some)
        shown = masked_text(f"{chance.choice(['', 'Phone: ', 'card ', 'Order 17 ', '1 '])}{text}")
        assert masked_text(shown) == shown, text
