"""The runner of a page's command blocks: what it takes for one, what it leaves out of a comparison, when it fails."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from tests.kit.blocks import (
    Block,
    blanked,
    blocks,
    difference,
    like_the_repository,
    next_commands,
    only_looks,
    reading,
    refreshed,
    rewritten,
)
from tests.kit.waiting import eventually

PAGE = """# A page

```sh set-up
cd somewhere
```

Text, `code`, and:

```sh
echo one
```

It prints:

```text
one
```

- a list:

  ```yaml
  key: value
  ```

  ```sh until exit-1
  false
  ```

  ```text
  nothing
    more
  ```
"""


def test_blocks_are_found_with_what_they_print() -> None:
    first, second, third = blocks(PAGE, "page.md")
    assert first == Block(page="page.md", line=3, text="cd somewhere", words=frozenset({"set-up"}))
    assert first.skipped
    assert second == Block(page="page.md", line=9, text="echo one", shown="one")
    assert (third.text, third.shown, third.code) == ("false", "nothing\n  more", 1)
    assert not third.skipped


@pytest.mark.parametrize(
    ("page", "told"),
    [
        ("```sh\necho", "is not closed"),
        ("```sh longer\necho\n```", "knows no 'longer'"),
        ("```text\nx\n```", "no commands come before"),
        ("```sh\nx\n```\n```yaml\na: b\n```\n```text\nx\n```", "no commands come before"),
        ("```sh\nx\n```\n```text\n…\n\n```", "says nothing"),
        ("```\n$ ./droptune runs\n```", "marked sh"),
        ("```bash\ndroptune runs\n```", "marked sh"),
    ],
)
def test_a_page_that_is_not_clear_is_refused(page: str, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        blocks(page, "page.md")


@pytest.mark.parametrize(
    ("one", "another"),
    [
        ("2026-11-30 06:07:37  received", "2027-01-01 23:59:59  received"),
        ("at 06:07:37Z, 06:07", "at 23:59:59Z, 23:59"),
        ("3 min ago", "just now"),
        ("in 0.5 s.", "in 1 min 12 s."),
        ("run rlrulop3ewejeau5, rlrulop3ewejeau5-1", "run rk7w3e6ezqvzf4io, rk7w3e6ezqvzf4io-1"),
        ("line labcdefghij23456 of faq-phi-4-cgtykygqkc", "line lzzzzzzzzzz23456 of faq-phi-4-li3p73iu2h"),
        ("https://localhost:4711/x", "https://localhost:80/x"),
        ("eval_loss 7.831", "eval_loss 6.1"),
        ("id                when", "id  when"),
        ("a\n\ntraining ━━━━━╸  48 % loss 2.1\nb", "a\nb"),
        ("a\rb\rdone\n", "done"),
        ("\x1b[32mgood\x1b[0m", "good"),
    ],
)
def test_what_differs_from_run_to_run_is_left_out(one: str, another: str) -> None:
    assert difference(one, another) == ""


def test_the_folder_has_a_name_of_its_own(tmp_path: Path) -> None:
    assert (
        blanked(f"state and logs are in {tmp_path}/.droptune", tmp_path) == "state and logs are in <folder>/.droptune"
    )
    assert difference("in <folder>/.droptune", f"in {tmp_path}/.droptune", tmp_path) == ""


@pytest.mark.parametrize(
    ("shown", "printed"),
    [
        ("live", "rejected"),
        ("live", "live\nand more"),
        ("live\nand more", "live"),
        ("run <run>-1", "run rlrulop3ewejeau5-2"),
        ("a <word> b", "a b"),
        ("one\n…\nlast", "one\ntwo"),
        ("12 hours", "13 hours"),
        ("faq.csv:12 bad", "faq.csv:13 bad"),
        ("117 train", "118 train"),
    ],
)
def test_what_is_printed_otherwise_is_told(shown: str, printed: str) -> None:
    told = difference(shown, printed)
    assert told.startswith("--- shown")
    assert [line for line in told.splitlines() if line[0] in "+-"][2:]


def test_a_word_in_brackets_stands_for_any_text_and_dots_for_any_lines() -> None:
    assert difference("answer <answer>\n…\nend", "answer It is two (2) years.\nx\ny\nend") == ""
    assert difference("one\n…\nend", "one\nend") == ""
    assert difference("{…}", '{"a": 1}') == ""


def test_a_reader_runs_commands_in_his_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DROPTUNE_URL", "https://elsewhere.example")
    with reading(tmp_path / "fresh") as reader:
        done = reader.run(
            "pwd; echo told >&2; echo $HOME $LOGNAME; env | grep DROPTUNE_ || echo none; command -v droptune"
        )
        where, told, home, none, droptune = done.printed.splitlines()
        assert (done.code, told, none) == (0, "told", "none")
        assert Path(where) == (tmp_path / "fresh").resolve()
        assert home.startswith(str(tmp_path)), "what a command keeps for its user stays in the folder"
        assert os.access(droptune, os.X_OK)
        assert reader.run("false; echo on").printed == ""
        with pytest.raises(AssertionError, match="not done after"):
            reader.run("echo begun; sleep 60", patience=0.2)


def test_what_a_block_leaves_running_ends_with_its_reader(tmp_path: Path) -> None:
    with reading(tmp_path) as reader:
        pid = int(reader.run("sleep 60 & echo $!").printed)
        os.kill(pid, 0)

    def gone() -> bool:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        return False

    eventually(gone)


def test_a_block_fails_by_its_code_and_by_what_it_prints(tmp_path: Path) -> None:
    def wrong(text: str, *words: str, shown: str | None = None) -> str:
        return reader.follow(Block(page="page.md", line=7, text=text, words=frozenset(words), shown=shown))[1]

    with reading(tmp_path) as reader:
        assert wrong("echo yes", shown="yes") == ""
        assert wrong("exit 1", "exit-1") == ""
        assert wrong("echo why; exit 2").startswith("page.md:7: ends with 2, not 0:\nwhy")
        assert wrong("exit 0", "exit-1").startswith("page.md:7: ends with 0, not 1")
        assert "-yes\n+no" in wrong("echo no", shown="yes")
        begun = time.monotonic()
        assert wrong("echo x >> seen; wc -l < seen | tr -d ' '", "until", shown="3") == ""
        assert time.monotonic() - begun < 10


def test_next_commands_are_read_from_what_is_printed() -> None:
    printed = (
        "next: droptune ask faq 'How long?'  # or your own\nand `./droptune show RUN --logs`, `ls`\n"
        "droptune: next: ./droptune watch faq\n"
    )
    assert next_commands(printed) == [["ask", "faq", "How long?"], ["show", "RUN", "--logs"], ["watch", "faq"]]
    assert only_looks(["watch", "faq"])
    assert not only_looks(["rollback", "faq"])
    assert not only_looks(["ask", "faq"]), "a question keeps an endpoint from idling"


def test_a_page_gets_what_its_blocks_print_now(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "```sh\necho 5 s\n```\n\n```text\n9 s\n```\n\n- x\n\n  ```sh\n  echo new\n  ```\n\n  ```text\n  old\n  ```\n"
    )
    told: list[str] = []
    fresh = refreshed(page, tmp_path / "folder", told.append)
    assert fresh == page.read_text().replace("  old", "  new"), "what still matches stays as it is"
    assert told[0] == "page.md:1: as shown"
    assert "+new" in told[1]
    assert rewritten(fresh, {}) == fresh


def test_a_folder_like_the_repository_has_no_state(tmp_path: Path) -> None:
    folder = like_the_repository(tmp_path / "copy")
    assert (folder / "droptune").exists()
    assert not (folder / ".droptune").exists()
