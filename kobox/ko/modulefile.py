"""One module file, `.ko` or compressed, and everything that can be read from it without a kernel.

    >>> module = ModuleFile("/lib/modules/6.1.0-56-amd64/kernel/fs/btrfs/btrfs.ko")
    >>> module.name, module.modinfo.first("license"), module.vermagic.release
    ('btrfs', 'GPL', '6.1.0-56-amd64')

Exports are found as modpost leaves them (scripts/mod/modpost.c, include/linux/export.h): a symbol
`__ksymtab_NAME` in section `__ksymtab` or `__ksymtab_gpl`, `__crc_NAME` whose value is the CRC or the place of
it, `__kstrtabns_NAME` where the namespace's name begins; in kernels of 2026 all are in `__ksymtab`, and the byte of
`__kflagstab` at `__flags_NAME` says which are GPL-only. Imports are the undefined symbols, with the CRCs of
`__versions` (u32 or u64 CRC, then the name, in 64 bytes) or of the pair `__version_ext_crcs` (u32 each) and
`__version_ext_names` (NUL-terminated, for names of any length).
"""

from __future__ import annotations

import os
import struct

from kobox.errors import ModuleFormatError
from kobox.ko import compression, elf
from kobox.ko.build_id import build_id
from kobox.ko.modinfo import Modinfo, Parameter, Vermagic
from kobox.ko.name import canonical, from_path
from kobox.ko.versions import undefined, versions
from kobox.startup import TYPE_CHECKING, NamedTuple, cached_property

if TYPE_CHECKING:
    from kobox.ko.dwarf.debug_info import DebugInfo
    from kobox.ko.signature import Signature


class Export(NamedTuple):
    """An exported symbol. `crc` is None without CONFIG_MODVERSIONS, `namespace` "" for the common one."""

    name: str
    crc: int | None
    namespace: str
    gpl_only: bool


class Import(NamedTuple):
    """A symbol that must come from elsewhere, and the CRC it must have (None if none is asked for)."""

    name: str
    crc: int | None
    weak: bool


_GLANCE = 65536  # bytes of a file that are read at once rather than in parts


class ModuleFile:
    """A kernel module's file, by its path or its bytes. Everything is read when it is first asked for.

    Raises `OSError` when the file can't be read, `ModuleFormatError` when it is not what it should be.
    """

    def __init__(self, source: str | os.PathLike[str] | bytes, *, path: str = "") -> None:
        if isinstance(source, bytes):
            self.path = path
            data = source
        else:
            self.path = os.fspath(source)
            data = compression.read_file(self.path)
        self.compression = compression.recognise(data)
        """`""`, `gzip`, `xz`, `zstd` or `lz4`."""
        self.content = compression.decompress(data, path=self.path) if self.compression else data
        """The ELF object, decompressed, with the signature if there is one."""
        self.elf = elf.Elf(elf.BytesSource(self.content, self.path))

    @cached_property
    def modinfo(self) -> Modinfo:
        """The strings of the `.modinfo` section; empty without one."""
        return Modinfo.parse(self.elf.section_data(b".modinfo"))

    @cached_property
    def name(self) -> str:
        """The module's name as the kernel knows it: from modinfo, else (before 4.13) from the file's name."""
        return self.modinfo.first("name") or from_path(self.path)

    @property
    def vermagic(self) -> Vermagic:
        """The kernel release and the configuration flags that the module was built for."""
        return Vermagic.parse(self.modinfo.first("vermagic"))

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        """The module's parameters."""
        return self.modinfo.parameters

    @property
    def aliases(self) -> tuple[str, ...]:
        """The patterns of devices and services that ask for this module."""
        return self.modinfo.all("alias")

    @property
    def depends(self) -> tuple[str, ...]:
        """Names of modules whose symbols it uses, as modpost saw them (it writes the names of their files)."""
        return tuple(canonical(name) for name in self.modinfo.first("depends").split(",") if name)

    @property
    def softdeps(self) -> tuple[str, ...]:
        """Soft dependencies as written: `pre: a b post: c`."""
        return self.modinfo.all("softdep")

    @property
    def weakdeps(self) -> tuple[str, ...]:
        """Weak dependencies: modules that it may ask for while it runs."""
        return self.modinfo.all("weakdep")

    @property
    def firmware(self) -> tuple[str, ...]:
        """Firmware files that it may ask for."""
        return self.modinfo.all("firmware")

    @property
    def import_namespaces(self) -> tuple[str, ...]:
        """Symbol namespaces that it imports."""
        return self.modinfo.all("import_ns")

    @cached_property
    def versions(self) -> dict[str, int]:
        """The CRC that each imported symbol must have; `module_layout` stands for struct module itself."""
        return versions(self.elf)

    @cached_property
    def imports(self) -> tuple[Import, ...]:
        """The undefined symbols, in the symbol table's order."""
        crcs = self.versions.get
        return tuple([Import(name, crcs(name), weak) for name, weak in undefined(self.elf)])

    @cached_property
    def exports(self) -> tuple[Export, ...]:
        """The exported symbols, in the order of their CRCs in the symbol table."""
        return _exports(self.elf)

    @cached_property
    def signature(self) -> Signature | None:
        """The appended signature, not verified; None without one."""
        from kobox.ko import signature

        return signature.parse(self.content, path=self.path)

    @cached_property
    def debug(self) -> DebugInfo:
        """Its debugging information: lines, functions, variables."""
        from kobox.ko.dwarf.debug_info import DebugInfo

        return DebugInfo(self.elf)

    @property
    def build_id(self) -> bytes:
        """The identifier that the linker made of the content (`.note.gnu.build-id`); b"" without one."""
        return build_id(self.elf)

    @property
    def is_signed(self) -> bool:
        """Whether a signature is appended (nothing is verified)."""
        from kobox.ko.signature import MARKER

        return self.content.endswith(MARKER)

    def __repr__(self) -> str:
        return f"ModuleFile({self.path or self.name!r})"


