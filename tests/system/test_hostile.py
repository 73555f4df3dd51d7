"""Hostile and clumsy clients on every door of a running daemon: good items arrive, nothing else changes."""

from __future__ import annotations

import contextlib
import os
import pickle
import random
import resource
import socket
import struct
import time
import urllib.parse
from collections.abc import Iterable

from cadtwist.codec.frames import frame
from cadtwist.codec.protobuf import encode_payload
from cadtwist.web.cadent import CadentRoom
from cadtwist.web.site import graphite_doors, graphite_rooms
from tests.fuzz.test_doors import EXPECTED_5XX, INDEX, METHODS, STATUS, DoorFuzz
from tests.system.cadtwistd import Cadtwistd, get
from tests.system.case import SystemTestCase
from tests.system.process import free_ports

MORE_MEMORY = 128 << 20
"""Two processes give pages of program files back when they have started: with buffers 40 to 90 MiB return."""
NAMES = (
    b"../../x", b"/etc/x", b"a..b", b".", b"..", b"...", b".a", b"a.", b"a./b", b"/", b"//", b"a.../../../b",
    b"~root.x", b"c" * 300 + b".x", b"x." + b"c" * 255, b"x." + b"c" * 251, b".".join([b"d"] * 4000),
    b"/".join([b"d"] * 2000), b"%2e%2e.x", b"a\\..\\b", b"$(reboot)", b"a;b=../../c", b"a;b=", b";", b"a;;",
    b"a;b=/;c=d", b"*", b"{a,b}", b"[", b"**", "\u2025.\u2025".encode(), "..\u2215..\u2215x".encode(), b"a\x00b",
    b"\x00", b"a\x1b[2Jb", b"con", b"x.wsp", b"x.wsp.y", b"_tagged.x", b"_tagged.../../x", b"n" * 16000,
    b"n" * 60_000,
)  # fmt: skip
TIMES = (
    b"1e300", b"-1e300", b"inf", b"-inf", b"nan", b"4294967296", b"4294967295", b"-5", b"0", b"1e18", b"-0.5",
    b"9223372036854775808", b"1e-300", b"0x10", b"1_0",
)  # fmt: skip
VALUES = (b"1e999", b"-1e999", b"inf", b"nan", b"1e-320", b"0x1", b"--1", b"", b"1" * 4000)
UNHANDLED = ("Traceback", "Unhandled", "Error: ", "is lost", "a job at the end of the turn failed")
PICKLES = (
    b"cos\nsystem\n(S'touch %s'\ntR.", b"\x80\x02cposix\nsystem\nX\x05\x00\x00\x00false\x85R.",
    b"(" * 500_000 + b".", b"]" * 500_000 + b"a" * 499_999 + b".", b"(l" + b"2a" * 100_000 + b".",
    b"\x80\x04\x95\xff\xff\xff\xff\xff\xff\xff\x7f.", b"\x80\x05\x8e\xff\xff\xff\xff\xff\xff\xff\x7f",
    b"B\xff\xff\xff\x7f", b"r\xff\xff\xff\x7f.", b"I" + b"9" * 900_000 + b"\n.", b"L" + b"9" * 900_000 + b"L\n.",
    b"\x8b\xff\xff\xff\x7f", b"]q\x00h\x00a.", b"(((((t" * 100_000 + b".", b"N.", b".", b"", b"\x80\xff.",
    b"cbuiltins\neval\n(S'1'\ntR.", b"\x80\x02]" + b"q\x01h\x01a" * 60_000 + b".", b"(dp0\nh\x00h\x00s.",
    b"(lp1\n(Va.b\n(F1e999\nF1\nttp2\nag2\na.", b"\x80\x02]\x94" + b"h\x00\x86" * 200_000 + b"a.",
    b"S'" + b"\\x" * 300_000 + b"'\n.",
)  # fmt: skip


def bomb() -> bytes:
    """Return a pickle of few bytes for a list of 10^9 elements, by lists of lists."""
    made = b"\x80\x02]q\x00"
    for level in range(9):
        made += b"]q" + bytes([level + 1]) + b"(" + (b"h" + bytes([level])) * 10 + b"e"
    return made + b"."


