"""The kinds of data files, told by their names: which endings are read, and what is said of others."""

from __future__ import annotations

from typing import Literal

type Form = Literal[".jsonl", ".json", ".csv", ".parquet"]
"""What rows are written as. Tables of text are .csv, whatever stands between their cells."""
type Packing = Literal["", ".gz", ".zst"]
"""What a file is compressed with as a whole."""

FORMS: dict[str, Form] = {
    ".jsonl": ".jsonl",
    ".ndjson": ".jsonl",
    ".jsonlines": ".jsonl",
    ".json": ".json",
    ".csv": ".csv",
    ".tsv": ".csv",
    ".parquet": ".parquet",
}
PACKINGS: tuple[Packing, ...] = ("", ".gz", ".zst")
HIDDEN = ".txt"
"""What some editors put behind a name whose ending Windows hides: train.jsonl.txt is named as it should be."""
KINDS: tuple[str, ...] = (
    *(f"{form}{packing}" for form in FORMS for packing in PACKINGS),
    *(f"{form}{HIDDEN}" for form in FORMS if form != ".parquet"),
)
"""All endings that are read."""
ENDINGS = ".jsonl, .ndjson, .json, .csv, .tsv or .parquet, or one of these and .gz or .zst"
"""Those that people are told of."""


def kind_of(name: str) -> str | None:
    """The ending that tells the kind, one of KINDS, whatever its case; None for a file that is not read."""
    lower = name.lower()
    return next((kind for kind in KINDS if lower.endswith(kind)), None)


def form_of(name: str) -> Form | None:
    """What the rows are written as, by the name; None for a file that is not read."""
    kind = kind_of(name)
    return FORMS[kind.removesuffix(packing_of(name)).removesuffix(HIDDEN)] if kind else None


def packing_of(name: str) -> Packing:
    """What a file is compressed with, by its name."""
    lower = name.lower()
    return next((packing for packing in PACKINGS[1:] if lower.endswith(packing)), "")


def renamed(name: str, ending: str) -> str:
    """The name with another ending in place of the one that tells its kind."""
    return name[: len(name) - len(kind_of(name) or "")] + ending


def unread(name: str) -> str:
    """Why a file of this name, which has no ending of a kind, is not read, and what to do."""
    lower = name.lower()
    if lower.endswith(PACKINGS[1:]):
        inner = lower.rpartition(".")[0]
        if inner.endswith((".tar", ".tgz")):
            return "it is an archive: unpack it, and upload the files in it"
        return f"its name does not tell what is packed in it: it must end in {ENDINGS}"
    for endings, what in _OTHERS.items():
        if lower.endswith(endings):
            return what
    return f"its name does not end in {ENDINGS}"


_OTHERS = {
    (".xlsx", ".xls", ".xlsm", ".xlsb", ".ods", ".numbers"): "it is a workbook: save the sheet as CSV UTF-8 (.csv)",
    (".arrow", ".feather", ".ipc"): (
        ".arrow files are not read: write it as Parquet (with the library datasets: "
        'load_from_disk("FOLDER").to_parquet("train.parquet"))'
    ),
    (".zip", ".tar", ".tgz", ".7z", ".rar", ".bz2", ".xz", ".lz4", ".zstd"): (
        "it is an archive, or packed in a way that is not read: unpack it, and upload what is in it"
    ),
    (".pkl", ".pickle", ".npy", ".npz", ".pt", ".bin", ".h5", ".hdf5", ".tfrecord", ".avro", ".orc", ".mds"): (
        "its kind is not read: write the rows as JSON Lines (.jsonl) or Parquet"
    ),
    (".db", ".sqlite", ".sqlite3", ".duckdb"): "it is a database: export the table as .csv or .jsonl",
    (".pdf", ".docx", ".doc", ".odt", ".rtf", ".html", ".htm", ".xml"): (
        "it is a document: write its questions and answers as rows of a .jsonl file"
    ),
}
