"""Which upload starts a run."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from shared.dataset.folder import Contents, DataFile, Dataset, Waiting, contents
from shared.dataset.kinds import KINDS
from shared.dataset.spec.choices import Hub, Spec
from shared.dataset.spec.finetune import parse
from shared.lifecycle.phase import Phase
from shared.records.mark import mark_of
from shared.records.run import Ending
from tests.kit.carried import EMPTY
from tests.kit.records import changed

START = datetime(2026, 11, 22, tzinfo=UTC)


def listing(*names: str) -> list[DataFile]:
    return [
        DataFile(name=name, etag=f"0x{at}", size=9, modified=START + timedelta(minutes=at))
        for at, name in enumerate(names)
    ]


def read(*names: str, spec: Spec | None = None) -> Contents:
    return contents("faq", listing(*names), spec)


def files(found: Contents) -> list[tuple[str, str | None, str | None]]:
    def name(files: Sequence[DataFile]) -> str | None:
        return " ".join(file.name for file in files) or None

    return [(name(each.train) or "", name(each.validation), name(each.test)) for each in found.datasets if each.train]


def test_one_file_is_one_run() -> None:
    found = read("train.jsonl")
    assert files(found) == [("train.jsonl", None, None)]
    assert found.datasets[0].path == "faq/train.jsonl"
    assert found.datasets[0].etags == {"train.jsonl": "0x0"}
    assert found.waiting is None
    assert found.ignored == {}


def test_the_one_training_file_takes_those_that_are_held_out() -> None:
    found = read("test.jsonl", "de.jsonl", "validation.jsonl")
    assert files(found) == [("de.jsonl", "validation.jsonl", "test.jsonl")]
    assert found.datasets[0].etags == {"de.jsonl": "0x1", "validation.jsonl": "0x2", "test.jsonl": "0x0"}
    assert found.datasets[0].newest == START + timedelta(minutes=2)


@pytest.mark.parametrize(
    "train",
    [
        [f"export-{n}.jsonl" for n in range(0, 12, 2)],
        [f"part.{n}.csv" for n in "abc"],
        ["train-v1.jsonl", "train-v2.jsonl"],
        ["chats-2025.csv", "chats-2026.csv"],
        ["train-00000-of-00002.parquet", "train-00001-of-00003.parquet"],
        ["train.jsonl", "train-00001-of-00002.parquet"],
        ["data.jsonl", "train.json"],
        ['q"\\.jsonl', "ü: #x.jsonl", "z.csv"],
        [f"{n:03}x.csv" for n in range(200)],
    ],
)
def test_of_several_training_files_none_is_trained_on_and_a_line_can_be_pasted_that_names_one(train: list[str]) -> None:
    found = read(*train, "test.jsonl", "notes.txt")
    assert found.datasets == ()
    assert [file.name for file in found.several] == sorted(train)
    assert found.problem.startswith(f"{len(train)} training files in one folder ({sorted(train)[0]}")
    assert all(name in found.problem for name in sorted(train)[:20])
    assert set(found.ignored) == {"test.jsonl", "notes.txt"}
    spec = parse(found.problem.rpartition("with this line: ")[2].encode())
    meant = read("finetune.yaml", *train, "test.jsonl", spec=spec)
    assert files(meant) == [(spec.train[0], None, "test.jsonl")]
    assert "train.jsonl" not in train or spec.train == ("train.jsonl",)
    assert set(spec.train) <= set(train)


NAMES = st.text("abcé-_", min_size=1, max_size=100)


def listed(problem: str) -> str:
    """What lists show of a run that was rejected for it."""
    return mark_of(changed(EMPTY, phase=Phase.REJECTED, ending=Ending(phase=Phase.REJECTED, why=problem))).status


@given(st.sets(NAMES, min_size=2, max_size=30), st.booleans(), NAMES)
@example({f"part-{n:05}-of-00007" for n in (0, 0, 1)} | {f"part-{n}" for n in range(40)}, False, "exports")
def test_what_is_to_be_pasted_is_in_what_lists_show(names: set[str], held: bool, folder: str) -> None:
    train = [f"x{name}.parquet" for name in names]
    shown = listed(read(*train, *(("validation.jsonl", "test.jsonl") if held else ())).problem)
    assert parse(shown.rpartition("with this line: ")[2].encode()).train[0] in train
    misnamed = contents(folder, listing("train.jsonl", *(f"{name}/finetune.yaml" for name in names)), None)
    assert listed(misnamed.problem).endswith(f"then droptune start {shlex.quote(folder)}")


def test_files_that_no_finetune_yaml_can_name_get_other_names() -> None:
    found = read("a\\.jsonl", "b\\.jsonl")
    assert found.problem.endswith("give one a name that finetune.yaml can have")


def test_the_line_to_paste_names_no_second_download() -> None:
    assert '{train: "train.jsonl"}' in read("train (1).jsonl", "train.jsonl").problem


def test_the_ultrachat_folder() -> None:
    found = read("train_sft.jsonl", "test_sft.jsonl", "train_gen.jsonl", "test_gen.jsonl")
    assert files(found) == [("train_sft.jsonl", None, "test_sft.jsonl")]
    assert set(found.ignored) == {"test_sft.jsonl", "train_gen.jsonl", "test_gen.jsonl"}
    assert "trying" in found.ignored["train_gen.jsonl"]


def test_of_several_held_out_files_the_kin_is_taken() -> None:
    held = ("test.jsonl", "test_dpo.jsonl", "test_sft.jsonl")
    assert files(read("other.jsonl", *held)) == [("other.jsonl", None, "test.jsonl")]
    assert files(read("train_sft.jsonl", *held)) == [("train_sft.jsonl", None, "test_sft.jsonl")]


def test_held_out_files_alone_are_no_run() -> None:
    assert not read("test.jsonl", "test_sft.jsonl", "validation_1.jsonl", "TEST.jsonl", "prompts_gen.jsonl").datasets


def test_what_is_no_data_is_ignored_with_a_reason() -> None:
    found = read("README.md", "train.txt", "train.gz", "deep/er.jsonl", "report.json", "Readme.CSV")
    assert not found.datasets
    assert set(found.ignored) == {
        "README.md",
        "train.txt",
        "train.gz",
        "deep/er.jsonl",
        "report.json",
        "Readme.CSV",
    }
    assert "does not tell what is packed in it: it must end in .jsonl, .ndjson" in found.ignored["train.gz"]
    assert "upload it as <dataset>/er.jsonl" in found.ignored["deep/er.jsonl"]
    assert "tells about data" in found.ignored["report.json"]


@pytest.mark.parametrize("kind", [*KINDS, ".JSONL.GZ", ".Parquet", ".Csv.Zst"])
def test_files_of_every_kind_are_taken_and_told_apart_by_their_names(kind: str) -> None:
    names = [f"{stem}{kind}" for stem in ("train_sft", "test", "Test_sft", "validation_sft", "train_gen")]
    found = read(*names)
    assert files(found) == [(names[0], names[3], names[2])]
    assert set(found.ignored) == set(names[1:])


def test_of_two_held_out_files_named_alike_the_one_of_the_same_kind_is_taken() -> None:
    found = read("train.parquet", "test.jsonl", "test.parquet", "validation.csv")
    assert files(found) == [("train.parquet", "validation.csv", "test.parquet")]


def test_the_only_piece_of_a_file_is_the_file() -> None:
    whole = read("train-00000-of-00001.parquet", "test-00000-of-00001.parquet")
    assert files(whole) == [("train-00000-of-00001.parquet", None, "test-00000-of-00001.parquet")]


def test_a_spec_may_name_what_would_not_be_taken_for_data() -> None:
    found = read("finetune.yaml", "report.CSV", "a_gen.json", spec=Spec(train=("report.CSV",), test=("a_gen.json",)))
    assert files(found) == [("report.CSV", None, "a_gen.json")]


MISNAMED = [
    *(
        "finetune.yml",
        "finetune.json",
        "Finetune.yaml",
        "FINETUNE.YML",
        "finetune.YAML",
        "finetune.yaml.txt",
        "finetune",
    ),
    *("fine-tune.yaml", "fine_tune.yml", "fine tune.yaml", " finetune.yaml", ".finetune.yaml", "finetune.txt"),
]


ALONE = [
    *("finetue.yaml", "finetuning.yml", "finetunes.yaml", "conf/finetune.yaml"),
    *("finetune.yaml~", "finetune.yaml.bak", "#finetune.yaml#", "finetune.yaml.orig", "finetune (1).yaml"),
    *("finetune.toml", "finetune.cfg", "finetune.yam", "finetune.ymal", "finetuneyaml", "finetune,yaml"),
    *("finetune.yaml.jsonl", "finetune.yml.csv", "Finetune.YAML.parquet", "finetune.yaml.jsonl.gz"),
]
"""What is taken for one where there is none."""
LOOKS_THE_SAME = [
    *("finetune.y\u0430ml", "fin\u0435tune.yaml", "f\u0456netune.yml", "\uff46inetune.yaml", "finet\u00fcne.yaml"),
    *("finetune\u200b.yaml", "finetune.yaml\u200e", "F\u0399NETUNE.YAML", "\ufb01netune.yaml"),
]


@pytest.mark.parametrize("name", LOOKS_THE_SAME)
@pytest.mark.parametrize("spec", [None, Spec(train=("a.jsonl",))], ids=["alone", "beside"])
def test_what_looks_the_same_is_refused_and_its_letters_are_shown(name: str, spec: Spec | None) -> None:
    found = read(name, "a.jsonl", *(["finetune.yaml"] if spec else []), spec=spec)
    assert not found.datasets
    assert [file.name for file in found.misnamed] == [name]
    assert found.problem.startswith(f"{name} ({name.encode('ascii', 'backslashreplace').decode()}): a specification")


@given(
    st.sampled_from(["finetune", "Finetune", "FINETUNED", "fine-tune", "finetuning"]),
    st.from_regex(r"[-_.]?(data|train|rows|v[0-9]|chats|en|20[0-9]{2}|ml|aml)?", fullmatch=True),
    st.sampled_from([".jsonl", ".csv", ".parquet", ".jsonl.gz", ".CSV"]),
)
def test_data_whose_name_begins_like_it_are_data(stem: str, more: str, ending: str) -> None:
    name = f"{stem}{more}{ending}"
    assert files(read(name)) == [(name, None, None)]


@given(
    st.integers(0, 7),
    st.sampled_from(["", "x", "-", " ", "\u0301"]),
    st.sampled_from([".yaml", ".yml", ".yaml~", ".YAML.bak", ".yaml.jsonl", ".y\u0430ml"]),
)
def test_a_letter_that_is_mistyped_makes_no_other_file_of_it(at: int, typed: str, ending: str) -> None:
    name = f"{'finetune'[:at]}{typed}{'finetune'[at + (typed != '-') :]}{ending}"
    assert read(name, "train.jsonl").problem.startswith(name)


@pytest.mark.parametrize("name", [*MISNAMED, *ALONE])
@pytest.mark.parametrize("train", [["train.jsonl"], ["a.csv", "b.csv"]])
def test_what_may_be_meant_for_a_finetune_yaml_is_refused(name: str, train: list[str]) -> None:
    found = read(name, *train, "notes.txt")
    assert (found.datasets, found.several, found.waiting) == ((), (), None)
    assert [file.name for file in found.misnamed] == [name]
    assert found.problem.startswith(f"{name}: a specification is named finetune.yaml, in small letters")
    assert found.problem.endswith("then droptune start faq")
    assert (
        "rename it to finetune.yaml (in the storage: upload it as faq/finetune.yaml, and delete this" in found.problem
    )
    assert set(found.ignored) == {"notes.txt"}


@pytest.mark.parametrize("name", MISNAMED)
def test_beside_a_finetune_yaml_it_is_refused_too(name: str) -> None:
    found = read("finetune.yaml", name, "a.jsonl", spec=Spec(train=("a.jsonl",)))
    assert not found.datasets
    assert "lies beside finetune.yaml, which alone is read: delete it" in found.problem


@pytest.mark.parametrize(
    "name",
    [
        *("finetune.jsonl", "finetuned.json", "finetune.schema.json", "config.yaml", "dvc.yaml", ".finetune.yaml.swp"),
        *("finetune_data.jsonl", "finetuned.jsonl", "finetune.aml.jsonl", "finetune.md", "finetune.log", "finetune.py"),
        *("dataset.yml", "tune.yaml", "fine.yaml", "finetune.csv", "yaml", ".yaml"),
    ],
)
def test_what_is_named_otherwise_is_not_taken_for_one(name: str) -> None:
    found = read(name, "finetune.csv") if name.endswith(".yaml") else read(name)
    assert (found.misnamed, found.problem) == ((), "")


def test_copies_of_a_finetune_yaml_do_no_harm_and_one_that_is_named_as_data_is_data() -> None:
    copies = ("finetune.yaml~", "finetune.yaml.bak", "finetune-old.yaml", "finetune2.yml", "old/finetune.yaml")
    assert files(read("finetune.yaml", *copies, "a.jsonl", spec=Spec(train=("a.jsonl",)))) == [("a.jsonl", None, None)]
    assert files(read("finetune.yaml", "finetune.json", spec=Spec(train=("finetune.json",)))) == [
        ("finetune.json", None, None)
    ]
    assert not read("2026/finetune.yaml", "2026/train.jsonl").misnamed, "all of it is not directly in the folder"


SPEC = Spec(train=("test_a.jsonl",), validation=("b.jsonl",), test=("c.jsonl",))


def test_a_spec_names_the_files() -> None:
    found = read("finetune.yaml", "test_a.jsonl", "b.jsonl", "c.jsonl", "d.jsonl", spec=SPEC)
    assert files(found) == [("test_a.jsonl", "b.jsonl", "c.jsonl")]
    assert found.datasets[0].spec == listing("finetune.yaml")[0]
    assert "finetune.yaml" not in found.datasets[0].etags
    assert found.ignored == {"d.jsonl": "finetune.yaml does not name it"}


def test_a_spec_does_not_take_what_it_does_not_name() -> None:
    found = read("a.jsonl", "test.jsonl", "finetune.yaml", spec=Spec(train=("a.jsonl",)))
    assert files(found) == [("a.jsonl", None, None)]


def test_a_source_is_a_dataset_without_files() -> None:
    hub = Hub(name="owner/chats", splits={"train": "train_sft"})
    found = read("train.jsonl", "finetune.yaml", "notes.txt", spec=Spec(hub=hub))
    (dataset,) = found.datasets
    assert (dataset.hub, dataset.train, dataset.etags) == (hub, (), {})
    assert dataset.path == "faq/finetune.yaml"
    assert "owner/chats" in dataset.told
    assert dataset.newest == START + timedelta(minutes=1), "when finetune.yaml came"
    assert found.ignored["train.jsonl"] == "finetune.yaml names a source instead"
    assert found.waiting is None


def test_a_dataset_has_files_or_a_source() -> None:
    (spec,) = listing("finetune.yaml")
    for wrong in ({}, {"spec": spec}, {"hub": Hub(name="a")}, {"hub": Hub(name="a"), "spec": spec, "train": (spec,)}):
        with pytest.raises(ValueError, match="a training file, or a source"):
            Dataset(folder="faq", **wrong)


def test_an_incomplete_folder_is_no_run() -> None:
    found = read("finetune.yaml", "b.jsonl", spec=SPEC)
    assert not found.datasets
    assert found.waiting == Waiting(folder="faq", for_=("test_a.jsonl", "c.jsonl"))


@pytest.mark.parametrize(
    ("named", "there", "told"),
    [
        ("train.json", ["train.jsonl"], " (there is train.jsonl: name that, if it is meant)"),
        ("Train.jsonl.gz", ["train.jsonl"], " (there is train.jsonl: name that, if it is meant)"),
        ("*.jsonl", ["a.jsonl", "b.jsonl", "c.csv"], " (patterns are not read: list the files, [a.jsonl, b.jsonl])"),
        ("*.csv", ["a.jsonl"], " (patterns are not read: list the files)"),
        ("train.jsonl", ["x.jsonl", "train.md", "train.jsonl/"], ""),
    ],
)
def test_what_may_be_meant_by_a_file_that_is_not_there_is_told(named: str, there: list[str], told: str) -> None:
    found = read("finetune.yaml", *there, spec=Spec(train=(named,)))
    assert found.waiting is not None
    assert str(found.waiting) == f"{named}, which finetune.yaml names{told}"


@pytest.mark.parametrize("name", ["dev_team_faq.jsonl", "validation_of_orders.jsonl", "train_test.jsonl", "a_gen.csv"])
def test_a_file_that_is_held_out_by_its_name_alone_can_be_named(name: str) -> None:
    why = read(name).ignored[name]
    assert f'name it in finetune.yaml (train: "{name}")' in why
    assert "name it" not in read("faq.jsonl", name, "x_gen.csv").ignored.get("x_gen.csv", "name it")


def test_the_spec_last_counts_as_the_newest() -> None:
    assert read("a.jsonl", "finetune.yaml", spec=Spec(train=("a.jsonl",))).datasets[0].newest == START + timedelta(
        minutes=1
    )


def test_a_spec_and_its_file_come_together() -> None:
    with pytest.raises(ValueError, match="together"):
        read("finetune.yaml", "a.jsonl")
    with pytest.raises(ValueError, match="together"):
        read("a.jsonl", spec=Spec(train=("a.jsonl",)))


stems = st.sampled_from(["train", "test", "test_sft", "validation", "a", "b", "x_gen", "test_gen", "Validation2"])
names = st.lists(
    st.builds(str.__add__, stems, st.sampled_from([".jsonl", ".CSV", ".jsonl.gz", ".txt", ""])), unique=True
)


@given(names, st.randoms())
def test_order_does_not_matter_and_held_out_files_are_never_trained_on(names: list[str], random: object) -> None:
    there = listing(*names)
    found = contents("faq", there, None)
    assert found == contents("faq", reversed(there), None)
    trained = {file.name for each in found.datasets for file in each.train}
    assert not {name for name in trained if name.lower().startswith(("test", "validation")) or "_gen" in name}
    several = {file.name for file in found.several}
    assert sorted([*trained, *several, *found.ignored]) == sorted(names), "each file is one of the three"
    assert len(trained) <= 1 < len(several) or not several
    assert bool(several) == bool(found.problem)
    for each in found.datasets:
        held = [file.name.lower() for file in (*each.validation, *each.test)]
        assert all(name.startswith(("test", "validation")) and "_gen" not in name for name in held)


@pytest.mark.parametrize("last", ["test.jsonl", "validation.jsonl", "train.jsonl"])
def test_whichever_file_comes_last_the_settle_time_counts_from_it(last: str) -> None:
    names = [name for name in ("train.jsonl", "validation.jsonl", "test.jsonl") if name != last]
    assert read(*names, last).datasets[0].newest == START + timedelta(minutes=2)
