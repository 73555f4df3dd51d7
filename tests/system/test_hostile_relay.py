"""Hostile and clumsy clients on every door of a running relay: good items arrive, nothing else changes."""

from __future__ import annotations

import contextlib
import pickle
import random
import shutil
import socket
import tempfile
from collections.abc import Callable, Iterator

from cadtwist.codec.frames import frame
from cadtwist.codec.protobuf import encode_payload
from tests.system.cadtwistd import get
from tests.system.case import SystemTestCase
from tests.system.linesink import LineSink
from tests.system.process import NotReady, free_ports
from tests.system.relayd import Relayd
from tests.system.test_hostile import MORE_MEMORY, NAMES, PICKLES, TIMES, UNHANDLED, VALUES, bomb

TS = 1_700_000_000
KINDS = {
    "graphite": b"good.g%d 1 1700000000",
    "statsd": b"good.s%d:1|c",
    "regex": b"good.r%d is 1 of 1700000000",
}
"""What lines of each format look like that must arrive."""
REGEX = r"^(?P<Key>[a-z0-9.]+) is \d+ of (?P<Timestamp>\d+)$"
TYPES = (b"c", b"ms", b"g", b"s", b"h", b"", b"cc", b"c|@0.1", b"c|@", b"c|@nan", b"c|#a:b", b"c|@1|#", b"g|@9e999")
SHAPES = (
    b"", b" ", b":", b"|", b"a", b"a:", b"a:1", b"a:1|", b":1|c", b"a:b:c:d|e|f", b"a|b:c", b"a 1", b"a  1  1", b"\t",
    b"a:1|c|@0.1|@0.1|@0.1", b"x" * 70_000, b"status", b"shards", b"status ", b"\xff\xfe:1|c", b"\x00" * 50,
    b"PROXY TCP4",
)  # fmt: skip


