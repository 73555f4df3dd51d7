"""`cadtwist dump`."""

from __future__ import annotations

import contextlib
import io
import json
import os

import whisper
from twisted.trial.unittest import SynchronousTestCase

from cadtwist.cli.dump import read_whisper, run
from cadtwist.kernels.whisperformat import CorruptFileError
from tests.storage.test_ceres import DATA as CERES

NOW = 1_700_000_000


class DumpTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.path = self.mktemp()
        whisper.create(self.path, [(60, 10), (300, 20)], xFilesFactor=0.25, aggregationMethod="max")
        whisper.update_many(self.path, [(NOW - 60 * n, float(n)) for n in range(8)], now=NOW)

    def output(self, *argv: str) -> tuple[int, str, str]:
        stdout, stderr = io.StringIO(), io.StringIO()
        with contextlib.redirect_stderr(stderr):
            status = run([self.path, *argv], stdout, {})
        return status, stdout.getvalue(), stderr.getvalue()

    def test_csv_has_every_filled_slot_in_the_order_of_time(self) -> None:
        status, text, _ = self.output()
        self.assertEqual(status, 0)
        lines = text.splitlines()
        self.assertEqual(lines[0], "archive,slot,timestamp,value")
        finest = [line.split(",") for line in lines[1:] if line.startswith("0,")]
        expected = [(NOW - 60 * n) // 60 * 60 for n in reversed(range(8))]
        self.assertEqual([int(row[2]) for row in finest], expected)
        self.assertEqual([float(row[3]) for row in finest], [7.0, 6.0, 5.0, 4.0, 3.0, 2.0, 1.0, 0.0])
        self.assertTrue(any(line.startswith("1,") for line in lines))

    def test_json(self) -> None:
        status, text, _ = self.output("--format=json", "--archive=0", f"--from={NOW - 120}")
        self.assertEqual(status, 0)
        told = json.loads(text)
        self.assertEqual((told["format"], told["aggregationMethod"], told["xFilesFactor"]), ("whisper", "max", 0.25))
        self.assertEqual(told["maxRetention"], 6000)
        (archive,) = told["archives"]
        self.assertEqual((archive["secondsPerPoint"], archive["points"], archive["retention"]), (60, 10, 600))
        times = [time for time, _ in archive["datapoints"]]
        self.assertTrue(times)
        self.assertTrue(all(time >= NOW - 120 for time in times))

    def test_json_has_no_nan_or_infinity(self) -> None:
        whisper.update(self.path, float("inf"), NOW, now=NOW)
        _, text, _ = self.output("--format=json", "--archive=0")
        json.loads(text, parse_constant=self.fail)

    def test_header(self) -> None:
        _, text, _ = self.output("--header")
        self.assertEqual(text.splitlines()[1:], ["0,60,10,8,max,0.25", "1,300,20,2,max,0.25"])

    def test_what_is_no_whisper_file(self) -> None:
        for content in (b"", b"hello", b"\xff" * 200):
            with open(self.path, "wb") as file:
                file.write(content)
            status, text, errors = self.output()
            self.assertEqual((status, text), (1, ""))
            self.assertIn(self.path, errors)
            self.assertRaises(CorruptFileError, read_whisper, content)

    def test_missing_file_and_archive(self) -> None:
        self.assertEqual(self.output("--archive=7")[0], 1)
        os.unlink(self.path)
        self.assertEqual(self.output()[0], 1)


class DumpCeresTests(SynchronousTestCase):
    def output(self, node: str, *argv: str) -> tuple[int, str, str]:
        stdout, stderr = io.StringIO(), io.StringIO()
        with contextlib.redirect_stderr(stderr):
            status = run([str(CERES / "tree" / node), *argv], stdout, {})
        return status, stdout.getvalue(), stderr.getvalue()

    def test_slices_are_shown_as_archives_the_newest_first(self) -> None:
        status, text, _ = self.output("servers/web01/cpu")
        self.assertEqual(status, 0)
        lines = text.splitlines()
        self.assertEqual(lines[:3], ["archive,slot,timestamp,value", "0,0,1700010120,8.0", "1,0,1700000040,100.0"])
        self.assertEqual(len([line for line in lines if line.startswith("2,")]), 3)

    def test_json(self) -> None:
        _, text, _ = self.output("sub/metric", "--format=json", "--archive=1", "--until=1699996500")
        told = json.loads(text)
        self.assertEqual((told["format"], told["aggregationMethod"], told["xFilesFactor"]), ("ceres", "max", None))
        (one,) = told["archives"]
        self.assertEqual((one["start"], one["secondsPerPoint"], one["points"]), (1699996440, 60, 60))
        self.assertEqual(one["datapoints"], [[1699996440, 0.0], [1699996500, 1.0]])

    def test_folders_that_are_no_nodes(self) -> None:
        status, text, errors = self.output("servers")
        self.assertEqual((status, text), (1, ""))
        self.assertIn("servers: No such file", errors)
        broken = self.mktemp()
        os.mkdir(broken)
        with open(os.path.join(broken, ".ceres-node"), "w") as file:
            file.write("{")
        stderr = io.StringIO()
        with contextlib.redirect_stderr(stderr):
            self.assertEqual(run([broken], io.StringIO(), {}), 1)
        self.assertIn("no ceres node: no JSON", stderr.getvalue())
