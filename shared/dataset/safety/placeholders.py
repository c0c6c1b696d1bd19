"""What people write in the place of a password: no secret. Called by `secrets`."""

from __future__ import annotations

import re
from base64 import b64decode

_PLACEHOLDER = re.compile(
    rb"(?i:(?:p[a@4][s5$]{2}(?:w[o0]r[dt]|wd|phrase|code)?|s[e3]cr[e3]t|t[e3][s5$]t(?:ing)?|gu[e3][s5$]t|[a@4]dm[i1!]n|"
    rb"us[e3]r(?:name)?|[e3]x[a@4]mpl[e3]|my|your|the|this|is|a|some|new|old|super|very|change|me|default|demo|root|strong|"
    rb"secure|safe|key|token|jwt|app|db|postgres|mysql|open|sesame|[\d\W_])++)"
)
_A_WORD = re.compile(
    rb"(?i:p[a@4][s5$]{2}|s[e3]cr[e3]t|t[e3][s5$]t|gu[e3][s5$]t|[a@4]dm[i1!]n|us[e3]r|[e3]x[a@4]mpl|my|your|change|root)"
)


def is_placeholder(value: bytes) -> bool:
    """Whether a value is made of words like password, test, my: also as pa55, and with a few digits or marks."""
    if value[-1:] == b"=" or _BASIC.fullmatch(value):  # as a header has a name and a password
        try:
            told = b64decode(value, validate=True)
        except ValueError:
            told = b""
        if told.isascii() and b":" in told:
            value = told.partition(b":")[2]
    return (
        _PLACEHOLDER.fullmatch(value) is not None
        and _A_WORD.search(value) is not None
        and sum(not 65 <= code & 0xDF <= 90 for code in value) <= 8
    )


_BASIC = re.compile(rb"[A-Za-z0-9+/]{8,60}={0,2}")
