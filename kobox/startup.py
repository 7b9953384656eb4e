"""`NamedTuple`, `Protocol`, `cached_property` and `IntFlag` as the standard library has them, without its imports.

`typing` brings `re`, `enum`, `functools` and `collections` along: 8 ms of processor time, as much as Python itself
takes to start, and several times what `modprobe -D` has to do. So the files that this command, `modinfo` and `lsmod`
are made of take these from here. Type checkers see the originals.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from enum import IntFlag as IntFlag
    from functools import cached_property as cached_property
    from typing import NamedTuple as NamedTuple
    from typing import Protocol as Protocol
else:
    from _collections import _tuplegetter  # what collections.namedtuple uses

    class cached_property:  # noqa: N801 - it stands for functools.cached_property
        """A property that is computed once, and then is an attribute of the object."""

        def __init__(self, function: Callable[[object], object]) -> None:
            self._function = function
            self.__doc__ = function.__doc__

        def __set_name__(self, owner: type, name: str) -> None:
            self._name = name

        def __get__(self, instance: object, owner: type | None = None) -> object:
            if instance is None:
                return self
            value = self._function(instance)
            instance.__dict__[self._name] = value
            return value

    class _Maker(type):
        """Makes a subclass of tuple out of a class body with annotations."""

        def __new__(mcs, name: str, bases: tuple[type, ...], body: dict[str, object]) -> type:
            if not bases:
                return super().__new__(mcs, name, bases, body)
            fields = tuple(body.get("__annotations__", ()))
            defaults = {field: body[field] for field in fields if field in body}
            body |= {field: _tuplegetter(number, f"Field {number}.") for number, field in enumerate(fields)}
            body |= {"__slots__": (), "_fields": fields, "_field_defaults": defaults, "__match_args__": fields}
            return type(name, (_Record,), body)

    class _Record(tuple):
        __slots__ = ()
        _fields: tuple[str, ...] = ()
        _field_defaults: dict[str, object] = {}  # noqa: RUF012 - of the class, as namedtuple has it

        def __new__(cls, *values: object, **named: object) -> _Record:
            if named or len(values) != len(cls._fields):
                values = cls._bound(values, named)
            return tuple.__new__(cls, values)

        @classmethod
        def _bound(cls, values: tuple[object, ...], named: dict[str, object]) -> tuple[object, ...]:
            rest = cls._fields[len(values) :]
            if len(values) > len(cls._fields) or not named.keys() <= set(rest):
                raise TypeError(f"{cls.__name__} takes {', '.join(cls._fields)}")
            given = cls._field_defaults | named
            missing = [field for field in rest if field not in given]
            if missing:
                raise TypeError(f"{cls.__name__} misses {', '.join(missing)}")
            return (*values, *[given[field] for field in rest])

        @classmethod
        def _make(cls, values: Iterable[object]) -> _Record:
            made = tuple.__new__(cls, values)
            if len(made) != len(cls._fields):
                raise TypeError(f"{cls.__name__} has {len(cls._fields)} fields, not {len(made)}")
            return made

        def _replace(self, **named: object) -> _Record:
            fields = self._asdict()
            if not named.keys() <= fields.keys():
                raise ValueError(f"{type(self).__name__} has no {', '.join(sorted(named.keys() - fields.keys()))}")
            return self._make((fields | named).values())

        def _asdict(self) -> dict[str, object]:
            return dict(zip(self._fields, self, strict=True))

        def __getnewargs__(self) -> tuple[object, ...]:
            return tuple(self)

        def __repr__(self) -> str:
            shown = ", ".join(f"{field}={value!r}" for field, value in zip(self._fields, self, strict=True))
            return f"{type(self).__name__}({shown})"

    class NamedTuple(metaclass=_Maker):
        """A base class: the annotations of the class body are the fields of a tuple."""

    class Protocol:
        """A base class: who has the methods of the class body fits, whatever it is."""

    class _FlagMaker(type):
        """Makes the numbers of a class body instances of the class."""

        def __new__(mcs, name: str, bases: tuple[type, ...], body: dict[str, object]) -> type:
            flags = {key: value for key, value in body.items() if type(value) is int}
            made = super().__new__(mcs, name, bases, {key: value for key, value in body.items() if key not in flags})
            made._flags = {key: int.__new__(made, value) for key, value in flags.items()}
            for key, flag in made._flags.items():
                setattr(made, key, flag)
            return made

    class IntFlag(int, metaclass=_FlagMaker):
        """Flags that are numbers, and stay flags when they are combined."""

        def __or__(self, other: int) -> IntFlag:
            return type(self)(int(self) | int(other))

        def __and__(self, other: int) -> IntFlag:
            return type(self)(int(self) & int(other))

        def __xor__(self, other: int) -> IntFlag:
            return type(self)(int(self) ^ int(other))

        __ror__, __rand__, __rxor__ = __or__, __and__, __xor__

        def __contains__(self, other: int) -> bool:
            return int(self) & int(other) == int(other)

        def __iter__(self) -> Iterator[IntFlag]:
            return (flag for flag in self._flags.values() if flag and flag in self)

        def __repr__(self) -> str:
            names = "|".join(name for name, flag in self._flags.items() if (flag and flag in self) or flag == self)
            return f"<{type(self).__name__}{f'.{names}' if names else ''}: {int(self)}>"
