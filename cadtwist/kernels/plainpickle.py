"""Reads pickles that hold plain values only: never imports, calls or builds anything, whatever the bytes say.

Format: the pickle protocols 0 to 5 as `pickletools` of the standard library documents them, without every opcode that
names a class, calls, extends or refers outside (GLOBAL, STACK_GLOBAL, INST, OBJ, NEWOBJ, REDUCE, BUILD, EXT*, PERSID,
BINPERSID, NEXT_BUFFER, READONLY_BUFFER).  Memory is bounded by the length of the input: containers are counted, big
numbers refused, sets stay lists (so nothing is hashed but scalars).  Strings of Python 2 are read as UTF-8; a byte
that is none stands as a lone surrogate, so that one bad name is its own fault only.
"""

from __future__ import annotations

import codecs
import struct
from collections.abc import Callable
from typing import Any

__all__ = ["PlainPickleError", "read_plain"]

_MOST_DIGITS = 400
_LEAST_CONTAINERS = 65_536
_SCALARS = (str, bytes, int, float, type(None))
_DEEPEST = 1000
_LARGEST_KEY = 1 << 60  # Python hashes numbers modulo 2^61 - 1: beyond, thousands can be made to collide
_DOUBLE, _U16, _U32, _U64, _I32 = (struct.Struct(form).unpack_from for form in (">d", "<H", "<I", "<Q", "<i"))


class PlainPickleError(ValueError):
    """The bytes are no pickle, or one that holds more than plain values."""


def read_plain(data: bytes, start: int, end: int) -> object:
    """Return the value pickled in `data[start:end]`; bytes after its end are ignored.  Raises PlainPickleError only."""
    try:
        return _Machine(data, start, end).run()
    except PlainPickleError:
        raise
    except (IndexError, KeyError, ValueError, OverflowError, struct.error) as error:
        raise PlainPickleError(f"broken pickle: {error!r:.120}") from None


