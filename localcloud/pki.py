"""The local cloud's certificate authority: one private CA a state folder, and a server certificate for loopback.

The Azure SDKs send tokens over HTTPS only. Python 3.13 checks chains strictly (RFC 5280: key usage, subject and
authority key identifiers), so both certificates carry all of it. localcloud/stack.py calls ensure() before it starts
anything; the listeners and Azurite use the server certificate. Clients trust `ca` and nothing else: a call that goes
elsewhere, to the real Azure, ends at the handshake, before a token is sent.
"""

from __future__ import annotations

import ipaddress
import os
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import cast

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

CA_LIFE = timedelta(days=3650)
SERVER_LIFE = timedelta(days=365)
_LOOPBACK = (x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1")))
_CONSTRAINT = (x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_network("127.0.0.0/8")))


@dataclass(frozen=True, kw_only=True)
class Pki:
    """Files in PEM. `ca` is what clients trust."""

    ca: Path
    certificate: Path
    key: Path


def ensure(folder: Path) -> Pki:
    """The CA of this folder, made at the first call, and a server certificate that is good for at least a month."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    ca, ca_key = folder / "ca.pem", folder / "ca.key"
    pki = Pki(ca=ca, certificate=folder / "server.pem", key=folder / "server.key")
    if not (ca.exists() and ca_key.exists() and _lasts(ca, SERVER_LIFE)):
        _make_ca(ca, ca_key)
        pki.certificate.unlink(missing_ok=True)
    if not (pki.certificate.exists() and pki.key.exists() and _lasts(pki.certificate, timedelta(days=30))):
        _make_server(pki, ca_key)
    return pki


def _make_ca(path: Path, key_path: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Droptune local cloud")])
    builder = _builder(name, name, key.public_key(), key.public_key(), CA_LIFE)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    builder = builder.add_extension(_usage(ca=True), critical=True)
    # Whoever trusts this CA trusts it for loopback and nothing else.
    builder = builder.add_extension(
        x509.NameConstraints(permitted_subtrees=_CONSTRAINT, excluded_subtrees=None), critical=True
    )
    _write(key_path, _pem(key), mode=0o600)
    _write(path, builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))


def _make_server(pki: Pki, ca_key: Path) -> None:
    issuer = x509.load_pem_x509_certificate(pki.ca.read_bytes())
    signer = cast(ec.EllipticCurvePrivateKey, serialization.load_pem_private_key(ca_key.read_bytes(), None))
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    builder = _builder(name, issuer.subject, key.public_key(), signer.public_key(), SERVER_LIFE)
    builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    builder = builder.add_extension(_usage(ca=False), critical=True)
    builder = builder.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
    builder = builder.add_extension(x509.SubjectAlternativeName(_LOOPBACK), critical=False)
    _write(pki.key, _pem(key), mode=0o600)
    _write(pki.certificate, builder.sign(signer, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    public: ec.EllipticCurvePublicKey,
    authority: ec.EllipticCurvePublicKey,
    life: timedelta,
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=5))
        .not_valid_after(now + life)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(authority), critical=False)
    )


def _usage(*, ca: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not ca,
        key_cert_sign=ca,
        crl_sign=ca,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _lasts(path: Path, at_least: timedelta) -> bool:
    return x509.load_pem_x509_certificate(path.read_bytes()).not_valid_after_utc > datetime.now(UTC) + at_least


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    encoding, private = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    return key.private_bytes(encoding, private, serialization.NoEncryption())


def _write(path: Path, content: bytes, *, mode: int = 0o644) -> None:
    temporary = path.with_suffix(".new")
    temporary.unlink(missing_ok=True)
    with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
        file.write(content)
    temporary.replace(path)
