"""Module parameters as the kernel's own syntax has them: `a=1 name="two words" flag`."""

from __future__ import annotations

from kobox.startup import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


def join(parameters: Mapping[str, object]) -> str:
    """Parameters by name as one string: True stands for `name=1`, False for `name=0`, a sequence for `a,b`.

    Raises `ValueError` for a value with both a blank and a double quote, which the kernel has no way to write.
    """
    return " ".join(f"{name}={quoted(_text(value))}" for name, value in parameters.items())


def join_arguments(arguments: Iterable[str]) -> str:
    """Words of a command line as one string: a value with blanks gets the quotes that the shell took away."""
    words = []
    for word in arguments:
        name, equals, value = word.partition("=")
        words.append(f"{name}={quoted(value)}" if equals else word)
    return " ".join(words)


def quoted(value: str) -> str:
    """A value as the kernel reads it."""
    if not any(character.isspace() for character in value) or value.startswith('"'):
        return value
    if '"' in value:
        raise ValueError(f"{value!r} has both blanks and double quotes; no module parameter can have both")
    return f'"{value}"'


def _text(value: object) -> str:
    if value is True:
        return "1"
    if value is False:
        return "0"
    if isinstance(value, (list, tuple)):
        return ",".join(map(_text, value))
    return str(value)
