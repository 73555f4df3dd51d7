"""`cadtwist statfile`: what istatd's tools print, and what they do to files."""

from __future__ import annotations

import contextlib
import io
import os
import socket
import threading

from twisted.trial.unittest import SynchronousTestCase

from cadtwist.cli.statfile import run
from cadtwist.kernels.statfile_py import read_header
from tests.istatrig import IstatRig, golden_files

FILES = golden_files()
T = 1325394000


class StatFileTests(SynchronousTestCase):
    maxDiff = None

    def setUp(self) -> None:
        self.folder = self.mktemp()
        os.mkdir(self.folder)

    def output(self, *argv: str, stdin: str = "", now: float = T + 1000) -> tuple[int, str, str]:
        stdout, stderr = io.StringIO(), io.StringIO()
        with contextlib.redirect_stderr(stderr):
            status = run(argv, stdout, {}, io.StringIO(stdin), lambda: now)
        return status, stdout.getvalue(), stderr.getvalue()

    def good(self, *argv: str, stdin: str = "") -> str:
        status, text, errors = self.output(*argv, stdin=stdin)
        self.assertEqual((status, errors), (0, ""))
        return text

    def put(self, recorded: str, name: str = "") -> str:
        path = os.path.join(self.folder, name or recorded.replace("/", "_"))
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            file.write(FILES[recorded])
        return path

    def test_dump_and_info_as_istatd_prints_them(self) -> None:
        dumps = [path for path in FILES if path.endswith(".csv")]
        self.assertGreater(len(dumps), 20)
        for csv in dumps:
            recorded = csv.removesuffix(".csv")
            path = self.put(recorded)
            self.assertEqual(self.good("dump", path), FILES[csv].decode(), csv)
            info = FILES[recorded + ".info"].decode().splitlines(keepends=True)
            self.assertEqual(self.good("info", path).splitlines(keepends=True)[1:], info[1:], csv)

    def test_full_dump_shows_every_slot(self) -> None:
        path = self.put("wrap/w/10s")
        lines = self.good("dump", "--full", "--force", path).splitlines()
        self.assertEqual(lines[:2], ["# Header: Name=Value", 'magic="istatd 4.0\\n\\000\\365\\024\\007\\000"'])
        self.assertIn('last_time="2012-01-01T06:39:50Z"', lines)
        start = lines.index("# Valid Bucket Time Sum SumSq Min Max Cnt") + 1
        self.assertEqual(len(lines) - start, 512)
        self.assertEqual(
            lines[start], " 1       0    1325399120         512      262144         512         512       1"
        )

    def test_unusable_files_are_named(self) -> None:
        path = os.path.join(self.folder, "x")
        status, text, errors = self.output("dump", path)
        self.assertEqual((status, text), (1, ""))
        self.assertIn(f"Cannot open: {path}", errors)
        good = self.put("wrap/w/10s")
        status, text, errors = self.output("info", path, good, path)
        self.assertEqual((status, text.startswith(f"{good}:\n")), (2, True))

    def test_nums_makes_and_fills_a_file(self) -> None:
        path = os.path.join(self.folder, "a", "10s")
        arguments = ("nums", "--stat-file", path, "--time-in-file", "--zero-time", str(T), "--num-samples", "100")
        self.good(*arguments, stdin=f"{T} 1\n{T + 3} 2.5 {T + 20} 7\n")
        self.assertEqual(
            self.good("dump", path),
            "DATE,SUM,SUMSQ,MIN,MAX,COUNT,AVG,SDEV\n"
            '"2012-01-01T05:00:00Z",3.5,7.25,1,2.5,2,1.75,1.06066\n"2012-01-01T05:00:20Z",7,49,7,7,1,7,0\n',
        )
        self.good("nums", "--stat-file", path, stdin="5\n")
        self.assertIn('"2012-01-01T05:16:40Z",5,', self.good("dump", path))
        self.good("nums", "--stat-file", path, "--counter", stdin="")
        self.assertEqual(read_header(path.encode()).cumulative_count, 0)
        self.assertEqual(self.output(*arguments, stdin="5")[0], 1)

    def test_import_writes_cells(self) -> None:
        path = self.put("gauge/test.gauge/10s")
        cell = f"{T} 10 100 1 9 2\n"
        self.assertIn(
            "1 cells taken, 1 outside", self.good("import", "--stat-file", path, stdin=f"{cell}5 1 1 1 1 1\n")
        )
        self.assertIn('"2012-01-01T05:00:00Z",10,100,1,9,2,', self.good("dump", path))
        self.good("import", "--stat-file", path, "--fill-empty", stdin=f"{T} 1 1 1 1 1\n{T + 50} 3 9 3 3 1\n")
        dumped = self.good("dump", path)
        self.assertIn('"2012-01-01T05:00:00Z",10,', dumped)
        self.assertIn('"2012-01-01T05:00:50Z",3,', dumped)
        status, _text, errors = self.output("import", "--stat-file", path, stdin="1 2 3\n\n")
        self.assertEqual((status, errors), (1, "line 1: six numbers are expected\n"))

    def test_merge_fills_what_is_empty(self) -> None:
        stores = []
        for number, lines in enumerate((f"a {T} 1\na {T + 10} 2\n", f"a {T} 5\nb.c {T} 7\n")):
            rig = IstatRig(os.path.join(self.folder, f"store{number}"), "10s:1h,5m:2h", T + 100)
            rig.feed(lines)
            rig.flush()
            stores.append(rig)
        one, two = stores
        self.good("merge", two.store.root, one.store.root)
        self.assertEqual(one.sums("a", "10s"), [1.0, 2.0])
        self.assertEqual(one.sums("b.c", "10s"), [7.0])
        self.assertEqual(read_header(one.path("b.c", "10s").encode()).cumulative_count, 1)
        self.good("merge", one.path("a", "10s"), two.path("a", "10s"), "--from", str(T + 10))
        self.assertEqual(two.sums("a", "10s"), [5.0, 2.0])
        status, _text, errors = self.output("merge", one.path("a", "10s"), two.path("a", "5m"))
        self.assertEqual(status, 1)
        self.assertIn("another interval", errors)

    def test_lint_and_fixup(self) -> None:
        path = self.put("gauge/test.gauge/10s", "store/a/10s")
        with open(path, "r+b") as file:
            file.truncate(20000)
            file.seek(64)
            file.write((0).to_bytes(8, "little"))
        for name, content in (("short", b"x"), ("foreign", b"x" * 600), (".hidden", b"x")):
            with open(os.path.join(self.folder, "store", name), "wb") as file:
                file.write(content)
        status, text, _ = self.output("lint", "--age", "10000y", os.path.join(self.folder, "store"))
        self.assertEqual(status, 1)
        problems = [line.partition(": /")[0].rpartition(": ")[0] for line in text.splitlines()]
        self.assertEqual(problems, ["W: not an istat file", "W: short file", "W: file is too small"])
        self.assertIn("extended, renamed, last bucket moved", self.output("fixup", "--dry-run", path)[1])
        self.assertEqual(os.path.getsize(path), 20000)
        self.assertIn("1 files mended", self.good("fixup", path))
        head = read_header(path.encode())
        self.assertEqual((os.path.getsize(path), head.last_bucket), (24576, 99))
        self.assertEqual(head.name, os.path.abspath(path).encode()[:255])
        self.assertIn("0 files mended", self.good("fixup", path))
        self.assertEqual(self.output("fixup", os.path.join(self.folder, "store", "foreign"))[0], 1)

    def test_old_files_exceed_their_age(self) -> None:
        path = self.put("gauge/test.gauge/10s")
        os.utime(path, (T, T))
        self.assertEqual(self.output("lint", "--age", "1h", path, now=T + 3601)[1], f"W: file exceeds age: {path}\n")
        self.assertEqual(self.output("lint", "--age", "1h", path, now=T + 3600)[0], 0)

    def test_generates_trees(self) -> None:
        base = os.path.join(self.folder, "tree")
        self.assertIn("150 files", self.good("generate", "--base-path", base, "--num-files", "150", "--filled", "3"))
        self.assertEqual(len(self.good("dump", os.path.join(base, "lev0_01", "lev1_49", "10s")).splitlines()), 4)


