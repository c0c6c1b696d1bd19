"""The certificates hold under Python 3.13's strict checks, for loopback and nothing else."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest

from localcloud import pki


def shake_hands(trust: ssl.SSLContext, files: pki.Pki, name: str) -> None:
    """A TLS handshake in memory. Raises ssl.SSLError when the client refuses the server."""
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    server.load_cert_chain(files.certificate, files.key)
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [trust.wrap_bio(down, up, server_hostname=name), server.wrap_bio(up, down, server_side=True)]
    for _ in range(4):
        for end in list(ends):
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                continue
            ends.remove(end)
    assert not ends


@pytest.mark.parametrize("name", ["localhost", "127.0.0.1"])
def test_a_client_that_trusts_the_authority_accepts_the_server(tmp_path: Path, name: str) -> None:
    files = pki.ensure(tmp_path)
    trust = ssl.create_default_context(cafile=str(files.ca))
    trust.verify_flags |= ssl.VERIFY_X509_STRICT
    shake_hands(trust, files, name)


def test_another_name_is_refused(tmp_path: Path) -> None:
    files = pki.ensure(tmp_path)
    with pytest.raises(ssl.SSLCertVerificationError, match=r"doesn't match|mismatch|not valid for"):
        shake_hands(ssl.create_default_context(cafile=str(files.ca)), files, "example.com")


def test_another_folders_authority_is_not_trusted(tmp_path: Path) -> None:
    ours, other = pki.ensure(tmp_path / "a"), pki.ensure(tmp_path / "b")
    with pytest.raises(ssl.SSLCertVerificationError):
        shake_hands(ssl.create_default_context(cafile=str(other.ca)), ours, "localhost")


def test_the_second_call_changes_nothing_that_clients_hold(tmp_path: Path) -> None:
    first = pki.ensure(tmp_path)
    before = first.ca.read_bytes(), first.certificate.read_bytes()
    second = pki.ensure(tmp_path)
    assert (second.ca.read_bytes(), second.certificate.read_bytes()) == before


def test_a_lost_server_certificate_is_made_again_by_the_same_authority(tmp_path: Path) -> None:
    files = pki.ensure(tmp_path)
    trust = ssl.create_default_context(cafile=str(files.ca))
    files.certificate.unlink()
    shake_hands(trust, pki.ensure(tmp_path), "localhost")


def test_keys_are_their_owners_alone(tmp_path: Path) -> None:
    files = pki.ensure(tmp_path)
    for key in (files.key, files.ca.with_suffix(".key")):
        assert key.stat().st_mode & 0o777 == 0o600
