"""The fine-tune step of a pipeline job, by the workspace's run history.

A step is a run below the job's, or below that of a pipeline in it: the registry's component is one. Runs of steps are
made as their turn comes. Called by jobs.py.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from shared.cloud.clients import state
from shared.lifecycle.course import FineTune

_DEPTH = 3
_OTHERS = re.compile("import|prepare|preprocess|validat|convert|evaluat")
"""In the names of the other steps of such a job."""
_LONG_AGO = datetime(1, 1, 1, tzinfo=UTC)


def fine_tune(history: Any, job: str, cluster: str) -> FineTune | None:
    """The step that fine-tunes, of a job whose GPU nodes are those of `cluster`; None where no step can be seen.

    It is known by its name. Where none has such a name, it is the first one on that cluster that is not named for what
    comes before or after it: all steps may share one cluster.
    """
    steps = list(_steps(history, job, _DEPTH))
    if not steps:
        return None
    if named := [each for each in steps if _is_named(each)]:
        return _shown(max(named, key=_made))
    if there := [each for each in steps if _target(each).lower() == cluster.lower() and not _is_other(each)]:
        return _shown(min(there, key=_made))
    return FineTune(status="")


def _steps(history: Any, run: str, depth: int) -> Iterator[Any]:
    """The runs below `run` that are no pipelines: those have a type of their own, and run on nothing."""
    for child in _children(history, run):
        if _is_pipeline(child) or not _target(child):
            below = list(_steps(history, child.run_id, depth - 1)) if depth > 1 else []
            yield from below if below or _is_pipeline(child) else [child]
        else:
            yield child


def _children(history: Any, run: str) -> Any:
    """As the service has them: what the SDK makes of them knows no times."""
    return history._operation.get_child(
        history._subscription_id, history._resource_group_name, history._workspace_name, run
    )


def _is_pipeline(run: Any) -> bool:
    return "pipeline" in (run.run_type or "").lower()


def _is_named(run: Any) -> bool:
    return any("finetune" in name for name in _names(run))


def _is_other(run: Any) -> bool:
    return any(_OTHERS.search(name) for name in _names(run))


def _names(run: Any) -> list[str]:
    """What it is called, in small letters alone."""
    names = (run.display_name, run.name, (run.properties or {}).get("azureml.moduleName"))
    return [re.sub(r"[^a-z]", "", str(name).lower()) for name in names if name]


def _target(run: Any) -> str:
    return str(run.target or (run.compute.target if run.compute else "") or "")


def _made(run: Any) -> datetime:
    return _aware(run.created_utc) or _LONG_AGO


def _shown(run: Any) -> FineTune:
    began = run.last_start_time_utc or run.start_time_utc
    return FineTune(status=state(run.status), began=_aware(began), ended=_aware(run.end_time_utc))


def _aware(moment: datetime | None) -> datetime | None:
    return moment.replace(tzinfo=moment.tzinfo or UTC).astimezone(UTC) if moment else None
