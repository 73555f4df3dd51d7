"""Draws hostile cases from one seed, which is printed.

`FUZZ_CASES` (default 20,000) says how many cases there are in all.
"""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable
from typing import Any

import psutil
from twisted.trial.unittest import SynchronousTestCase

from cadtwist.codec.line import DEFAULT_MAX_LINE
from tests.protocols.parts import Receiving
from tests.seeds import chance_of, told

__all__ = ["CASES", "Fuzzing", "dumped"]

CASES = int(os.environ.get("FUZZ_CASES", "20000"))
MORE_MEMORY = 96 << 20
WORDS = (
    b"a.b", b"1", b"-1", b"nan", b"inf", b"1e999", b"0x10", b"1_0", b"\xff\xfe", b"\xc2\xa0", b"\xe2\x80\xa8", b"\x00",
    b"\r", b"\t", b" ", b"  ", b";t=v", b"{a=\"b\"}", b"1700000000", b"99999999999999999999", b".", b"\x1c", b"\x85",
    b"x" * 300, b"", b"\xf0\x9f\x98\x80", b"\xed\xa0\x80", b"+", b"-", b"e5", b"1.5", b"N",
)  # fmt: skip
OPCODES = bytes(range(256))
SMALL = (b"", b"\n", b"\x00", b"\xff" * 4, b"\x01\x00\x00\x00", b"a", b"1\n", b"\x00" * 8, b"os\nsystem\n", b"-1\n")


class Fuzzing(SynchronousTestCase):
    """Draws cases from one seed."""

    def setUp(self) -> None:
        self.dice = chance_of(self.id())
        print(f" {told()} FUZZ_CASES={CASES}", end="")
        self.after_warm_up = 0

    def line(self) -> bytes:
        dice = self.dice
        made = b"".join(dice.choice(WORDS) for _ in range(dice.randrange(9)))
        if dice.random() < 0.1:
            made += dice.randbytes(dice.randrange(40))
        if dice.random() < 0.002:
            made += b"z" * dice.choice((DEFAULT_MAX_LINE - 1, DEFAULT_MAX_LINE, DEFAULT_MAX_LINE + 1, 40_000))
        return made.replace(b"\n", b"")

    def damaged(self, data: bytes) -> bytes:
        dice, found = self.dice, bytearray(data)
        for _ in range(dice.randrange(4)):
            if not found:
                break
            place = dice.randrange(len(found))
            action = dice.randrange(4)
            if action == 0:
                found[place] = dice.randrange(256)
            elif action == 1:
                del found[place : place + dice.randrange(9)]
            elif action == 2:
                found[place:place] = dice.choice(SMALL)
            else:
                found[place:place] = found[dice.randrange(len(found)) :][:20]
        return bytes(found)

    def value(self, depth: int = 0) -> Any:
        dice = self.dice
        kind = dice.randrange(14 if depth < 3 else 9)
        if kind < 3:
            return dice.choice((0, -1, 1 << 40, 1 << 200, 1.5, float("nan"), float("inf"), True, None))
        if kind < 6:
            return dice.choice(("a.b", "", "1.5", "x" * 300, "\ud800", "\x00", "ü"))
        if kind < 9:
            return dice.choice((b"", b"a.b", b"\xff"))
        if kind == 9:
            return {f"k{i}": self.value(depth + 1) for i in range(dice.randrange(3))}
        if kind == 10:
            return [self.value(depth + 1) for _ in range(dice.randrange(4))]
        if kind == 11:
            return ("a.b", (1, self.value(depth + 1)))
        return tuple(self.value(depth + 1) for _ in range(dice.randrange(4)))

    def pickled(self) -> bytes:
        dice = self.dice
        if dice.random() < 0.3:
            return b"".join(bytes([dice.choice(OPCODES)]) + dice.choice(SMALL) for _ in range(dice.randrange(12)))
        return self.damaged(dumped([self.value() for _ in range(dice.randrange(3))], dice.randrange(6)))

    def cut(self, data: bytes) -> list[bytes]:
        dice = self.dice
        places = sorted(dice.randrange(len(data) + 1) for _ in range(dice.randrange(4)))
        return [data[a:b] for a, b in zip([0, *places], [*places, len(data)], strict=True)]

    def remember_memory(self, case: int, cases: int) -> None:
        """Compare the memory after the first look, or after a tenth of the cases, with that of each later look."""
        used = psutil.Process().memory_info().rss
        if not self.after_warm_up or case <= cases // 10:
            self.after_warm_up = used
        self.assertLess(used - self.after_warm_up, MORE_MEMORY)

    def stream(
        self,
        make: Callable[[], Receiving],
        good: Callable[[int], bytes],
        hostile: Callable[[], bytes],
        held: Callable[[Any], int],
        share: float,
    ) -> None:
        """Send hostile items between good ones over a connection; every good one must arrive, in order."""
        cases = max(1, int(CASES * share))
        receiving = make()
        connection, transport = receiving.connect()
        for case in range(cases):
            if case % 1000 == 999:
                self.remember_memory(case, cases)
            if case % 50 == 0:
                receiving = make()
                connection, transport = receiving.connect()
            receiving.sink.points.clear()
            data = good(2 * case) + hostile() + good(2 * case + 1)
            for part in self.cut(data):
                connection.dataReceived(part)
                self.assertLess(held(connection.state), 2 << 20)
            receiving.turn()
            self.assertFalse(transport.disconnecting, data)
            arrived = [what for name, _, what in receiving.sink.points if name.startswith("good.")]
            self.assertEqual(arrived, [2.0 * case, 2.0 * case + 1], data)
            self.assertEqual(receiving.account.balance(), 0)


def dumped(value: object, protocol: int) -> bytes:
    """Return a pickle, of something else where the value has none."""
    try:
        return pickle.dumps(value, protocol)
    except UnicodeEncodeError:
        return b"V\\ud800\n."
