"""What arbiters of statsrelay expect."""

from __future__ import annotations

import json
import os
import signal
import socket

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from cadtwist.config.model import Config, Listener
from cadtwist.config.relaymodel import GroupConfig, RelayConfig
from cadtwist.services.statsrelay import ShardMapDump, inherited_listeners

SHARDS = ("10.0.0.1:8125", "10.0.0.2:8125", "10.0.0.1:8125")
CONFIG = Config(
    listeners=(Listener(protocol="line", port=8125), Listener(protocol="line", transport="udp", port=8125)),
    relays=(RelayConfig(groups=(GroupConfig(method="shards", members=("a", "b", "a"), hash_keys=SHARDS),)),),
)


class DumpTests(SynchronousTestCase):
    """SIGUSR1."""

    def test_the_map_replaces_what_is_there(self) -> None:
        folder = self.mktemp()
        os.makedirs(folder)
        path, elsewhere = os.path.join(folder, "shard_map.json"), os.path.join(folder, "elsewhere")
        with open(elsewhere, "w", encoding="ascii") as file:
            file.write("mine")
        os.symlink(os.path.abspath(elsewhere), path)
        ShardMapDump(Clock(), lambda: CONFIG, path).write()
        self.assertFalse(os.path.islink(path))
        with open(path, encoding="utf-8") as file:
            self.assertEqual(json.load(file), {"shard_map": list(SHARDS)})
        with open(elsewhere, encoding="ascii") as file:
            self.assertEqual(file.read(), "mine", "no link is followed")

    def test_no_groups_and_no_folder(self) -> None:
        path = os.path.join(self.mktemp(), "not", "there.json")
        ShardMapDump(Clock(), Config, path).write()
        self.assertFalse(os.path.exists(path))

    def test_the_signal(self) -> None:
        before = signal.getsignal(signal.SIGUSR1)
        dump = ShardMapDump(Clock(), lambda: CONFIG)
        dump.startService()
        self.assertNotEqual(signal.getsignal(signal.SIGUSR1), before)
        dump.stopService()
        self.assertEqual(signal.getsignal(signal.SIGUSR1), before)


class InheritedTests(SynchronousTestCase):
    """Sockets named in the environment."""

    def test_they_are_taken_once(self) -> None:
        stream, datagrams = socket.socket(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        stream.bind(("127.0.0.1", 0))
        address = stream.getsockname()
        environ = {
            "STATSRELAY_LISTENER_TCP_SD": str(stream.detach()),
            "STATSRELAY_LISTENER_UDP_SD": str(datagrams.detach()),
        }
        found = inherited_listeners(environ, CONFIG)
        self.assertEqual(environ, {})
        taken = found.socket("listener", "line tcp:0.0.0.0:8125")
        assert taken is not None
        with taken:
            self.assertEqual((taken.getsockname(), os.get_blocking(taken.fileno())), (address, False))
        self.assertEqual([thing.kind for thing in found.close()], ["datagrams"])

    def test_nonsense_is_nothing(self) -> None:
        environ = {"STATSRELAY_LISTENER_TCP_SD": "x", "STATSRELAY_LISTENER_UDP_SD": "99999"}
        self.assertEqual(inherited_listeners(environ, CONFIG).close(), [])
