"""Who signs up and in: sessions are signed, so that every node of the same secret knows them; nothing is kept of them.

A user's id is a hash of the address, so that a node can tell whose home is where before the user is known.
"""

from __future__ import annotations

import os
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from http.cookies import SimpleCookie
from typing import Any

from cadtwist.config.dattssmodel import DattssConfig
from cadtwist.stages.dattssprocesses import iso_date
from cadtwist.storage.dattssbook import Account
from cadtwist.web.dattssdoors import Asked, Backend, DattssError

__all__ = ["SESSION", "SESSION_S", "AboutUsers", "answer_about_users", "session_user", "user_of"]

SESSION = b"dattss.sid"
SESSION_S = 365 * 86_400
MAX_EMAIL = 254
MAX_PASSWORD = 1024
_EMAIL = re.compile(r"[a-zA-Z0-9._\-+]+@[a-z0-9._\-]{2,}\.[a-z]{2,4}")
_MAIL = "<html><body><p>Please follow this link to choose your password:</p><p><a href='{0}'>{0}</a></p></body></html>"


@dataclass
class AboutUsers:
    """What to answer: a value, or what `work` gives on the node that is the home of `home`; a cookie, a place."""

    value: Any = True
    home: str | None = None
    work: Callable[[], Awaitable[Any]] | None = None
    cookie: Callable[[], str] | None = None
    location: str = ""


def user_of(backend: Backend, email: str) -> str:
    """Return the id of who has this address."""
    return backend.keys.hash("user:", email)


def session_user(backend: Backend, cookie: bytes | None) -> str | None:
    """Return whose session a cookie is, None for none that holds."""
    user, _, rest = (cookie or b"").decode("ascii", "replace").partition("|")
    until, _, signature = rest.partition("|")
    if not until.isdecimal() or len(until) > 15 or int(until) <= backend.clock():
        return None
    return user if backend.keys.is_signed(signature, "session:", user, "|", until) else None


def _session(backend: Backend, user: str) -> str:
    until = str(int(backend.clock()) + SESSION_S)
    value = f"{user}|{until}|{backend.keys.hash('session:', user, '|', until)}"
    return _cookie(value, SESSION_S)


def _cookie(value: str, seconds: int) -> str:
    name = SESSION.decode()
    jar = SimpleCookie({name: value})
    for attribute, setting in (("path", "/"), ("max-age", str(seconds)), ("samesite", "Strict")):
        jar[name][attribute] = setting
    return f"{jar[name].OutputString()}; HttpOnly"


async def answer_about_users(backend: Backend, user: str | None, asked: Asked) -> AboutUsers:
    """Return what is answered to a request for `auth/...` of somebody whose session is that of `user`."""
    door = _DOORS.get((asked.method, *asked.parts[1:2]) if len(asked.parts) == 2 else ())
    if door is None:
        raise DattssError("Not found")
    return door(backend, user, asked)


def _who(backend: Backend, user: str | None, _: Asked) -> AboutUsers:
    async def work() -> Any:
        account: Account | None = None if user is None else await backend.in_thread(backend.book.account, user)
        if account is None:
            return {"logged_in": False}
        return {
            "date": iso_date(account.since), "uid": account.user, "email": account.email,
            "auth": backend.keys.key(account.user), "logged_in": True,
        }  # fmt: skip

    return AboutUsers(home=user, work=work)


def _sign_up(backend: Backend, _: str | None, asked: Asked) -> AboutUsers:
    email = asked.text("email")
    if len(email) > MAX_EMAIL or not _EMAIL.fullmatch(email):
        raise DattssError("Wrong email")
    settings: DattssConfig = backend.settings
    if not settings.may_sign_up:
        raise DattssError("Nobody can sign up here")
    user = user_of(backend, email)

    async def work() -> Any:
        account = await backend.in_thread(backend.book.account_of, email)
        if account is not None:
            raise DattssError("Email already in use" if account.has_password else "Already signed up")
        code = _code()
        await backend.in_thread(backend.book.sign_up, user, email, code, int(backend.clock()))
        backend.known.add(user)
        await _send_code(backend, email, f"{user}.{code}")
        return {"uid": user}

    return AboutUsers(home=user, work=work)


def _sign_in(backend: Backend, _: str | None, asked: Asked) -> AboutUsers:
    email, password = asked.text("email"), asked.text("password")
    user = user_of(backend, email)

    async def work() -> Any:
        known = len(email) <= MAX_EMAIL and len(password) <= MAX_PASSWORD
        if not known or await backend.in_thread(backend.book.signed_in, email, password) is None:
            raise DattssError("Wrong email or password")
        return True

    return AboutUsers(home=user, work=work, cookie=lambda: _session(backend, user))


def _password(backend: Backend, _: str | None, asked: Asked) -> AboutUsers:
    user, _, code = asked.text("code").partition(".")
    password = asked.text("password")
    if not password or len(password) > MAX_PASSWORD:
        raise DattssError("Wrong password")

    async def work() -> Any:
        account = await backend.in_thread(backend.book.set_password, user, code, password)
        if account is None:
            raise DattssError("Wrong verification code")
        return True

    return AboutUsers(home=user, work=work, cookie=lambda: _session(backend, user))


def _reset(backend: Backend, _: str | None, asked: Asked) -> AboutUsers:
    email = asked.text("email")
    user = user_of(backend, email)

    async def work() -> Any:
        account = await backend.in_thread(backend.book.account_of, email) if len(email) <= MAX_EMAIL else None
        if account is not None:
            code = _code()
            await backend.in_thread(backend.book.sign_up, user, email, code, account.since)
            await _send_code(backend, email, f"{user}.{code}")
        return True

    return AboutUsers(home=user, work=work)


def _sign_out(backend: Backend, _: str | None, asked: Asked) -> AboutUsers:  # noqa: ARG001 (as the others)
    return AboutUsers(cookie=lambda: _cookie("", 0), location="/#/auth/signin")


async def _send_code(backend: Backend, email: str, code: str) -> None:
    settings: DattssConfig = backend.settings
    link = f"http://{settings.mail.domain}/#/auth/password?code={code}"
    await backend.mail(email, "DaTtSs password", _MAIL.format(link))


def _code() -> str:
    return os.urandom(20).hex()


_DOORS: dict[tuple[str, ...], Callable[[Backend, str | None, Asked], AboutUsers]] = {
    ("GET", "user"): _who,
    ("POST", "signup"): _sign_up,
    ("POST", "signin"): _sign_in,
    ("POST", "password"): _password,
    ("POST", "reset"): _reset,
    ("GET", "signout"): _sign_out,
}
