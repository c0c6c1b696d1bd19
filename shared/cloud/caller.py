"""Who has typed a command, before Azure: a token with that person's own rights, never the app's.

Called by the command line alone, which asks Resource Manager for what the app does not hand out.
"""

from __future__ import annotations

import logging
import re
from typing import Any

from shared.errors import Permanent

_REASON = re.compile(r"AADSTS\d+")


def token_of_caller(scope: str) -> str:
    """A token of whoever is signed in on this machine, as azure-identity finds them. Raises Permanent, in a sentence.

    `scope`: whom it is for, as in `https://management.azure.com/.default`.
    """
    from azure.core.exceptions import ClientAuthenticationError

    try:
        with caller() as credential:
            return str(credential.get_token(scope).token)
    except ClientAuthenticationError as error:
        codes = " ".join(dict.fromkeys(_REASON.findall(str(error))))
        why = f" ({codes})" if codes else ""
        raise Permanent(f"Azure does not know who you are{why}: sign in with `az login`") from None


def caller() -> Any:
    """The credential of whoever is signed in on this machine. Raises Permanent."""
    from azure.identity import DefaultAzureCredential

    # It tells on standard error what it tried, many lines of it; here a sentence says what to do.
    logging.getLogger("azure.identity").setLevel(logging.CRITICAL)
    try:
        return DefaultAzureCredential()
    except ValueError as error:  # AZURE_TOKEN_CREDENTIALS names none
        raise Permanent(f"azure-identity finds no way to sign in: {error}") from None
