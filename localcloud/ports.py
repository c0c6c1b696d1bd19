"""Ports for listeners that are started a moment later, by another process.

They lie below those that systems take for outgoing connections: one of these could take a port between the choice and
the start. Called by stack.py and azureml/inference.py.
"""

from __future__ import annotations

import random
import socket

FIRST, LAST = 20_000, 32_000
_TRIES = 200


def bound(wanted: int = 0) -> socket.socket:
    """A socket on a free port of 127.0.0.1: the wanted one if that is free, else one at random. Close it before use.

    Raises OSError when no port is free.
    """
    for port in (*([wanted] if wanted else []), *random.sample(range(FIRST, LAST), _TRIES)):
        probe = socket.socket()
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
            probe.listen()  # two that are only bound could have the same one
        except OSError:
            probe.close()
        else:
            return probe
    raise OSError(f"no free port on 127.0.0.1 between {FIRST} and {LAST}")
