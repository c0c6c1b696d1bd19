"""Whether a compute cluster can be used for a job, and how many GPUs its nodes have.

Called when a run is planned, and each time that a planned run is looked at.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Protocol

from shared.errors import Permanent
from shared.training.base_model import SizeRule

SIZES_TOLD = 20


class Cluster(Protocol):
    """A compute as the workspace shows it; states are Azure's provisioning states."""

    @property
    def name(self) -> str:
        """The compute's name."""

    @property
    def size(self) -> str:
        """Its VM size, empty if it has none."""

    @property
    def provisioning_state(self) -> str:
        """Creating, Updating, Succeeded, Failed, Deleting..."""

    @property
    def why(self) -> str:
        """The reason of a failure, if known."""


class VmSize(Protocol):
    """A VM size of the workspace's list."""

    @property
    def name(self) -> str:
        """As in Standard_NC24ads_A100_v4."""

    @property
    def gpus(self) -> int:
        """GPUs of one node."""


def unusable(compute: Cluster, allowed: SizeRule | None) -> str | None:
    """Why no job can run on `compute`, and what to do; None if one can. `allowed` is None where any size will do.

    A cluster that is still being made is fine: a job waits for it.
    """
    if compute.provisioning_state.lower() == "failed":
        why = f" ({compute.why})" if compute.why else ""
        return (
            f"the provisioning of compute {compute.name} failed{why}: delete it, so that it is made again, or name "
            "another one in the settings"
        )
    if allowed and not allowed.allows(compute.size):
        return (
            f"compute {compute.name} is of the size {compute.size or 'unknown'}, which the base model does not allow. "
            f"It allows {allowed}. Name another compute in FINETUNE_COMPUTE"
        )
    return None


def gpus_per_node(size: str, sizes: Iterable[VmSize]) -> int:
    """GPUs of a node of this size, by the workspace's list. Raises Permanent for an unknown size, or one without."""
    listed = list(sizes)
    found = next((each for each in listed if each.name.lower() == size.lower()), None)
    if found and found.gpus > 0:
        return found.gpus
    problem = "has no GPU" if found else "is not a size of the workspace's region"
    raise Permanent(f"VM size {size} {problem}. Sizes with GPUs: {_told(size, listed)}. Set FINETUNE_SIZE.")


def _told(size: str, listed: list[VmSize]) -> str:
    """The sizes with GPUs, those with a similar name first, no more than a person reads."""
    names = {each.name.lower(): each.name for each in listed if each.gpus > 0}
    close = difflib.get_close_matches(size.lower(), names, n=5)
    order = [*close, *sorted(names.keys() - set(close))]
    rest = len(order) - SIZES_TOLD
    return ", ".join(names[key] for key in order[:SIZES_TOLD]) + (f" and {rest} more" if rest > 0 else "") or "none"
