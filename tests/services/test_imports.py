"""A daemon imports what its configuration needs: each is looked at in a process of its own, as this one has it all."""

from __future__ import annotations

import json
import os
import subprocess
import sys

from twisted.trial.unittest import SynchronousTestCase

LISTENER = '[[listeners]]\nprotocol = "line"\ntransport = "tcp"\ninterface = "127.0.0.1"\nport = 2003\n'
RELAY = (
    '[[relays]]\nname = "relay"\n[[relays.groups]]\nmethod = "constant"\nmembers = ["a"]\n'
    '[[destinations]]\nname = "a"\nhost = "127.0.0.1"\nport = 2004\n'
)
HTTP_OUT = (
    '[[relays]]\nname = "relay"\n[[relays.groups]]\nmethod = "constant"\nmembers = ["a"]\n'
    '[[destinations]]\nname = "a"\ntransport = "http"\npath = "http://127.0.0.1:2004/"\n'
)
HTTP_IN = '[[listeners]]\nprotocol = "http"\ntransport = "tcp"\ninterface = "127.0.0.1"\nport = 8080\n'
COUNTERS = '[istat]\nstore = "counters"\nhttp_port = 0\n'
CACHE = '[cache]\n[storage]\nkind = "memory"\n[wal]\nenabled = false\n'

BUILD = """
import json, sys
from twisted.internet.testing import MemoryReactorClock
import cadtwist.services.nativetap
from cadtwist.config.load import load
from cadtwist.services.build import Daemon
Daemon(MemoryReactorClock(), load("cadtwist.toml", read=lambda path: sys.argv[1]).config)
print(json.dumps(sorted(sys.modules)))
"""

WHISPER, INDEX, SQLITE = "cadtwist.storage.whisper", "cadtwist.query.index", "sqlite3"
SITE, RENDER, PROMETHEUS = "cadtwist.web.site", "cadtwist.query.functions.registry", "prometheus_client"
CLIENT, TREQ, SERVER = "twisted.web.client", "treq", "twisted.web.server"
HEAVY = {WHISPER, INDEX, SQLITE, SITE, RENDER, PROMETHEUS, CLIENT, TREQ, SERVER, "numpy.random", "regex"}


def heavy(configuration: str) -> set[str]:
    """Return what is imported of `HEAVY` by a process that builds the daemon of a configuration."""
    command = [sys.executable, "-c", BUILD, configuration]
    path = os.pathsep.join(filter(None, (os.getcwd(), *sys.path)))
    done = subprocess.run(
        command, env={**os.environ, "PYTHONPATH": path}, stdout=subprocess.PIPE, check=True, timeout=120
    )
    return HEAVY.intersection(json.loads(done.stdout))


class ImportTests(SynchronousTestCase):
    """What is heavy is loaded where it is asked for, and nowhere else."""

    def test_relay_needs_none(self) -> None:
        self.assertEqual(heavy(LISTENER + RELAY), set())

    def test_counters(self) -> None:
        self.assertFalse(heavy(COUNTERS) & {WHISPER, SITE, RENDER, TREQ})

    def test_http_output(self) -> None:
        found = heavy(LISTENER + HTTP_OUT)
        self.assertLessEqual({TREQ, CLIENT}, found)
        self.assertFalse(found & {WHISPER, INDEX, SQLITE, SITE, PROMETHEUS})

    def test_http_door(self) -> None:
        found = heavy(LISTENER + HTTP_IN + RELAY)
        self.assertLessEqual({SITE, PROMETHEUS, SERVER}, found)
        self.assertFalse(found & {TREQ, CLIENT})

    def test_cache(self) -> None:
        self.assertLessEqual({WHISPER, INDEX, SQLITE}, heavy(LISTENER + CACHE))

    def test_other_dialects_stay_away(self) -> None:
        path = os.pathsep.join(filter(None, (os.getcwd(), *sys.path)))
        program = "import sys, cadtwist.config.load; print('cadtwist.config.cadent' in sys.modules)"
        done = subprocess.run(
            [sys.executable, "-c", program], env={**os.environ, "PYTHONPATH": path}, stdout=subprocess.PIPE, check=True
        )
        self.assertEqual(done.stdout.strip(), b"False")