class HostileRelayTests(SystemTestCase):
    """A relay with a section for each format of lines, each with a door of every transport."""

    def setUp(self) -> None:
        super().setUp()
        self.dice = random.Random(4711)
        self.sink = LineSink()
        self.addCleanup(self.sink.close)
        self.goods: set[bytes] = set()
        self.ports = dict(zip((*KINDS, "pickle", "protobuf", "posts", "ops"), free_ports(7), strict=True))
        sockets = tempfile.mkdtemp()  # the path of a socket has a short bound
        self.addCleanup(shutil.rmtree, sockets)
        self.unix = {kind: f"{sockets}/{kind}" for kind in KINDS}
        self.relay = Relayd(self.folder / "relay", [self.sink.port], text=self.doors())
        self.relay.ports = (*self.relay.ports, *(self.ports[name] for name in ("pickle", "protobuf", "posts", "ops")))
        self.started(self.relay)
        self.good_lines()
        self.rest()
        self.memory = self.relay.memory_bytes()
        self.addCleanup(self.as_well_as_before)
        self.idle = [self.to(door) for door in self.ports]  # doors close them when the relay ends

    def doors(self) -> str:
        """Return the listeners and the relays behind them as TOML."""
        found = []
        for kind in KINDS:
            to = f'protocol = "line"\nto = ["{kind}"]'
            where = f'interface = "127.0.0.1"\nport = {self.ports[kind]}'
            found.append(f"[[listeners]]\n{to}\n{where}")
            found.append(f'[[listeners]]\n{to}\ntransport = "udp"\n{where}')
            found.append(f'[[listeners]]\n{to}\ntransport = "unix"\npath = "{self.unix[kind]}"')
            regex = f"regex = '{REGEX}'" if kind == "regex" else ""
            commands = "status_commands = true" if kind == "statsd" else ""
            found.append(f'[[relays]]\nname = "{kind}"\n[relays.lines]\nformat = "{kind}"\n{regex}\n{commands}')
            found.append('[[relays.groups]]\nmethod = "constant"\nmembers = ["d0"]')
        for protocol in ("pickle", "protobuf", "ops"):
            door = f'protocol = "{protocol}"\ninterface = "127.0.0.1"\nport = {self.ports[protocol]}'
            found.append(f"[[listeners]]\n{door}" + ("" if protocol == "ops" else '\nto = ["graphite"]'))
        found.append(
            '[[listeners]]\nprotocol = "line"\ntransport = "http"\nto = ["graphite"]\ninterface = "127.0.0.1"\n'
            f'port = {self.ports["posts"]}\npath = "/put"'
        )
        return "\n".join(found)

    def as_well_as_before(self) -> None:
        """Every door works, the books close, no fault is logged, it has not grown, it ends in order."""
        self.good_lines()
        self.rest()
        grown = self.relay.memory_bytes() - self.memory
        self.assertLess(grown, MORE_MEMORY, f"grew by {grown >> 20} MiB")
        self.assertEqual(self.relay.unbalanced(), {})
        self.relay.stop(60)
        said = self.relay.log.read_text("utf-8", "replace")
        self.assertEqual([line for line in said.splitlines() if any(sign in line for sign in UNHANDLED)], [])
        self.assertIn("Server Shut Down", said)
        self.assertFalse((self.folder / "executed").exists())

    # --- good items ------------------------------------------------------------------------------------------------

    def good(self, kind: str) -> bytes:
        """Return a further line of a format, which must arrive."""
        line = KINDS[kind] % len(self.goods)
        self.goods.add(line)
        return line + b"\n"

    def good_points(self) -> list[tuple[bytes, list[tuple[float, float]]]]:
        """Return a datapoint that must arrive as a line."""
        name = self.good("graphite").split()[0]
        return [(name, [(float(TS), 1.0)])]

    def good_pickle(self) -> bytes:
        """Return a frame with a datapoint that must arrive."""
        return frame(pickle.dumps([(name.decode(), point[0]) for name, point in self.good_points()], 2))

    def good_protobuf(self) -> bytes:
        """Return the same for protobuf."""
        return frame(encode_payload(self.good_points()))

    def good_lines(self) -> None:
        """Send a good item to every door."""
        for kind in KINDS:
            for wire in (self.stream(kind), self.datagrams(kind), self.unix_stream(kind)):
                with wire:
                    wire.sendall(self.good(kind))
        with self.to("pickle") as wire:
            wire.sendall(self.good_pickle())
        with self.to("protobuf") as wire:
            wire.sendall(self.good_protobuf())
        get(f"http://127.0.0.1:{self.ports['posts']}/put", self.good("graphite"))
        self.assertTrue(get(f"http://127.0.0.1:{self.ports['ops']}/healthz"))

    def rest(self) -> None:
        """Wait until every good item is there."""
        try:
            self.relay.until("the good items", lambda: not self.goods - set(self.sink.seen()), 20)
        except NotReady:
            missing = sorted(self.goods - set(self.sink.seen()))
            self.fail(f"{len(missing)} of {len(self.goods)} good items are missing: {missing[:9]}")

    def to(self, door: str) -> socket.socket:
        """Return a connection to a door."""
        wire = socket.create_connection(("127.0.0.1", self.ports[door]), 30)
        self.addCleanup(wire.close)
        return wire

    stream = to

    def unix_stream(self, kind: str) -> socket.socket:
        wire = socket.socket(socket.AF_UNIX)
        self.addCleanup(wire.close)
        wire.settimeout(30)
        wire.connect(self.unix[kind])
        return wire

    def datagrams(self, kind: str) -> socket.socket:
        wire = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.addCleanup(wire.close)
        wire.connect(("127.0.0.1", self.ports[kind]))
        return wire

    # --- attacks ---------------------------------------------------------------------------------------------------

    def lines(self) -> Iterator[bytes]:
        """Hostile lines, whatever the format."""
        yield from SHAPES
        yield from (b"%b 1 %d" % (name, TS) for name in NAMES)
        yield from (b"%b:1|c" % name for name in NAMES)
        yield from (b"%b is 1 of %d" % (name, TS) for name in NAMES)
        yield from (b"when 1 %b" % when for when in TIMES)
        yield from (b"when is 1 of %b" % when for when in TIMES)
        yield from (b"what %b %d" % (value, TS) for value in VALUES)
        yield from (b"what:%b|%b" % (value, kind) for value in VALUES for kind in TYPES)
        yield from (self.dice.randbytes(self.dice.randrange(200)).replace(b"\n", b"") for _ in range(500))

    def attack_streams(self, kind: str, connect: Callable[[str], socket.socket]) -> None:
        with connect(kind) as wire:
            for line in self.lines():
                wire.sendall(line + b"\n" + self.good(kind))
            for byte in self.good(kind):
                wire.sendall(bytes([byte]))
            wire.sendall(b"half.a.line 1 17")
            wire.shutdown(socket.SHUT_WR)
            while wire.recv(65536):  # a socket closed over unread answers resets the connection, with what was sent
                pass
        with connect(kind) as wire:
            for _ in range(64):
                wire.sendall(b"endless" * 60_000)
            wire.sendall(b"\n" + self.good(kind))
        self.rest()

    def test_lines(self) -> None:
        """Connections over TCP and unix sockets, and datagrams, of every format."""
        for kind in KINDS:
            self.attack_streams(kind, self.stream)
            self.attack_streams(kind, self.unix_stream)
            with self.datagrams(kind) as wire:
                for number, line in enumerate(self.lines()):
                    wire.send(line[:60_000] + b"\n" + self.good(kind))
                    if number % 200 == 199:
                        self.rest()
            self.rest()
        deaf = self.stream("statsd")
        deaf.settimeout(0.3)
        with contextlib.suppress(OSError):
            for _ in range(100):
                deaf.sendall(b"status\nshards\n" * 2000)

    def test_frames(self) -> None:
        """Bombs, calls, garbage and damaged messages in frames between good ones, then broken framing."""
        ran = f"touch {self.folder / 'executed'}".encode()
        named = [(name.decode("utf-8", "replace"), (TS, 1)) for name in NAMES]
        bombs = (bomb(), PICKLES[0].replace(b"touch %s", ran), pickle.dumps(named, 2))
        with self.to("pickle") as wire:
            for data in (*PICKLES, *bombs, *(self.dice.randbytes(300) for _ in range(100))):
                wire.sendall(frame(data) + self.good_pickle())
        with self.to("protobuf") as wire:
            for name in NAMES:
                whole = encode_payload([(name, [(float(TS), 1.0)] * 3)])
                place = self.dice.randrange(len(whole))
                for data in (whole, whole[:place], whole[:place] + b"\xff" * 9 + whole[place:], b"\x0a" * 1000):
                    wire.sendall(frame(data) + self.good_protobuf())
        self.rest()
        for door in ("pickle", "protobuf"):
            for garbage in (b"\xff" * 5000, b"GET / HTTP/1.0\r\n\r\n", b"\x00\x10\x00\x01", b"\x00" * 4000):
                with self.to(door) as wire, contextlib.suppress(OSError):
                    wire.sendall(garbage)

    def ask(self, door: str, request: bytes, seconds: float = 0.1) -> bytes:
        """Return the raw answer to a raw HTTP request, until its end or a pause."""
        found = b""
        with self.to(door) as wire, contextlib.suppress(OSError):
            wire.sendall(request)
            wire.settimeout(seconds)
            while part := wire.recv(65536):
                found += part
        return found

    def test_requests(self) -> None:
        """Lines in bodies, and the pages for operators, with odd requests and odd questions."""
        bodies = (b"\n".join(self.lines()), b"\x00" * 100_000, b"", b"\n" * 100_000, b"half.a.line 1 17")
        for body in bodies:
            head = b"POST /put HTTP/1.0\r\nContent-Length: %d\r\n\r\n" % (len(body) + 100)
            good = self.good("graphite")
            self.ask("posts", head + body + b"\n" + good + b" " * (99 - len(good)), 2)
        self.rest()
        get_ = b"GET /%b HTTP/1.1\r\nHost: x\r\n%b\r\n"
        chunk = b"10000\r\n" + b"x" * 65536 + b"\r\n"
        odd = (
            b"\r\n" * 5000, b"GET\r\n\r\n", b"A" * 70_000, get_ % (b"", b"x: " + b"y" * 70_000 + b"\r\n"),
            get_ % (b"", b"Content-Length: -1\r\n"), get_ % (b"", b"Content-Length: 99999999999999999999\r\n"),
            get_ % (b"put", b"Transfer-Encoding: chunked\r\n") + chunk * 40,
            get_ % (b"put", b"Transfer-Encoding: chunked\r\n") + b"zz\r\n", b"\x16\x03\x01" + b"\x00" * 99,
            b"GET /" + b"%00%ff/../.." * 500 + b" HTTP/1.1\r\n\r\n",
        )  # fmt: skip
        for door in ("posts", "ops"):
            for request in odd:
                self.ask(door, request)
            slow = [self.to(door) for _ in range(100)]
            for wire in slow:
                wire.sendall(b"POST /put HTTP/1.1\r\nContent-Length: 9\r\nHos")
        pages = (
            b"hashcheck", b"hashcheck?key=", b"hashcheck?key=" + b"k" * 60_000, b"hashcheck?key=%00%ff", b"servers",
            b"hashcheck?" + b"key=a&" * 5000, b"nobody/hashcheck?key=a", b"../../stats", b"graphite/../../x", b"stats",
            b"addserver", b"purgeserver?server=x", b"debug/profile?seconds=1e9", b"debug/heap", b"debug/stacks",
        )  # fmt: skip
        for page in pages:
            for method in (b"GET", b"POST", b"HEAD", b"PUT", b"TRACE", b"M" * 999):
                self.ask("ops", b"%b /%b HTTP/1.0\r\nContent-Length: 0\r\n\r\n" % (method, page))
