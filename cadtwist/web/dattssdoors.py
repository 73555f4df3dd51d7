"""What DaTtSs' API answers about one user: state, history, favourites, alerts, processes.  No transport."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from msgspec import Struct
from twisted.internet.defer import Deferred

from cadtwist.codec.dattss import DattssKeys, Put
from cadtwist.config.dattssmodel import DattssConfig
from cadtwist.errors import CadtwistError, StorageError
from cadtwist.model.dattssalert import OPERATORS, PROCESS, Alert, alert_keys
from cadtwist.model.partial import KINDS, is_path
from cadtwist.model.summaryjob import StatisticKey
from cadtwist.stages.dattsshistory import checked_offset, checked_step
from cadtwist.storage.dattssbook import DattssBook

__all__ = ["Asked", "Backend", "DattssError", "answer_of"]

MAX_PROCESS = 1024
_MOST_VALUE = 1 << 53


class DattssError(CadtwistError):
    """A request is refused; the text is what its client sees."""


class Backend(Protocol):
    """What is asked of a server."""

    keys: DattssKeys
    book: DattssBook
    settings: DattssConfig
    known: set[str]
    stopping: bool
    clock: Callable[[], float]

    def admit(self, user: str) -> None:
        """Let a user put; AuthError for one who may not."""

    def put(self, name: str, put: Put) -> bool:
        """Take what a user puts; False where there is no room."""

    def status(self, name: str) -> dict[str, list[dict[str, Any]]]:
        """Return the current state of a user."""

    def processes(self, name: str) -> list[dict[str, Any]]:
        """Return the processes of a user."""

    def poll(self, name: str, process: str, press: Callable[[], object]) -> Callable[[], None] | None:
        """A process waits to be killed; return what it calls when it leaves, None where there is no room."""

    def kill(self, name: str, process: str) -> int | None:
        """End processes; None where there are none of that name."""

    def listen(self, name: str, listener: Callable[[], object]) -> Callable[[], None] | None:
        """Hear of news of a user."""

    def history(self, key: StatisticKey, offset: int, step: int) -> Deferred[dict[str, list[dict[str, Any]]]]:
        """Return today's curve and that of the week before."""

    def current(self, name: str) -> dict[str, dict[str, Any]]:
        """Return the current state of a user by process."""

    def destroy(self, name: str, process: str) -> bool:
        """Take a process off that state; False where there is none of that name."""

    def day(self, key: StatisticKey, offset: int) -> Deferred[dict[str, list[Any]]]:
        """Return today and the mean day of the week before, in steps of ten minutes."""

    def in_thread(self, function: Callable[..., Any], *arguments: Any) -> Deferred[Any]:
        """Do what blocks."""

    def reload_alerts(self, alerts: list[Alert]) -> None:
        """Watch these alerts."""

    def mail(self, to: str, subject: str, page: str) -> Deferred[Any]:
        """Send a mail."""


class Asked(Struct):
    """A request: what follows `/s` (or `/demo`) in its path, and its parameters from query and body."""

    method: str
    parts: list[str]
    params: dict[str, Any]
    read_only: bool = False

    def text(self, name: str) -> str:
        """Return a parameter as text, empty where it is missing."""
        value = self.params.get(name, "")
        return value if isinstance(value, str) else str(value)


Door = Callable[[Backend, str, Asked], Awaitable[Any]]


async def answer_of(backend: Backend, user: str, asked: Asked) -> Any:
    """Return what a user is answered, True for a mere ok; DattssError."""
    parts = asked.parts
    door = _DOORS.get((asked.method, parts[0] if parts else "", len(parts)))
    if door is None:
        raise DattssError("Not found")
    if asked.read_only and (asked.method != "GET" or door is _destroy):
        return True
    try:
        return await door(backend, user, asked)
    except StorageError as error:
        raise DattssError(str(error)) from error


async def _status(backend: Backend, user: str, _: Asked) -> Any:
    return backend.status(user)


async def _processes(backend: Backend, user: str, _: Asked) -> Any:
    return backend.processes(user)


async def _kill(backend: Backend, user: str, asked: Asked) -> Any:
    if backend.kill(user, asked.parts[1]) is None:
        raise DattssError(f"No process found with this name: {asked.parts[1][:MAX_PROCESS]}")
    return True


async def _stats(backend: Backend, user: str, asked: Asked) -> Any:
    _, path, kind, offset, step = [*asked.parts, "", ""][:5]
    key = StatisticKey(user, _kind(kind), _path(path))
    return await backend.history(key, checked_offset(offset), checked_step(step))


async def _current(backend: Backend, user: str, _: Asked) -> Any:
    begun = backend.clock()
    return _first(backend, user, begun, current=backend.current(user))


