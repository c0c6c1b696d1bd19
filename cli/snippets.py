"""How an endpoint is asked from elsewhere: a curl command, and Python without any package. Both work as pasted."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

VARIABLE = "DROPTUNE_ENDPOINT_KEY"
"""Where they take the key from that is not in them."""
SECONDS = 100


def curl(address: str, payload: dict[str, Any], *, key: str = "", ca: Path | None = None) -> list[str]:
    """For a shell. `key`: to be in it; `ca`: the certificate authority to trust alone."""
    bearer = shlex.quote(f"Authorization: Bearer {key}") if key else f'"Authorization: Bearer ${VARIABLE}"'
    lines = [f"curl --silent --show-error --max-time {SECONDS}"]
    if ca:
        lines.append(f"--cacert {shlex.quote(str(ca))}")
    lines += [
        f"--header {bearer}",
        "--header 'Content-Type: application/json'",
        f"--data {shlex.quote(json.dumps(payload))}",
        shlex.quote(address),
    ]
    return [
        f"{'  ' if number else ''}{line}{' \\' if number < len(lines) - 1 else ''}" for number, line in enumerate(lines)
    ]


def python(address: str, payload: dict[str, Any], *, key: str = "", ca: Path | None = None) -> list[str]:
    """For a file or an interpreter. Arguments as for `curl`."""
    bearer = f'"Bearer " + {json.dumps(key)}' if key else f'"Bearer " + os.environ["{VARIABLE}"]'
    context = f"ssl.create_default_context(cafile={json.dumps(str(ca))})" if ca else "ssl.create_default_context()"
    text = payload["input_data"]
    return [
        "import json, os, ssl, urllib.request",
        f"messages = {json.dumps(text['input_string'])}",
        f"parameters = {text['parameters']!r}",
        'payload = {"input_data": {"input_string": messages, "parameters": parameters}, "params": {}}',
        f'headers = {{"Content-Type": "application/json", "Authorization": {bearer}}}',
        f"request = urllib.request.Request({json.dumps(address)}, json.dumps(payload).encode(), headers)",
        f"context = {context}",
        f"answer = urllib.request.urlopen(request, timeout={SECONDS}, context=context)",
        "print(json.load(answer))",
    ]
