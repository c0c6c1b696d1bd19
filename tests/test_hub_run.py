"""A run whose data are a dataset of the Hugging Face Hub, prepared by the function: in a process of its own, as there.

The hub's library reads its address when it is imported, so a test that shares a process with others can't do it.
"""

from __future__ import annotations

import json
import subprocess
import sys

from localcloud.stack import Stack
from shared.app import App
from shared.dataset.split import PARTS
from shared.intake.arrivals import look_into
from shared.lifecycle.phase import Phase
from shared.records import layout
from shared.records.layout import PREPARED
from tests.kit.hub import Hub, ultrachat
from tests.kit.records import run_of
from tests.kit.runs import recent

STEPS = """
import os, sys
from shared.run.loop import advance
from shared.app import App
from shared.settings import Settings

app = App.of(Settings.read(os.environ | {"SETTLE_TIME": "PT0S"}))
for _ in range(3):
    advance(app, sys.argv[1], None)
    run = app.runs.load(sys.argv[1]).record
    if run.phase != "received":
        break
"""


def test_a_source_in_finetune_yaml_is_read_at_one_commit(quick: App, folder: str, cloud: Stack) -> None:
    name = "HuggingFaceH4/ultrachat_200k"
    with Hub() as hub:
        files = ultrachat({"train_sft": (470, 3), "test_sft": (50, 1)})
        card = files["README.md"].replace(b"license: mit", b"license: cc-by-nc-4.0")
        repo = hub.add(name, {**files, "README.md": card})
        spec = f"source: {name}\nsplits: {{train: train_sft, test: test_sft}}\npercent: 20\nmin_rows: 50\n"
        quick.cloud.blobs.write("datasets", f"{folder}/finetune.yaml", spec.encode())
        look_into(quick, folder)
        (run_id,) = {run.id for run in recent(quick, 100) if run.source.folder == folder}
        environment = cloud.environment | {"HF_ENDPOINT": hub.url}
        subprocess.run([sys.executable, "-c", STEPS, run_id], env=environment, check=True, timeout=120)
    run = run_of(quick, run_id)
    data = run.attempt.data
    assert data
    assert (run.phase, run.why, data.rejected) == (Phase.PREPARED, "", "")
    assert run.source.hub_commit == repo.branches["main"]
    assert data.rows["test"] == 10, "a fifth of test_sft"
    assert data.rows["train"] + data.rows["validation"] == 94, "a fifth of train_sft, of which validation was cut"
    for part in PARTS:
        rows, _ = quick.cloud.blobs.read(PREPARED, layout.part_of(run.prepared, part))
        assert [set(json.loads(line)) for line in rows.splitlines()] == [{"messages"}] * data.rows[part]
    report = json.loads(quick.cloud.blobs.read(PREPARED, layout.report(run.prepared))[0])
    assert report["warnings"].get("licence") == 1, "the card forbids it"
    quick.runs.retire(run_id)
