"""Where in its finetune.yaml a run's plan is wrong: what planning refuses is told with line and column, as by `check`.

Called by the action that resolves the plan.
"""

from __future__ import annotations

from collections.abc import Iterable

from shared.app import App
from shared.dataset.spec.choices import FILE_NAME
from shared.dataset.spec.strict import Unread, read
from shared.errors import Conflict, NotFound, Permanent, Transient
from shared.records.layout import DATASETS
from shared.records.run import Run


def told_in_spec(app: App, run: Run, wrong: Iterable[tuple[tuple[str, ...], bool, str]]) -> str:
    """The mistakes with their places; "" where the file is another one by now, or says nothing of one of them.

    Each is the keys that it is about, whether it is the last key itself, and a sentence.
    """
    spec, wrong = run.source.spec, list(wrong)
    if spec is None or not wrong:
        return ""
    try:
        document = read(app.cloud.blobs.read(DATASETS, spec.name, if_match=spec.etag)[0])
    except (Conflict, NotFound, Permanent, Transient, Unread):
        return ""  # the mistakes are told without
    if any(keys not in document.places for keys, _, _ in wrong):
        return ""
    return f"{FILE_NAME}, {document.told(wrong)}"
