"""TLS of listeners and towards destinations: certificates from PEM files, client certificates where asked for.

Needs the extra `cadtwist[tls]`; `TLS_AVAILABLE` says whether it is installed.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from twisted.internet.abstract import isIPAddress, isIPv6Address
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator
from twisted.internet.protocol import Factory
from zope.interface import implementer

from cadtwist.errors import ConfigError

try:
    from OpenSSL import SSL
    from twisted.internet.ssl import (
        Certificate,
        CertificateOptions,
        PrivateCertificate,
        optionsForClientTLS,
        platformTrust,
        trustRootFromCertificates,
    )
    from twisted.protocols.tls import TLSMemoryBIOFactory

    TLS_AVAILABLE = True
except ImportError:  # pragma: no cover
    TLS_AVAILABLE = False

__all__ = ["TLS_AVAILABLE", "client_context", "server_context", "wrapped"]

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


def client_context(host: str, authority: str = "", certificate: str = "", key: str = "", verify: bool = True) -> Any:
    """Return what makes TLS connections to `host` (an IOpenSSLClientConnectionCreator).

    The peer's certificate must come from `authority` (a PEM file, empty = the system's) and name `host`, unless
    `verify` is off.  `certificate` and `key` (PEM files; an empty key = it is in the same file) are ours, for peers
    that ask for one.  Raises ConfigError when a file cannot be used.
    """
    if not TLS_AVAILABLE:
        raise ConfigError(["TLS is asked for, but cadtwist[tls] is not installed"])
    try:
        ours = None
        if certificate:
            own = _certificates(Path(certificate).read_bytes())[0]
            ours = PrivateCertificate.loadPEM(own.dumpPEM() + Path(key or certificate).read_bytes())
        if verify:
            trusted = trustRootFromCertificates(_certificates(Path(authority).read_bytes())) if authority else None
            return optionsForClientTLS(host, platformTrust() if trusted is None else trusted, ours)
        return _Unverified(host, ours.options() if ours is not None else CertificateOptions())
    except ConfigError:
        raise
    except Exception as error:  # noqa: BLE001 (the TLS library raises errors of its own kinds for bad files)
        raise ConfigError([f"TLS towards {host}: no usable files: {error!r}"]) from None


@implementer(IOpenSSLClientConnectionCreator)
class _Unverified:
    """Makes connections that trust anybody, and still say whom they look for."""

    def __init__(self, host: str, options: Any) -> None:
        self._host = host
        self._options = options

    def clientConnectionForTLS(self, tlsProtocol: Any) -> Any:
        """Return a new connection."""
        connection = SSL.Connection(self._options.getContext(), None)
        connection.set_app_data(tlsProtocol)
        if not (isIPAddress(self._host) or isIPv6Address(self._host)):
            connection.set_tlsext_host_name(self._host.encode("idna"))
        return connection


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