async def _stat(backend: Backend, user: str, asked: Asked) -> Any:
    begun, name = backend.clock(), asked.text("name")
    path = f"{asked.text('process')}.{name}" if backend.settings.process_prefix else name
    key = StatisticKey(user, _kind(asked.text("type")), _path(path))
    return _first(backend, user, begun, stat=await backend.day(key, checked_offset(asked.text("offset"))))


async def _destroy(backend: Backend, user: str, asked: Asked) -> Any:
    begun, process = backend.clock(), asked.text("process")
    if not backend.destroy(user, process):
        raise DattssError(f"No process found with this name: {process[:MAX_PROCESS]}")
    return _first(backend, user, begun)


def _first(backend: Backend, user: str, begun: float, **told: Any) -> dict[str, Any]:
    """Return an answer of the first generation: whose it is, and how many milliseconds it took."""
    return {"ok": True, "id": user, "took": round((backend.clock() - begun) * 1000), **told}


async def _favourites(backend: Backend, user: str, _: Asked) -> Any:
    return await backend.in_thread(backend.book.favourites, user)


async def _favourite(backend: Backend, user: str, asked: Asked) -> Any:
    kind, dash, path = asked.parts[1].partition("-")
    if not dash:
        raise DattssError(f"Wrong param favorite: {asked.parts[1][:MAX_PROCESS]}")
    favourite = f"{_kind(kind)}-{_path(path)}"
    book = backend.book
    change = book.add_favourite if asked.method == "PUT" else book.remove_favourite
    await backend.in_thread(change, user, favourite)
    return True


async def _alerts(backend: Backend, user: str, _: Asked) -> Any:
    found: list[Alert] = await backend.in_thread(backend.book.alerts)
    return [
        {"id": each.id, "type": each.kind, "path": each.path, "key": each.key, "operator": each.operator,
         "value": int(each.value)}
        for each in found if each.user == user
    ]  # fmt: skip


async def _add_alert(backend: Backend, user: str, asked: Asked) -> Any:
    _, kind, path = asked.parts
    key, operator = asked.text("key"), asked.text("operator")
    if kind == PROCESS:
        if not path or len(path) > MAX_PROCESS:
            raise DattssError("Wrong param path")
    else:
        _kind(kind), _path(path)
    if key not in alert_keys(kind):
        raise DattssError(f"Wrong param key: {key[:MAX_PROCESS]}")
    if operator not in OPERATORS:
        raise DattssError(f"Wrong param operator: {operator[:MAX_PROCESS]}")
    value = _whole(asked.text("value"))
    salt = os.urandom(8).hex()
    number = backend.keys.hash(kind, path, user, str(backend.clock()), salt)
    await backend.in_thread(backend.book.add_alert, Alert(number, user, kind, path, key, operator, value))
    await _watch(backend)
    return True


async def _remove_alert(backend: Backend, user: str, asked: Asked) -> Any:
    if not await backend.in_thread(backend.book.remove_alert, user, asked.parts[1]):
        raise DattssError(f"No alert found with this id: {asked.parts[1][:MAX_PROCESS]}")
    await _watch(backend)
    return True


async def _watch(backend: Backend) -> None:
    backend.reload_alerts(await backend.in_thread(backend.book.alerts))


def _kind(text: str) -> str:
    if text not in KINDS:
        raise DattssError(f"Wrong param type: {text[:MAX_PROCESS]}")
    return text


def _path(text: str) -> str:
    if not is_path(text):
        raise DattssError(f"Wrong param path: {text[:MAX_PROCESS]}")
    return text


def _whole(text: str) -> int:
    """Return the whole number that a text begins with, as JavaScript reads it."""
    digits = ""
    for character in text.strip()[:20]:
        if not (character in "0123456789" or (character in "+-" and not digits)):
            break
        digits += character
    try:
        value = int(digits)
    except ValueError:
        value = _MOST_VALUE + 1
    if abs(value) > _MOST_VALUE:
        raise DattssError(f"Wrong param value: {text[:MAX_PROCESS]}")
    return value


_DOORS: dict[tuple[str, str, int], Door] = {
    ("GET", "status", 1): _status,
    ("GET", "processes", 1): _processes,
    ("DELETE", "process", 2): _kill,
    ("GET", "stats", 3): _stats,
    ("GET", "stats", 4): _stats,
    ("GET", "stats", 5): _stats,
    ("GET", "current", 1): _current,
    ("GET", "stat", 1): _stat,
    ("GET", "destroy", 1): _destroy,
    ("GET", "favorite", 1): _favourites,
    ("PUT", "favorite", 2): _favourite,
    ("DELETE", "favorite", 2): _favourite,
    ("GET", "alert", 1): _alerts,
    ("PUT", "alert", 3): _add_alert,
    ("DELETE", "alert", 2): _remove_alert,
}
