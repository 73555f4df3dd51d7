"""Who may ask: names with passwords (HTTP's Basic), or tokens (Bearer)."""

from __future__ import annotations

import binascii
from base64 import b64decode
from collections.abc import Iterable
from hashlib import sha256
from hmac import compare_digest

__all__ = ["CHALLENGE", "Gatekeeper"]

CHALLENGE = 'Basic realm="cadtwist", charset="UTF-8"'
_HASHED = "sha256:"


class Gatekeeper:
    """Knows `users` (`name:password`, or `name:sha256:hex digest`) and `tokens` (the same without a name).

    Without any everybody may ask.  Comparing takes the same time whatever is wrong.
    """

    def __init__(self, users: Iterable[str] = (), tokens: Iterable[str] = ()) -> None:
        self._users = {name: _digest(password) for name, _, password in (user.partition(":") for user in users)}
        self._tokens = [_digest(token) for token in tokens]

    @property
    def is_open(self) -> bool:
        """True where nobody needs to tell who he is."""
        return not self._users and not self._tokens

    def admits(self, authorization: str | None) -> bool:
        """Tell whether who sends this header may ask."""
        if self.is_open:
            return True
        scheme, _, told = (authorization or "").strip().partition(" ")
        if scheme.lower() == "bearer":
            mine = sha256(told.strip().encode()).digest()
            fits = [compare_digest(mine, token) for token in self._tokens]
            return any(fits)
        if scheme.lower() != "basic":
            return False
        try:
            name, colon, password = b64decode(told.strip(), validate=True).decode().partition(":")
        except (binascii.Error, ValueError):
            return False
        known = self._users.get(name)
        same = compare_digest(sha256(password.encode()).digest(), known or bytes(32))
        return bool(colon) and known is not None and same


def _digest(secret: str) -> bytes:
    """Return the SHA-256 of a secret, or the one that is given in its place; ValueError for one that is none."""
    if not secret.startswith(_HASHED):
        return sha256(secret.encode()).digest()
    digest = bytes.fromhex(secret.removeprefix(_HASHED))
    if len(digest) != 32:
        raise ValueError("a SHA-256 has 64 hexadecimal digits")
    return digest
