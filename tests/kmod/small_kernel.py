"""A kernel of a few dictionaries, for what the tools do and in which order; a real one is tried in a box."""

from __future__ import annotations

import errno
import os

from kobox.kernel.interface import DeleteFlags, InitFlags, Kernel
from kobox.ko.modulefile import ModuleFile


class SmallKernel(Kernel):
    """Modules are loaded if what they depend on is there, and unloaded if nobody uses them."""

    def __init__(self) -> None:
        self.modules: dict[str, dict[str, object]] = {}
        self.calls: list[tuple[str, ...]] = []
        self.held: dict[str, int] = {}
        self.refused: dict[str, int] = {}

    @property
    def release(self) -> str:
        return "1.0"

    def init_module(self, image: bytes, parameters: str = "", flags: InitFlags = InitFlags.NONE) -> None:
        module = ModuleFile(image)
        self.calls.append(("load", module.name, parameters.strip()) + ((str(int(flags)),) if flags else ()))
        if module.name in self.refused:
            raise OSError(self.refused[module.name], "refused")
        if module.name in self.modules:
            raise OSError(errno.EEXIST, "exists")
        if any(name not in self.modules for name in module.depends):
            raise OSError(errno.ENOENT, "unknown symbol")
        self.modules[module.name] = {"depends": module.depends}

    def delete_module(self, name: str, flags: DeleteFlags = DeleteFlags.NONBLOCK) -> None:
        self.calls.append(("unload", name) + (("force",) if flags & DeleteFlags.FORCE else ()))
        if name not in self.modules:
            raise OSError(errno.ENOENT, "not loaded")
        if self._holders(name):
            raise OSError(errno.EAGAIN, "in use")
        del self.modules[name]

    def _holders(self, name: str) -> list[str]:
        return [other for other, facts in self.modules.items() if name in facts["depends"]]  # type: ignore[operator]

    def read_bytes(self, path: str) -> bytes:
        if path == "/proc/modules":
            return "".join(self._row(name) for name in reversed(self.modules)).encode()
        parts = path.split("/")
        if path.startswith("/sys/module/") and parts[3] in self.modules and len(parts) == 5:
            name = parts[3]
            values = {
                "initstate": "live",
                "coresize": "4096",
                "refcnt": str(len(self._holders(name)) + self.held.get(name, 0)),
            }
            if parts[4] in values:
                return values[parts[4]].encode() + b"\n"
        raise FileNotFoundError(errno.ENOENT, "no such file", path)

    def _row(self, name: str) -> str:
        users = self._holders(name)
        return f"{name} 4096 {len(users)} {''.join(user + ',' for user in users) or '-'} Live 0x0\n"

    def write_bytes(self, path: str, data: bytes) -> None:
        raise PermissionError(errno.EACCES, "read-only", path)

    def listdir(self, path: str) -> list[str]:
        parts = path.split("/")
        if path.endswith("/holders") and parts[3] in self.modules:
            return self._holders(parts[3])
        raise FileNotFoundError(errno.ENOENT, "no such directory", path)

    def stat(self, path: str, *, follow_symlinks: bool = True) -> os.stat_result:
        if path.startswith("/sys/module/") and path.split("/")[3] in self.modules:
            return os.stat_result((0o040755, *[0] * 9))
        raise FileNotFoundError(errno.ENOENT, "no such file", path)

    def readlink(self, path: str) -> str:
        raise OSError(errno.EINVAL, "no link", path)
