"""This machine's own kernel, by its system calls. Reading needs no root; loading and unloading do.

A module is given as a file where it is one: the kernel's checks of where a module comes from (LoadPin, IMA) ask for
that, and a kernel with CONFIG_MODULE_DECOMPRESS then unpacks it itself. A kernel without finit_module(2), before Linux
3.8, gets the bytes.
"""

from __future__ import annotations

import errno
import os

from kobox.errors import KoboxError
from kobox.kernel.interface import DeleteFlags, InitFlags, Kernel
from kobox.startup import TYPE_CHECKING

if TYPE_CHECKING:
    import drgn

_KCORE = "/proc/kcore"
_BOXES_HAVE = "; a box's kernel needs no right: `kobox drgn FILE.ko`."
_WITHOUT_KCORE = {
    errno.EACCES: f"Only root may read it (CAP_SYS_RAWIO){_BOXES_HAVE}",
    errno.EPERM: f"Lockdown forbids it (`cat /sys/kernel/security/lockdown`){_BOXES_HAVE}",
    errno.ENOENT: f"This kernel has none (CONFIG_PROC_KCORE), or a container hides it{_BOXES_HAVE}",
}


class Host(Kernel):
    """This machine's kernel."""

    @property
    def release(self) -> str:
        """The release string, as `uname -r` prints it."""
        return os.uname().release

    def read_bytes(self, path: str) -> bytes:
        """The whole content of a file."""
        with open(path, "rb", buffering=0) as file:
            return file.readall()

    def write_bytes(self, path: str, data: bytes) -> None:
        """Open a file for writing (created and truncated if need be) and write all of `data` to it."""
        with open(path, "wb", buffering=0) as file:
            view = memoryview(data)
            while view:
                view = view[file.write(view) :]

    def listdir(self, path: str) -> list[str]:
        """The names in a directory, in the order the kernel gives them."""
        return os.listdir(path)

    def stat(self, path: str, *, follow_symlinks: bool = True) -> os.stat_result:
        """stat(2), or lstat(2)."""
        return os.stat(path, follow_symlinks=follow_symlinks)

    def readlink(self, path: str) -> str:
        """Where a symbolic link points."""
        return os.readlink(path)

    def mkdir(self, path: str) -> None:
        """mkdir(2)."""
        os.mkdir(path)

    def rmdir(self, path: str) -> None:
        """rmdir(2)."""
        os.rmdir(path)

    def init_module(self, image: bytes, parameters: str = "", flags: InitFlags = InitFlags.NONE) -> None:
        """Load a module from the bytes of its file. With `flags` it goes through a file in memory."""
        if not flags:
            self._call("init_module", image, len(image), _c_string(parameters))
            return
        fd = os.memfd_create("module", os.MFD_CLOEXEC)
        try:
            view = memoryview(image)
            while view:
                view = view[os.write(fd, view) :]
            self._finit_module(fd, image, parameters, flags)
        finally:
            os.close(fd)

    def _finit_module(self, fd: int, image: bytes | None, parameters: str, flags: InitFlags) -> None:
        """finit_module(2), or where the kernel has none init_module(2) with an image that `flags` are applied to."""
        try:
            self._call("finit_module", fd, _c_string(parameters), int(flags))
        except OSError as error:
            if error.errno != errno.ENOSYS:
                raise
            from kobox.ko.unchecked import without_checks

            if image is None:
                image = os.pread(fd, os.fstat(fd).st_size, 0)
            if flags:
                image = without_checks(
                    image,
                    versions=bool(flags & InitFlags.IGNORE_MODVERSIONS),
                    vermagic=bool(flags & InitFlags.IGNORE_VERMAGIC),
                )
            self._call("init_module", image, len(image), _c_string(parameters))

    def load_file(self, path: str, parameters: str = "", flags: InitFlags = InitFlags.NONE) -> None:
        """Load the module at a path by finit_module(2), compressed if the kernel can unpack it.

        Raises `OSError` with the kernel's errno, `ModuleFormatError` for damaged compressed data.
        """
        from kobox.ko import compression

        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            packed = compression.recognise(os.pread(fd, 6, 0))
            if packed and packed != self.decompresses:
                image = compression.decompress(self.read_bytes(path), path=path)
                self.init_module(image, parameters, flags)
                return
            if packed:
                flags |= InitFlags.COMPRESSED_FILE
            self._finit_module(fd, None, parameters, flags)
        finally:
            os.close(fd)

    @property
    def decompresses(self) -> str:
        """Which compression of modules the kernel unpacks itself: `gzip`, `xz`, `zstd` or ""."""
        try:
            return self.read_text("/sys/module/compression").strip()
        except OSError:
            return ""

    def delete_module(self, name: str, flags: DeleteFlags = DeleteFlags.NONBLOCK) -> None:
        """delete_module(2): unload a module."""
        self._call("delete_module", _c_string(name), int(flags))

    def drgn(self) -> drgn.Program:
        """This machine's kernel as a program of drgn: memory by /proc/kcore, and the debugging information that drgn
        finds for it (a package of the distribution's, debuginfod); without any there are symbols and no types.

        Raises `KoboxError` without drgn, without the right to read the kernel's memory, or for a kernel that does not
        show it.
        """
        from contextlib import suppress

        try:
            import drgn
        except ImportError:
            raise KoboxError("drgn is not installed", hint="`pip install 'kobox[drgn]'` brings it.") from None
        prog = drgn.Program()
        try:
            prog.set_kernel()
        except OSError as error:
            raise KoboxError(
                f"the memory of this machine's kernel cannot be read: {error.filename or _KCORE}: {error.strerror}",
                hint=_WITHOUT_KCORE.get(error.errno or 0, "drgn reads it from /proc/kcore."),
            ) from None
        with suppress(drgn.MissingDebugInfoError):
            prog.load_default_debug_info()
        return prog

    def _call(self, name: str, *arguments: bytes | int) -> None:
        import ctypes

        converted = [ctypes.c_long(a) if isinstance(a, int) else ctypes.c_char_p(a) for a in arguments]
        library = ctypes.CDLL(None, use_errno=True)
        # glibc and musl have functions for init_module(2) and delete_module(2), but not for finit_module(2).
        function = getattr(library, name, None)
        if function is not None:
            function.restype = ctypes.c_int
            if function(*converted):
                reason = ctypes.get_errno()
                raise OSError(reason, os.strerror(reason))
            return
        from kobox.arch.host_syscalls import host_number, host_syscall

        number = host_number(name)
        if number is None:
            raise KoboxError(f"the numbers of the module system calls on {os.uname().machine} are not known")
        host_syscall(number, *converted)


_SYSLOG_READ_ALL, _SYSLOG_SIZE = 3, 10


def read_log() -> str:
    """The log of this machine's kernel, as dmesg has it, by syslog(2). Raises KoboxError where that is not allowed."""
    import ctypes

    call = ctypes.CDLL(None, use_errno=True).klogctl
    size = call(_SYSLOG_SIZE, None, 0)
    room = ctypes.create_string_buffer(max(size, 1))
    length = call(_SYSLOG_READ_ALL, room, len(room))
    if length < 0:
        reason = os.strerror(ctypes.get_errno())
        raise KoboxError(
            f"this machine's kernel log cannot be read: {reason} (kernel.dmesg_restrict is 1: only root may)",
            hint="Run it as root, or hand the log over: `sudo dmesg | kobox explain --log -`, `journalctl -k | …`.",
        )
    return room.raw[:length].decode(errors="replace")


def _c_string(text: str) -> bytes:
    data = text.encode("utf-8", "surrogateescape")
    if b"\0" in data:
        raise ValueError("a NUL byte in a string for the kernel")
    return data
