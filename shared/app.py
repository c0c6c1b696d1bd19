"""One object for everything a trigger needs: the settings, Azure, and the records.

Built at the first invocation of a process and kept: SDK clients are dear to make. `functions/` and the loop get it from
here; nothing in it is made before it is asked for.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cache
from typing import Any

from shared.cloud import Cloud
from shared.records.run import Line, Lines, Notice, Run, Runs
from shared.settings import Settings


@dataclass(frozen=True, kw_only=True)
class App:
    """The app as its parts see it."""

    settings: Settings
    cloud: Cloud
    runs: Runs
    lines: Lines

    @classmethod
    def of(cls, settings: Settings) -> App:
        """The app over the cloud that `settings` names."""
        cloud = Cloud(settings)
        return cls(settings=settings, cloud=cloud, runs=Runs(cloud.blobs), lines=Lines(cloud.blobs))

    def tell(self, record: Run | Line, notice: Notice) -> bool:
        """Sends a lifecycle event to the topic, where there is one. False when the topic did not take it."""
        data: dict[str, Any] = {"dataset": record.folder, "endpoint": record.endpoint, "reason": notice.why}
        if isinstance(record, Run):
            subject = f"runs/{record.id}"
            data |= {"run": record.id, "attempt": record.attempt, "line": record.line}
            data |= {"phase": record.phase, "model": record.model}
        else:
            subject = f"lines/{record.id}"
            data |= {"line": record.id}
        return self.cloud.topic.publish(notice.type, subject, data, id=notice.id, time=notice.at)


@cache
def app() -> App:
    """This process's app. Raises SettingError when the environment is incomplete."""
    return App.of(Settings.read(os.environ))
