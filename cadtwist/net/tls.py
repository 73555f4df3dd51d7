"""TLS of listeners: certificates from PEM files, client certificates where asked for.

Needs the extra `cadtwist[tls]`; `TLS_AVAILABLE` says whether it is installed.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from twisted.internet.protocol import Factory

from cadtwist.errors import ConfigError

try:
    from twisted.internet.ssl import Certificate, CertificateOptions, PrivateCertificate, trustRootFromCertificates
    from twisted.protocols.tls import TLSMemoryBIOFactory

    TLS_AVAILABLE = True
except ImportError:  # pragma: no cover
    TLS_AVAILABLE = False

__all__ = ["TLS_AVAILABLE", "server_context", "wrapped"]

_END = b"-----END CERTIFICATE-----"


def server_context(certificate: str, key: str = "", client_authority: str = "") -> Any:
    """Return the context of a TLS server (a `CertificateOptions`).

    `certificate`: PEM file of our certificate, others of its chain following; `key`: PEM file of its key, empty if it
    is in the same file; `client_authority`: PEM file of the authorities of which clients must show a certificate,
    empty = clients need none.  Raises ConfigError when a file cannot be used.
    """
    if not TLS_AVAILABLE:
        raise ConfigError(["TLS is asked for, but cadtwist[tls] is not installed"])
    try:
        ours = Path(certificate).read_bytes()
        secret = Path(key or certificate).read_bytes()
        authorities = _certificates(Path(client_authority).read_bytes()) if client_authority else []
        own, *chain = _certificates(ours)
        private = PrivateCertificate.loadPEM(own.dumpPEM() + secret)
        return CertificateOptions(
            privateKey=private.privateKey.original,
            certificate=own.original,
            extraCertChain=[link.original for link in chain],
            trustRoot=trustRootFromCertificates(authorities) if authorities else None,
        )
    except ConfigError:
        raise
    except Exception as error:  # noqa: BLE001 (the TLS library raises errors of its own kinds for bad files)
        raise ConfigError([f"{certificate}: no usable certificate and key: {error!r}"]) from None


def wrapped(factory: Factory[Any], context: Any) -> Factory[Any]:
    """Return a factory whose connections speak TLS by `context` and carry those of `factory`."""
    return TLSMemoryBIOFactory(context, False, factory)


def _certificates(pem: bytes) -> list[Any]:
    """Return every certificate of a PEM file; raises ConfigError when there is none."""
    start = b"-----BEGIN CERTIFICATE-----"
    found = [
        Certificate.loadPEM(start + part.split(start, 1)[1] + _END + b"\n")
        for part in pem.split(_END)[:-1]
        if start in part
    ]
    if not found:
        raise ConfigError(["no certificate in the file"])
    return found
