"""What HTTP answers with, and clients decode: shapes of their own, so that a record may change and no client with it.

Times are UTC. `version` goes up when a field changes its meaning or goes; the command line says so where it does not
know one. No token, claim or ETag is in them. Made in views.py.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec

VERSION = 1


class Shape(msgspec.Struct, frozen=True, kw_only=True):
    """What all have in common."""


# Runs ----------------------------------------------------------------------------------------------------------------


class RunSummary(Shape, frozen=True, kw_only=True):
    """A run in a list. `status`: in a sentence, what it waits for or why it ended; "" while it works.

    `phase`: where it is; `outcome`: what it came to, "" as long as it has not ended. Both tell of the run, and stay;
    `serves`: whether what it deployed or brought back has traffic now, as Azure shows it. `hold`: `slot`, `quota`,
    `approval`, `pin`, `endpoint` or `seat`, where it waits for that. `by_people`: only a person ends that wait; a seat
    goes by itself where idle endpoints are deleted.
    """

    id: str
    line: str
    folder: str
    base_model: str
    attempt: int
    phase: str
    since: datetime
    outcome: str = ""
    status: str = ""
    hold: str = ""
    parked: bool = False
    by_people: bool = False
    serves: bool = False


class UnreadableView(Shape, frozen=True, kw_only=True):
    """A record that this app can't read, of that version (0: it says none). It is left as it is."""

    id: str
    version: int
    why: str


class RunList(Shape, frozen=True, kw_only=True):
    """The runs that work, then those that ended last, newest first.

    `unseen`: why Azure could not be asked what serves; then no run has `serves`, and lines are told as recorded.
    """

    version: int = VERSION
    runs: list[RunSummary] = []
    unreadable: list[UnreadableView] = []
    unseen: str = ""


class RestoresView(Shape, frozen=True, kw_only=True):
    """The run whose model is to serve again; `rollback`: in the place of that of the run `instead_of`."""

    run: str
    instead_of: str
    rollback: bool


class DataView(Shape, frozen=True, kw_only=True):
    """What it is trained on. `address`: in `datasets` or on the hub; `prepared`: where its copy is, in `prepared`.

    `rows` by part, once they are counted; `rejected`: why they can't be trained on.
    """

    address: str
    prepared: str
    rows: dict[str, int] = {}
    rejected: str = ""


class PlanView(Shape, frozen=True, kw_only=True):
    """What the job is made of. `gpus`: of a node; `notes`: what people should know of it, and what overrode which."""

    model_version: str
    component_version: str
    parameters: dict[str, Any]
    gpus: int
    notes: list[str] = []


class SmokeView(Shape, frozen=True, kw_only=True):
    """The smoke test: the turns that were asked, the answer, and what is wrong with it or was seen."""

    question: list[dict[str, str]]
    expected: str
    answer: str
    passed: bool
    why: str


class GateView(Shape, frozen=True, kw_only=True):
    """The gate's scores, 0 to 100: `new` over `rows` rows, `live` of the version that serves (None: none answered)."""

    score: str
    rows: int
    new: float
    live: float | None = None
    metrics: dict[str, float] = {}
    passed: bool
    why: str


class DeploymentView(Shape, frozen=True, kw_only=True):
    """The run's deployment and its checks. `approved_by`: who let it have traffic; `asked`: when people were asked.

    `instances` of `size`: what it was made with, 0 and "" where that is not known.
    """

    endpoint: str
    name: str
    instances: int = 0
    size: str = ""
    smoke: SmokeView | None = None
    gate: GateView | None = None
    asked: list[datetime] = []
    approved_by: str = ""


class EntryView(Shape, frozen=True, kw_only=True):
    """A line of the history."""

    at: datetime
    phase: str
    what: str


class ServingView(Shape, frozen=True, kw_only=True):
    """What answers at an endpoint, or did."""

    run: str
    deployment: str
    model: str
    since: datetime


class RunView(Shape, frozen=True, kw_only=True):
    """One run. `serves`: whether its model is what its line serves now; `line_serves`: what that is.

    `report`: on its data (docs/rules.md), None before; `metrics`: of its job, name to (step, value) pairs, None where
    the value is no number, as of a training that diverged; and `metrics_problem` where they can't be read.
    """

    version: int = VERSION
    run: RunSummary
    serves: bool
    line_serves: ServingView | None = None
    restores: RestoresView | None = None
    data: DataView
    plan: PlanView | None = None
    job: str = ""
    model: str = ""
    deployment: DeploymentView | None = None
    history: list[EntryView] = []
    report: dict[str, Any] | None = None
    metrics: dict[str, list[tuple[int, float | None]]] = {}
    metrics_problem: str = ""


