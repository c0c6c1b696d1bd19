"""The safety net under the events: finds uploads and jobs whose event never came, and wakes runs that are overdue.

Called by a timer. A tick costs a listing of what is active and of Event Grid's dead letters, a look at what may be
overdue, and one at a queue through which somebody would be woken: where hosts are behind with its messages, none is
added. All datasets are listed once in UPLOADS_SWEEP, the jobs of the last days once in REVIEW, for one that runs for
nobody; else what has ended is never looked at.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import cache, partial
from itertools import islice

import msgspec

from shared import naming
from shared.app import App, queue_of, wake
from shared.cloud.jobs import JobView
from shared.cloud.queues import PEEKED
from shared.errors import Conflict, NotFound, Permanent, Refused, Transient
from shared.intake.adopted import adopt
from shared.intake.adopted import review as review_adopted
from shared.intake.arrivals import look_into, undelivered
from shared.intake.found import Seen, find_uploads, keep, last_listing, stay_news
from shared.intake.without_run import tell_of_uploads
from shared.lifecycle.moment import Moment
from shared.lifecycle.phase import WORK, Phase
from shared.line import seats
from shared.line.incomplete import needs_of_folders
from shared.line.lost import lost, needs_of_lines, needs_of_messages
from shared.line.remade import Queue
from shared.line.unreadable import keep_and_tell
from shared.line.waits import Need, Source, tell, unreadable_record
from shared.logs import ignored
from shared.naming import made_for, tag
from shared.records import layout
from shared.records.base import from_json
from shared.records.layout import DEAD_LETTERS, LISTING, SLOTS, STATE, WATERMARK
from shared.records.mark import Mark, mark_in, mark_of, unreadable
from shared.records.owner import is_of_run
from shared.records.store import STILLBORN, Open, Unreadable
from shared.run import slots
from shared.run.course import limits_of, without_record
from shared.run.waits import lost as lost_run
from shared.run.waits import needs_of

log = logging.getLogger("droptune.sweep")

MARGIN = timedelta(minutes=1)
REVIEW = timedelta(hours=1)
"""A run that waits for a person is looked at so often: whoever ends the wait wakes it, as a rule.

So are the jobs, for those that no run waits for.
"""
REMEMBERED = timedelta(days=7)
"""How far back jobs are looked through, beyond MAX_QUEUE_HOURS and MAX_TRAINING_HOURS: not all, each hour."""
OVERLAP = timedelta(minutes=15)
"""How much of the time before the last listing the next one looks at again: a big blob is committed late."""
LETTERS_AT_MOST = 200
"""Dead letters of one tick; after a long outage the next ticks take the rest."""


@dataclass(frozen=True, kw_only=True)
class Watermark:
    """When Droptune swept first, listed the datasets last, and reviewed last who waits. By the service's clock."""

    installed: Moment
    swept: Moment
    reviewed: Moment | None = None


def sweep(app: App) -> None:
    """One pass over what may have been missed. Doing it twice at once wakes twice and changes nothing."""
    blobs = app.cloud.blobs
    try:
        data, etag = blobs.read(STATE, WATERMARK)
        mark = from_json(data, Watermark)
    except NotFound:
        mark, etag = None, None
    except ValueError:
        log.exception("%s/%s can't be read", STATE, WATERMARK)
        keep_and_tell(app, WATERMARK, data)
        mark = None
    now = blobs.now().replace(microsecond=0)  # blobs tell their last change in whole seconds
    mark = mark or Watermark(installed=now, swept=now - app.settings.schedules.uploads_sweep)
    after = mark
    review = mark.reviewed is None or now - mark.reviewed >= REVIEW
    found: dict[Source, Sequence[Need]] = {"runs": _wake_overdue(app, now, review=review)}
    if review:
        after = replace(after, reviewed=now)
        found |= _review(app, now)
    tell(app, found, now)
    _handle_dead_letters(app)
    if now - mark.swept >= app.settings.schedules.uploads_sweep and _find_uploads(app, mark, now, first=etag is None):
        after = replace(after, swept=now)
    if etag and after == mark:
        return
    try:
        body = msgspec.json.encode(after)
        app.cloud.blobs.write(STATE, WATERMARK, body, if_match=etag, if_none_match=etag is None)
    except Conflict:
        log.info("another sweep moved the watermark")


def _wake_overdue(app: App, now: datetime, *, review: bool) -> list[Need]:
    """Wakes those runs. Returns what of the open ones waits for a person."""
    working = list(app.runs.open())
    marks = {found.key: mark for found in working if (mark := mark_in(found.metadata))}
    needs = list(needs_of(app, working, marks, now))
    try:
        queue = slots.stale(app, marks)
    except Exception as error:
        log.exception("the slots can't be looked at; who waits for one stays where it is")
        queue = Queue(turn=(), waiting={mark.id for mark in marks.values() if mark.hold == "slot"})
        if isinstance(error, Unreadable):
            needs.append(unreadable_record(SLOTS, error.version))
    queue = _with_seats(app, queue, marks)
    behind = cache(partial(_is_behind, app))
    is_overdue = partial(_is_overdue, now=now, queue=queue, review=review)
    for found in working:
        mark = marks.get(found.key)
        try:
            if mark is None or is_overdue(mark):
                needs += _wake_if_overdue(app, found, behind, is_overdue)
        except Exception:
            log.exception("run %s can't be looked at; the others are", found.key)
    return needs


