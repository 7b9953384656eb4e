"""Writes a new module's directory from a template.

The templates are ordinary files of the package (`kobox/kbuild/templates/TEMPLATE/`) for a module called `skeleton`,
which can be built and read as they lie. Writing one out puts the module's own name in that word's place, in the files
and in their names. What all templates of modules share lies in `templates/common/`, those of eBPF programs in
`templates/bpf-common/`; a template's own file of the same name wins.
"""

from __future__ import annotations

import re
from pathlib import Path

from kobox.atomic_directory import atomic_directory
from kobox.atomic_file import errors_name
from kobox.errors import KoboxError

TEMPLATES = {
    "hello": "init and exit, and what they print",
    "params": "parameters: int, bool, string, array, a callback that checks its value",
    "chardev": "a character device: open, read, write, llseek, poll, ioctl with a shared header",
    "misc": "a misc device, the short way to a device node",
    "export": "two modules: one exports functions, GPL-only and in a namespace, the other uses them",
    "netfilter": "a netfilter hook that counts packets and drops those to one port",
    "proc": "a file in /proc that shows a list (seq_file) and takes entries",
    "sysfs": "attributes in sysfs, read and written",
    "debugfs": "variables and computed values in debugfs",
    "kthread": "a timer, a workqueue and a kernel thread, and how to stop them",
    "platform": "a driver of a device on the board, probed asynchronously, and the device in Python",
    "pci": "a driver of a PCI card, and the card in Python",
    "i2c": "a driver of a chip on an I2C bus, and the chip in Python",
    "spi": "a driver of a chip on an SPI bus, and the chip in Python",
    "usb": "a driver of a USB device, and the device in Python",
    "gpio": "a driver of a GPIO controller, and the controller in Python",
    "iio": "an IIO driver of a converter on an I2C bus, and the converter in Python",
    "block": "a RAM disk",
    "netdev": "a network interface whose packets come back",
    "crypto": "a hash (shash) for the crypto API",
    "memory": "objects from a slab cache and a memory pool",
    "rust": "hello in Rust, for kernels built with CONFIG_RUST (`kobox kernel add debian/sid --rust`)",
    "rust-params": "parameters in Rust",
    "rust-misc": "a misc device in Rust: open, read, write, ioctl",
    "rust-pci": "a driver of a PCI card in Rust, and the card in Python",
    "bpf-xdp": "eBPF: packets as a card receives them, counted and dropped",
    "bpf-kprobe": "eBPF: probes at a function's entry and return, records in a ring buffer",
    "bpf-iter": "eBPF: a file that lists the system's tasks",
    "bpf-lsm": "eBPF: a rule of security, asked beside the kernel's own",
    "bpf-struct-ops": "eBPF: a congestion control of TCP",
}

# What these need of a kernel; Debian's cloud kernels lack it, its full kernels have it.
NEEDS = {
    "i2c": "CONFIG_I2C",
    "spi": "CONFIG_SPI",
    "usb": "CONFIG_USB",
    "gpio": "CONFIG_GPIOLIB",
    "iio": "CONFIG_IIO and CONFIG_I2C",
}

_ROOM = Path(__file__).parent / "templates"
_PLACEHOLDER = "skeleton"
_ELSEWHERE = {"vscode-launch.json": ".vscode/launch.json"}
_ABOUT_FILES = {
    ".vscode/launch.json": "for debugging in VS Code (`kobox debug --vscode` once)",
    "Makefile": "for Kbuild, and for `make` by hand",
    "dkms.conf": "for DKMS",
    ".clang-format": "the kernel's style, for `clang-format -i`",
    ".gitignore": "what a build by hand leaves",
}
# The words of C that cannot name a function, and what would clash with the kernel's own names of files.
_KEYWORDS = re.compile(
    r"auto|break|case|char|const|continue|default|do|double|else|enum|extern|float|for|goto|if|inline|int|long|register"
    r"|restrict|return|short|signed|sizeof|static|struct|switch|typedef|union|unsigned|void|volatile|while"
    r"|asm|typeof|bool|true|false|main|module|vmlinux|kernel"
)


