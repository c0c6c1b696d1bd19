"""What people did by hand, in Azure, to the endpoint and what serves on it: a rollout keeps it, or waits and says so.

Whatever stands here is found out before anything is paid for. Called by the looks (observe.py) and the actions of a
rollout; `Endpoints.move_traffic` sees to it that nobody's share drops, whatever happens between a look and an act.
"""

from __future__ import annotations

from shared import naming
from shared.app import App
from shared.cloud.endpoints import Endpoint
from shared.records.line import Line, adoptable
from shared.records.owner import not_on_line
from shared.records.run import Run
from shared.serving.instances import Instances, kept
from shared.serving.traffic import WHOLE, others, told

BROKEN = ("Failed", "Canceled")


def by_settings(app: App) -> Instances:
    """What SERVING_INSTANCES and SERVING_SIZE ask for."""
    return Instances(count=app.settings.serving.instances, size=app.settings.serving.size)


def instances_of(app: App, run: Run) -> Instances:
    """What the run's deployment is to have."""
    return run.attempt.kept or by_settings(app)


def kept_by_hand(app: App, run: Run, line: Line) -> Instances | None:
    """What a person made of what serves, which the run's deployment gets too; None where the settings say it.

    Where what serves is not to be seen, or has gone to make room, the run knows it already, or never will.
    """
    found = app.cloud.endpoints.deployment(line.endpoint, line.serving.deployment) if line.serving else None
    if line.serving is None or found is None or not found.instances:
        return run.attempt.kept
    seen, wanted = Instances(count=found.instances, size=found.instance_type), by_settings(app)
    # Records of before say how many there were, and nothing of their size.
    asked = line.serving.asked or Instances(count=line.instances or wanted.count, size=seen.size)
    return kept(seen, asked, wanted)


def own_name(run: Run, line: Line) -> str:
    """The run's deployment: the one that still stands from before, or the one that is made for it."""
    there = adoptable(line, run)
    return there.deployment if there else naming.deployment_name(run.id, run.attempt.number)


def in_the_way(app: App, run: Run, line: Line, endpoint: Endpoint) -> str:
    """What a person did, or has to do, before the run deploys, and what ends the wait; "" where there is nothing.

    What the run pays for already is left to its checks, which don't wait for ever.
    """
    if endpoint.state in BROKEN:
        return _broken(app, run, line, endpoint)
    own = own_name(run, line)
    hands = split(run, line, endpoint, own) or replaced(app, line, endpoint)
    there = {each.name for each in app.cloud.endpoints.deployments(line.endpoint)} if hands else set[str]()
    return "" if own in there and not adoptable(line, run) else hands


def split(run: Run, line: Line, endpoint: Endpoint, own: str) -> str:
    """Who has traffic that is not this rollout's to take, and what ends the wait for that; "" where nothing does.

    What serves has a part of it then, and who gave the rest away may not want that part to be answered by another
    version: what comes by itself waits. A rollback is asked for, and takes that part at once. One that has to make room
    first waits too: others would get that part meanwhile.
    """
    serving = line.serving.deployment if line.serving else ""
    shares = others(endpoint.traffic, serving, own)
    beside = run.restores and run.source.promotion.strategy != "replace"  # else all that what serves has would go first
    if not shares or (beside and sum(shares.values()) < WHOLE):
        return ""
    how = f"give {serving} all of it" if serving else "set it to 0"
    return (
        f"the traffic of endpoint {line.endpoint}, of which somebody gave {told(shares)}. That stays so: the run goes "
        f"on once they have none ({how}); droptune cancel {run.id} ends it"
    )


def replaced(app: App, line: Line, endpoint: Endpoint) -> str:
    """That what serves is not ours any more, and what ends the wait for that; "" where it is, or has no traffic."""
    name = line.serving.deployment if line.serving else ""
    found = app.cloud.endpoints.deployment(line.endpoint, name) if endpoint.traffic.get(name) else None
    return not_on_line(line, name, found.tags) if found else ""


def share_of(run: Run, line: Line | None, endpoint: Endpoint, own: str) -> int:
    """Percent that the run's deployment has of what it may have: of the traffic, less what others keep."""
    percent = endpoint.traffic.get(own, 0)
    if endpoint.state in BROKEN:  # what an update that went wrong was to give: nobody knows who has it
        return 0
    serving = line.serving.deployment if line and line.serving else ""
    kept_by_others = sum(others(endpoint.traffic, serving, own).values()) if run.restores else 0
    return WHOLE if percent and percent == WHOLE - kept_by_others else percent


def _broken(app: App, run: Run, line: Line, endpoint: Endpoint) -> str:
    """What is on an endpoint that failed may answer all the same, and its keys are callers': it is not to be deleted.

    Nothing is lost with one that never served, and has nothing on it.
    """
    if line.latest is None and not app.cloud.endpoints.deployments(line.endpoint):
        return ""
    return (
        f"endpoint {line.endpoint}, which is in state {endpoint.state}. What is on it may serve all the same, and is "
        f"not to be deleted. The run goes on once it is Succeeded: az ml online-endpoint update --name "
        f"{line.endpoint}, as a rule; its last operation says what went wrong. droptune cancel {run.id} ends the run"
    )
