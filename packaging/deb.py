"""`make deb`: a Debian package of kobox itself, with the libraries that it needs, written by kobox.

    build/deb/kobox_VERSION_ARCH.deb
        /usr/lib/kobox/                 kobox and its libraries (Debian's own are older than kobox needs), byte-compiled
        /usr/bin/kobox                  the command         at installation
        /usr/share/man/man1/            a page a command
        /usr/share/{bash-completion,zsh,fish}/

It holds for one minor version of Python, as the libraries do.
"""

from __future__ import annotations

import argparse
import gzip
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import kobox
from kobox.atomic_file import write_file
from kobox.cli.main import COMMANDS
from kobox.cli.manpage import pages
from kobox.kbuild.deb import DebPackage, Member

ROOT = Path(__file__).parents[1]
PLACE = "usr/lib/kobox"
COMMAND_SCRIPT = Path("kobox/cli/bin/kobox")  # pip fills in its interpreter
PIP_S = ("RECORD", "INSTALLER", "REQUESTED", "direct_url.json")  # what pip notes for itself
MAINTAINER = "kobox maintainers <maintainers@kobox.invalid>"
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
COMMAND = f"""#!/usr/bin/python3
import sys

sys.path.insert(0, "/{PLACE}")
from kobox.cli.main import entry

entry()
"""
POSTINST = f"""#!/bin/sh
set -e
if [ "$1" = configure ] && command -v py3compile >/dev/null; then
    py3compile -p kobox /{PLACE}
fi
"""
PRERM = f"""#!/bin/sh
set -e
if command -v py3clean >/dev/null; then
    py3clean -p kobox
fi
find /{PLACE} -type d -name __pycache__ -prune -exec rm -rf '{{}}' +
"""
OVERRIDES = """# The libraries come with kobox, since it needs newer ones than Debian has; they are built elsewhere.
kobox: embedded-library
kobox: hardening-no-fortify-functions
kobox: hardening-no-relro
kobox: hardening-no-bindnow
kobox: shared-library-lacks-prerequisites
kobox: library-not-linked-against-libc
kobox: custom-library-search-path
kobox: undeclared-elf-prerequisites
# It is not part of Debian, and has no bug to close.
kobox: initial-upload-closes-no-bugs
"""
DESCRIPTION = """build, run, check and debug Linux kernel modules in a box
kobox boots an unmodified distribution kernel inside its own process (with
the Unicorn CPU emulator; no root, no virtual machine) and loads modules there,
where they can harm nothing.
.
It finds memory errors, leaks, races and broken error paths in unmodified
modules, says in plain words why a module does not load, and has the kmod
tools as a library and as commands."""


def installed(stage: Path) -> dict[str, Member]:
    """kobox and the libraries that it needs, as pip installs them."""
    shutil.rmtree(stage, ignore_errors=True)
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-compile"]
    subprocess.run([*command, "--target", str(stage), f"{ROOT}[xz]"], check=True)
    for name in ("bin", "share", "__pycache__"):
        shutil.rmtree(stage / name, ignore_errors=True)
    files = {}
    for path in sorted(stage.rglob("*")):
        name = path.relative_to(stage)
        to_build = name.parts[0] != "kobox" and ("include" in name.parts or name.suffix in (".a", ".h", ".pyi"))
        if path.is_dir() or to_build or name.suffix == ".pyc":
            continue
        if re.search(r"\.so(\.\d+)*$", path.name):
            subprocess.run(["strip", "--strip-unneeded", "--remove-section=.comment", str(path)], check=True)
        if (
            name == COMMAND_SCRIPT
            or path.name in ("RECORD", "INSTALLER", "REQUESTED", "direct_url.json")
            or _is_licence(path)
        ):
            continue  # all licences stand in the package's copyright
        text = path.read_bytes()
        if name.suffix == ".py" and text.startswith(b"#!"):
            text = text.partition(b"\n")[2]  # no script: it is imported
        files[f"{PLACE}/{name}"] = Member(text, 0o755 if text.startswith(b"#!") else 0o644)
    return files


def _is_licence(path: Path) -> bool:
    return path.parent.name == "licenses" or path.stem.upper() in ("LICENSE", "LICENCE", "COPYING", "AUTHORS")