def _with_seats(app: App, queue: Queue, marks: dict[str, Mark]) -> Queue:
    """The queue with those who wait for a seat among the live endpoints."""
    try:
        seated = seats.stale(app, marks)
    except Exception:
        log.exception("the seats can't be looked at; who waits for one stays where it is")
        waiting = {mark.id for mark in marks.values() if mark.hold == "seat"}
        seated = Queue(turn=(), waiting=waiting)
    return Queue(turn=[*queue.turn, *seated.turn], waiting={*queue.waiting, *seated.waiting})


def _is_overdue(mark: Mark, *, now: datetime, queue: Queue, review: bool) -> bool:
    """Whether something should have happened to the run by itself. A job is always looked at: its event may be lost.

    Of those who wait for a slot or a seat its record says it; whoever waits for a person is looked at by a `review`. So
    is who has a model and waits for a seat: that has a limit, which is looked at after a try.
    """
    if mark.id in queue.turn or mark.phase not in WORK:
        return True
    if mark.due is not None:
        return mark.due + MARGIN < now
    if mark.hold in ("slot", "seat") and mark.id not in queue.waiting:
        return True
    return review and not (mark.hold in ("slot", "seat") and mark.phase == Phase.PREPARED)


def _is_behind(app: App, queue: str) -> bool:
    """Whether hosts are behind with a queue: a run that is late has its message there, as a rule.

    To wake it once more would make all of them later still, and each tick would find more of them late.
    """
    try:
        behind = app.cloud.queues.waiting(queue) >= PEEKED
    except (Transient, Permanent) as error:
        log.warning("queue %s can't be looked at: %s", queue, error)
        return False
    if behind:
        log.info("many messages wait in queue %s: nobody is woken through it by this sweep", queue)
    return behind


def _wake_if_overdue(
    app: App, found: Open, behind: Callable[[str], bool], is_overdue: Callable[[Mark], bool]
) -> list[Need]:
    """Asks the record, which its marker may be behind: that is put right. Returns what is wrong with the record."""
    try:
        loaded = app.runs.load(found.key)
    except Unreadable as error:
        log.warning("run %s: %s", found.key, error)
        app.runs.remark(found, unreadable(found.key, error.version))
        return [unreadable_record(f"runs/{found.key}", error.version)]
    if loaded is None:
        return _without_record(app, found)
    run, mark = loaded.record, mark_of(loaded.record)
    app.runs.remark(found, mark.metadata())
    if is_overdue(mark) and not behind(queue_of(run.phase)):
        log.info("run %s (%s) is overdue: woken", run.id, run.phase)
        wake(app, run)
    return []


def _without_record(app: App, found: Open) -> list[Need]:
    """What becomes of a marker whose record is not there (yet): one that had no job is made again, of its folder.

    One that had is told of for REMEMBERED, as long as nobody has recovered it.
    """
    mark = mark_in(found.metadata)
    age = app.cloud.blobs.now() - found.modified
    if mark is None or mark.phase not in WORK or age < STILLBORN or age > REMEMBERED:
        app.runs.retire(found.key)
        return []
    if mark.phase not in (Phase.RECEIVED, Phase.PREPARED):
        return [lost_run(mark)]
    log.warning("the record of run %s, which was %s, is lost: made again of %s", mark.id, mark.phase, mark.folder)
    look_into(app, mark.folder)
    app.runs.retire(found.key)  # where the folder yields that run no more
    return []


def _review(app: App, now: datetime) -> dict[Source, Sequence[Need]]:
    """What else waits for a person. Each kind is looked at apart: of one that can't be now, what was known stays."""
    found: dict[Source, Sequence[Need]] = {}
    looks: dict[Source, Callable[[], Iterable[Need]]] = {
        "lost": lambda: _cancel_orphans(app, now),
        "lines": lambda: [*seats.needs(app), *needs_of_lines(app, now)],
        "messages": lambda: needs_of_messages(app, now),
        "folders": lambda: needs_of_folders(app),
    }
    for source, look in looks.items():
        try:
            found[source] = list(look())
        except (Transient, Permanent) as error:
            log.warning("the %s can't be looked through now: %s", source, error)
        except Exception:  # what else the sweep is there for is not to wait for that
            log.exception("the %s can't be looked through", source)
    return found