class AnswerView(Shape, frozen=True, kw_only=True):
    """What one version answered to a held-out row (an excerpt), and its score, 0 to 100; or the error instead."""

    answer: str = ""
    score: float = 0.0
    error: str = ""


class ComparedView(Shape, frozen=True, kw_only=True):
    """A held-out row, by its line in the test file from 1, as the gate asked it. `question`: its last turn."""

    line: int
    question: str
    expected: str
    new: AnswerView | None = None
    live: AnswerView | None = None


class AnswersView(Shape, frozen=True, kw_only=True):
    """What the gate asked a run's deployment and the one that served, the worst rows for the new one first.

    `new`, `live`: names of the deployments, "" for none; `score`: what rows are scored by.
    """

    version: int = VERSION
    run: str
    score: str = ""
    new: str = ""
    live: str = ""
    rows: list[ComparedView] = []


class LogsView(Shape, frozen=True, kw_only=True):
    """The last lines of a run's deployment: its container's log. `gone`: kept from before it was taken away."""

    version: int = VERSION
    run: str
    deployment: str
    gone: bool
    text: str


class UploadView(Shape, frozen=True, kw_only=True):
    """A blob of which no run comes: its path in the container of datasets, its folder, "" in none, why, since when."""

    path: str
    folder: str
    why: str
    at: datetime


class FolderList(Shape, frozen=True, kw_only=True):
    """Folders that are no run yet: name to the files that each waits for; and uploads of which no run comes."""

    version: int = VERSION
    waiting: dict[str, list[str]] = {}
    without_run: list[UploadView] = []


# Lines ---------------------------------------------------------------------------------------------------------------


class RetiringView(Shape, frozen=True, kw_only=True):
    """A deployment without traffic that is deleted at `until`; `orphan`: no run owns it."""

    deployment: str
    until: datetime
    orphan: bool


class KeepView(Shape, frozen=True, kw_only=True):
    """Who wants the line kept, whoever calls it, until when (null: until somebody ends it), and why."""

    until: datetime | None = None
    who: str
    why: str


class VerdictView(Shape, frozen=True, kw_only=True):
    """What the cleanup made of a line's endpoint at its last look, `at`; nothing is asked of Azure to show it.

    `verdict`: `keep`, `notice` (people heard just then that it is idle), `pending` (they have, and it goes at `until`),
    `go` (it is due; `why` says what holds it back), `going` (it is being torn down), `unjudged`. `why` says what would
    change it; `until` when, null where no time is known. `requests` in IDLE_WINDOW, or since the notice where that is
    longer, and the `last` one seen; null where not known.
    """

    line: str
    folder: str
    endpoint: str
    at: datetime
    verdict: str
    why: str
    until: datetime | None = None
    requests: float | None = None
    last: datetime | None = None


class CleanupView(Shape, frozen=True, kw_only=True):
    """What the cleanup made of all lines whose endpoint may stand, what goes first before the others.

    `mode`: `delete`, or `report`, which tears nothing down.
    """

    version: int = VERSION
    mode: str
    lines: list[VerdictView] = []


class PriceView(Shape, frozen=True, kw_only=True):
    """What an instance costs an hour, in `currency` (ISO 4217).

    `source`: `setting`, `api` (Azure's public price list) or `file`; `as_of`: when that was told, null for a setting.
    """

    per_hour: float
    currency: str
    source: str
    as_of: datetime | None = None


class RefusalView(Shape, frozen=True, kw_only=True):
    """What Azure refuses since then, why, and what ends that.

    `what`: a deployment that is to be deleted, the `endpoint`, or `traffic` that is to go back to what served.
    """

    what: str
    since: datetime
    why: str


