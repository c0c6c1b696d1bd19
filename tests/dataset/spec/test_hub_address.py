"""How people name a dataset of the hub: every address that a browser or another library shows for one."""

from __future__ import annotations

import pytest

from shared.dataset.spec.hub_address import Address, NoAddress, read

HUB = "https://huggingface.co/datasets"


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("acme/chats", Address(name="acme/chats")),
        ("squad", Address(name="squad")),
        (f"{HUB}/acme/chats", Address(name="acme/chats")),
        (f"{HUB}/acme/chats/", Address(name="acme/chats")),
        (f"{HUB}/squad", Address(name="squad")),
        (f"{HUB}/acme/chats?library=datasets#card", Address(name="acme/chats")),
        ("http://huggingface.co/datasets/acme/chats", Address(name="acme/chats")),
        ("https://www.huggingface.co/datasets/acme/chats", Address(name="acme/chats")),
        ("HTTPS://HuggingFace.co/datasets/acme/Chats", Address(name="acme/Chats")),
        ("huggingface.co/datasets/acme/chats", Address(name="acme/chats")),
        ("hf.co/datasets/acme/chats", Address(name="acme/chats")),
        ("datasets/acme/chats", Address(name="acme/chats")),
        ("hf://datasets/acme/chats", Address(name="acme/chats")),
        ("hf://datasets/acme/chats@v1.0", Address(name="acme/chats", revision="v1.0")),
        ("hf://datasets/acme/chats@refs/convert/parquet", Address(name="acme/chats", revision="refs/convert/parquet")),
        (f"{HUB}/acme/chats/tree/main", Address(name="acme/chats", revision="main")),
        (f"{HUB}/squad/tree/main", Address(name="squad", revision="main")),
        (
            f"{HUB}/acme/chats/tree/refs%2Fconvert%2Fparquet",
            Address(name="acme/chats", revision="refs/convert/parquet"),
        ),
        (f"{HUB}/acme/chats/tree/refs/pr/3", Address(name="acme/chats", revision="refs/pr/3")),
        (f"{HUB}/acme/chats/viewer", Address(name="acme/chats")),
        (f"{HUB}/acme/chats/viewer/en", Address(name="acme/chats", config="en")),
        (f"{HUB}/acme/chats/viewer/en/train_sft?row=3", Address(name="acme/chats", config="en", split="train_sft")),
    ],
)
def test_an_address_says_what_it_names(text: str, found: Address) -> None:
    assert read(text) == found


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("https://huggingface.co/acme/model", "is the address of a model, perhaps; that of a dataset begins with"),
        ("https://huggingface.co/spaces/acme/x", "is the address of a space"),
        ("https://huggingface.co/datasets", "is the address of a model"),
        ("https://example.com/datasets/acme/chats", "is no address of the Hub"),
        ("https://huggingface.co.example.com/datasets/a/b", "is no address of the Hub"),
        ("https://user@huggingface.co/datasets/a/b", "is no address of the Hub"),
        ("https://huggingface.co:444/datasets/a/b", "is no address of the Hub"),
        ("ftp://huggingface.co/datasets/a/b", "is no address of the Hub"),
        ("https://[/datasets/a/b", "is no address that can be read"),
        ("hf://acme/chats", "is no address of a dataset"),
        (f"{HUB}/acme/chats/blob/main/train.jsonl", "names a page or a file of acme/chats; name the dataset alone"),
        (f"{HUB}/acme/chats/resolve/main/train.jsonl", "names a page or a file"),
        (f"{HUB}/acme/chats/discussions/4", "names a page or a file"),
        (f"{HUB}/acme/chats/tree/main/data", "names a folder or a file in a dataset"),
        (f"{HUB}/acme/chats/viewer/en/train/x", "names a page or a file"),
        ("hf://datasets/acme/chats@main/data/train.jsonl", "names a folder or a file"),
        (f"{HUB}/acme/chats/tree/a..b", "names a revision 'a..b', which must be a branch"),
        (f"{HUB}/acme/chats/viewer/a%2Fb", "names a configuration 'a/b', which must be"),
        (f"{HUB}/acme/chats/viewer/en/a%2Fb", "names a split 'a/b', which must be"),
        (f"{HUB}/acme/..%2f..", "names no dataset"),
        (f"{HUB}/acme/%00", "names no dataset"),
        ("a/b/c", "names no dataset"),
        ("", "names no dataset"),
    ],
)
def test_what_names_no_dataset_is_told(text: str, told: str) -> None:
    with pytest.raises(NoAddress) as found:
        read(text)
    assert str(found.value).startswith(told)


def test_another_hub_s_addresses_are_read_where_it_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:8000/")
    assert read("http://127.0.0.1:8000/datasets/acme/chats/tree/v1") == Address(name="acme/chats", revision="v1")
    monkeypatch.delenv("HF_ENDPOINT")
    with pytest.raises(NoAddress):
        read("http://127.0.0.1:8000/datasets/acme/chats")
