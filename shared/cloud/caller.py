"""The person who runs a command, as Azure knows them: not the app, whose clients have an identity of their own."""

from __future__ import annotations

import logging

from shared.errors import Permanent


def caller_token(scope: str) -> str:
    """A token of whoever is logged in on this machine (`az login`, azd, variables); kept nowhere.

    Raises Permanent when nobody is, which says what to do.
    """
    from azure.core.exceptions import ClientAuthenticationError
    from azure.identity import DefaultAzureCredential

    logging.getLogger("azure").addHandler(logging.NullHandler())  # what it would say is said in the error
    try:
        with DefaultAzureCredential() as credential:
            return credential.get_token(scope).token
    except ClientAuthenticationError as error:  # of each way that was tried: a page of text
        why = next((line.strip() for line in str(error).splitlines() if "AADSTS" in line), "")
        raise Permanent(f"nobody is logged in to Azure here: run `az login`{f' ({why})' if why else ''}") from None
