"""Numbers as JavaScript writes them: statsd's clients and peers know its values in this form."""

from __future__ import annotations

__all__ = ["js_text"]

_EXPONENT_FROM = 21
_FRACTION_DOWN_TO = -6


def js_text(value: float) -> str:
    """Return the shortest text that reads back as `value`: no `.0`, an exponent below 1e-6 and from 1e21 on."""
    text = repr(value)
    if "e" not in text:
        return "0" if value == 0.0 else text.removesuffix(".0").replace("inf", "Infinity").replace("nan", "NaN")
    mantissa, _, power = text.partition("e")
    sign = "-" if mantissa[0] == "-" else ""
    digits = mantissa.lstrip("-").replace(".", "")
    point = int(power) + 1
    if 0 < point <= _EXPONENT_FROM:
        return sign + digits.ljust(point, "0")
    if _FRACTION_DOWN_TO < point <= 0:
        return f"{sign}0.{'0' * -point}{digits}"
    return f"{sign}{digits[0]}{'.' if digits[1:] else ''}{digits[1:]}e{point - 1:+d}"
