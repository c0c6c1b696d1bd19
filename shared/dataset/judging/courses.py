"""What is known of rows by their messages' roles alone: a file has few sequences of them. Called by `checker`."""

from __future__ import annotations

from dataclasses import dataclass

from shared.dataset.judging.roles import ROLES, USUAL, assistant_first, judge_roles
from shared.dataset.split import Prompts, prompts_of

_KNOWN = frozenset(ROLES)
_MOST = 4096


@dataclass(frozen=True, slots=True)
class Course:
    """Of rows whose roles are in order. `plain`: no tool speaks; `prompts`: see `split`; `begins`: a shorter
    conversation is among them; `led`: the assistant says something first."""

    plain: bool
    prompts: Prompts
    begins: bool
    led: bool


class Courses:
    """Remembers what it has found; not of long rows, and not too much: it would fill the memory."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, ...], Course] = {}

    def of(self, roles: tuple[str, ...]) -> Course | None:
        """The course of rows with these roles; None if one is unknown, or they are not in order."""
        if course := self._known.get(roles):
            return course
        if not _KNOWN.issuperset(roles) or judge_roles(roles):
            return None
        prompts = prompts_of(roles)
        begins = any(begins for _, begins in prompts)
        course = Course("tool" not in roles, prompts, begins, assistant_first(roles))
        if len(roles) <= USUAL and len(self._known) < _MOST:
            self._known[roles] = course
        return course
