"""istatd's administration by lines: commands, their answers, one after the other on each connection."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, Protocol

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IAddress
from twisted.internet.protocol import ServerFactory, connectionDone
from twisted.logger import Logger
from twisted.protocols.basic import LineOnlyReceiver
from twisted.python.failure import Failure

__all__ = ["AdminBackend", "AdminConnection", "AdminFactory", "answer"]

MAX_LINE_BYTES = 65536
MOST_WAITING = 1000
OK = "ok"
_NO_NUMBER = "bad lexical cast: source type value could not be interpreted as target"
_HELP = (
    "Commands:",
    "help - display this help",
    "stats - display stats",
    "flush - flush all counters",
    "faketime value - update faked time (for testing)",
    "purge [maxOld[,maxAge]] - purge old connection info records",
    "debug [option[,on|off]] - display or toggle debug options",
    "loglevel [level[,stderrLevel]] - display or change logging verbosity",
    "delete.ctr ctr.name ...- stop accepting data for a particular counter; close its files",
    "flush.setting name - flush (and later reload) settings file",
    "load.setting name - (re)load settings file",
    "quit - disconnect from stat server",
)
"""What istatd answers to `help`, word for word: scripts compare it."""


class AdminBackend(Protocol):
    """What commands do.  `log_levels` are those of the file and of standard error."""

    debug: dict[str, bool]
    log_levels: list[int]

    def stats(self) -> Sequence[tuple[str, str]]:
        """Return what `stats` shows."""

    async def flush(self) -> None:
        """Write every counter, settings and what is forwarded."""

    def set_fake_time(self, time: int) -> bool:
        """Set the clock that stands still; False where the clock is the real one."""

    def purge(self, most: int, age_s: int) -> None:
        """Forget connections that ended, down to `most`, unless they ended in the last `age_s`."""

    async def delete(self, name: str) -> None:
        """Delete a counter; unknown ones are no fault."""

    async def delete_matching(self, pattern: str) -> None:
        """Delete the counters that a pattern matches."""

    def flush_setting(self, name: str) -> None:
        """Save and forget a set of settings."""

    def load_setting(self, name: str) -> None:
        """Read a set of settings again."""

    def count(self, what: str) -> None:
        """Count `connections` and `commands`."""


class _RefusedError(Exception):
    """The command is answered with a line that begins `huh?`."""


async def answer(line: str, back: AdminBackend) -> list[str] | None:
    """Return the lines that answer a command line (its LF taken away), None where the connection is to be closed."""
    if not line:
        return ["huh? ('help' for help)"]
    command, _, rest = line.strip().partition(" ")
    rest = rest.strip()
    arguments = rest.split(",") if rest else []
    said: list[str] = []
    if command == "quit":
        return None
    try:
        if command not in _COMMANDS:
            raise _RefusedError(f"('help' for help) (received '{command}')")
        await _COMMANDS[command](arguments, back, said)
    except _RefusedError as refused:
        return [*said, f"huh? {refused}"]
    return [*said, OK]


async def _help(_arguments: list[str], _back: AdminBackend, said: list[str]) -> None:
    said += _HELP


async def _stats(_arguments: list[str], back: AdminBackend, said: list[str]) -> None:
    said += [f"{name}={value}" for name, value in back.stats()]


async def _flush(_arguments: list[str], back: AdminBackend, _said: list[str]) -> None:
    await back.flush()


async def _faketime(arguments: list[str], back: AdminBackend, _said: list[str]) -> None:
    if len(arguments) != 1:
        raise _RefusedError("requires one argument (timestamp)")
    if not back.set_fake_time(_number(arguments[0])):
        raise _RefusedError("Not started with --fake-time.")


async def _purge(arguments: list[str], back: AdminBackend, said: list[str]) -> None:
    try:
        numbers = [_number(argument) for argument in arguments[:2]]
    except _RefusedError:
        said.append("".join(f"{argument}, " for argument in arguments))
        raise
    most, age_s = [*numbers, *(0, 60)[len(numbers) :]]
    back.purge(most, age_s)


async def _debug(arguments: list[str], back: AdminBackend, said: list[str]) -> None:
    if len(arguments) > 2:
        raise _RefusedError("too many arguments")
    if len(arguments) == 2:
        name, word = arguments
        if word not in ("on", "off"):
            raise _RefusedError(f"Should be 'on' or 'off': {word}")
        if name in back.debug:
            back.debug[name] = word == "on"
    shown = back.debug if not arguments else {n: on for n, on in back.debug.items() if n == arguments[0]}
    said += [f"{name}: {'on' if on else 'off'}" for name, on in shown.items()]


async def _loglevel(arguments: list[str], back: AdminBackend, said: list[str]) -> None:
    if len(arguments) > 2:
        raise _RefusedError("too many arguments")
    levels = [_number(argument) for argument in arguments]
    if any(not 0 <= level <= 5 for level in levels):
        raise _RefusedError("loglevel must be between 0 and 5")
    back.log_levels[: len(levels)] = levels
    said.append("loglevel {} {}".format(*back.log_levels))


async def _delete_counter(arguments: list[str], back: AdminBackend, said: list[str]) -> None:
    await _each(arguments, "delete.ctr requires one or more counter names.", back.delete, said)


async def _delete_pattern(arguments: list[str], back: AdminBackend, said: list[str]) -> None:
    await _each(arguments, "delete.pattern requires one or more patterns.", back.delete_matching, said)


async def _each(
    arguments: list[str], missing: str, act: Callable[[str], Coroutine[Any, Any, None]], said: list[str]
) -> None:
    """Say each argument and act on it."""
    if not arguments:
        raise _RefusedError(missing)
    for argument in arguments:
        said.append(argument)
        await act(argument)


async def _flush_setting(arguments: list[str], back: AdminBackend, said: list[str]) -> None:
    back.flush_setting(_one_set(arguments, "flush.setting", said))


async def _load_setting(arguments: list[str], back: AdminBackend, said: list[str]) -> None:
    back.load_setting(_one_set(arguments, "load.setting", said))


def _one_set(arguments: list[str], command: str, said: list[str]) -> str:
    """Return the one name; the line that istatd puts before its `ok` is kept, as clients expect it."""
    if len(arguments) != 1:
        raise _RefusedError(f"{command} needs exactly one settings file name. (no path)")
    said.append(f"huh? ('help' for help) (received '{command}')")
    return arguments[0]


_COMMANDS: Mapping[str, Any] = {
    "help": _help,
    "stats": _stats,
    "flush": _flush,
    "faketime": _faketime,
    "purge": _purge,
    "debug": _debug,
    "loglevel": _loglevel,
    "delete.ctr": _delete_counter,
    "delete.pattern": _delete_pattern,
    "flush.setting": _flush_setting,
    "load.setting": _load_setting,
}


def _number(text: str) -> int:
    digits = text.removeprefix("-").removeprefix("+")
    if not digits.isdecimal() or not digits.isascii() or len(digits) > 18:
        raise _RefusedError(_NO_NUMBER)
    return int(text)


class AdminConnection(LineOnlyReceiver):
    """One client.  Commands are answered in their order; while one is at work, and others wait, nothing is read."""

    delimiter = b"\n"
    MAX_LENGTH = MAX_LINE_BYTES
    log = Logger()

    def __init__(self, backend: AdminBackend) -> None:
        self._backend = backend
        self._waiting: deque[bytes] = deque()
        self._busy = False
        self._paused = False
        self._gone = False

    def connectionMade(self) -> None:
        """Count the connection."""
        self._backend.count("connections")

    def lineReceived(self, line: bytes) -> None:
        """Take a command."""
        self._waiting.append(line)
        if self._busy:
            self._pause(len(self._waiting) >= MOST_WAITING)
        else:
            self._busy = True
            work = Deferred.fromCoroutine(self._work())
            work.addErrback(lambda failure: self.log.failure("An administrator's connection", failure))

    def connectionLost(self, reason: Failure = connectionDone) -> None:  # noqa: ARG002
        """Forget what waits."""
        self._gone = True
        self._waiting.clear()

    async def _work(self) -> None:
        """Answer what waits, in order."""
        try:
            while self._waiting and not self._gone:
                self._say(await self._answer(self._waiting.popleft().decode("utf-8", "replace")))
        finally:
            self._busy = False
            self._pause(False)

    async def _answer(self, line: str) -> list[str] | None:
        self._backend.count("commands")
        if self._backend.debug.get("admin"):
            self.log.info("An administrator says: {line}", line=line[:1000])
        try:
            return await answer(line, self._backend)
        except Exception as error:  # noqa: BLE001 (a command's fault is the administrator's to know)
            self.log.failure("An administrator's command")
            return [f"huh? {error}"]

    def _say(self, lines: list[str] | None) -> None:
        transport: Any = self.transport
        if lines is None:
            self._gone = True
            self._waiting.clear()
            transport.loseConnection()
        elif not self._gone:
            transport.write("".join(f"{line}\r\n" for line in lines).encode("utf-8", "replace"))

    def _pause(self, paused: bool) -> None:
        if paused != self._paused and not self._gone:
            self._paused = paused
            transport: Any = self.transport
            if paused:
                transport.pauseProducing()
            else:
                transport.resumeProducing()


class AdminFactory(ServerFactory):
    """Builds the connections of the admin port."""

    noisy = False

    def __init__(self, backend: AdminBackend) -> None:
        self._backend = backend

    def buildProtocol(self, addr: IAddress | None) -> AdminConnection:  # noqa: ARG002
        """Return the protocol of a new connection."""
        connection = AdminConnection(self._backend)
        connection.factory = self
        return connection
