"""Refusals with the status and text that a client sees."""

from __future__ import annotations

from cadtwist.errors import CadtwistError

__all__ = ["HTML", "PLAIN", "RefusedError", "invalid"]

HTML = "text/html; charset=utf-8"
PLAIN = "text/plain"


class RefusedError(CadtwistError):
    """A request is answered with `status` and `text` in place of data."""

    def __init__(self, status: int, text: str, content_type: str = PLAIN) -> None:
        super().__init__(text)
        self.status = status
        self.text = text
        self.content_type = content_type


def invalid(message: object) -> RefusedError:
    """Return graphite-web's refusal of a parameter."""
    return RefusedError(400, f"Invalid parameters ({message})", HTML)
