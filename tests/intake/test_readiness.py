"""What is told of a blob that can't be read yet, and by which error: whose turn it is, and until when it is waited."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from shared.app import App
from shared.dataset.folder import DataFile
from shared.errors import Permanent, Refused, Transient
from shared.intake.folder import Folder, datasets_of, runs_of
from shared.intake.readiness import ARCHIVED_FOR, wait_for_archive, wait_for_growth, what_changed
from shared.records.base import Order
from shared.records.run import File, Run, Source

HERE = "i"
SETTLE = timedelta(seconds=60)


def run(since: datetime, *train: File) -> Run:
    return Run(
        id="r1",
        line="l1",
        order=Order(uploaded=since),
        source=Source(folder="faq", base_model="m", train=train),
        since=since,
    )


def file(
    name: str, at: datetime, *, archived: bool = False, rehydrates: bool = False, appended: bool = False
) -> DataFile:
    return DataFile(
        name=name,
        etag=f"etag of {name}",
        size=9,
        modified=at,
        archived=archived,
        rehydrates=rehydrates,
        appended=appended,
    )


def folder(at: datetime, *files: DataFile) -> Folder:
    return Folder(name="faq", installation=HERE, settle=SETTLE, files={each.name: each for each in files}, at=at)


@pytest.mark.parametrize(
    ("names", "rehydrates", "kind", "told"),
    [
        (["train.jsonl"], [False], Refused, "datasets/faq/train.jsonl is in the access tier Archive"),
        (["train.jsonl"], [True], Transient, "somebody has asked to rehydrate it, which takes up to 15 hours"),
        (
            ["train.jsonl", "test.jsonl"],
            [True, False],
            Refused,
            "datasets/faq/test.jsonl is in the access tier Archive",
        ),
    ],
)
def test_an_archived_file_is_for_a_person_until_it_is_on_its_way_back(
    app: App, names: list[str], rehydrates: list[bool], kind: type[Transient], told: str
) -> None:
    now = app.cloud.blobs.now()
    files = [
        (f"faq/{name}", file(name, now, archived=True, rehydrates=back))
        for name, back in zip(names, rehydrates, strict=True)
    ]
    with pytest.raises(Transient, match="rehydrate") as caught:
        wait_for_archive(app, run(now), files)
    assert type(caught.value) is kind
    assert told in str(caught.value)
    assert f"until {now + ARCHIVED_FOR:%Y-%m-%d %H}" in str(caught.value)
    assert caught.value.after == timedelta(hours=1)


def test_it_ends_after_its_limit_and_files_that_can_be_read_are_not_waited_for(app: App) -> None:
    now = app.cloud.blobs.now()
    late = run(now - ARCHIVED_FOR)
    wait_for_archive(app, late, [("faq/train.jsonl", file("train.jsonl", now))])
    with pytest.raises(Permanent, match=r"was still in the access tier Archive after 7 days.*droptune retry r1"):
        wait_for_archive(app, late, [("faq/train.jsonl", file("train.jsonl", now, archived=True))])
    with pytest.raises(Permanent, match="droptune start faq"):
        wait_for_archive(app, late, [("faq/finetune.yaml", file("finetune.yaml", now, archived=True))])


def test_as_long_as_a_file_grows_its_run_is_one_and_the_same(app: App) -> None:
    now = app.cloud.blobs.now()
    growing = file("train.jsonl", now, appended=True)
    first = list(datasets_of(folder(now, growing)))
    grown = replace(growing, etag="another", modified=now + SETTLE)
    assert list(datasets_of(folder(now + 1.5 * SETTLE, grown))) == first
    (whole,) = datasets_of(folder(now + 2 * SETTLE, grown))
    assert [whole] != first
    assert list(datasets_of(folder(now + 9 * SETTLE, grown))) == [whole]
    plain = replace(grown, appended=False)
    assert list(datasets_of(folder(now + SETTLE, plain))) == [whole], "only an append blob grows"


def test_a_log_that_grows_beside_the_data_holds_nothing_up(app: App) -> None:
    now = app.cloud.blobs.now()
    here = folder(now, file("train.jsonl", now - 9 * SETTLE), file("upload.log", now, appended=True))
    assert here.newest == now - 9 * SETTLE
    assert [each.name for each in here.data] == ["train.jsonl"]


@pytest.mark.parametrize("beside", ["heartbeat.txt", ".DS_Store", "2026/more.jsonl", "readme.jsonl", "prompts_gen.csv"])
def test_what_is_passed_over_and_written_over_again_and_again_holds_nothing_up(app: App, beside: str) -> None:
    now = app.cloud.blobs.now()
    for names in (["train.jsonl"], ["train.jsonl", "test.jsonl"], ["a.csv", "b.csv"], ["train.jsonl", "finetune.yml"]):
        *others, last = names
        files = [file(name, now - 9 * SETTLE) for name in others]
        here = folder(now, *files, file(last, now - SETTLE), file(beside, now))
        assert here.last.name == last, "which people are told"
    unread = replace(folder(now, file("finetune.yaml", now - SETTLE), file(beside, now)), unread="it is no YAML")
    assert unread.last.name == "finetune.yaml"
    assert folder(now, file(beside, now)).last.name == beside


def test_a_held_out_file_that_grows_is_waited_for_too(app: App) -> None:
    now = app.cloud.blobs.now()
    here = folder(now, file("train.jsonl", now - 9 * SETTLE), file("test.jsonl", now, appended=True))
    with pytest.raises(Transient, match=r"faq/test\.jsonl is an append blob that was still written to"):
        wait_for_growth(app, run(now), here)


def test_what_changed_names_what_happened_and_the_run_of_the_folder_as_it_stands_now(app: App) -> None:
    now = app.cloud.blobs.now()
    train = file("train.jsonl", now)
    taken = run(now, File(name="faq/train.jsonl", etag=train.etag, size=9))
    written = folder(now, replace(train, etag="another"))
    (newer,) = runs_of(written)
    said = f"run {newer} is of the folder as it stands now"
    assert what_changed(taken, written) == f"train.jsonl was written to before it was read: {said}"
    renamed = folder(now, replace(train, name="chats.jsonl"))
    (newer,) = runs_of(renamed)
    said = f"run {newer} is of the folder as it stands now"
    assert what_changed(taken, renamed) == f"train.jsonl was deleted before it was read: {said}"
    left = folder(now, file("test.jsonl", now))
    told = "train.jsonl was deleted before it was read: nothing that is left in the folder is trained on"
    assert what_changed(taken, left) == told
    several = folder(now, train, file("more.jsonl", now))
    assert "nothing of the folder is trained on as it stands now: 2 training files" in what_changed(taken, several)
    unread = replace(folder(now, train, file("finetune.yaml", now)), unread="finetune.yaml: no key of it")
    told = what_changed(taken, unread)
    assert told.startswith("finetune.yaml came before the data were read: nothing of the folder is trained on")
    assert "finetune.yaml: no key of it" in told
