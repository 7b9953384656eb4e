"""Buffers that ethtool's part of the kernel lends to functions of a network driver, as large as the driver has said.

    get_sset_count(dev, set) → n         get_strings(dev, set, buffer)            32 bytes for each
                                         self_test(dev, test, buffer)             8 bytes for each of ETH_SS_TEST
    get_ethtool_stats(dev, stats, buffer)     stats->n_stats numbers of 8 bytes
    get_regs_len(dev) → n                     get_regs(dev, regs, buffer)         n bytes

They come from vzalloc(): what lies behind, to the end of the page, is nobody's. Source: net/ethtool/ioctl.c.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

from kobox.box.inspect.probes import Hit
from kobox.checks.memory.lent_buffers import LentBuffers
from kobox.checks.runner.session import Examination
from kobox.errors import KoboxError

_STRING = 32  # ETH_GSTRING_LEN
_NUMBER = 8
_TESTS = 0  # ETH_SS_TEST
_OPERATIONS = "ethtool_ops"


class EthtoolBuffers:
    """The probes on the functions of a module's network devices that fill such buffers."""

    def __init__(self, examination: Examination, buffers: LentBuffers) -> None:
        self._examination = examination
        self._objects = examination.box.inspect.objects
        self._buffers = buffers
        self._known: set[int] = set()
        self._counts: dict[tuple[int, int], int] = {}  # by device and set of strings
        self._sizes: dict[int, int] = {}  # of registers, by device
        imports = {wanted.name for wanted in examination.file.imports}
        symbols = examination.box.inspect.symbols
        if any("register_netdev" in name for name in imports) and "register_netdevice" in symbols:
            examination.probe("register_netdevice", self._registers)

    def linked(self) -> None:
        """Another life begins: functions lie elsewhere."""
        self._known.clear()
        self._counts.clear()
        self._sizes.clear()

    def _registers(self, hit: Hit) -> None:
        with suppress(KoboxError, ValueError):
            operations = self._objects.number(hit.args[0], "net_device.ethtool_ops")
            if operations:
                self._follow(operations)

    def _follow(self, operations: int) -> None:
        self._watch(operations, "get_sset_count", self._asked, self._counted)
        self._watch(operations, "get_regs_len", self._asked, self._sized)
        for name, size in (
            ("get_strings", self._strings),
            ("self_test", self._tests),
            ("get_ethtool_stats", self._statistics),
            ("get_regs", self._registers_of),
        ):
            self._watch(operations, name, self._lending(name, size), self._buffers.returned)

    def _watch(
        self, operations: int, name: str, on_entry: Callable[[Hit], None], on_return: Callable[[Hit], None]
    ) -> None:
        function = self._objects.number(operations, f"{_OPERATIONS}.{name}")
        if function not in self._known and self._examination.in_module(function):
            self._known.add(function)
            self._examination.probe_code(function, on_entry, on_return)

    def _asked(self, hit: Hit) -> None:
        hit.data = hit.args[:2]

    def _counted(self, hit: Hit) -> None:
        device, strings = hit.data
        self._counts[device, strings & 0xFFFFFFFF] = hit.result or 0

    def _sized(self, hit: Hit) -> None:
        self._sizes[hit.data[0]] = hit.result or 0

    def _lending(self, name: str, size: Callable[[Hit], int]) -> Callable[[Hit], None]:
        def lend(hit: Hit) -> None:
            with suppress(KoboxError, ValueError):
                if 0 < (many := size(hit)) < 1 << 24:
                    hit.data = self._buffers.lend(hit.args[2], many, f"buffer for {name}()", pages=True)

        return lend

    def _strings(self, hit: Hit) -> int:
        return _STRING * self._counts.get((hit.args[0], hit.args[1] & 0xFFFFFFFF), 0)

    def _tests(self, hit: Hit) -> int:
        return _NUMBER * self._counts.get((hit.args[0], _TESTS), 0)

    def _statistics(self, hit: Hit) -> int:
        return _NUMBER * self._objects.number(hit.args[1], "ethtool_stats.n_stats")

    def _registers_of(self, hit: Hit) -> int:
        return self._sizes.get(hit.args[0], 0)
