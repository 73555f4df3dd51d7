"""istatd's HTTP interface: which answer a request gets.  No socket: requests and answers are values."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from email.utils import formatdate
from typing import Any, NamedTuple, Protocol

from msgspec import structs

from cadtwist.errors import CadtwistError, StorageError
from cadtwist.query.countertree import CounterTree, Found, matcher
from cadtwist.query.istat import Selection
from cadtwist.query.shardanswer import ASKED_BY, SELECT_TARGET, pack_selections, read_question
from cadtwist.web.answers import Answer
from cadtwist.web.istatformats import counter_csv, counter_json, counter_list, error_text, many_json
from cadtwist.web.istatpage import PAGE

__all__ = [
    "AwayError", "Backend", "Listed", "Selected", "SettingsBackend", "StatFile", "StatRequest", "respond",
]  # fmt: skip

JSON, CSV, BINARY = "application/json", "text/csv", "application/octet-stream"
DEFAULT_SAMPLES, DEFAULT_MANY_SAMPLES = 1000, 100
MOST_KEYS = 10_000
MOST_FILE_BYTES = 1 << 20
_DAY_S, _HOUR_S = 86400, 3600
_MANY = ("/*", "/%2A", "/%2a")
_NAME = re.compile(r"[A-Za-z0-9_.-]*")
_INT = re.compile(r"[+-]?[0-9]{1,18}")
_BAD_KEY = re.compile(r"""[\s\x08\\/:;*?"'%()\[\]{}~$^#=+`-]""")
_TYPES = (
    (".htm", "text/html; charset=utf-8"),
    (".css", "text/css; charset=utf-8"),
    (".js", "application/javascript; charset=utf-8"),
    (".xml", "text/xml; charset=utf-8"),
    (".jpg", "image/jpeg"),
    (".png", "image/png"),
    (".gif", "image/gif"),
    (".ico", "image/x-icon"),
)


class StatFile(NamedTuple):
    """A file of the web app: its bytes (None where they are too many) and when it was changed (epoch seconds)."""

    data: bytes | None
    changed: int


class SettingsBackend(Protocol):
    """Named sets of settings, all texts."""

    async def get(self, name: str) -> dict[str, str] | None:
        """Return a set, None where there is none of that name."""

    async def put(self, name: str, changes: Mapping[str, str]) -> None:
        """Change values, make the set if it is missing; an empty value deletes its key."""


class Listed(NamedTuple):
    """The levels of counters that a pattern matches, and the names of the shards that did not tell theirs."""

    found: list[Found]
    away: tuple[str, ...] = ()


class AwayError(CadtwistError):
    """Who keeps a counter or a set of settings does not answer."""


Selected = Selection | AwayError | None
"""A counter's cells; None where there is no such counter."""


class Backend(Protocol):
    """What the answers are made of.  `tree` is None without a store.

    `local` is the same without other shards: what another shard is answered from.
    """

    compat: bool
    settings: SettingsBackend

    @property
    def tree(self) -> CounterTree | None:
        """The counters that are known here."""

    @property
    def local(self) -> Backend:
        """What this daemon keeps itself."""

    def now(self) -> int:
        """Return the time, epoch seconds."""

    async def select(self, name: str, start: int, end: int, most: int, trailing: bool) -> Selection | None:
        """Return a counter's cells, None where there is no such counter.  AwayError."""

    async def select_many(
        self, names: Sequence[str], start: int, end: int, most: int, trailing: bool
    ) -> list[Selected]:
        """Return the cells of each counter."""

    async def matching(self, pattern: str) -> Listed:
        """Return the levels of counters that a pattern matches, sorted."""

    async def all_agents(self) -> Sequence[Mapping[str, object]]:
        """Return what is known of each connection."""

    def file(self, name: str) -> StatFile | None:
        """Return a file of the web app by its plain name, None where there is none."""


@dataclass(frozen=True)
class StatRequest:
    """A request; `target` is the raw text between method and version, `headers` have lower-case names.

    `body` is None where the client announced none.
    """

    method: str
    target: str
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None

    @property
    def path(self) -> str:
        """The target before its query, as it came."""
        return self.target.partition("?")[0]


class _BadRequestError(Exception):
    """The request is answered with 400 and this text."""


async def respond(request: StatRequest, back: Backend) -> Answer:
    """Return the answer to a request.  Never raises for what a client says."""
    if not request.headers:
        return Answer(b"", JSON, 400)
    cross = _cross_origin(request)
    back = back.local if ASKED_BY in request.headers else back
    try:
        answer = await _dispatch(request, back)
    except _BadRequestError as error:
        answer = Answer(error_text(str(error)), JSON, 400)
    except StorageError as error:
        answer = Answer(error_text(f"HTTP exception: {error}"), JSON, 400)
    except AwayError as error:
        answer = _error(503, str(error))
    return Answer(answer.body, answer.content_type, answer.status, {**cross, **answer.headers}) if cross else answer


