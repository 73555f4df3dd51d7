"""Whether a process needs TLS, and how it does without."""

from __future__ import annotations

import re
import subprocess
import sys

from msgspec.structs import replace
from twisted.trial.unittest import SynchronousTestCase

from cadtwist.config.model import Config, Listener, TlsConfig
from cadtwist.config.relaymodel import ClientTlsConfig, DestinationConfig
from cadtwist.model.retention import DEFAULT_ARCHIVES, SchemaRule
from cadtwist.services.tlsneed import command_without_tls, leave_tls_out, names_tls, tls_is_left_out

_WITHOUT = """
from cadtwist.model.retention import DEFAULT_ARCHIVES, SchemaRule
from cadtwist.services.tlsneed import command_without_tls, leave_tls_out, tls_is_left_out
assert leave_tls_out()
from twisted.internet import endpoints, reactor
import sys
assert tls_is_left_out() and sys.modules["OpenSSL"] is None
print(*command_without_tls("a.b")[1:])
"""
_DECIDED = """
from twisted.internet import reactor
from cadtwist.model.retention import DEFAULT_ARCHIVES, SchemaRule
from cadtwist.services.tlsneed import leave_tls_out
print(leave_tls_out())
"""


def output(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.strip()


class NamesTlsTests(SynchronousTestCase):
    def test_no_part_of_a_plain_configuration_speaks_of_it(self) -> None:
        self.assertFalse(names_tls(Config()))
        door = Listener(protocol="line", transport="endpoint", endpoint="systemd:domain=INET:index=0")
        schema = SchemaRule("all", re.compile("https:"), DEFAULT_ARCHIVES)
        self.assertFalse(names_tls(replace(Config(), listeners=(door,), schemas=(schema,))))

    def test_a_door_with_a_certificate(self) -> None:
        door = Listener(protocol="line", port=1, tls=TlsConfig(certificate="c.pem"))
        self.assertTrue(names_tls(replace(Config(), listeners=(door,))))

    def test_an_endpoint_text(self) -> None:
        door = Listener(protocol="line", transport="endpoint", endpoint="ssl:port=1:certKey=c.pem")
        self.assertTrue(names_tls(replace(Config(), listeners=(door,))))

    def test_destinations(self) -> None:
        for destination in (
            DestinationConfig(name="a", host="h", port=1, tls=ClientTlsConfig()),
            DestinationConfig(name="a", transport="http", path="https://h/x"),
        ):
            self.assertTrue(names_tls(replace(Config(), destinations=(destination,))), destination)


class LeavingOutTests(SynchronousTestCase):
    def test_twisted_does_without_and_so_do_the_workers(self) -> None:
        self.assertEqual(output(_WITHOUT), "-m cadtwist.services.tlsneed a.b")

    def test_too_late_changes_nothing(self) -> None:
        self.assertEqual(output(_DECIDED), "False")
        self.assertFalse(tls_is_left_out())
        self.assertFalse(leave_tls_out())
        self.assertEqual(command_without_tls("a.b"), [sys.executable, "-m", "a.b"])
