"""A certificate authority of a test's own, and certificates that it signed."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec


@dataclass(frozen=True)
class Certificate:
    """One certificate and its key, in PEM files.

    Attributes:
        certificate: the file that everyone may read.
        key: the file that only its owner may read.
    """

    certificate: Path
    key: Path


SIGNS_CERTIFICATES = x509.KeyUsage(
    digital_signature=False, content_commitment=False, key_encipherment=False, data_encipherment=False,
    key_agreement=False, key_cert_sign=True, crl_sign=True, encipher_only=False, decipher_only=False,
)  # fmt: skip


class Authority:
    """Signs certificates for servers.

    Args:
        folder: where its files go.
        name: what it is called; two authorities of one name would be mistaken for each other.
        identifies_keys: whether its certificates name the keys, as Python 3.13 demands.
    """

    def __init__(self, folder: Path, name: str, *, identifies_keys: bool = True) -> None:
        self._folder, self._name, self._identifies_keys = folder, name, identifies_keys
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
        signed = self._signed(self._subject, self._key.public_key(), is_authority=True)
        self.certificate = folder / f"{name}.pem"
        self.certificate.write_bytes(signed.public_bytes(serialization.Encoding.PEM))

    def issue(self, *hosts: str, password: str | None = None) -> Certificate:
        """Return a certificate for host names and addresses, its key under a password if one is given."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, hosts[0])])
        signed = self._signed(subject, key.public_key(), hosts)
        made = Certificate(self._folder / f"{self._name}-{hosts[0]}.pem", self._folder / f"{self._name}-{hosts[0]}.key")
        made.certificate.write_bytes(signed.public_bytes(serialization.Encoding.PEM))
        pem, pkcs8 = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
        locked = (
            serialization.NoEncryption()
            if password is None
            else serialization.BestAvailableEncryption(password.encode())
        )
        made.key.write_bytes(key.private_bytes(pem, pkcs8, locked))
        made.key.chmod(0o600)
        return made

    def _signed(
        self,
        subject: x509.Name,
        key: ec.EllipticCurvePublicKey,
        hosts: tuple[str, ...] = (),
        *,
        is_authority: bool = False,
    ) -> x509.Certificate:
        now = datetime.now(UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._subject)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(minutes=1))
            .not_valid_after(now + timedelta(hours=1))
            .add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
        )
        if self._identifies_keys:  # RFC 5280, sections 4.2.1.1 and 4.2.1.2
            signer = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
            builder = builder.add_extension(signer, critical=False)
            builder = builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
        if is_authority:
            builder = builder.add_extension(SIGNS_CERTIFICATES, critical=True)
        if hosts:
            names = [_name_of(host) for host in hosts]
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        return builder.sign(self._key, hashes.SHA256())


def _name_of(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(host))
    except ValueError:
        return x509.DNSName(host)
