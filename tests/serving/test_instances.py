"""What a person made of what Droptune asked for, and what the next version gets of it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from shared.serving.instances import Instances, kept

SOME = st.builds(Instances, count=st.integers(1, 4), size=st.sampled_from(("A100", "a100", "DS3")))


@given(SOME, SOME)
def test_what_nobody_changed_is_as_the_settings_say(asked: Instances, wanted: Instances) -> None:
    assert kept(asked, asked, wanted) is None
    assert kept(Instances(count=0, size=""), asked, wanted) is None, "nobody knows what it has"


@given(SOME, SOME, SOME)
def test_what_somebody_changed_is_kept_each_for_itself(seen: Instances, asked: Instances, wanted: Instances) -> None:
    found = kept(seen, asked, wanted) or wanted
    assert found.count == (seen.count if seen.count != asked.count else wanted.count)
    assert found.size.lower() == (seen.size if seen.size.lower() != asked.size.lower() else wanted.size).lower()
    # The next version is taken for what the settings asked for: as long as nobody touches it, it is kept.
    assert (kept(found, wanted, wanted) or wanted).count == found.count


def test_in_words() -> None:
    assert str(Instances(count=3, size="A100")) == "3 x A100"