def _cancel_orphans(app: App, now: datetime) -> Iterator[Need]:
    """Cancels our jobs that cost money and that no run waits for. Gives those whose run's record is lost."""
    limits = limits_of(app)
    for job in app.cloud.jobs.active(now - limits.training - limits.queueing - REMEMBERED):
        if _cancel_if_orphan(app, job, now):
            yield lost("job", job.name, tag(job.tags, "droptune.dataset") or "")


def _cancel_if_orphan(app: App, job: JobView, now: datetime) -> bool:
    """Cancels a job of ours whose run has ended, or is at another attempt. Whether the run's record is lost.

    No job is submitted before its run has a record, so where there is none it was lost, and the job may be all that is
    left of the run: it goes on for as long as it might with its run, so that `droptune recover` finds it.
    """
    made = made_for(job.name, job.tags)
    if made is None:
        return False
    try:
        loaded = app.runs.load(made.run)
        own = app.settings.storage.installation
        if not (is_of_run(loaded.record, job.name, job.tags) if loaded else made.installation == own):
            return False
        overdue = "" if loaded else without_record(app, job, now)
        if loaded is None and not overdue:
            return True
        if loaded is None:
            why = f"the record of its run is lost, and {overdue}"
        elif loaded.record.phase.ended:
            why = f"its run has ended as {loaded.record.phase}"
        elif job.name != naming.job_name(loaded.record.id, loaded.record.attempt.number):
            why = f"its run is at attempt {loaded.record.attempt.number}"
        else:
            return False
        app.cloud.jobs.cancel(job.name)
        log.warning("job %s still ran and is cancelled: %s", job.name, why)
    except Refused as error:
        log.warning("job %s runs for nobody, and may not be cancelled: %s", job.name, error)
    except Exception:
        log.exception("job %s can't be looked at; the others are", job.name)
    return False


def _handle_dead_letters(app: App) -> None:
    """Does what undelivered events ask for, and deletes them. What can't be read is kept beside poisoned messages."""
    blobs = app.cloud.blobs
    try:
        names = [each.name for each in islice(blobs.list(DEAD_LETTERS, page=LETTERS_AT_MOST), LETTERS_AT_MOST)]
    except Permanent as error:
        log.warning("dead letters can't be looked at: %s", error)
        return
    for name in names:
        try:
            _handle_dead_letter(app, name)
        except NotFound:
            log.info("%s/%s: another sweep was faster", DEAD_LETTERS, name)
        except (Transient, Conflict, Permanent) as error:
            log.warning("%s/%s can't be handled now: %s", DEAD_LETTERS, name, error)
        except Exception:
            log.exception("%s/%s can't be handled; the others are", DEAD_LETTERS, name)


def _handle_dead_letter(app: App, name: str) -> None:
    blobs = app.cloud.blobs
    letter, _ = blobs.read(DEAD_LETTERS, name)
    try:
        undelivered(app, letter)
        log.warning("%s/%s was handled: Event Grid could not deliver it", DEAD_LETTERS, name)
    except (Transient, Conflict, Permanent):
        raise
    except Exception as error:
        kept = layout.poisoned(DEAD_LETTERS, name)
        blobs.write(STATE, kept, letter)
        log.exception("%s/%s can't be handled; it is in %s/%s now", DEAD_LETTERS, name, STATE, kept)
        ignored("dead_letter", f"{STATE}/{kept}: {error}")
    blobs.delete(DEAD_LETTERS, name)


def _find_uploads(app: App, mark: Watermark, now: datetime, *, first: bool) -> bool:
    """Finds the uploads since the last listing, whose dates may say a little less. Whether all could be looked into.

    `first`: it is the first sweep. Of what was there by then, that which yields no run is not told as news.
    """
    try:
        kept = last_listing(app)
        seen, done = find_uploads(app, kept, since=max(mark.installed, mark.swept - OVERLAP), now=now)
        if kept.listing is None:
            adopt(app, seen.startable, now, first=first)
        if not _tell_of_uploads(app, mark, seen, now):
            stay_news(seen, kept)
        if kept.damaged is not None:
            keep_and_tell(app, LISTING, kept.damaged)
        keep(app, seen.listing, kept)
    except (Transient, Conflict, NotFound, Permanent) as error:
        log.error("the datasets can't be listed now: %s", error)  # noqa: TRY400 - it is no bug
        return False
    except Exception:
        log.exception("the datasets can't be listed")
        return False
    try:
        review_adopted(app, now)
    except (Transient, Conflict, Permanent) as error:
        log.warning("what the datasets were adopted with can't be told now: %s", error)
    except Exception:
        log.exception("what the datasets were adopted with can't be told")
    return done


def _tell_of_uploads(app: App, mark: Watermark, seen: Seen, now: datetime) -> bool:
    """Whether those that yield no run were told, or are remembered."""
    try:
        tell_of_uploads(app, mark.installed, seen.uploads, found=seen.aged, listed=now)
    except (Transient, Conflict, Permanent) as error:
        log.warning("uploads that yield no run can't be told now: %s", error)
    except Exception:
        log.exception("uploads that yield no run can't be told")
    else:
        return True
    return False