async def _dispatch(request: StatRequest, back: Backend) -> Answer:
    if request.method == "OPTIONS":
        return Answer(b"", JSON, 204)
    if request.method == "POST":
        return await _post(request, back)
    if request.method != "GET":
        return _error(405, "Bad method")
    target, params = request.target, _params(request.target)
    if target == "/":
        answer = _file("index.html", back)
        return _text(PAGE, "text/html; charset=utf-8") if answer.status == 404 else answer
    if target.startswith("/files/"):
        return _file(target[len("/files/") :].partition("?")[0], back)
    if target in ("/favicon.ico", "favicon.ico"):
        return _file("favicon.ico", back)
    if "f" in params:
        return _file(target[4:], back) if target.startswith("/?f=") else Answer(b"", JSON, 404)
    if "a" in params:
        return await _agents(back)
    if "q" in params:
        if back.tree is None:
            return _error(503, "no store")
        listed = await back.matching(params["q"])
        return _partial(_text(counter_list(params["q"], listed.found, listed.away)), listed.away)
    if "s" in params:
        return await _get_settings(params, back)
    return await _counter(request.path.removeprefix("/"), params, back)


async def _post(request: StatRequest, back: Backend) -> Answer:
    if request.body is None:
        raise _BadRequestError("HTTP exception: Can't read body without content-length")
    if request.target in _MANY:
        return await _many(request.body, back)
    if request.target == SELECT_TARGET and ASKED_BY in request.headers:
        return await _select(request.body, back)
    params = _params(request.target)
    if "s" in params:
        return await _post_settings(params["s"], request.body, back)
    return _error(404, "No such POST target")


# Counters


async def _counter(name: str, params: Mapping[str, str], back: Backend) -> Answer:
    if back.tree is None:
        return _error(503, "no store")
    start, end = _integer(params, "start", 0), _integer(params, "end", 0)
    samples, trailing = _integer(params, "samples", DEFAULT_SAMPLES), _integer(params, "trailing", 0)
    for what, value in (("start", start), ("end", end), ("samples", samples)):
        if value < 0:
            raise _BadRequestError(f"HTTP exception: Invalid {what} parameter")
    if start and end and end < start:
        raise _BadRequestError("HTTP exception: end must be greater than start!")
    kind = params.get("format", "json")
    if kind not in ("json", "csv"):
        raise _BadRequestError("HTTP exception: unrecognized format. must be 'json' or 'csv'.")
    selection = await back.select(name, start, end, samples, bool(trailing))
    if selection is None:
        return _error(404, f"No such counter {name}")
    if kind == "csv":
        return _text(counter_csv(selection, back.compat), CSV)
    return _text(counter_json(selection, back.compat))


async def _many(body: bytes, back: Backend) -> Answer:
    if back.tree is None:
        return _error(503, "no store")
    asked = _parsed(body)
    if not isinstance(asked, dict):
        raise _BadRequestError("JSON body must be an object")
    start, stop = _whole(asked.get("start")), _whole(asked.get("stop"))
    if start < 0:
        raise _BadRequestError("Invalid 'start' parameter")
    if stop < 0:
        raise _BadRequestError("Invalid 'stop' parameter")
    if stop < start:
        raise _BadRequestError("Start must be before stop")
    keys = asked.get("keys")
    if not isinstance(keys, list):
        raise _BadRequestError("Missing 'key' array of keys")
    if not all(isinstance(key, str) for key in keys):
        raise _BadRequestError("exception: Type is not convertible to string")
    if len(keys) > MOST_KEYS:
        raise _BadRequestError(f"at most {MOST_KEYS} keys")
    most, trailing = _whole(asked.get("maxSamples")), bool(_whole(asked.get("trailing")))
    if most < 0:
        raise _BadRequestError("Invalid 'maxSamples' parameter")
    keys = list(dict.fromkeys(keys))
    found = await back.select_many(keys, start, stop, most or DEFAULT_MANY_SAMPLES, trailing)
    away = tuple(sorted({str(one) for one in found if isinstance(one, AwayError)}))
    told = [(key, str(one) if isinstance(one, AwayError) else one) for key, one in zip(keys, found, strict=True)]
    return _partial(_text(many_json(told, bool(asked.get("compact")), back.compat)), away)


async def _select(body: bytes, back: Backend) -> Answer:
    """Answer another shard."""
    try:
        asked = read_question(body)
    except ValueError as error:
        raise _BadRequestError(str(error)) from None
    if len(asked.names) > MOST_KEYS:
        raise _BadRequestError(f"at most {MOST_KEYS} keys")
    found = await back.select_many(*asked)
    return Answer(pack_selections([None if isinstance(one, AwayError) else one for one in found]), BINARY)


def _partial(answer: Answer, away: Sequence[str]) -> Answer:
    """Tell in a header what is missing in an answer."""
    if not away:
        return answer
    return structs.replace(answer, headers={**answer.headers, "X-Cadtwist-Missing": ", ".join(away)})


def _parsed(body: bytes) -> Any:
    try:
        return json.loads(body)
    except ValueError as error:
        line, column = getattr(error, "lineno", 1), getattr(error, "colno", 1)
        problem = f"* Line {line}, Column {column}\n  Syntax error: value, object or array expected.\n"
        raise _BadRequestError(problem) from None
    except RecursionError:
        raise _BadRequestError("the JSON body is nested too deeply") from None


