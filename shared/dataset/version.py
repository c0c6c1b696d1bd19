"""Which rules a dataset was read, judged, split and written by.

VERSION is part of the digest that a report has of what was prepared, and so of what a run's content is known by. Raise
it when the same files, with the same finetune.yaml, give other rows than before: when others are read or kept, when
another byte of a row is written, when a row goes to another part. Content that was trained on before counts as new
then: somebody who uploads it again gets a training. Nothing is trained by itself, and what serves goes on serving.
Don't raise it for what is only told in other words, or faster. tests/dataset/test_version.py notices what changes.
"""

from __future__ import annotations

VERSION = 2
"""1 was that of all that was prepared before versions were counted."""
