"""What people read of a whole life of a line: words, never the name of an action, a token or an ETag."""

from __future__ import annotations

import json
import logging
import re
from typing import Any

import pytest

from shared.api import line_commands, run_commands, views
from shared.lifecycle.action import Action
from shared.lifecycle.phase import Phase
from shared.messages import park
from shared.records.layout import STEPS_QUEUE
from tests.kit.worlds.stage import Stage

OLD_NAMES = ("prepare", "lead", "admit", "queue_up", "make_computes", "register", "clear", "serve", "compare")
"""What some of them were called, as a line of a history or at the beginning of a reason."""


def named_in(told: str) -> str:
    """The run that an answer to a command names."""
    return told.split()[1]


def strings(found: Any) -> list[str]:
    """All texts in JSON, however deep, but not the names of fields."""
    if isinstance(found, dict):
        return [text for value in found.values() for text in strings(value)]
    if isinstance(found, list):
        return [text for value in found for text in strings(value)]
    return [found] if isinstance(found, str) else []


@pytest.mark.thorough
def test_a_whole_life_is_told_in_words(stage: Stage, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="droptune")
    app, world = stage.app, stage.world
    said = []
    first = stage.until(stage.upload("a"))
    assert first.phase is Phase.LIVE, first.why
    stage.pretend(outcome="Failed")
    second = stage.until(stage.upload("b"))
    assert second.phase is Phase.ROLLED_BACK
    stage.pretend()
    said.append(run_commands.retry(app, second.id, by="ada"))
    assert stage.until(second, lambda run: run.phase is Phase.LIVE)
    said.append(line_commands.rollback(app, stage.line_id, by="ada"))
    assert stage.until(world.run(named_in(said[-1]))).phase is Phase.LIVE
    said.append(line_commands.pin(app, stage.line_id, by="ada"))
    third = stage.upload("c")
    assert stage.until(third, lambda run: run.hold == "pin")
    park(app, STEPS_QUEUE, "m1", json.dumps({"run": third.id, "token": None}).encode())
    assert world.run(third.id).parked
    pages = [views.runs(app, {}), views.run(app, third.id)]
    said.append(run_commands.retry(app, third.id, by="ada"))
    said.append(line_commands.unpin(app, stage.line_id, by="ada"))
    assert stage.until(third).phase is Phase.LIVE
    stage.tear_down()
    said.append(line_commands.revive(app, stage.folder, by="ada"))
    assert stage.until(world.run(named_in(said[-1]))).phase is Phase.LIVE
    pages += [views.runs(app, {}), views.lines(app), *(views.run(app, run_id) for run_id in world.known)]

    logged = [each.getMessage() for each in caplog.records if each.name.startswith("droptune")]
    texts = [*said, *logged]
    texts += [text for status, body in pages for text in strings(json.loads(body)) if status == 200]
    texts += [text for event in stage.cloud_events() for text in strings(event["data"])]
    assert len(texts) > 200
    words = {word for text in texts for word in re.findall(r"\w+", text)}
    assert words & set(Action) == set()
    assert [text for text in texts if text.partition(": ")[0] in OLD_NAMES] == []
    assert "pin" not in {entry.what for run_id in world.known for entry in world.run(run_id).history}
    secrets = {record.claim.holder for record in map(world.run, world.known) if record.claim}
    secrets |= {record.wake.token for record in map(world.run, world.known) if record.wake}
    assert [secret for secret in secrets if any(secret in text for text in texts)] == []