class _Machine:
    """The stack machine.  `stack` holds what was pushed since the last mark, `marked` the stacks below."""

    def __init__(self, data: bytes, start: int, end: int) -> None:
        self.data, self.pos, self.end = data, start, min(end, len(data))
        self.stack: list[Any] = []
        self.marked: list[list[Any]] = []
        self.memo: dict[int, Any] = {}
        self.containers_left = max(_LEAST_CONTAINERS, (end - start) // 4)

    def run(self) -> object:
        """Execute up to STOP; what client libraries write most is done here, the rest in `_OPCODES`."""
        data, end, memo, stack, pos = self.data, self.end, self.memo, self.stack, self.pos
        while pos < end:
            op = data[pos]
            pos += 1
            if op == 0x72:  # LONG_BINPUT
                memo[_U32(data, pos)[0]] = stack[-1]
                pos += 4
            elif op == 0x86:  # TUPLE2
                last = stack.pop()
                stack[-1] = (stack[-1], last)
            elif op == 0x94:  # MEMOIZE
                memo[len(memo)] = stack[-1]
            elif op == 0x47:  # BINFLOAT
                stack += _DOUBLE(data, pos)
                pos += 8
            elif op == 0x4A:  # BININT
                stack += _I32(data, pos)
                pos += 4
            elif op == 0x58 or op == 0x8C:  # BINUNICODE, SHORT_BINUNICODE
                start = pos + (4 if op == 0x58 else 1)
                pos = start + (_U32(data, pos)[0] if op == 0x58 else data[pos])
                if pos > end:
                    raise PlainPickleError("the pickle ends too early")
                stack.append(str(data[start:pos], "utf-8", "surrogateescape"))
            elif op == 0x71:  # BINPUT
                memo[data[pos]] = stack[-1]
                pos += 1
            elif op == 0x2E:  # STOP
                return stack.pop()
            else:
                run = _OPCODES.get(op)
                if run is None:
                    raise PlainPickleError(f"opcode {op:#04x} is not for plain values")
                self.pos = pos
                run(self)
                pos, stack = self.pos, self.stack
        raise PlainPickleError("the pickle ends too early")

    def take(self, size: int) -> bytes:
        """Return the next `size` bytes."""
        start = self.pos
        self.pos = start + size
        if self.pos > self.end:
            raise PlainPickleError("the pickle ends too early")
        return self.data[start : self.pos]

    def line(self) -> bytes:
        """Return the rest of the line, as protocol 0 writes its arguments."""
        stop = self.data.find(b"\n", self.pos, self.end)
        if stop < 0:
            raise PlainPickleError("the pickle ends too early")
        start, self.pos = self.pos, stop + 1
        return self.data[start:stop]

    def sized(self, form: Callable[[bytes, int], tuple[Any, ...]], width: int) -> bytes:
        """Return bytes preceded by their length."""
        size: int = form(self.take(width), 0)[0]
        return self.take(size)

    def since_mark(self) -> list[Any]:
        """Return what stands above the last mark, and drop the mark."""
        found, self.stack = self.stack, self.marked.pop()
        return found

    def mark(self) -> None:
        if len(self.marked) >= _DEEPEST:
            raise PlainPickleError("nested too deeply")
        self.marked.append(self.stack)
        self.stack = []
        self.container([])

    def push(self, value: object) -> None:
        self.stack.append(value)

    def container(self, value: Any) -> Any:
        """Return `value`, counted against the bound."""
        self.containers_left -= 1
        if self.containers_left < 0:
            raise PlainPickleError("too many containers for its length")
        return value


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


def _tuple_of(count: int) -> Callable[[_Machine], None]:
    def make(machine: _Machine) -> None:
        stack = machine.stack
        if len(stack) < count:
            raise PlainPickleError("nothing to make a tuple of")
        made = tuple(stack[len(stack) - count :])
        del stack[len(stack) - count :]
        machine.push(machine.container(made))

    return make


def _integer(machine: _Machine) -> None:
    text = machine.line()
    if text in {b"00", b"01"}:
        machine.push(text == b"01")
        return
    text = text.removesuffix(b"L")
    if len(text) > _MOST_DIGITS:
        raise PlainPickleError("a number of too many digits")
    machine.push(int(text, 0))


def _binary_integer(machine: _Machine, data: bytes) -> None:
    if len(data) > _MOST_DIGITS:
        raise PlainPickleError("a number of too many bytes")
    machine.push(int.from_bytes(data, "little", signed=True))


def _quoted(machine: _Machine) -> None:
    text = machine.line().strip()
    if len(text) < 2 or text[:1] != text[-1:] or text[:1] not in {b"'", b'"'}:
        raise PlainPickleError("a string without quotes")
    raw, _ = codecs.escape_decode(text[1:-1])
    machine.push(_text(raw))


def _append(machine: _Machine) -> None:
    value = machine.stack.pop()
    _growing(machine).append(value)


def _appends(machine: _Machine) -> None:
    values = machine.since_mark()
    _growing(machine).extend(values)


def _growing(machine: _Machine) -> list[Any]:
    target = machine.stack[-1]
    if type(target) is not list:
        raise PlainPickleError("appends to what is no list")
    return target


def _set_items(machine: _Machine, flat: list[Any]) -> None:
    target = machine.stack[-1]
    if type(target) is not dict or len(flat) % 2:
        raise PlainPickleError("items for what is no dictionary")
    for key, value in zip(flat[::2], flat[1::2], strict=True):
        if type(key) not in _SCALARS:
            raise PlainPickleError("a key that is no plain scalar")
        if type(key) is int and abs(key) >= _LARGEST_KEY:
            raise PlainPickleError("a key that is too large a number")
        target[key] = value


def _set_item(machine: _Machine) -> None:
    value, key = machine.stack.pop(), machine.stack.pop()
    _set_items(machine, [key, value])


def _dictionary(machine: _Machine) -> None:
    flat = machine.since_mark()
    machine.push(machine.container({}))
    _set_items(machine, flat)


def _pop(machine: _Machine) -> None:
    if machine.stack:
        machine.stack.pop()
    else:
        machine.since_mark()


def _protocol(machine: _Machine) -> None:
    if machine.take(1)[0] > 5:
        raise PlainPickleError("an unknown pickle protocol")


def _frame(machine: _Machine) -> None:
    if _U64(machine.take(8), 0)[0] > machine.end - machine.pos:
        raise PlainPickleError("the pickle ends too early")


def _put(machine: _Machine) -> None:
    machine.memo[_index(machine)] = machine.stack[-1]


def _index(machine: _Machine) -> int:
    text = machine.line()
    if len(text) > 20:
        raise PlainPickleError("a memo index of too many digits")
    return int(text)


_OPCODES: dict[int, Callable[[_Machine], None]] = {
    ord("("): _Machine.mark,
    ord("0"): _pop,
    ord("1"): lambda m: m.since_mark().clear(),
    ord("2"): lambda m: m.push(m.stack[-1]),
    ord("N"): lambda m: m.push(None),
    0x88: lambda m: m.push(True),
    0x89: lambda m: m.push(False),
    ord("I"): _integer,
    ord("L"): _integer,
    ord("K"): lambda m: m.push(m.take(1)[0]),
    ord("M"): lambda m: m.push(_U16(m.take(2), 0)[0]),
    0x8A: lambda m: _binary_integer(m, m.take(m.take(1)[0])),
    0x8B: lambda m: _binary_integer(m, m.sized(_U32, 4)),
    ord("F"): lambda m: m.push(float(m.line())),
    ord("S"): _quoted,
    ord("V"): lambda m: m.push(str(m.line(), "raw-unicode-escape")),
    ord("U"): lambda m: m.push(_text(m.take(m.take(1)[0]))),
    ord("T"): lambda m: m.push(_text(m.sized(_U32, 4))),
    0x8D: lambda m: m.push(_text(m.sized(_U64, 8))),
    ord("C"): lambda m: m.push(m.take(m.take(1)[0])),
    ord("B"): lambda m: m.push(m.sized(_U32, 4)),
    0x8E: lambda m: m.push(m.sized(_U64, 8)),
    0x96: lambda m: m.push(m.sized(_U64, 8)),
    ord(")"): lambda m: m.push(()),
    ord("t"): lambda m: m.push(m.container(tuple(m.since_mark()))),
    0x85: _tuple_of(1),
    0x87: _tuple_of(3),
    ord("]"): lambda m: m.push(m.container([])),
    ord("l"): lambda m: m.push(m.container(m.since_mark())),
    ord("a"): _append,
    ord("e"): _appends,
    ord("}"): lambda m: m.push(m.container({})),
    ord("d"): _dictionary,
    ord("s"): _set_item,
    ord("u"): lambda m: _set_items(m, m.since_mark()),
    0x8F: lambda m: m.push(m.container([])),
    0x90: _appends,
    0x91: lambda m: m.push(m.container(tuple(m.since_mark()))),
    ord("p"): _put,
    ord("g"): lambda m: m.push(m.memo[_index(m)]),
    ord("h"): lambda m: m.push(m.memo[m.take(1)[0]]),
    ord("j"): lambda m: m.push(m.memo[_U32(m.take(4), 0)[0]]),
    0x80: _protocol,
    0x95: _frame,
}
