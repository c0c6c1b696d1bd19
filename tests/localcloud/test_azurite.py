"""What is changed in Azurite before it starts, on the very database that it uses: once it is not needed, it can go."""

from __future__ import annotations

import json
import subprocess
from typing import Any

import pytest

from localcloud import azurite

REMOVES_NOTHING = """
const index = found.binaryIndices.name.values;
found.remove([]);
const kept = found.binaryIndices.name.values === index;
found.remove(found.find({ name: "b" }));
tell([kept, found.data.map((each) => each.name)]);
"""
LOOKS_UP = """
const asked = [];
const range = found.calculateRange;
found.calculateRange = function (operator, property, value) {
  asked.push(property);
  return range.call(this, operator, property, value);
};
const one = found.find({ account: "x", name: "b" }).map((each) => each.name);
tell([asked[0], one, found.find({ account: "y", name: "b" }), found.find({ account: "x", name: { $gt: "a" } }).length]);
"""


@pytest.mark.parametrize("preloaded", [True, False])
def test_where_nothing_is_removed_nothing_is_sorted_anew(preloaded: bool) -> None:
    assert ran(REMOVES_NOTHING, preloaded=preloaded) == [preloaded, ["c", "a"]]


@pytest.mark.parametrize("preloaded", [True, False])
def test_what_is_looked_up_is_found_by_its_name_first(preloaded: bool) -> None:
    assert ran(LOOKS_UP, preloaded=preloaded) == ["name" if preloaded else "account", ["b"], [], 2]


def ran(script: str, *, preloaded: bool) -> Any:
    """What the script tells of three documents of one account, `found`, in a collection with two indexes."""
    options = ["--require", str(azurite.PRELOAD)] if preloaded else []
    begin = """
    const tell = (what) => console.log(JSON.stringify(what));
    const found = new (require(process.argv[1]))("x").addCollection("blobs", { indices: ["account", "name"] });
    found.insert(["c", "b", "a"].map((name) => ({ account: "x", name })));
    found.find({ account: "x", name: "a" });
    """
    lokijs = azurite.FOLDER / "node_modules" / "lokijs"
    command = [azurite.node(), *options, "-e", begin + script, str(lokijs)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    return json.loads(done.stdout)
