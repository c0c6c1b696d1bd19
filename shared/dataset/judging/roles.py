"""Who may speak in a conversation, and in which order."""

from __future__ import annotations

from functools import lru_cache
from itertools import pairwise
from typing import Literal, get_args

from shared.dataset.judging.parsing import Bad

type Role = Literal["system", "user", "assistant", "tool"]

ROLES: tuple[str, ...] = get_args(Role.__value__)


def judge_roles(roles: tuple[str, ...]) -> Bad | None:
    """What is wrong with this sequence of roles, all of them known; None if nothing is."""
    if "assistant" not in roles:
        return "no_assistant", f"no message is the assistant's (roles: {', '.join(sorted(set(roles)))})"
    if len(roles) == 1:
        return "no_question", "the only message is the assistant's"
    if "system" in roles[1:]:
        return "system_not_first", f"message {roles.index('system', 1) + 1} is a system message"
    for at, (role, following) in enumerate(pairwise(roles), 1):
        if role == following != "tool":
            return "repeated_role", f"messages {at} and {at + 1} are both of the role {role}"
    if roles[-1] != "assistant":
        return "last_not_assistant", f"the last message is of the role {roles[-1]}"
    if "user" not in roles:
        return "no_question", f"no message is the user's (roles: {', '.join(sorted(set(roles)))})"
    return None


USUAL = 64
"""Messages of a usual row. What is known of longer ones is not kept: a thousand of them would fill the memory."""
usual_roles = lru_cache(4096)(judge_roles)


def assistant_first(roles: tuple[str, ...]) -> bool:
    """Whether the assistant says something before the user does."""
    return roles[0] == "assistant" or roles[:2] == ("system", "assistant")
