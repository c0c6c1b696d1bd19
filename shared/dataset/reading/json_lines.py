"""JSON Lines as raw rows, for who has no lines of a file to tell of: a line at a time, in no more than a row's limit.

Files of ours are read by `judging/checker.py`, which looks at whole blocks of lines. Read by `hub_files`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from shared.dataset.reading.files import BOM, Elements, Limits, paged


def json_lines(chunks: Iterable[bytes], limits: Limits) -> Iterator[Elements]:
    """The lines that are not blank, as raw bytes without their ends: whether they are JSON is not looked at.

    Of a line over `limits.row` the first `limits.row` + 1 bytes come.
    """
    most = limits.row + 1
    held = bytearray()  # the beginning of a line whose end has not come
    line, offset, begin = 1, 0, 0  # of the page; where the line begins
    for number, page in enumerate(paged(chunks, limits.page)):
        offsets: list[int] = []
        found = Elements(data=[], numbers=[], offsets=offsets)
        start = len(BOM) if not number and page.startswith(BOM) else 0
        while (end := page.find(b"\n", start)) >= 0:
            data = page[start : min(end, start + most)]
            if held:
                held += data[: most - len(held)]
                data = bytes(held)
                held.clear()
            if data.strip(b" \t\r"):
                found.data.append(data)
                found.numbers.append(line)
                offsets.append(begin)
            line, start = line + 1, end + 1
            begin = offset + start
        held += page[start : start + most - len(held)]
        offset += len(page)
        if found.data:
            yield found
    if held.strip():
        yield Elements(data=[bytes(held)], numbers=[line], offsets=[begin])
