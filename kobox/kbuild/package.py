"""Packages modules for Debian and its kin: source for DKMS, or prebuilt modules for one kernel.

    NAME-dkms_VERSION_all.deb                         /usr/src/NAME-VERSION/, built on the machine it is installed on
    NAME-modules-RELEASE_VERSION_amd64.deb            /lib/modules/RELEASE/updates/NAME.ko, for just that kernel
                                                      (/usr/lib/modules where the kernel's package has its own)

The scripts of a DKMS package do what dh_dkms's do: hand over to DKMS's own common.postinst, which adds, builds and
installs for the kernels whose headers are there; take the module out of DKMS before the source goes.
"""

from __future__ import annotations

import datetime
import os
import re
import subprocess
import tempfile
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from kobox.atomic_file import write_file
from kobox.errors import KoboxError
from kobox.images.store import KernelImage
from kobox.kbuild.build import BuildOptions, build
from kobox.kbuild.deb import DebPackage, Member, compressed_document
from kobox.kbuild.dkms import DkmsConfig, DkmsSource, check_word, configuration, source_of
from kobox.kbuild.install import COMPRESSIONS, InstallOptions, check_options, file_stem, finished

_AS_BUILT = InstallOptions()
_DKMS_POSTINST = """\
#!/bin/sh
set -e
case "$1" in
configure)
	/usr/lib/dkms/common.postinst {name} {version} /usr/share/{package} "" "$2"
	;;
esac
"""
_DKMS_PRERM = """\
#!/bin/sh
set -e
case "$1" in
remove|upgrade|deconfigure)
	if [ -n "$(dkms status -m {name} -v {version})" ]; then
		dkms remove -m {name} -v {version} --all
	fi
	;;
esac
"""
_DEPMOD = """\
#!/bin/sh
set -e
if [ "$1" = {when} ] && [ -e /lib/modules/{release}/modules.order ]; then
	depmod {release}
fi
"""
_COPYRIGHT = """\
Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/
Upstream-Name: {name}

Files: *
Copyright: {year} {holder}
License: {license}
"""
_GPL = """\
 This module is free software under the terms of the GNU General Public
 License, version 2. On Debian systems its text is in
 /usr/share/common-licenses/GPL-2.
"""


@dataclass(frozen=True, slots=True)
class PackageOptions:
    """What the package says of itself; what is "" comes from the source, the environment or git.

    `name` is the module package's (DKMS's PACKAGE_NAME), `version` Debian's and DKMS's alike, `epoch` the time stamp of
    everything in it (None: SOURCE_DATE_EPOCH, else that of the newest source file).
    """

    name: str = ""
    version: str = ""
    maintainer: str = ""
    homepage: str = ""
    epoch: int | None = None


@dataclass(frozen=True, slots=True)
class Packaged:
    """A package that was written: its file, and the files of the source that were left out because they are secret."""

    path: Path
    package: DebPackage
    left_out: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _About:
    """What the packages of one source directory have in common."""

    source: DkmsSource
    config: DkmsConfig
    options: PackageOptions
    maintainer: str
    epoch: int

    @classmethod
    def of(cls, directory: Path, options: PackageOptions) -> _About:
        source = source_of(directory)
        config = configuration(directory, source, name=options.name, version=options.version)
        epoch = _epoch(options, source)
        return cls(source, config, options, options.maintainer or maintainer(directory), epoch)

    @property
    def stem(self) -> str:
        """The name as the names of Debian packages have it."""
        return re.sub(r"[^a-z0-9+.-]", "-", self.config.name.lower())

    def control(self, **fields: str) -> dict[str, str]:
        source = {"Source": self.stem, "Section": "kernel", "Priority": "optional"}
        return (
            source
            | {name.replace("_", "-"): value for name, value in fields.items()}
            | {"Homepage": self.options.homepage}
        )

    def description(self, kind: str, text: str) -> str:
        """A synopsis of less than 80 characters (no article, no full stop), and a paragraph."""
        told = self.source.word("MODULE_DESCRIPTION").strip().rstrip(".")
        plain = told if told and len(told) + len(kind) < 76 else f"{self.config.name} kernel module"
        return f"{plain} ({kind})\n" + textwrap.fill(text, 78)

    def documents(self, package: str) -> dict[str, Member]:
        """The copyright file and the changelog, which policy wants of every package."""
        room = f"usr/share/doc/{package}"
        given = self.source.files.get("copyright")
        return {
            f"{room}/copyright": Member(given.content if given is not None else self._copyright().encode()),
            f"{room}/changelog.gz": Member(compressed_document(self._changelog())),
        }

    def _copyright(self) -> str:
        holder = self.source.word("MODULE_AUTHOR") or self.maintainer
        licence = self.source.word("MODULE_LICENSE") or "GPL"
        year = datetime.datetime.fromtimestamp(self.epoch, datetime.UTC).year
        short = "GPL-2" if licence.startswith("GPL") else licence.replace(" ", "-").replace("/", "-")
        text = _COPYRIGHT.format(name=self.config.name, year=year, holder=holder, license=short)
        return text + (_GPL if short == "GPL-2" else f" As MODULE_LICENSE says: {licence}.\n")

    def _changelog(self) -> str:
        date = datetime.datetime.fromtimestamp(self.epoch, datetime.UTC).strftime("%a, %d %b %Y %H:%M:%S +0000")
        head = f"{self.stem} ({self.config.version}) unstable; urgency=medium"
        return f"{head}\n\n  * Package of version {self.config.version}.\n\n -- {self.maintainer}  {date}\n"


