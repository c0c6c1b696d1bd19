"""What of secrets and persons' data a text has, by the byte; and the text with words in their places.

Nothing here, and nothing that calls this, ever tells a value. Called by `guard` for rows that are written, and wherever
something of a row is shown.
"""

from __future__ import annotations

import re
import reprlib
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from shared.dataset.safety import persons, secrets
from shared.dataset.safety.places import places
from shared.dataset.safety.text import Plain

SECRET, CARD, IBAN, EMAIL, PHONE = b"[secret]", b"[card]", b"[iban]", b"[email]", b"[phone]"
WORDS = {
    SECRET: "",
    CARD: "card number",
    IBAN: "account number (IBAN)",
    EMAIL: "e-mail address",
    PHONE: "telephone number",
}
"""The words that stand in the place of a value, and what kind each is; secrets have kinds of their own."""


@dataclass(frozen=True, slots=True)
class Found:
    """A value: its kind, the word to put in its place, and where it is in the bytes that were searched."""

    kind: str
    word: bytes
    start: int
    end: int

    @property
    def secret(self) -> bool:
        """Whether it lets somebody in, and is not only somebody's."""
        return self.word == SECRET


def search(block: bytes) -> list[Found]:
    """All values in rows of JSON, or in any text, in their order; none overlaps another."""
    if not block:
        return []
    where = places(block, secrets.BEGINNINGS)
    found = [Found(kind, SECRET, start, end) for kind, start, end in secrets.formed(block, where.begins)]
    if where.solid:
        found += [Found(kind, SECRET, start, end) for kind, start, end in secrets.solid(block, where.solid)]
        found += _within(block, _near(block, b"PRIVATE KEY", 64, _PEM), _private_keys)
        found += _within(block, _near(block, b"PuTTY-User-Key", 1, _PEM), _private_keys)
    keys = [(start, end) for start, end in where.escaped if b"==" in block[start:end] or b"003" in block[start:end]]
    found += _within(block, keys, _inside)
    named = [(start, end + _VALUE) for start, end in where.named if secrets.names(block[start:end])]
    found += _within(block, named, _named)
    found += _within(
        block, [(at - 260, at + 8) for at in where.ats if block.find(b"://", max(0, at - 256), at) >= 0], _credentials
    )
    found += _within(block, where.numbers, _numbers)
    found += _within(block, where.addresses, _addresses)
    return _apart(found) if found else found


_PEM = 13_000
_VALUE = 520  # bytes of the longest value that is named


def _near(block: bytes, word: bytes, before: int, behind: int) -> Iterator[tuple[int, int]]:
    at = block.find(word)
    while at >= 0:
        yield at - before, at + behind
        at = block.find(word, at + 1)


type _Values = Iterator[tuple[str, bytes, int, int]]


def _within(block: bytes, spans: Iterable[tuple[int, int]], look: Callable[[bytes], _Values]) -> Iterator[Found]:
    for begin, end in spans:
        begin = max(begin, 0)
        while begin and block[begin - 1] == 0x5C:  # a backslash: not from the middle of an escape
            begin -= 1
        plain = Plain(block[begin:end])
        for kind, word, start, stop in look(plain.text):
            yield Found(kind, word, begin + plain.raw(start), begin + plain.raw(stop))


def _private_keys(text: bytes) -> _Values:
    return ((kind, SECRET, start, end) for kind, start, end in secrets.private_keys(text))


def _inside(text: bytes) -> _Values:
    return ((kind, SECRET, start, end) for kind, start, end in secrets.inside(text))


def _credentials(text: bytes) -> _Values:
    return ((kind, SECRET, start, end) for kind, start, end in secrets.credentials(text))


def _named(text: bytes) -> _Values:
    return ((kind, SECRET, start, end) for kind, start, end in secrets.named(text))


def _numbers(text: bytes) -> _Values:
    for word, look in ((CARD, persons.cards), (IBAN, persons.ibans), (PHONE, persons.phones)):
        if not (found := list(look(text, 0, len(text)))):
            continue
        rest = bytearray(text)  # without them: a number that follows one of them is looked for as after its word
        for start, end in found:
            yield WORDS[word], word, start, end
            rest[start:end] = b"[%b]" % (b"x" * (end - start - 2))
        text = bytes(rest)


def _addresses(text: bytes) -> _Values:
    return ((WORDS[EMAIL], EMAIL, start, end) for start, end in persons.emails(text, 0, len(text)))


_RANK = {word: at for at, word in enumerate(WORDS)}


def _apart(found: list[Found]) -> list[Found]:
    """Of values that overlap the surest: a secret before a number, a card before a telephone, the longer one."""
    starts: list[int] = []
    kept: list[Found] = []
    for each in sorted(found, key=lambda each: (_RANK[each.word], each.start, each.start - each.end)):
        at = bisect_left(starts, each.end)  # those before it begin before its end, and are apart from each other
        if not at or kept[at - 1].end <= each.start:
            starts.insert(at, each.start)
            kept.insert(at, each)
    return kept