class AdminToolTests(SynchronousTestCase):
    def ask(self, reply: bytes, *argv: str) -> tuple[int, str, str, bytes]:
        """Run a tool against a door that gives one answer."""
        heard = []
        with socket.create_server(("127.0.0.1", 0)) as door:
            door.settimeout(10)

            def serve() -> None:
                connection, _address = door.accept()
                with connection:
                    heard.append(connection.recv(1000))
                    connection.sendall(reply)

            thread = threading.Thread(target=serve)
            thread.start()
            stdout, stderr = io.StringIO(), io.StringIO()
            with contextlib.redirect_stderr(stderr):
                status = run([argv[0], "127.0.0.1", str(door.getsockname()[1]), *argv[1:]], stdout, {})
            thread.join(10)
        return status, stdout.getvalue(), stderr.getvalue(), heard[0]

    def test_flush(self) -> None:
        self.assertEqual(self.ask(b"ok\r\n", "flush"), (0, "flush took 0 seconds\n", "", b"flush\r\n"))
        self.assertEqual(self.ask(b"ok\r\n", "flush", "-q")[1], "")
        self.assertEqual(self.ask(b"huh? no\r\n", "flush")[:3], (3, "", "huh? no\n"))
        self.assertEqual(self.ask(b"", "flush")[0], 3)

    def test_stat_and_purge(self) -> None:
        self.assertEqual(self.ask(b"a=1\r\nok\r\n", "stat")[:2], (0, "a=1\n"))
        self.assertEqual(self.ask(b"ok\r\n", "purge", "5", "6")[3], b"purge 5,6\r\n")
        self.assertEqual(self.ask(b"x, \r\nhuh? x\r\n", "purge", "x")[0], 3)
