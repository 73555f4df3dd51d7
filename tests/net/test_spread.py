"""Datagrams of one sender, spread over several sockets by the name that they begin with."""

from __future__ import annotations

import socket
from collections import defaultdict

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from cadtwist.net.listeners import bind_udp
from cadtwist.net.spread import name_program, spread_by_name, spread_by_source


class SpreadTests(SynchronousTestCase):
    def group(self, count: int) -> list[socket.socket]:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        found = [bind_udp("127.0.0.1", port, 1 << 20) for _ in range(count)]
        for each in found:
            self.addCleanup(each.close)
        if not spread_by_name(found[0], count):
            raise SkipTest("this kernel attaches no program to a group of sockets")
        return found

    def received(self, sockets: list[socket.socket], datagrams: list[bytes]) -> list[list[bytes]]:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.connect(sockets[0].getsockname())
            for datagram in datagrams:
                client.send(datagram)
        found: list[list[bytes]] = [[] for _ in sockets]
        for place, each in enumerate(sockets):
            try:
                while True:
                    found[place].append(each.recv(2000))
            except BlockingIOError:
                continue
        return found

    def test_a_name_has_one_socket_and_names_are_spread_evenly(self) -> None:
        for ends in (":%d|c", " %d 1700000000\n", "\t%d 1\n"):
            names = [f"stats.a-long-prefix.host-{number}.cpu.user" for number in range(300)]
            sent = [f"{name}{ends % turn}".encode() for turn in range(3) for name in names]
            found = self.received(self.group(3), sent)
            self.assertEqual(sorted(line for lines in found for line in lines), sorted(sent))
            owners = defaultdict(set)
            for place, lines in enumerate(found):
                self.assertGreater(len(lines), 200)
                for line in lines:
                    owners[line.split(ends[0].encode())[0]].add(place)
                turns = [int(line.split(ends[0].encode())[1].split()[0].split(b"|")[0]) for line in lines]
                self.assertEqual(turns, sorted(turns), "in order")
            self.assertEqual({len(places) for places in owners.values()}, {1})

    def test_by_the_sender_again(self) -> None:
        group = self.group(3)
        spread_by_source(group[0])
        spread_by_source(group[0])
        found = self.received(group, [b"m%d 1 1" % number for number in range(50)])
        self.assertEqual(sorted(map(len, found)), [0, 0, 50])

    def test_long_names_and_what_is_no_line(self) -> None:
        same = b"x" * 128
        found = self.received(self.group(4), [same + b"%d 1 1" % n for n in range(50)] + [b"no-end", b"x", b""])
        places = [place for place, lines in enumerate(found) if any(line.startswith(same) for line in lines)]
        self.assertEqual((len(places), sum(map(len, found))), (1, 53))
        self.assertLessEqual({b"no-end", b"x", b""}, set(found[0]))

    def test_the_program_is_no_longer_than_the_kernel_allows(self) -> None:
        self.assertLessEqual(len(name_program(256)), 4096)

    def test_a_socket_that_shares_nothing(self) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as stream:
            self.assertFalse(spread_by_name(stream, 2))
