"""TLS listeners, with and without client certificates, on loopback."""

from __future__ import annotations

import datetime as dt
import socket
import ssl
from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred, inlineCallbacks
from twisted.internet.protocol import Protocol, ServerFactory
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import SkipTest, TestCase

from cadtwist.errors import ConfigError
from cadtwist.net.listeners import TCPListener
from cadtwist.net.tls import TLS_AVAILABLE, server_context, wrapped

try:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID
except ImportError:
    x509 = None  # type: ignore[assignment]


def made(name: str, issuer: Any = None, issuer_key: Any = None) -> tuple[Any, Any]:
    """Return (certificate, key): of an authority when there is no issuer."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = dt.datetime.now(dt.timezone.utc)
    signer = issuer_key if issuer_key is not None else key
    usage = dict.fromkeys(
        ("content_commitment", "key_encipherment", "data_encipherment", "key_agreement", "encipher_only",
         "decipher_only"), False,
    )  # fmt: skip
    ca = issuer is None
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.subject if issuer is not None else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        .add_extension(x509.KeyUsage(digital_signature=True, key_cert_sign=ca, crl_sign=ca, **usage), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False)
    )
    return builder.sign(signer, hashes.SHA256()), key


def pem(certificate: Any = None, key: Any = None) -> bytes:
    found = b""
    if certificate is not None:
        found += certificate.public_bytes(serialization.Encoding.PEM)
    if key is not None:
        found += key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    return found


class Hearing(ServerFactory):
    noisy = False

    def __init__(self) -> None:
        self.heard: Deferred[bytes] = Deferred()

    def buildProtocol(self, addr: object) -> Protocol:
        factory = self

        class Listening(Protocol):
            def dataReceived(self, data: bytes) -> None:
                factory.heard.callback(data)
                transport: Any = self.transport
                transport.write(b"thanks")
                transport.loseConnection()

        return Listening()


class TlsTests(TestCase):
    def setUp(self) -> None:
        if not TLS_AVAILABLE or x509 is None:
            raise SkipTest("cadtwist[tls] is not installed")
        self.folder = Path(self.mktemp())
        self.folder.mkdir()
        self.authority = made("authority")
        self.server = made("server.example", *self.authority)
        self.client = made("client.example", *self.authority)

    def file(self, name: str, data: bytes) -> str:
        path = self.folder / name
        path.write_bytes(data)
        return str(path)

    def listen(self, context: Any) -> tuple[TCPListener, Hearing]:
        factory = Hearing()
        listener = TCPListener("tls", reactor, wrapped(factory, context), "127.0.0.1", 0, ephemeral=True)
        listener.startService()
        self.addCleanup(listener.stopService)
        return listener, factory

    def say(self, port: int, certificate: str = "") -> bytes:
        """Talk TLS as a blocking client; to be called in a thread."""
        context = ssl.create_default_context(cafile=str(self.folder / "ca.pem"))
        if certificate:
            context.load_cert_chain(certificate)
        with (
            socket.create_connection(("127.0.0.1", port), timeout=10) as plain,
            context.wrap_socket(plain, server_hostname="server.example") as wire,
        ):
            wire.sendall(b"hello")
            return wire.recv(100)

    @inlineCallbacks
    def test_server_certificate_with_its_key_in_one_file(self) -> Any:
        self.file("ca.pem", pem(self.authority[0]))
        both = self.file("both.pem", pem(*self.server) + pem(self.authority[0]))
        listener, factory = self.listen(server_context(both))
        answer = yield deferToThread(self.say, listener.address.port)
        self.assertEqual(answer, b"thanks")
        self.assertEqual((yield factory.heard), b"hello")

    @inlineCallbacks
    def test_client_certificates(self) -> Any:
        authority = self.file("ca.pem", pem(self.authority[0]))
        certificate = self.file("cert.pem", pem(self.server[0]))
        key = self.file("key.pem", pem(key=self.server[1]))
        listener, factory = self.listen(server_context(certificate, key, authority))
        yield self.assertFailure(deferToThread(self.say, listener.address.port), ssl.SSLError, ConnectionError)
        stranger = made("stranger.example", *made("other authority"))
        yield self.assertFailure(
            deferToThread(self.say, listener.address.port, self.file("stranger.pem", pem(*stranger))),
            ssl.SSLError,
            ConnectionError,
        )
        self.assertFalse(factory.heard.called)
        answer = yield deferToThread(self.say, listener.address.port, self.file("client.pem", pem(*self.client)))
        self.assertEqual(answer, b"thanks")

    def test_useless_files_are_configuration_errors(self) -> None:
        good = self.file("cert.pem", pem(*self.server))
        for arguments in (
            (str(self.folder / "missing.pem"),),
            (self.file("empty.pem", b""),),
            (self.file("keyless.pem", pem(self.server[0])),),
            (good, self.file("junk.pem", b"junk")),
            (good, "", self.file("nobody.pem", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")),
        ):
            with self.assertRaises(ConfigError):
                server_context(*arguments)