def new(template: str, name: str, directory: Path | None = None) -> list[Path]:
    """Write a module called `name` from a template into `directory` (None: ./NAME), and return the files.

    The directory appears whole or not at all. Raises KoboxError for an unknown template, for a name that C cannot
    take, and when the directory is there already and not empty.
    """
    check_template(template)
    check_name(name)
    target = directory if directory is not None else Path(name)
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise KoboxError(f"{target} is there already, and not empty", hint="Give another name, or remove it.")
    texts = render(template, name)
    with atomic_directory(target) as aside:
        for file, text in texts.items():
            with errors_name(target / file):
                (aside / file).parent.mkdir(exist_ok=True)
                (aside / file).write_text(text)
    return [target / file for file in sorted(texts)]


def render(template: str, name: str) -> dict[str, str]:
    """The files of a template as they are written for a module called `name`: file name to text."""
    shared = "bpf-common" if is_bpf_template(template) else "common"
    files = {path.name: path for room in (shared, template) for path in (_ROOM / room).iterdir() if path.is_file()}
    texts = {}
    for file, path in files.items():
        shown = file.removeprefix("dot-")
        shown = f".{shown}" if shown != file else _ELSEWHERE.get(file, file)
        texts[_named(shown, name)] = _named(path.read_text(), name)
    launch = ".vscode/launch.json"
    if launch in texts and not (f"test_{name}.py" in texts and f"{name}_model.py" not in texts):
        # Tests that plug a device in need it before the module is there.
        texts[launch] = "".join(line for line in texts[launch].splitlines(True) if '"exercise"' not in line)
    if "README.md" in texts:
        about = TEMPLATES[template]
        text = texts["README.md"]
        if f"{name}_model.py" in texts:
            text = text.replace(f"kobox run {name}.ko ", f"kobox run {name}.ko --plug {name}_model.py ")
        rows = "".join(f"| `{file}` | {_about(file)} |\n" for file in sorted(texts) if file != "README.md")
        needed = f" It needs a kernel with {NEEDS.get(template)}: Debian's full kernel, not the cloud kernel."
        about = f"{about[0].upper()}{about[1:]}.{needed if template in NEEDS else ''}"
        text = text.replace("@ABOUT@", about)
        texts["README.md"] = text.replace("@FILES@\n", rows)
    return texts


def is_bpf_template(template: str) -> bool:
    """Whether a template is of an eBPF program."""
    return template.startswith("bpf-")


def check_template(template: str) -> None:
    """Raise KoboxError unless there is such a template."""
    if template not in TEMPLATES:
        import difflib

        near = difflib.get_close_matches(template, TEMPLATES, 1)
        hint = f"Did you mean {near[0]}?" if near else "`kobox new --list` shows them."
        raise KoboxError(f"{template}: no such template", hint=hint)


def check_name(name: str) -> None:
    """Raise KoboxError unless a module and its functions can be called so."""
    if re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]{0,39}", name) and not _KEYWORDS.fullmatch(name):
        return
    better = re.sub(r"\W+", "_", name.rstrip("/").rpartition("/")[2]).strip("_")
    fits = better != name and re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]{0,39}", better)
    raise KoboxError(
        f"{name!r} cannot name a module and its functions in C",
        hint=f"{better} can." if fits else "Take a letter first, then letters, digits and underscores, 40 at most.",
    )


def _named(text: str, name: str) -> str:
    """Put a module's name in the placeholder's place, in each of the ways it is written."""
    camel = "".join(part.capitalize() for part in name.split("_"))
    text = text.replace(_PLACEHOLDER.upper(), name.upper()).replace(_PLACEHOLDER.capitalize(), camel)
    return text.replace(_PLACEHOLDER, name)


def _about(file: str) -> str:
    if file.startswith("test_"):
        return "the tests"
    if file.endswith("_model.py"):
        return "the device, for `--plug` and the tests"
    return _ABOUT_FILES.get(file) or ("what others include" if file.endswith(".h") else "the source")
