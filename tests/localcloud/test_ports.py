"""Ports for listeners that are started later."""

from __future__ import annotations

import socket
from pathlib import Path

from localcloud.ports import FIRST, LAST, bound

RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")


def test_no_outgoing_connection_takes_a_port_that_was_chosen() -> None:
    if RANGE.exists():
        assert int(RANGE.read_text().split()[0]) >= LAST
    with bound() as probe:
        assert FIRST <= probe.getsockname()[1] < LAST


def test_the_wanted_port_is_taken_if_it_is_free() -> None:
    with bound() as probe:
        port = probe.getsockname()[1]
        with bound(port) as other:
            assert other.getsockname()[1] != port
    with bound(port) as again:
        assert again.getsockname()[1] == port


def test_a_port_that_somebody_listens_on_is_not_chosen() -> None:
    with bound() as probe:
        probe.listen()
        with socket.create_connection(probe.getsockname()), bound(probe.getsockname()[1]) as other:
            assert other.getsockname() != probe.getsockname()
