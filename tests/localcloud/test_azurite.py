"""What is changed in Azurite before it starts, on the very database that it uses."""

from __future__ import annotations

import json
import subprocess

import pytest

from localcloud import azurite

SCRIPT = """
const Loki = require(process.argv[1]);
const found = new Loki("x").addCollection("messages", { indices: ["at"] });
found.insert([{ at: 2 }, { at: 1 }]);
const index = found.binaryIndices.at.values;
found.remove([]);
const kept = found.binaryIndices.at.values === index;
found.remove(found.find({ at: 1 }));
console.log(JSON.stringify([kept, found.data.map((each) => each.at)]));
"""


@pytest.mark.parametrize("preloaded", [True, False])
def test_where_nothing_is_removed_nothing_is_sorted_anew(preloaded: bool) -> None:
    """Without the change it is: once it is not, the change can go."""
    options = ["--require", str(azurite.PRELOAD)] if preloaded else []
    lokijs = azurite.FOLDER / "node_modules" / "lokijs"
    command = [azurite.node(), *options, "-e", SCRIPT, str(lokijs)]
    told = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout
    assert json.loads(told) == [preloaded, [2]]
