"""Writes docs/lifecycle.md from shared/lifecycle/rules.py: a diagram, and what a run does, waits for and ends as.

Nothing in it is written by hand: `next_step` is asked about everything that each phase can be shown. What that is comes
from the types of the fields, so that a field that is added is asked about too. `.venv/bin/python -m
scripts.lifecycle_page`; tests/lifecycle/test_rules.py fails when the page is stale.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any, get_args, get_type_hints

from shared.lifecycle.phase import WORK, Phase, refused
from shared.lifecycle.rules import Do, Go, Poll, Step, Stop, Wait, next_step
from shared.lifecycle.seen import CheckSeen, DeploymentSeen, JobSeen, PlanSeen, RolloutSeen, Seen, UploadSeen

PAGE = Path(__file__).parents[1] / "docs" / "lifecycle.md"
LOOKS: dict[Phase, type[Seen]] = {
    Phase.RECEIVED: UploadSeen,
    Phase.PREPARED: PlanSeen,
    Phase.TRAINING: JobSeen,
    Phase.REGISTERED: RolloutSeen,
    Phase.DEPLOYING: DeploymentSeen,
    Phase.CHECKING: CheckSeen,
}
_PROVISIONING = ("Creating", "Updating", "Succeeded", "Failed", "Deleting", "Canceled", None)
_JOB = (
    "NotStarted",
    "Queued",
    "Running",
    "CancelRequested",
    "Completed",
    "Failed",
    "Canceled",
    "NotResponding",
    "Paused",
    None,
)
STATES = {(JobSeen, "status"): _JOB, (RolloutSeen, "endpoint"): _PROVISIONING, (DeploymentSeen, "state"): _PROVISIONING}
"""Fields that hold a state of Azure ML's. Other texts are only looked at for whether they are there."""
_LAST = ("seat", "no_seat")
"""Fields after which a look sees no more."""
_BEFORE_LAST = ("changed", "newer", "planned", "trained", "behind", "noted", "newest", "pinned_by", "busy", "slot")
"""What it has seen by then."""
_TOLD = (str, str | None, tuple[str, ...])
"""Types of what is told: a name or a reason, or none. The page shows the field's name for it."""
_SAMPLES: dict[Any, tuple[Any, ...]] = {
    bool: (False, True),
    str: ("",),
    str | None: (None,),
    int | None: (None, 0, 3),
    bool | None: (None, False, True),
    float: (0.0, 30.0),
    float | None: (None, 30.0),
    tuple[str, ...]: ((),),
    int: (0, 100),
}
HEAD = """# The lifecycle of a run

A run is one uploaded dataset on its way to an endpoint. Whenever it is woken, its phase and one look at Azure decide
what it does next (`next_step` in `shared/lifecycle/rules.py`); events never do. Made from that function by
`scripts/lifecycle_page.py`, which asks it about everything that a run can be shown; what is in ‹ › a look has told.
How a run ends when Azure refuses a step for good, `refused` says.

"""


def shown(phase: Phase) -> Iterator[Seen]:
    """Everything that a run in `phase` can be shown, every combination of its look's fields. KeyError: a new type."""
    kind = LOOKS[phase]
    hints = get_type_hints(kind)
    values = {
        field.name: STATES.get((kind, field.name)) or _values(hints[field.name], field.name) for field in fields(kind)
    }
    last = [name for name in _LAST if name in values]
    yield from _combined(kind, {name: of for name, of in values.items() if name not in last})
    if last:
        before = {name: of for name, of in values.items() if name in (*_BEFORE_LAST, *last)}
        yield from (
            seen for seen in _combined(kind, before) if any(getattr(seen, each) != getattr(kind, each) for each in last)
        )


def _combined(kind: type[Seen], values: dict[str, tuple[Any, ...]]) -> Iterator[Seen]:
    for combination in itertools.product(*values.values()):
        yield kind(**dict(zip(values, combination, strict=True)))


def _values(hint: Any, name: str) -> tuple[Any, ...]:
    told: tuple[Any, ...] = ()
    if hint in _TOLD:
        told = ((f"‹{name}›",) if hint == tuple[str, ...] else f"‹{name}›",)
    return _SAMPLES[hint] + told if hint in _SAMPLES else get_args(hint)


def target(step: Step) -> Phase | None:
    """The phase that the step leads to; None where it leads nowhere."""
    match step:
        case Do(_, then):
            return then
        case Go(phase) | Stop(phase, _):
            return phase
    return None


def page() -> str:
    """The page as it should be."""
    steps = {phase: list(dict.fromkeys(next_step(phase, seen) for seen in shown(phase))) for phase in WORK}
    return HEAD + _diagram(steps) + "".join(_section(phase, found) for phase, found in steps.items())


def _diagram(steps: dict[Phase, list[Step]]) -> str:
    lines = ["```mermaid", "stateDiagram-v2", f"    [*] --> {WORK[0]}"]
    edges: dict[tuple[Phase, Phase], str] = {}
    for phase, found in steps.items():
        for step in found:
            to = target(step)
            if to is not None and to is not phase:
                edges[phase, to] = step.action.done if isinstance(step, Do) else edges.get((phase, to), "")
    for phase in WORK:
        edges.setdefault((phase, refused(phase)), "")
    lines += [
        f"    {at} --> {to}{f': {label}' if label else ''}" for (at, to), label in sorted(edges.items(), key=_order)
    ]
    lines.append(f"    received --> {Phase.CANCELLED}: droptune cancel, in any phase before live")
    lines += [f"    {phase} --> [*]" for phase in Phase if phase.ended]
    return "\n".join([*lines, "```", ""])


def _order(edge: tuple[tuple[Phase, Phase], str]) -> tuple[int, int]:
    phases = list(Phase)
    return phases.index(edge[0][0]), phases.index(edge[0][1])


def _section(phase: Phase, steps: list[Step]) -> str:
    does = [
        f"{step.action.doing}{f', then on to {step.then}' if step.then is not phase else ''}"
        for step in steps
        if isinstance(step, Do)
    ]
    goes = [f"on to {step.phase}" for step in steps if isinstance(step, Go)]
    waits = [_waiting(step) for step in steps if isinstance(step, Wait | Poll)]
    ends = [f"{step.phase}: {step.why}" for step in steps if isinstance(step, Stop) and step.why]
    ends += [
        f"{refused(phase)}: {step.action.doing}: ‹why it was refused for good›"
        for step in steps
        if isinstance(step, Do)
    ]
    parts = [("Does", does + goes), ("Waits for", waits), ("Ends as", ends)]
    lists = "".join(
        f"\n{title}\n\n{''.join(f'- {each}\n' for each in dict.fromkeys(found))}" for title, found in parts if found
    )
    return f"\n## {phase}\n{lists}"


def _waiting(step: Wait | Poll) -> str:
    match step:
        case Poll(why):
            return f"{why} (looked at again and again)"
        case Wait(None, why, hold):
            return f"{why} ({'a person' if hold in ('approval', 'pin') else 'an event'} wakes it)"
        case Wait(seconds, why):
            return f"{why} (looked at again in {seconds:.0f} s)"


if __name__ == "__main__":
    PAGE.write_text(page())