class HostileTests(SystemTestCase):
    """Each test attacks one door; `as_well_as_before` sees that the daemon is as well as before."""

    def setUp(self) -> None:
        """Start a daemon and let it take a first point at each door."""
        super().setUp()
        (self.protobuf,) = free_ports(1)
        options = {"PROTOBUF_RECEIVER_INTERFACE": "127.0.0.1", "PROTOBUF_RECEIVER_PORT": self.protobuf}
        self.daemon = self.started(Cadtwistd(self.folder / "cadtwist", options))
        self.dice = random.Random(4711)
        self.goods = 0
        self.good_lines()
        self.rest()
        self.memory = self.daemon.memory_bytes()
        self.addCleanup(self.as_well_as_before)

    def as_well_as_before(self) -> None:
        """The daemon answers, its books close, its log has no fault, it has not grown, nothing lies outside."""
        self.good_lines()
        self.rest()
        grown = self.daemon.memory_bytes() - self.memory
        self.assertLess(grown, MORE_MEMORY, f"grew by {grown >> 20} MiB")
        self.assertEqual(self.daemon.unbalanced(), {})
        self.assertTrue(self.daemon.datapoints("good.m0", self.now - 300, self.now + 300))
        self.assertEqual(self.daemon.stop(60), 0, self.daemon.tail())
        said = self.daemon.log.read_text("utf-8", "replace")
        faults = [line for line in said.splitlines() if any(sign in line for sign in UNHANDLED)]
        self.assertEqual(faults, [], said[-4000:])
        self.assertFalse((self.folder / "executed").exists())
        self.nothing_outside()

    def test_doors_of_datapoints(self) -> None:
        """Lines, datagrams, pickles and protobuf messages."""
        self.attack_with_lines()
        self.attack_with_datagrams()
        self.attack_with_pickles()
        self.attack_with_protobuf()

    def test_doors_of_questions(self) -> None:
        """Cache queries, and HTTP with odd questions and odd requests."""
        self.attack_with_cache_queries()
        self.attack_with_queries()
        self.attack_with_requests()

    def test_every_path_of_http(self) -> None:
        """Each by every method, with whatever fields, headers and bodies: an answer, in time, nobody is at fault."""
        maker = DoorFuzz("test_api")
        maker.setUp()
        rooms = [f"{room}{tail}" for room in graphite_rooms() for tail in ("", "scale", "1", "name")]
        paths = [*graphite_doors(), *rooms, *(f"/cadent/{path}" for path in CadentRoom("/cadent/").paths)]
        for path in paths:
            for method in METHODS:
                data = maker.request(method, path).replace(b"\r\n", b"\r\nConnection: close\r\n", 1)
                with self.to(self.daemon.http) as wire:
                    wire.sendall(data)
                    answer = b"".join(iter(lambda wire=wire: wire.recv(65536), b""))  # type: ignore[misc]
                found = STATUS.match(answer)
                self.assertIsNotNone(found, (data, answer[:200]))
                status = int(found[1]) if found else 0
                self.assertTrue(status < 500 or status in EXPECTED_5XX or path == INDEX, (status, data))

    def test_pipes_in_the_place_of_files(self) -> None:
        """Neither writers nor readers wait for them."""
        for name in ("x", "y"):
            os.makedirs(self.daemon.whisper / "pipe", exist_ok=True)
            os.mkfifo(self.daemon.whisper / "pipe" / f"{name}.wsp")
        self.daemon.send(f"pipe.x 1 {self.now}\npipe.y 1 {self.now}\n")
        self.good_lines()
        self.daemon.until("everything else is written", lambda: not self.daemon.pending(), 40)
        for target in ("pipe.*", "{pipe,good}.*", "sumSeries(pipe.*)"):
            self.daemon.json("/render", target=target, format="json", **{"from": "-5min"})
        self.daemon.json("/cadent/metrics", target="pipe.*", format="json")

    def test_no_descriptors_left(self) -> None:
        """More clients than the process may open files: those who got in are heard, and all is written afterwards."""
        resource.prlimit(self.daemon.pid, resource.RLIMIT_NOFILE, (300, 300))
        crowd = [self.to(port) for port in (self.daemon.line, self.daemon.query) * 200]
        for wire in crowd[::2]:
            with contextlib.suppress(OSError):
                wire.sendall(b"crowd.m0 1 %d\n" % self.now)
        self.daemon.until("somebody is heard", lambda: self.daemon.counted() > self.goods)
        for wire in crowd:
            wire.close()
        self.good_lines()
        self.daemon.until("all is written", lambda: not self.daemon.pending(), 40)

    # --- good items ------------------------------------------------------------------------------------------------

    def good(self, count: int = 1) -> bytes:
        """Return further lines that must arrive."""
        self.goods += count
        minute = self.now - self.now % 60
        return b"".join(b"good.m%d 1 %d\n" % (k, minute) for k in range(self.goods - count, self.goods))

    def good_lines(self) -> None:
        """Send a good item to every door of datapoints."""
        self.daemon.send(self.good(2).decode())
        name = self.good().split()[0].decode()
        with self.to(self.daemon.pickle) as wire:
            wire.sendall(frame(pickle.dumps([(name, (self.now, 1.0))], 2)))
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagram:
            datagram.sendto(self.good(), ("127.0.0.1", self.daemon.line))
        with self.to(self.daemon.query) as wire:
            wire.sendall(frame(pickle.dumps({"type": "cache-query", "metric": "good.m0"}, 2)))
            self.assertEqual(len(wire.recv(4, socket.MSG_WAITALL)), 4)

    def rest(self) -> None:
        """Wait until every good item is found by its name."""

        def arrived() -> bool:
            return len(self.daemon.json("/metrics/expand", query="good.m*")["results"]) == self.goods

        self.daemon.until(f"{self.goods} good items", arrived, 20)

    def to(self, port: int, receive_bytes: int = 0) -> socket.socket:
        """Return a connection; `receive_bytes` bounds what the kernel takes for us while we do not read."""
        wire = socket.socket()
        self.addCleanup(wire.close)
        if receive_bytes:
            wire.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        wire.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        wire.settimeout(30)
        wire.connect(("127.0.0.1", port))
        return wire

    def give(self, port: int, data: bytes) -> bytes:
        """Send over a connection of its own, whatever happens to it; return what comes back until its end."""
        with self.to(port) as wire, contextlib.suppress(OSError):
            wire.sendall(data)
            wire.shutdown(socket.SHUT_WR)
            return b"".join(iter(lambda: wire.recv(65536), b""))
        return b""

    def nothing_outside(self) -> None:
        """Every file is where files belong, and no attack made one elsewhere."""
        self.assertFalse(os.path.exists("/etc/x.wsp"))
        tops = sorted(os.listdir(self.daemon.folder))
        self.assertEqual([top for top in tops if top.endswith((".wsp", "x", "y"))], [])
        self.assertLessEqual(set(os.listdir(self.daemon.folder / "storage")), {"whisper", "wal", "log", "lists", "rrd"})
        for folder, _, files in os.walk(self.daemon.whisper):
            self.assertTrue(os.path.realpath(folder).startswith(os.path.realpath(self.daemon.whisper)))
            ours = [file for file in files if not file.startswith(".catalog.sqlite")]
            self.assertTrue(all(file.endswith((".wsp", ".tmp")) for file in ours), files)

    # --- datapoints ------------------------------------------------------------------------------------------------

    def lines(self) -> Iterable[bytes]:
        """Hostile lines."""
        yield from (b"%b 1 %d" % (name, self.now) for name in NAMES)
        yield from (b"when.m%d 1 %b" % (k, when) for k, when in enumerate(TIMES))
        yield from (b"what.m%d %b %d" % (k, what, self.now) for k, what in enumerate(VALUES))
        yield from (b"", b" ", b"\x00" * 100, b"\xff\xfe\xfd 1 1", b"a.\xc3( 1 1", b"a b c d e", b"\r", b"x" * 200_000)
        yield from (self.dice.randbytes(self.dice.randrange(200)).replace(b"\n", b"") for _ in range(2000))

    def attack_with_lines(self) -> None:
        """Hostile lines between good ones, in any pieces, and a last one cut off."""
        with self.to(self.daemon.line) as wire:
            for line in self.lines():
                wire.sendall(line + b"\n" + self.good())
            for byte in self.good(20):
                wire.sendall(bytes([byte]))
            wire.sendall(b"half.a.line 1 17000000")
        with self.to(self.daemon.line) as wire:
            for _ in range(64):
                wire.sendall(b"endless" * 60_000)
            wire.sendall(b"\n" + self.good())
        self.rest()

    def attack_with_datagrams(self) -> None:
        """Hostile datagrams between good ones."""
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagram:
            for number, line in enumerate(self.lines()):
                datagram.sendto(line[:60_000] + b"\n" + self.good(), ("127.0.0.1", self.daemon.line))
                if number % 250 == 249:
                    self.rest()
        self.rest()

    def attack_with_pickles(self) -> None:
        """Bombs, calls and garbage in frames between good ones, then broken framing."""
        ran = f"touch {self.folder / 'executed'}".encode()
        same = ["a.b", *[(1, 2)] * 60_000]
        bombs = [bomb(), PICKLES[0].replace(b"touch %s", ran), pickle.dumps([same] * 60_000, 2),
                 pickle.dumps([(name.decode("utf-8", "replace"), (self.now, 1)) for name in NAMES], 2),
                 pickle.dumps([("w", (float(when), 1)) for when in TIMES[:12]], 2),
                 b"\x80\x02}(" + b"".join(b"\x8a\x0a" + (k * (2**61 - 1)).to_bytes(10, "little") + b"N"
                                         for k in range(1, 60_000)) + b"u."]  # fmt: skip
        with self.to(self.daemon.pickle) as wire:
            for data in (*PICKLES, *bombs, *(self.dice.randbytes(300) for _ in range(300))):
                good = self.good().split()
                for part in (frame(data), frame(pickle.dumps([(good[0].decode(), (self.now, 1))], 2))):
                    wire.sendall(part)
        self.rest()
        for garbage in (b"\xff" * 5000, b"GET / HTTP/1.0\r\n\r\n", b"\x00\x10\x00\x01", b"\x00\x00", b"\x00" * 4000):
            self.give(self.daemon.pickle, garbage)

    def attack_with_protobuf(self) -> None:
        """Damaged messages between good ones, then broken framing."""
        with self.to(self.protobuf) as wire:
            for name in NAMES:
                whole = encode_payload([(name, [(float(self.now), 1.0)] * 3)])
                place = self.dice.randrange(len(whole))
                for data in (whole, whole[:place], whole[:place] + b"\xff" * 9 + whole[place:], b"\x0a" * 1000):
                    good = self.good().split()[0]
                    wire.sendall(frame(data) + frame(encode_payload([(good, [(float(self.now), 1.0)])])))
        self.rest()
        self.give(self.protobuf, b"\xff" * 5000)

    # --- questions -------------------------------------------------------------------------------------------------

    def attack_with_cache_queries(self) -> None:
        """Garbage, huge and endless questions, and clients that never read."""
        asked = frame(pickle.dumps({"type": "cache-query-bulk", "metrics": [f"good.m{k}" for k in range(2000)]}, 2))
        for _ in range(10):
            wire = self.to(self.daemon.query, receive_bytes=4096)
            wire.settimeout(0.1)
            with contextlib.suppress(OSError):
                for _ in range(100):
                    wire.sendall(asked)
        for name in NAMES:
            for kind, key in (("cache-query", "metric"), ("get-metadata", "key"), ("set-metadata", "key")):
                text = name.decode("utf-8", "replace")
                question = {"type": kind, "metric": text, "key": "aggregationMethod", "value": "sum", key: text}
                self.give(self.daemon.query, frame(pickle.dumps(question, 2)))
        for data in (*PICKLES, bomb(), *(self.dice.randbytes(99) for _ in range(100))):
            self.give(self.daemon.query, frame(data) + self.dice.randbytes(5))
        self.give(self.daemon.query, struct.pack(">I", 1 << 31) + b"x" * 100_000)
        self.good_lines()

    def ask(self, request: bytes, seconds: float = 0.1) -> bytes:
        """Return the raw answer to a raw HTTP request, until its end or a pause."""
        found = b""
        with self.to(self.daemon.http) as wire, contextlib.suppress(OSError):
            wire.sendall(request)
            wire.settimeout(seconds)
            while part := wire.recv(65536):
                found += part
        return found

    def refused(self, path: str, **fields: object) -> float:
        """Post a form that must be refused with a 4xx or answered empty; return the seconds it took."""
        began = time.monotonic()
        body = urllib.parse.urlencode(fields, doseq=True).encode()
        answer = self.ask(b"POST %b HTTP/1.0\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: %d"
                          b"\r\n\r\n%b" % (path.encode(), len(body), body), 20)  # fmt: skip
        self.assertRegex(answer[:16], rb"^HTTP/1\.\d (200|400|404|413|414) ", (path, str(fields)[:100], answer[:300]))
        return time.monotonic() - began

    def attack_with_queries(self) -> None:
        """Globs and lists that would take for ever are refused soon."""
        braces = "{" + ",".join(f"*a{k}*b" for k in range(900)) + "}"
        globs = [
            "**", "**.x", "{a,b}" * 50, "{a,b}" * 9 + "x" * 100_000, "*" * 1_000_000, "{" * 100_000, "[" * 100_000,
            "*a" * 5000, "**." * 60 + "*", ".".join(["{a,b}" * 9] * 60), "a." * 50_000, f"**.{braces}", "[!" * 9,
            "[z-a].*", "\\" * 999, "../../*", "\x00*", "\ud800".encode("utf-8", "replace").decode(), ";" * 9999,
        ]  # fmt: skip
        for glob in globs:
            for path in ("/metrics/find", "/metrics/expand", "/render", "/info"):
                fields = {"query": glob} if "metrics" in path else {"target": glob, "format": "json"}
                self.assertLess(self.refused(path, **fields), 5, glob[:50])
        self.refused("/render", target=["{a,b}" * 9] * 10_000, format="json")
        self.refused("/render", target=["good.*"] * 10_000, format="json")
        self.refused("/metrics/expand", query=["x*"] * 15_000)
        self.refused("/metrics/find", query="*", **{f"k{k}": "" for k in range(30_000)})
        for when in ("1e300", "-1e9y", "99999999999999999999", "now-" + "9" * 300 + "d", "\x00", "-1", "00:99_20200101",
                     "-9999999999s", "20200231", "noon+", "ü", "٣" * 8, "²" * 8, "1" * 5000):  # fmt: skip
            for key in ("from", "until", "now", "tz", "maxDataPoints", "cacheTimeout", "xFilesFactor", "jsonp"):
                self.refused("/render", target="good.m0", format="json", **{key: when})
                self.refused("/metrics/find", query="*", **{key: when})

    def attack_with_requests(self) -> None:
        """Broken, endless, slow and pipelined requests."""
        head = b"GET /metrics/find?query=* HTTP/1.1\r\nHost: x\r\n"
        chunk = b"10000\r\n" + b"x" * 65536 + b"\r\n"
        form = b"Content-Type: multipart/form-data; boundary=x\r\nContent-Length: 9\r\n\r\n--x\r\n\r\n--"
        odd = (head + b"Transfer-Encoding: chunked\r\n\r\n" + chunk * 40, b"POST /render HTTP/1.1\r\n" + form)
        for request in (
            b"\r\n" * 5000, b"GET\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"A" * 70_000,
            head + b"x: " + b"y" * 70_000 + b"\r\n\r\n", head + b"x: y\r\n" * 20_000 + b"\r\n",
            head + b"Content-Length: -1\r\n\r\n", head + b"Content-Length: 9e9\r\n\r\n",
            head + b"Content-Length: 99999999999999999999\r\n\r\n",
            head + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
            head + b"Transfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\nx",
            head + b"Transfer-Encoding: x\r\n\r\n",
            head + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
            head.replace(b"find", b"f\xffnd") + b"\r\n",
            head + b"Accept: \xff\r\nOrigin: \x80\r\nContent-Type: \x82\r\n\r\n",
            b"GET /" + b"%00%ff/../.." * 500 + b" HTTP/1.1\r\n\r\n", b"GET http://[::1/ HTTP/1.1\r\n\r\n",
            b"\x16\x03\x01" + b"\x00" * 99, *odd,
        ):  # fmt: skip
            self.ask(request)
        for method in (b"HEAD", b"OPTIONS", b"POST", b"PUT", b"DELETE", b"TRACE", b"CONNECT", b"\x00", b"M" * 9999):
            for path in (b"/", b"/render?target=good.m0&format=json", b"/metrics/find?query=*", b"/ledger", b"*"):
                self.ask(method + b" " + path + b" HTTP/1.0\r\n\r\n")
        answer = self.ask((head + b"\r\n") * 199 + head + b"Connection: close\r\n\r\n", 10)
        self.assertEqual(answer.count(b"HTTP/1.1 200"), 200)
        slow = [self.to(self.daemon.http) for _ in range(300)]
        for wire in slow:
            wire.sendall(b"GET / HTTP/1.1\r\nHos")
        deaf = self.to(self.daemon.http)
        deaf.settimeout(0.3)
        with contextlib.suppress(OSError):
            for _ in range(100):
                deaf.sendall((head + b"\r\n") * 500)
        self.assertTrue(get(f"{self.daemon.base}/healthz", seconds=5))
