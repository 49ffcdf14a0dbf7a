"""A certificate authority for one run: made in memory by the storage node, gone with it.

It issues one certificate per process, naming what the process is (`storage`, `slot-3`), so that both sides of a
connection know with whom they talk. Private keys leave this module as PEM only to be put through a pipe. These
certificates secure the channels and nothing else: what counts in the chain is signed by the keys of its epochs.
"""

from __future__ import annotations

import datetime as dt
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from scichain_wf.transport.credentials import Credentials

_SKEW: Final = dt.timedelta(days=1)
_LIFE: Final = dt.timedelta(days=366)
"""Longer than any job; a key dies with its process anyway."""


class RunAuthority:
    """Issues the certificates of one run."""

    def __init__(self, run: str) -> None:
        self._key = Ed25519PrivateKey.generate()
        self._now = dt.datetime.now(dt.UTC)
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"scichain-wf run {run}")])
        public = self._key.public_key()
        builder = (
            self._started(self._name, public)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_usage(certificates=True), critical=True)
        )
        self._certificate = builder.sign(self._key, None)

    def issue(self, name: str) -> Credentials:
        """Credentials for the process called `name`."""
        key = Ed25519PrivateKey.generate()
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        usages = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
        certificate = (
            self._started(subject, key.public_key())
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(certificates=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
            .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
            .sign(self._key, None)
        )
        private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        return Credentials(_pem(certificate), private.decode(), _pem(self._certificate))

    def _started(self, subject: x509.Name, key: Ed25519PublicKey) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(self._now - _SKEW)
            .not_valid_after(self._now + _LIFE)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False)
        )


def fingerprint(certificate: str) -> str:
    """SHA-256 of a certificate in hex, as published for rendezvous."""
    from cryptography.hazmat.primitives import hashes

    return x509.load_pem_x509_certificate(certificate.encode()).fingerprint(hashes.SHA256()).hex()


def _pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(serialization.Encoding.PEM).decode()


def _usage(*, certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not certificates,
        key_cert_sign=certificates,
        crl_sign=certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