def licences(stage: Path) -> str:
    """debian/copyright: kobox's licence, and what each library says of its own."""
    lines = [
        "Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/",
        "Upstream-Name: kobox",
        "Source: https://pypi.org/project/kobox/",
        "",
        "Files: *",
        "Copyright: the authors of kobox",
        "License: GPL-2+",
    ]
    for metadata in sorted(stage.glob("*.dist-info")):
        if not metadata.name.startswith("kobox-"):
            name = metadata.name.partition("-")[0]
            author = _field(metadata / "METADATA", "Author", "Author-email", "Maintainer") or f"the authors of {name}"
            licence = _field(metadata / "METADATA", "License-Expression", "License") or "see-its-page"
            word = re.sub(r"[^A-Za-z0-9.+-]+", "-", licence).strip("-")
            lines += ["", f"Files: {PLACE}/{name}*", f"Copyright: {author}", f"License: {word}"]
            lines += [f" {licence}; see https://pypi.org/project/{name}/"]
    lines += ["", "License: GPL-2+", " On Debian systems, the full text of the GNU General Public License version 2"]
    lines += [" can be found in /usr/share/common-licenses/GPL-2.", ""]
    return "\n".join(lines)


def _field(metadata: Path, *names: str) -> str:
    text = metadata.read_text(encoding="utf-8").partition("\n\n")[0]
    for name in names:
        found = re.search(rf"^{name}: (.+)$", text, re.M)
        if found:
            return found[1].strip()
    return ""


def _packed(text: str) -> Member:
    return Member(gzip.compress(text.encode(), 9, mtime=0))


def completion(shell: str) -> Member:
    """What `kobox completion SHELL` prints."""
    command = [sys.executable, "-m", "kobox", "completion", shell]
    return Member(subprocess.run(command, check=True, capture_output=True).stdout)


def package(stage: Path, epoch: int) -> DebPackage:
    """The whole package."""
    version = kobox.__version__
    python = f"{sys.version_info[0]}.{sys.version_info[1]}"
    following = f"{sys.version_info[0]}.{sys.version_info[1] + 1}"
    date = subprocess.run(["date", "-R", "-u", "-d", f"@{epoch}"], check=True, capture_output=True, text=True).stdout
    changes = f"kobox ({version}) unstable; urgency=medium\n\n  * See the project's CHANGELOG.md.\n\n"
    files = installed(stage)
    files |= {
        "usr/bin/kobox": Member(COMMAND.encode(), 0o755),
        "usr/share/doc/kobox/copyright": Member(licences(stage).encode()),
        "usr/share/doc/kobox/changelog.gz": _packed(f"{changes} -- {MAINTAINER}  {date}"),
        "usr/share/lintian/overrides/kobox": Member(OVERRIDES.encode()),
        "usr/share/bash-completion/completions/kobox": completion("bash"),
        "usr/share/zsh/vendor-completions/_kobox": completion("zsh"),
        "usr/share/fish/vendor_completions.d/kobox.fish": completion("fish"),
    }
    files |= {f"usr/share/man/man1/{name}.gz": _packed(text) for name, text in pages(COMMANDS, version).items()}
    control = {
        "Section": "devel",
        "Priority": "optional",
        "Depends": f"python3 (>= {python}), python3 (<< {following}), libc6 (>= 2.36)",
        "Recommends": "gcc, make, man-db",
        "Suggests": "gdb",
        "Homepage": "https://pypi.org/project/kobox/",
    }
    return DebPackage(
        "kobox",
        version,
        ARCHITECTURES[os.uname().machine],
        MAINTAINER,
        DESCRIPTION,
        files,
        control,
        {"postinst": POSTINST, "prerm": PRERM},
    )


def main() -> None:
    """Write the package; print its path."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=ROOT / "build" / "deb", help="directory (default: build/deb)")
    arguments = parser.parse_args()
    head = subprocess.run(["git", "-C", str(ROOT), "log", "-1", "--format=%ct"], capture_output=True, text=True)
    epoch = int(os.environ.get("SOURCE_DATE_EPOCH") or head.stdout or 0)
    arguments.output.mkdir(parents=True, exist_ok=True)
    made = package(arguments.output / "stage", epoch)
    path = arguments.output / made.file_name
    write_file(path, made.pack(epoch), mode=0o644)
    print(f"{path}: {path.stat().st_size >> 20} MiB")


if __name__ == "__main__":
    main()