def package_dkms(directory: Path, output: Path, options: PackageOptions = PackageOptions()) -> Packaged:
    """Write a DKMS source package of a directory into `output`. Raises KoboxError, BuildError, OSError."""
    about = _About.of(directory, options)
    name = about.stem if about.stem.endswith("-dkms") else f"{about.stem}-dkms"
    words = {"name": about.config.name, "version": about.config.version, "package": name}
    files = {f"{about.config.directory}/{path}": member for path, member in about.source.files.items()}
    files[f"{about.config.directory}/dkms.conf"] = Member(about.config.text.encode(errors="surrogateescape"))
    package = DebPackage(
        name=name,
        version=about.config.version,
        architecture="all",
        maintainer=about.maintainer,
        description=about.description(
            "DKMS",
            f"This is the source of {', '.join(about.config.modules) or about.config.name}. DKMS builds it for each "
            "kernel whose headers are installed, and again when a new kernel comes.",
        ),
        files=files | about.documents(name),
        control=about.control(
            # BUILD_EXCLUSIVE_CONFIG came with 3.0.3; all else with 2.1, of 2009
            Depends=f"dkms (>= {'3.0.3-4~' if about.config.exclusive else '2.1.0.0'})",
            Recommends="linux-headers-amd64 | linux-headers-generic | linux-headers",
        ),
        scripts={"postinst": _DKMS_POSTINST.format(**words), "prerm": _DKMS_PRERM.format(**words)},
    )
    return _written(package, about, output)


def package_prebuilt(
    directory: Path,
    kernel: KernelImage,
    output: Path,
    options: PackageOptions = PackageOptions(),
    finishing: InstallOptions = _AS_BUILT,
) -> Packaged:
    """Build a directory's modules for a kernel and write them as a package into `output`.

    `finishing` says what `kobox.kbuild.install` does to the modules, and where in the tree they go.
    Raises KoboxError, BuildError (the modules cannot be built), SigningError, OSError.
    """
    check_options(finishing)
    about = _About.of(directory, options)
    release = kernel.release
    check_word(release, "release of the kernel")
    name = f"{about.stem}-modules-{release}".lower().replace("_", "-")
    with tempfile.TemporaryDirectory() as room:
        built = build(directory, kernel, output=Path(room), options=BuildOptions(reproducible=True))
        suffix = f".ko{COMPRESSIONS[finishing.compress]}"
        place = f"{_tree(kernel)}/{finishing.directory}"
        files = {f"{place}/{file_stem(path)}{suffix}": Member(finished(path, finishing)) for path in built}
    package = DebPackage(
        name=name,
        version=about.config.version,
        architecture="amd64",
        maintainer=about.maintainer,
        description=about.description(
            "prebuilt",
            f"{', '.join(sorted(Path(path).name for path in files))} for the kernel {release}, and for no other.",
        ),
        files=files | about.documents(name),
        control=about.control(Depends=f"linux-image-{release} | linux-image-{release}-unsigned, kmod"),
        scripts={
            "postinst": _DEPMOD.format(when="configure", release=release),
            "postrm": _DEPMOD.format(when="remove", release=release),
        },
    )
    return _written(package, about, output)


def _tree(kernel: KernelImage) -> str:
    """Where the kernel's own package has its modules: since Debian 13 below /usr, as /lib is only a link."""
    merged = kernel.modules is not None and "/usr/lib/modules/" in str(kernel.modules)
    return f"{'usr/' if merged else ''}lib/modules/{kernel.release}"


def _written(package: DebPackage, about: _About, output: Path) -> Packaged:
    content = package.pack(about.epoch)
    output.mkdir(parents=True, exist_ok=True)
    path = output / package.file_name
    write_file(path, content)
    return Packaged(path, package, about.source.left_out)


def _epoch(options: PackageOptions, source: DkmsSource) -> int:
    if options.epoch is not None:
        return options.epoch
    given = os.environ.get("SOURCE_DATE_EPOCH", "")
    if given and not re.fullmatch(r"\d{1,11}", given):
        raise KoboxError(f"SOURCE_DATE_EPOCH={given!r}: not a number of seconds since 1970")
    return int(given) if given else source.newest


def maintainer(directory: Path) -> str:
    """`Name <address>`, from DEBFULLNAME and DEBEMAIL as Debian's tools take it, else from git's configuration.

    Raises KoboxError when neither says.
    """
    name = os.environ.get("DEBFULLNAME", "")
    address = os.environ.get("DEBEMAIL") or os.environ.get("EMAIL") or ""
    whole = re.fullmatch(r"(.*\S)\s*<(.+)>", address)
    if whole:
        name, address = name or whole[1], whole[2]
    name = name or _git(directory, ["user.name"])
    address = address or _git(directory, ["user.email"])
    if not (name and address):
        raise KoboxError(
            "a package names its maintainer, and nothing says who that is",
            hint='Give --maintainer "Name <address>", or set DEBFULLNAME and DEBEMAIL, or git config user.name.',
        )
    return f"{name} <{address}>"


def _git(directory: Path, key: Sequence[str]) -> str:
    try:
        done = subprocess.run(
            ["git", "-C", str(directory), "config", *key], capture_output=True, text=True, check=False
        )
    except FileNotFoundError:
        return ""
    return done.stdout.strip()
