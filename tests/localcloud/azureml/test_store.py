"""Documents: what is kept, in which order, and what is left when it can't be written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from localcloud.azureml.store import Store


def test_documents_survive_and_keep_their_order(tmp_path: Path) -> None:
    store = Store(tmp_path)
    for name in ("z", "a/b:c", "m"):
        store.put("models", name, {"name": name})
    store.put("models", "z", {"name": "z", "changed": True})
    assert store.delete("models", "m")
    assert not store.delete("models", "m")
    again = Store(tmp_path)
    again.put("models", "b", {"name": "b"})
    assert Store(tmp_path).list("models") == [{"name": "z", "changed": True}, {"name": "a/b:c"}, {"name": "b"}]
    assert again.list("models", "a/") == [{"name": "a/b:c"}]
    assert again.get("data", "z") is None


@pytest.mark.parametrize("name", ["n" * 255, "n" * 250, "n" * 251, "/" * 255])
def test_names_may_be_longer_than_those_of_files(tmp_path: Path, name: str) -> None:
    Store(tmp_path).put("models", name, {"version": 1})
    Store(tmp_path).put("models", name, {"version": 2})
    again = Store(tmp_path)
    assert again.items("models") == [(name, {"version": 2})]
    assert again.delete("models", name)
    assert not Store(tmp_path).items("models")


def test_what_can_not_be_written_leaves_no_trace(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.put("models", "a", {"version": 1})
    for name in ("a", "b"):
        with pytest.raises(TypeError):
            store.put("models", name, {"version": object()})
    assert store.items("models") == [("a", {"version": 1})]
    assert [path.name for path in (tmp_path / "models").iterdir()] == ["a.json"]


def test_documents_are_given_and_taken_as_copies(tmp_path: Path) -> None:
    store = Store(tmp_path)
    given: dict[str, Any] = {"tags": {}}
    store.put("models", "m", given)
    given["tags"]["a"] = "b"
    found = store.get("models", "m")
    assert found == {"tags": {}}
    found["tags"]["c"] = "d"
    assert store.get("models", "m") == {"tags": {}}