def masked(data: bytes) -> bytes:
    """Text with a word in the place of each value, and of those that only show when their neighbours are gone."""
    for _ in range(ROUNDS):
        found = search(data)
        if not found:
            break
        data = replaced(data, found)
    return data


ROUNDS = 4


def masked_text(text: str) -> str:
    """The same of a string."""
    return masked(text.encode("utf-8", "surrogatepass")).decode("utf-8", "surrogatepass")


def in_short(value: object) -> str:
    """What a dataset holds, as Python writes it, in a few characters: masked before it is cut."""
    if isinstance(value, str):
        return reprlib.repr(masked_text(value[:_MOST]) if _ANYTHING.search(value, 0, _MOST) else value)
    text = masked_text(_long.repr(value))
    return text if len(text) <= _FEW else f"{text[: _FEW - 3]}..."


_long = reprlib.Repr(maxstring=2000, maxother=2000)
_MOST = 10_000
_FEW = 60
_ANYTHING = re.compile("[0-9@]|[A-Z].*[A-Z].*[A-Z].*[A-Z]", re.DOTALL)  # without these it has no value


def beginning(data: bytes, length: int) -> str:
    """How data that somebody gave begin, in at most so many characters, masked: it is masked before it is cut."""
    most = 4 * length + SLACK
    shown = masked(data[:most])
    if len(data) > most and len(shown) < 4 * length:  # the end of what was looked at comes into view: half a value?
        shown = shown[: max(0, len(shown) - 256)]
    if (part := _PART.match(data)) and _mixed(part[1]):  # a line of a key
        shown = SECRET
    if begun := _BEGUN.search(shown):  # a key whose other lines are elsewhere
        shown = shown[: begun.end()] + SECRET
    return shown[: 4 * length].decode(errors="replace")[:length]


_BEGUN = re.compile(rb"-----BEGIN[ A-Z0-9]{0,30}PRIVATE KEY(?: BLOCK)?-----|PuTTY-User-Key-File-\d")
_PART = re.compile(rb"[\s\"',;|\[]*([A-Za-z0-9+/]{16,}+)={0,2}(?:\\[nr])*(?:[\s\"',;|\]}]|\Z)")


def _mixed(value: bytes) -> bool:
    """Whether it has what base64 has: letters of both kinds, and digits."""
    return all(re.search(each, value) for each in (rb"[a-z]", rb"[A-Z]", rb"[0-9]"))


def names_secret(name: str) -> bool:
    """Whether what a column of this name has is a secret."""
    return _NAMES_SECRET.search(name) is not None


_NAMES_SECRET = re.compile(
    r"(?i:passw|pass(?:phrase|code)|^pass$|(?<![a-z])(?:pwd|pw|pin)(?![a-z])|secret|credential|token(?!s|iz)|"
    r"(?:api|access|private)[ _-]?key|"
    r"kennwort|contrase|mot de passe|senha|wachtwoord|пароль|密码|密碼|パスワード|비밀번호)"
)

SLACK = 4096
"""Bytes behind what is shown that are looked at too: a value that begins in view ends there."""


def replaced(data: bytes, found: list[Found], *, in_json: bool = False, numbered: bool = False) -> bytes:
    """The data with a word in the place of each value. `in_json`: the data are JSON, and stay so: where a number stood
    the word is a text. `numbered`: each another word, for the keys of an object must differ."""
    parts, at = [], 0
    for count, each in enumerate(found, 1):
        word = b"%b %d]" % (each.word[:-1], count) if numbered else each.word
        if in_json and _outside(data, each.start):
            word = b'"%b"' % word
        elif not in_json and (quote := _number(data, each)):
            word = quote + word + quote
        parts += [data[at : each.start], word]
        at = each.end
    return b"".join([*parts, data[at:]])


_TEXT = re.compile(rb'"(?:[^"\\]|\\.)*+"?')
_VALUE_OF = re.compile(rb'(?<![\\"])(\\*")\s*:\s*\Z')


def _outside(data: bytes, place: int) -> bool:
    """Whether the place is outside of the texts of JSON."""
    return not any(found.start() < place < found.end() for found in _TEXT.finditer(data))


def _number(data: bytes, each: Found) -> bytes:
    """The quote of a text of JSON that the value should be, now that it is no number; else nothing."""
    if not data[each.start : each.end].isdigit() or not _ENDED.match(data, each.end):
        return b""
    named = _VALUE_OF.search(data, max(0, each.start - 64), each.start)
    return named[1] if named else b""


_ENDED = re.compile(rb"(?:\s|\\n)*[,}\]]")