class LineView(Shape, frozen=True, kw_only=True):
    """A model line. `state`: `not_made`, `standing`, `empty`, `tearing_down` or `removed`, `since` then if known.

    `serving`: what its endpoint serves now; `latest`: what went live last; `previous`: what a rollback goes back to.
    `hours`: office hours, in which it is not torn down.
    `idle_since`: since when people know that nobody calls; `no_traffic_since`: somebody took the traffic away;
    `missing_since`: Azure does not show what ought to be there. `rollout`: the run that it is being changed for.
    `refused`: what a lock, a policy or another rule of somebody's keeps there, which still costs.
    `price`: of one of its instances, null where nobody has told it: `unpriced` says what would. `saved`: what its
    deployments would have cost since they are gone, in the price's currency, null where that is not known.
    `verdict`: what the cleanup made of it at its last look.
    `seen`: what Azure shows other than was recorded, in a sentence; nothing is in `serving` then. `address`: where the
    endpoint is asked, "" where there is none; `endpoint_id`: its id in Resource Manager.
    """

    id: str
    folder: str
    base_model: str
    endpoint: str
    state: str
    since: datetime | None = None
    serving: ServingView | None = None
    latest: ServingView | None = None
    previous: ServingView | None = None
    newest: str = ""
    rollout: str = ""
    retiring: list[RetiringView] = []
    orphans: list[str] = []
    pinned_by: str = ""
    keep: KeepView | None = None
    hours: str = ""
    idle_since: datetime | None = None
    no_traffic_since: datetime | None = None
    missing_since: datetime | None = None
    refused: list[RefusalView] = []
    price: PriceView | None = None
    unpriced: str = ""
    saved: float | None = 0.0
    verdict: VerdictView | None = None
    seen: str = ""
    address: str = ""
    endpoint_id: str = ""


class LineList(Shape, frozen=True, kw_only=True):
    """The lines whose endpoint may stand, then those that were removed last. `unseen`: as in RunList."""

    version: int = VERSION
    lines: list[LineView] = []
    unreadable: list[UnreadableView] = []
    unseen: str = ""


class QuestionView(Shape, frozen=True, kw_only=True):
    """A held-out row of the data of what a line serves, to ask its endpoint: row `number` of `count`, from 1.

    `question`: its turns up to the last answer, as {"role", "content"}; `expected`: that answer.
    """

    version: int = VERSION
    run: str
    number: int
    count: int
    question: list[dict[str, str]]
    expected: str


# What needs a person -------------------------------------------------------------------------------------------------


class NeedView(Shape, frozen=True, kw_only=True):
    """What goes on when somebody does something. `command`: to paste, "" where none helps; `folder`: of the dataset."""

    what: str
    folder: str
    run: str = ""
    since: datetime | None = None
    command: str = ""


class StatusView(Shape, frozen=True, kw_only=True):
    """What serves, what needs a person, and what goes on by itself. `unseen`: as in RunList.

    `torn_down`: what has served, and can be revived; what `needs` tells of is not in it. `seats`: how many of the live
    endpoints that there may be are taken, in words.
    """

    version: int = VERSION
    serving: list[LineView] = []
    seats: str = ""
    torn_down: list[LineView] = []
    needs: list[NeedView] = []
    working: list[RunSummary] = []
    waiting: dict[str, list[str]] = {}
    unseen: str = ""


# The rest ------------------------------------------------------------------------------------------------------------


class Told(Shape, frozen=True, kw_only=True):
    """What happens next after a command, in a sentence. `runs`: the ids of those that it names."""

    told: str
    runs: list[str] = []


class Recovered(Shape, frozen=True, kw_only=True):
    """Sentences: what was made again, and what a person should know or do."""

    rebuilt: list[str] = []
    told: list[str] = []


class Health(Shape, frozen=True, kw_only=True):
    """`ok` or `not ok`, for anybody: so nothing else is in it."""

    status: str


class About(Shape, frozen=True, kw_only=True):
    """Whether this process could work; `problem`: why not; `warnings`: what else somebody should see to.

    `needs`: how much waits for a person, as the last sweep found it: `status` tells it one by one.

    `ignored`: what it let go, by reason; `pid`: its number.

    `time`: storage's, when it was asked, `age` seconds ago. `datasets`: the address of the container that takes
    uploads; `base_model`: what is fine-tuned where finetune.yaml names nothing else.
    """

    version: int = VERSION
    ok: bool
    problem: str = ""
    warnings: list[str] = []
    needs: int = 0
    time: str = ""
    age: float
    ignored: dict[str, int] = {}
    pid: int
    python: str
    datasets: str = ""
    base_model: str = ""


class Refused(Shape, frozen=True, kw_only=True):
    """Why something is not answered, and what to do."""

    error: str
