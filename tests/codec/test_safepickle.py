"""The restricted reader against the standard library's, on plain values."""

from __future__ import annotations

import pickle
import pickletools
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from cadtwist.codec.safepickle import PlainPickleError, read, write

QUICK = settings(max_examples=200, deadline=None, database=None)
scalars = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(max_size=8), st.binary(max_size=300)
)
small = st.integers(-(1 << 60) + 1, (1 << 60) - 1)
plain = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=5),
        st.lists(inner, max_size=5).map(tuple),
        st.dictionaries(st.one_of(st.text(max_size=5), small, st.none()), inner, max_size=3),
    ),
    max_leaves=30,
)
REFUSED = ("GLOBAL", "STACK_GLOBAL", "INST", "OBJ", "NEWOBJ", "NEWOBJ_EX", "REDUCE", "BUILD", "EXT1", "EXT2", "EXT4",
           "PERSID", "BINPERSID", "NEXT_BUFFER", "READONLY_BUFFER")  # fmt: skip


class SafePickleTests(SynchronousTestCase):
    def test_reads_plain_values_of_every_protocol(self) -> None:
        @QUICK
        @given(plain, st.integers(0, 5))
        def check(value: Any, protocol: int) -> None:
            data = pickle.dumps(value, protocol)
            if b"_codecs" not in data and b"bytes" not in data:  # bytes of protocols 0..2 are calls: refused
                self.assertEqual(read(data), value)

        check()

    def test_reads_python_2_strings(self) -> None:
        self.assertEqual(read(b"S'a\\x62\\'c'\np0\n."), "ab'c")
        self.assertEqual(read(b"U\x03\xc3\xbcx."), "üx")
        self.assertEqual(read(b"T\x02\x00\x00\x00ab."), "ab")
        self.assertEqual(read(b"U\x01\xff."), "\udcff")

    def test_never_raises_anything_else(self) -> None:
        @settings(QUICK, max_examples=600)
        @given(
            plain, st.integers(0, 5), st.lists(st.tuples(st.integers(0), st.integers(0, 255)), max_size=5), st.data()
        )
        def check(value: Any, protocol: int, damage: list[tuple[int, int]], data: st.DataObject) -> None:
            raw = bytearray(pickle.dumps(value, protocol))
            for place, byte in damage:
                raw[place % len(raw)] = byte
            end = data.draw(st.integers(0, len(raw)))
            try:
                read(bytes(raw), 0, end)
            except PlainPickleError as error:
                self.assertLess(len(str(error)), 200)

        check()

    def test_every_opcode_is_known_or_refused(self) -> None:
        for opcode in pickletools.opcodes:
            known = True
            try:
                read(b"]q\x00(((((" + opcode.code.encode("latin-1") + b"\x00" * 8 + b"\n.")
            except PlainPickleError as error:
                known = f"{ord(opcode.code):#04x} is not for plain" not in str(error)
            self.assertEqual(known, opcode.name not in REFUSED, opcode.name)

    def test_keys_that_collide(self) -> None:
        """Numbers are hashed without a seed: large ones could be made to meet in one slot of a dictionary."""
        modulus = (1 << 61) - 1
        self.assertEqual(read(pickle.dumps({1: "a", -7: "b"})), {1: "a", -7: "b"})
        with self.assertRaises(PlainPickleError):
            read(pickle.dumps({modulus * number: None for number in range(3)}))

    def test_a_part_of_the_bytes(self) -> None:
        data = write([1, "a"])
        self.assertEqual(read(b"xx" + data + b"yy", 2, 2 + len(data)), [1, "a"])
        with self.assertRaises(PlainPickleError):
            read(data, 0, len(data) - 1)

    def test_writes_protocol_2(self) -> None:
        value = {"datapoints": [(1.0, 2.0)]}
        self.assertEqual(write(value), pickle.dumps(value, 2))