def _whole(value: object) -> int:
    """Return a number of a JSON body as istatd's library converts it; null is 0."""
    if value is None:
        return 0
    if isinstance(value, int) or (isinstance(value, float) and abs(value) < 1 << 63):
        number = int(value)
    else:
        raise _BadRequestError("exception: Type is not convertible to Int64")
    if not -(1 << 63) <= number < 1 << 63:
        raise _BadRequestError("exception: Type is not convertible to Int64")
    return number


def _integer(params: Mapping[str, str], name: str, default: int) -> int:
    text = params.get(name)
    if text is None:
        return default
    if not _INT.fullmatch(text):
        raise _BadRequestError(f"HTTP exception: Bad integer argument {name}: {text}")
    return int(text)


# Agents and settings


async def _agents(back: Backend) -> Answer:
    agents = [dict(agent) for agent in await back.all_agents()]
    body = json.dumps({"count": len(agents), "agents": agents}, ensure_ascii=False, separators=(",", ":"))
    return _text(body)


async def _get_settings(params: Mapping[str, str], back: Backend) -> Answer:
    found = await back.settings.get(_settings_name(params["s"]))
    if found is None:
        return _error(404, "no such settings")
    wanted = matcher(params.get("sk", "*"))
    chosen = {key: value for key, value in sorted(found.items()) if wanted(key)}
    if not chosen:
        return _text("null\n", status=404)
    return _text(json.dumps(chosen, ensure_ascii=False, separators=(",", ":")) + "\n")


async def _post_settings(name: str, body: bytes, back: Backend) -> Answer:
    name = _settings_name(name)
    given = _parsed(body)
    if not isinstance(given, dict):
        raise _BadRequestError("JSON settings must be key/value object")
    changes = {}
    for key, value in sorted(given.items()):
        if value is None or isinstance(value, (dict, list)):
            raise _BadRequestError(f"JSON setting values cannot be compound (found {key})")
        if not _BAD_KEY.search(key):
            changes[key] = value if isinstance(value, str) else json.dumps(value)
    await back.settings.put(name, changes)
    return _text('{"success":true}')


def _settings_name(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise _BadRequestError("invalid settings name")
    return name


# Files


def _file(name: str, back: Backend) -> Answer:
    """Return a file of the web app; slashes become dots, so that no name leads elsewhere."""
    name = name.replace("/", ".")
    found = back.file(name)
    if found is None:
        return Answer(b"", JSON, 404)
    if found.data is None or len(found.data) > MOST_FILE_BYTES:
        return Answer(b"", JSON, 500)
    now, age = back.now(), back.now() - found.changed
    headers = {
        "Date": formatdate(now, usegmt=True),
        "Modified": formatdate(found.changed, usegmt=True),
        "Etag": f"{found.changed}_{len(found.data)}",
    }
    if age > _DAY_S or name.endswith((".png", ".min.js")):
        fresh_s = 0 if age < _HOUR_S else 60 if age < _DAY_S else _HOUR_S
        headers["Cache-Control"] = "public; max-age=3600"
        headers["Expires"] = formatdate(now + fresh_s, usegmt=True)
    kind = next((kind for part, kind in _TYPES if part in name), "application/octet-stream")
    return Answer(found.data, kind, headers=headers)


# Common parts


def _cross_origin(request: StatRequest) -> dict[str, str]:
    """Return the headers that let other origins read: for any OPTIONS, for multi-gets and for files."""
    many = request.method == "POST" and request.target in _MANY
    file = request.method == "GET" and request.target.startswith("/files/")
    if request.method != "OPTIONS" and not many and not file:
        return {}
    origin = "/".join(request.headers.get("referer", "").split("/")[:3]) or "*"
    return {"Access-Control-Allow-Origin": origin, "Access-Control-Allow-Credentials": "true"}


def _params(target: str) -> dict[str, str]:
    """Return the parameters of a target's query; what is no `key=value` does not count."""
    parts = (part.partition("=") for part in target.partition("?")[2].split("&"))
    return {_decoded(key): _decoded(value) for key, equals, value in parts if equals}


def _decoded(text: str) -> str:
    """Decode a query's `+` and `%XX`; a digit that is none counts 15, as clients of istatd may rely on."""
    if "%" not in text and "+" not in text:
        return text
    data = text.replace("+", " ").encode("utf-8", "replace")
    return re.sub(rb"%(..)", _byte, data, flags=re.DOTALL).decode("utf-8", "replace")


def _byte(match: re.Match[bytes]) -> bytes:
    digits = b"0123456789abcdef"
    high, low = (digits.find(digit) if digit in digits else 15 for digit in match.group(1).lower())
    return bytes([high << 4 | low])


def _text(text: str, kind: str = JSON, status: int = 200) -> Answer:
    return Answer(text.encode("utf-8", "replace"), kind, status)


def _error(status: int, text: str) -> Answer:
    return Answer(error_text(text), JSON, status)
