from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from cadtwist.codec.istat import StatCodec, StatTail, cell_lines, greeting
from cadtwist.kernels import active
from cadtwist.model.summary import SummaryColumns
from cadtwist.stages.forward import ForwardWindow
from cadtwist.stages.rollup import NameSpread, carets
from cadtwist.telemetry import Account
from tests.istatrig import golden

NOW = 1325395000.0


class ForwardWindowTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.table = active.table.MetricTable(1)
        self.account = Account("forward")
        self.now = NOW + 0.5
        self.window = ForwardWindow(self.table, self.account, lambda: self.now, 1000)
        spread = NameSpread(carets, self.table, self.window, Account("carets"))
        self.codec = StatCodec(self.table, SummaryColumns(100), spread.accept, self.about)
        self.said: list[bytes] = []

    def about(self, _tail: StatTail, line: bytes) -> None:
        self.said.append(line + b"\n")

    def feed(self, text: str) -> None:
        self.codec.feed(StatTail(), text.encode(), NOW, lambda *_bad: self.fail("all lines are good"))
        self.codec.flush()

    def flushed(self, short: bool = True) -> list[bytes]:
        return cell_lines(*self.window.flush(), short)

    def test_sends_what_istatd_sends(self) -> None:
        for case in ("basic", "window", "two_connections"):
            recorded: dict[str, Any] = golden("forward", f"{case}.json")
            self.setUp()
            for text in recorded["input"]:
                self.feed(text)
            lines = self.flushed()
            hello = greeting("HOSTNAME", "Nov 20 2026 23:03:24").splitlines(keepends=True)
            expected: list[bytes] = []
            for connection in recorded["connections"]:
                sent = connection.encode().splitlines(keepends=True)
                self.assertEqual(sent[:3], hello)
                expected += sent[3:]
            self.assertEqual(sorted(self.said + lines), sorted(expected), case)
            self.assertEqual(self.account.balance(), 0)
            by_name = {name: [line for line in lines if line.startswith(name)] for name in (b"f.g ", b"w.g ")}
            for name, of_one in by_name.items():
                self.assertEqual(of_one, [line for line in expected if line.startswith(name)])

    def test_full_precision_unless_told_to_be_short(self) -> None:
        self.feed("f.big 1325395000 1234567.891\n")
        self.assertEqual(
            self.flushed(short=False),
            [b"f.big 1325395000 1234567.891 1524157877488.188 1234567.891 1234567.891 1\r\n"],
        )

    def test_the_window_is_around_the_first_sample_to_come(self) -> None:
        self.now = 50
        self.feed("".join(f"a {time} {number}\n" for number, time in enumerate((-10, 1, 10, 20, 30, 60, 70))))
        self.now = 75
        self.feed("a 70 9\n")
        self.assertEqual(self.flushed(), [b"a 20 3 9 3 3 1\r\n", b"a 30 4 16 4 4 1\r\n", b"a 60 5 25 5 5 1\r\n"])
        self.assertEqual(self.account.dropped, {"outside_window": 5})
        self.feed("a 70 9\n")
        self.assertEqual(self.flushed(), [b"a 70 9 81 9 9 1\r\n"])
        self.assertEqual(self.flushed(), [])

    def test_time_zero_is_now(self) -> None:
        self.feed("a 0 5\n")
        self.assertEqual(self.flushed(), [b"a 1325395000 5 25 5 5 1\r\n"])

    def test_cells_that_count_nothing_are_not_sent(self) -> None:
        self.feed("a 1325395000 1 1 1 1 0\n")
        self.assertEqual(self.flushed(), [])

    def test_has_a_bound(self) -> None:
        self.feed("".join(f"m{n} 1325395000 1\n" for n in range(1005)))
        self.assertEqual((self.account.dropped, self.account.held()), ({"forward_full": 5}, 1000))
        self.assertEqual(len(self.flushed()), 1000)
        self.assertEqual(self.account.balance(), 0)

    def test_claims_names_whose_samples_wait(self) -> None:
        self.feed("a 1325395000 1\n")
        ids = self.table.live()
        self.assertTrue(self.window.holds(ids).all())
        self.window.flush()
        self.assertFalse(self.window.holds(ids).any())
