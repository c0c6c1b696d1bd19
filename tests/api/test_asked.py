"""Who asks, as it is shown."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from shared.api.asked import BY_LENGTH, CLAIMED, SOMEBODY, kept, who

names = st.text(max_size=150) | st.sampled_from(["ada", "x" * 95 + " y z", f"ada{CLAIMED}", SOMEBODY, "\u202eada\n"])


@given(names, st.booleans())
def test_a_name_is_one_line_that_says_whether_anybody_vouches_for_it(name: str, proven: bool) -> None:
    shown = who(name, proven=proven)
    assert shown.isprintable()
    assert 0 < len(shown) <= BY_LENGTH
    assert shown == shown.strip() == kept(shown)
    if not proven:
        assert shown.endswith(CLAIMED) or shown == SOMEBODY
    if not proven and any(letter.isprintable() and not letter.isspace() for letter in name):
        assert shown.endswith(CLAIMED)


def test_names() -> None:
    assert who("ada", proven=False) == "ada (claimed)"
    assert who("ada@example.org", proven=True) == "ada@example.org"
    assert who(" \n", proven=False) == who("", proven=True) == "somebody"
    assert who("somebody", proven=False) == "somebody (claimed)"
    assert who("x" * 500, proven=False) == "x" * 90 + " (claimed)"