class GlancedModule(ModuleFile):
    """A module's file for one look: what is not asked for is not read. Raises as `ModuleFile` does."""

    def __init__(self, path: str) -> None:
        source = elf.FileSource(path)
        if not _GLANCE <= source.size <= compression.LIMIT or compression.recognise(source.read(0, 8)):
            super().__init__(path)
            return
        self.path = path
        self.compression = ""
        self._source = source
        self.elf = elf.Elf(source)

    def __getattr__(self, name: str) -> bytes:
        if name != "content" or "_source" not in self.__dict__:
            raise AttributeError(name)
        self.content = self._source.read(0, self._source.size)
        return self.content

    @cached_property
    def signature(self) -> Signature | None:
        """The appended signature, not verified; None without one."""
        from kobox.ko import signature

        if "_source" in self.__dict__:
            before = self._source.size - _GLANCE
            try:
                found = signature.parse(self._source.read(before, _GLANCE))
                return found and signature.Signature(*found[:-1], found.content_size + before)
            except ModuleFormatError:
                pass  # a place that is named is one in the whole file
        return signature.parse(self.content, path=self.path)


# KSYM_FLAG_GPL_ONLY of include/linux/module_symbol.h.
_GPL_ONLY = 1


def _exports(module: elf.Elf) -> tuple[Export, ...]:
    _, strings, _ = module.symbol_table()
    if b"__ksymtab" not in strings and b"__crc_" not in strings:
        return ()
    entries: dict[bytes, int] = {}
    crcs: dict[bytes, elf.Symbol] = {}
    namespaces: dict[bytes, elf.Symbol] = {}
    flags: dict[bytes, elf.Symbol] = {}
    flag_section = module.find(b"__kflagstab")
    for symbol in module.symbols():
        name = symbol.name
        if name.startswith(b"__ksymtab_"):
            entries[name[10:]] = symbol.section
        elif name.startswith(b"__crc_"):
            crcs[name[6:]] = symbol
        elif name.startswith(b"__kstrtabns_"):
            namespaces[name[12:]] = symbol
        elif flag_section and name.startswith(b"__flags_") and symbol.section == flag_section:
            flags[name[8:]] = symbol
    gpl_sections = {module.find(b"__ksymtab_gpl"), module.find(b"__ksymtab_gpl_future")} - {0}
    reader = _SectionReader(module)
    return tuple(
        Export(
            name.decode("utf-8", "surrogateescape"),
            reader.crc(crcs[name]) if name in crcs else None,
            reader.text(namespaces[name]) if name in namespaces else "",
            entries.get(name, 0) in gpl_sections or (name in flags and reader.is_gpl_only(flags[name])),
        )
        for name in {**crcs, **entries}
    )


class _SectionReader:
    """Values that symbols point at, each section read once."""

    def __init__(self, module: elf.Elf) -> None:
        self._elf = module
        self._sections: dict[int, bytes] = {}

    def _data(self, symbol: elf.Symbol) -> bytes:
        if symbol.section not in self._sections:
            self._elf.section_at(symbol.section)
            self._sections[symbol.section] = self._elf.data(symbol.section)
        return self._sections[symbol.section]

    def crc(self, symbol: elf.Symbol) -> int:
        """The CRC that a `__crc_` symbol is (kernels before 5.19 without relative CRCs) or points at."""
        if symbol.section in (elf.SHN_ABS, elf.SHN_UNDEF):
            return symbol.value & 0xFFFFFFFF
        data = self._data(symbol)
        if symbol.value + 4 > len(data):
            raise ModuleFormatError(f"the CRC of {symbol.name[6:]!r} lies outside its section", path=self._elf.path)
        value: int = struct.unpack_from(self._elf.layout.order + "I", data, symbol.value)[0]
        return value

    def is_gpl_only(self, symbol: elf.Symbol) -> bool:
        """Whether the byte that a `__flags_` symbol points at says GPL-only."""
        data = self._data(symbol)
        if symbol.value >= len(data):
            raise ModuleFormatError(f"the flags of {symbol.name[8:]!r} lie outside their section", path=self._elf.path)
        return bool(data[symbol.value] & _GPL_ONLY)

    def text(self, symbol: elf.Symbol) -> str:
        """The string that a `__kstrtabns_` symbol points at."""
        data = self._data(symbol)
        end = data.find(b"\0", symbol.value)
        if end < 0:
            raise ModuleFormatError(f"the string of {symbol.name!r} has no end", path=self._elf.path)
        return data[symbol.value : end].decode("utf-8", "surrogateescape")
