"""Runs with all their parts, of any values, for properties that have to hold of each."""

from __future__ import annotations

import string
from datetime import UTC

from hypothesis import strategies as st

from shared.dataset.spec.choices import Hub, Policy
from shared.lifecycle.action import Action
from shared.lifecycle.phase import Phase
from shared.records.base import Notice, Order, Wake
from shared.records.run import (
    Approval,
    Attempt,
    Claim,
    Data,
    Deployed,
    Ending,
    Entry,
    File,
    Parked,
    Plan,
    Restores,
    Run,
    Source,
    Waiting,
)
from shared.serving.gate import Bounds, Compared, Gate, Promotion, Scores
from shared.serving.smoke import Answered, Silence

TIMES = st.datetimes(timezones=st.just(UTC))
LETTERS = st.characters(exclude_categories=["Cs", "Cc"])


def runs(longest: int = 8, many: int = 2) -> st.SearchStrategy[Run]:
    """Whole runs, with all their parts: at most so long are the names in them, and at most so many of each kind."""
    names = st.text(LETTERS, min_size=1, max_size=longest)
    files = st.builds(File, name=names, etag=st.text(string.hexdigits, max_size=16), size=st.integers(0, 2**40))
    some_files = st.lists(files, max_size=1).map(tuple)
    parameters = st.dictionaries(
        names,
        st.integers(-(2**63), 2**64 - 1) | names | st.booleans() | st.floats(allow_nan=False, allow_infinity=False),
        max_size=many,
    )
    source = st.builds(
        Source,
        folder=names,
        base_model=names,
        train=some_files,
        validation=some_files,
        test=some_files,
        spec=st.none() | files,
        hub=st.none()
        | st.builds(
            Hub,
            name=names,
            revision=names,
            config=st.none() | names,
            splits=st.dictionaries(st.sampled_from(["train", "validation", "test"]), names),
            percent=st.floats(0.1, 100),
        ),
        hub_commit=st.text(string.hexdigits, max_size=min(longest, 40)),
        policy=st.builds(
            Policy,
            on_bad_rows=st.sampled_from(["reject", "drop"]),
            max_bad_percent=st.floats(0, 100),
            min_rows=st.integers(1, 99),
            seed=st.integers(0, 2**32),
        ),
        promotion=st.builds(
            Promotion,
            approve=st.sampled_from(["auto", "manual"]),
            strategy=st.sampled_from(["blue_green", "replace"]),
            gate=st.builds(
                Gate,
                rows=st.integers(0, 99),
                score=st.sampled_from(["chrf", "exact"]),
                max_drop=st.floats(0, 100),
                metrics=st.dictionaries(names, st.builds(Bounds, most=st.floats(0, 9)), max_size=many),
            ),
        ),
        parameters=parameters,
    )
    scores = st.builds(
        Scores,
        rows=st.integers(0, 99),
        score=st.sampled_from(["chrf", "exact"]),
        new=st.floats(0, 100),
        compared=st.none() | st.builds(Compared, rows=st.integers(1, 9), new=st.floats(0, 9), live=st.floats(0, 9)),
        metrics=st.dictionaries(names, st.floats(0, 9), max_size=many),
        passed=st.booleans(),
        why=names,
    )
    smoke = st.builds(Silence, since=TIMES, asked=st.none() | TIMES) | st.builds(
        Answered, question=st.just([]), expected=names, answer=names, passed=st.booleans(), why=names
    )
    attempt = st.builds(
        Attempt,
        number=st.integers(1, 99),
        data_of=st.sampled_from(["", "rorigin/2"]),
        in_job=st.booleans(),
        data=st.none()
        | st.builds(
            Data,
            fingerprint=st.sampled_from(["", "0123456789abcdef"]),
            rows=st.dictionaries(st.sampled_from(["train", "validation", "test"]), st.integers(0, 2**40)),
            rejected=st.sampled_from(["", "14 of 70 rows are bad"]),
        ),
        plan=st.none()
        | st.builds(
            Plan,
            model_id=names,
            model_version=names,
            component_id=names,
            component_version=names,
            parameters=parameters,
            gpus=st.integers(1, 8),
            notes=st.lists(names, max_size=many).map(tuple),
        ),
        job=names,
        model=names,
        deployed=st.none()
        | st.builds(
            Deployed,
            endpoint=names,
            name=names,
            smoke=st.none() | smoke,
            scores=st.none() | scores,
            approval=st.builds(
                Approval, needed=st.booleans(), asked=st.lists(TIMES, max_size=many).map(tuple), by=names
            ),
        ),
        resumed=st.none() | TIMES,
    )
    phases = st.sampled_from(Phase)
    return st.builds(
        Run,
        id=st.text(string.ascii_lowercase + "234567", min_size=16, max_size=16),
        line=st.text(string.ascii_lowercase, min_size=16, max_size=16),
        order=st.builds(Order, uploaded=TIMES, ordinal=st.integers(0, 9)),
        source=source,
        restores=st.none()
        | st.builds(Restores, run=st.just("rorigin"), instead_of=st.just("rnewer"), rollback=st.booleans()),
        phase=phases,
        since=TIMES,
        attempt=attempt,
        ending=st.none() | st.builds(Ending, phase=phases, why=names),
        waiting=st.none()
        | st.builds(Waiting, why=names, hold=st.sampled_from(["", "slot", "quota", "approval", "pin"])),
        parked=st.none() | st.builds(Parked, at=TIMES, why=names),
        crashes=st.integers(0, 9),
        claim=st.none() | st.builds(Claim, action=st.sampled_from(Action), until=TIMES, holder=names),
        wake=st.none() | st.builds(Wake, token=names, due=TIMES),
        outbox=st.lists(st.builds(Notice, id=names, type=names, at=TIMES, why=names), max_size=many).map(tuple),
        history=st.lists(st.builds(Entry, at=TIMES, phase=phases, what=names), max_size=many).map(tuple),
    )
