"""Tags that the app is told to give to all that it makes: what Azure would refuse is refused at the start."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.naming import MOST_TAGS
from shared.records.tags import RECORD_TAGS, tags_of, tags_of_line
from shared.settings import SettingError
from shared.training.job import Data, Machines, Purpose, Recipe, job_request
from tests.kit.carried import LINE, RUN
from tests.kit.settings import KNOWN

TAGS = KNOWN["RESOURCE_TAGS"]
MOST = 50
"""Tags that Azure lets a resource have."""
names = st.text(
    st.characters(codec="ascii", exclude_characters="<>%&\\?/=,", categories=["L", "N", "P", "S"]), min_size=1
)
values = st.text(st.characters(exclude_categories=["C", "Z"]), max_size=256)


@pytest.mark.parametrize(
    ("text", "tags"),
    [
        ("", ()),
        ("costCenter=42", (("costCenter", "42"),)),
        (" costCenter = 42 , owner=ml team,", (("costCenter", "42"), ("owner", "ml team"))),
        ("empty=,why=a=b", (("empty", ""), ("why", "a=b"))),
        ('{"owner": "ml, ops", "cost-center": "42"}', (("owner", "ml, ops"), ("cost-center", "42"))),
        (f"{'n' * 512}={'v' * 256}", (("n" * 512, "v" * 256),)),
    ],
)
def test_tags_are_a_list_or_json(text: str, tags: tuple[tuple[str, str], ...]) -> None:
    assert TAGS.read(text) == tags


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("costCenter", "costCenter=42,owner=ml team"),
        ("=42", "needs a name of 1 to 512 characters"),
        ("{", "as a JSON object"),
        ('{"a": 1}', "of texts"),
        ('{"a": {"b": "c"}}', "of texts"),
        ("a/b=1", "may not have '/'"),
        ("a<b=1", "may not have '<'"),
        ("a\x07=1", r"may not have '\x07'"),
        ("a=\x1b[31m", r"may not have '\x1b'"),
        ("Droptune.run=r1", "begins like tags that are not yours to set"),
        ("microsoft.x=1", "begins like tags that are not yours to set"),
        ("a=1,A=2", "a name is there twice"),
        ('{"a": "1", "a": "2"}', "a name is there twice"),
        (f"{'n' * 513}=1", "needs a name of 1 to 512 characters"),
        (f"a={'v' * 257}", "more than 256 characters"),
        (",".join(f"t{n}=1" for n in range(MOST_TAGS + 1)), f"there are {MOST_TAGS + 1}, and {MOST_TAGS} at most"),
    ],
)
def test_what_azure_would_refuse_is_refused_with_the_reason(text: str, why: str) -> None:
    with pytest.raises(SettingError) as caught:
        TAGS.read(text)
    assert str(caught.value).startswith("RESOURCE_TAGS=")
    assert why in str(caught.value)


@settings(max_examples=30)
@given(st.dictionaries(names, values, max_size=10))
def test_whatever_is_taken_comes_out_as_it_went_in(tags: dict[str, str]) -> None:
    try:
        read = TAGS.read(json.dumps(tags))
    except SettingError:
        return
    assert dict(read) == tags


def test_there_is_room_for_ours_beside_them() -> None:
    job = job_request(
        Purpose(run="r", attempt=1, dataset="d", base_model="m"),
        Recipe(model_id="m", component="c", component_version="1", component_id="c", parameters={}),
        Machines(gpu_compute="g", gpu_size="G", cpu_compute="c", cpu_size="C", nodes=1, gpus=1),
        Data(train="t", validation="v"),
        tags=_most(tags_of(RUN)),
    )
    assert len(job.tags) + MOST_TAGS <= MOST
    assert len(_most(tags_of_line(LINE))) + MOST_TAGS <= MOST


def _most(tags: dict[str, str]) -> dict[str, str]:
    """The same with as many pieces of a record as there may be."""
    return tags | {f"droptune.record.{number}": "x" for number in range(RECORD_TAGS)}
