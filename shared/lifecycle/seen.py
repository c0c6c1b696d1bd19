"""What one look at Azure can show of a run: plain data, a dataclass for each phase.

Made by run/observe.py, judged by `rules`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class Upload:
    """RECEIVED. `gone`: why the folder yields this run no more. `faults`: None until checked.

    `reason`: why it can't be trained on, as far as that is known. `trained`: what was made of the same data and
    settings before. `in_job`: it is too big to be prepared here.
    """

    gone: str | None = None
    settles_in: float = 0
    faults: int | None = None
    reason: str = ""
    trained: str | None = None
    in_job: bool = False


@dataclass(frozen=True, kw_only=True)
class Plan:
    """PREPARED. `pinned`: model, component and parameters are resolved. Names of computes; `unusable` tells why.

    `changed`: which file that the job would prepare is not the one any more that the run took. `newer`: the run of the
    same line that is ready to train and newer; `heads`: that this is a newest one itself. `quota`: why there is none;
    `queued`: that the run stands among those that wait for some; `before`: who has waited for it longest, if another.
    `slot`: whether it may train now; if it waits for that, `queue` says for what, and `room_in` in how many seconds
    there is room without anybody's doing. `wasteful`: to lead would end a job for a run that can't start today.
    """

    pinned: bool = True
    missing: tuple[str, ...] = ()
    pending: tuple[str, ...] = ()
    unusable: str | None = None
    changed: str | None = None
    newer: str | None = None
    heads: bool = True
    quota: str = ""
    queued: bool = False
    before: str = ""
    slot: bool = True
    queue: str = ""
    room_in: float | None = None
    wasteful: bool = False


@dataclass(frozen=True, kw_only=True)
class Job:
    """TRAINING. `status` is Azure ML's, None when there is no such job; `fresh`: that may be too early to say.

    `overdue`: it takes longer than MAX_TRAINING_HOURS. `newer`: as for a Plan.
    Of a job that prepares its data itself, once it has ended:
    `report`, what became of the data; `reason`, why they can't be trained on, once the report is taken; `changed`, that
    somebody wrote over them while they were read.
    """

    status: str | None
    why: str | None = None
    overdue: bool = False
    fresh: bool = False
    newer: str | None = None
    report: Literal["taken", "new", "missing"] = "taken"
    reason: str = ""
    changed: str | None = None


@dataclass(frozen=True, kw_only=True)
class Rollout:
    """REGISTERED. `busy`: what else is done to the line. `endpoint`: its provisioning state, None: there is none.

    `gone`: the model, where it is not there; `fresh`: as for a Job.
    `pinned`: who keeps the line at what it serves. `leaving`: whether what served before is still there; `in_place`:
    deployments that have to go first, since the run is to do without spare instances. `quota`, `queued`, `before`: as
    for a Plan.
    """

    newer: str | None = None
    busy: str | None = None
    endpoint: str | None = "Succeeded"
    gone: str | None = None
    fresh: bool = False
    pinned: str = ""
    leaving: bool = False
    in_place: tuple[str, ...] = ()
    quota: str = ""
    queued: bool = False
    before: str = ""


@dataclass(frozen=True, kw_only=True)
class Deployment:
    """DEPLOYING. State of the run's own deployment, None: not there. `fresh`: that may be too early to say.

    `overdue`: it takes longer than MAX_DEPLOYING_HOURS.
    """

    state: str | None
    why: str | None = None
    fresh: bool = False
    overdue: bool = False


@dataclass(frozen=True, kw_only=True)
class Check:
    """CHECKING. `passed`: None until asked, `why` tells. `traffic`: the deployment's percentage on its endpoint.

    `gate`: the same of the comparison with what serves. `approval`: somebody has to let it pass. `ask`: people have not
    been told of that for a day; `unanswered`: they were, on MAX_APPROVAL_DAYS days. `busy`: the endpoint is being
    changed. `serves`: the line says that this run serves. `gone`: what of it is not there; `fresh`: as for a Job.
    `overdue`: what it waited for last, where all but the approval takes longer than MAX_CHECKING_HOURS.
    """

    passed: bool | None = None
    why: str = ""
    gate: bool | None = None
    approval: bool = False
    ask: bool = False
    unanswered: bool = False
    gone: str | None = None
    fresh: bool = False
    busy: bool = False
    traffic: int = 0
    newer: str | None = None
    serves: bool = False
    overdue: str = ""


type Seen = Upload | Plan | Job | Rollout | Deployment | Check
