"""No command lets a module, a kernel log or a file write control characters to the terminal, or forge a line."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest

from kobox.images.store import KernelImage
from kobox.printable import html_text, one_line, printable
from tests.building import BuiltTestModules

KOBOX = str(Path(sys.executable).with_name("kobox"))
CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e]")
SGR = re.compile("\x1b\\[[0-9;]*m")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain é 日本 \u00a0 100\\x1b", "plain é 日本 \u00a0 100\\x1b"),
        ("a\tb\nc", "a\tb\nc"),
        ("\x1b[2J\a\r\x7f", "\\x1b[2J\\x07\\x0d\\x7f"),
        ("\x9b31m", "\\xc2\\x9b31m"),
        ("\udcff\udc80", "\\xff\\x80"),
        ("\ud800", "\\xed\\xa0\\x80"),
        ("\u202egpj.exe\u2028\ufeff", "\\xe2\\x80\\xaegpj.exe\\xe2\\x80\\xa8\\xef\\xbb\\xbf"),
        ("\0", "\\x00"),
    ],
)
def test_what_is_escaped_and_what_is_not(text: str, shown: str) -> None:
    assert printable(text) == shown
    assert one_line(text) == shown.replace("\n", "\\x0a")


COMMANDS = {
    "run": ["run", "-k", "KERNEL", "MODULE"],
    "run -v": ["run", "-v", "-k", "KERNEL", "MODULE"],
    "run, refused": ["run", "-k", "KERNEL", "MODULE", "number=\x1b[2J\nok: forged"],
    "run --json": ["run", "--json", "-k", "KERNEL", "MODULE"],
    "check": ["check", "-k", "KERNEL", "--no-faults", "MODULE"],
    "explain": ["explain", "-k", "KERNEL", "MODULE"],
    "explain --log": ["explain", "--log", "LOG"],
    "modinfo": ["modinfo", "MODULE"],
    "modinfo -F": ["modinfo", "-F", "description", "MODULE"],
    "modinfo --json": ["modinfo", "--json", "MODULE"],
    "no such file": ["run", "-k", "KERNEL", "\x1b[2J\udcff.ko"],
    "no such kernel": ["verify", "-k", "\x1b[2J", "MODULE"],
    "no such command": ["\x1b[2J"],
    "no such module": ["modprobe", "-n", "\x1b[2J\udcff"],
}


def command(words: list[str], module: Path, kernel: KernelImage, room: Path) -> list[str]:
    log = room / "log"
    log.write_bytes(b"[    1.0] x\x1b[2J: disagrees about version of symbol y\x1b]0;owned\x07\xff\nboo\rok: forged\n")
    names = {"KERNEL": kernel.name, "MODULE": str(module), "LOG": str(log)}
    return [KOBOX, *(names.get(word, word) for word in words)]


@pytest.mark.parametrize("name", COMMANDS)
def test_no_command_passes_control_characters_on(
    name: str, modules: BuiltTestModules, debian_kernel: KernelImage, tmp_path: Path
) -> None:
    words = command(COMMANDS[name], modules("terminal"), debian_kernel, tmp_path)
    done = subprocess.run(words, capture_output=True, check=False, env={**os.environ, "LC_ALL": "C.UTF-8"})
    text = (done.stdout + done.stderr).decode()  # and all of it is UTF-8
    assert text
    assert not CONTROL.search(text), text
    assert "Traceback" not in text
    assert not re.search("^ok: (forged|terminal loaded and unloaded; forged)", text, re.MULTILINE), text
    assert not re.search("^=> overwritten", text, re.MULTILINE)


def test_every_line_of_a_record_has_its_time_stamp_and_names_stay_on_their_line(
    modules: BuiltTestModules, debian_kernel: KernelImage, tmp_path: Path
) -> None:
    words = command(COMMANDS["run"], modules("terminal"), debian_kernel, tmp_path)
    text = subprocess.run(words, capture_output=True, text=True, check=False).stdout
    assert re.search(r"^\[ *[\d.]+\] .*terminal: \\x1b\]0;owned\\x07\\x1b\[2J", text, re.MULTILINE), text
    assert re.search(r"^\[ *[\d.]+\] (info +)?ok: terminal loaded and unloaded; forged$", text, re.MULTILINE), text
    assert r"/proc/terminal\x1b[2J\x1b[H\x0aok: forged by a file" in text
    assert text.splitlines()[-1].startswith("FAILED: ")


def test_a_terminal_gets_only_kobox_s_own_colours(
    modules: BuiltTestModules, debian_kernel: KernelImage, tmp_path: Path
) -> None:
    words = command(COMMANDS["run"], modules("terminal"), debian_kernel, tmp_path)
    text = on_a_terminal(words)
    assert SGR.search(text)
    assert not CONTROL.search(SGR.sub("", text).replace("\r\n", "\n")), text


def test_a_stream_that_lacks_a_character_gets_it_escaped(
    modules: BuiltTestModules, debian_kernel: KernelImage, tmp_path: Path
) -> None:
    words = [KOBOX, "modinfo", "/nowhere/é\udcff.ko"]
    environment = {**os.environ, "PYTHONIOENCODING": "ascii", "LC_ALL": "C.UTF-8"}
    done = subprocess.run(words, capture_output=True, check=False, env=environment)
    assert done.returncode == 1
    assert b"\\xff.ko" in done.stderr
    assert b"Traceback" not in done.stderr


def test_the_shell_escapes_its_own_messages_and_passes_programs_through(
    modules: BuiltTestModules, debian_kernel: KernelImage
) -> None:
    module = modules("terminal")
    script = "insmod /mnt/it/terminal.ko; printf '\\033[1mbold\\n'"
    words = [KOBOX, "shell", "-k", debian_kernel.name, "--share", f"{module.parent}:/mnt/it", "-c", script]
    done = subprocess.run(words, capture_output=True, check=False)
    assert done.stdout == b"\x1b[1mbold\n", done
    assert b"\\x1b[2J" in done.stderr
    assert not CONTROL.search(done.stderr.decode()), done.stderr


def on_a_terminal(words: list[str]) -> str:
    """What a command writes to a pseudo-terminal."""
    ours, theirs = pty.openpty()
    with subprocess.Popen(words, stdin=theirs, stdout=theirs, stderr=theirs) as child:
        os.close(theirs)
        text = bytearray()
        while True:
            try:
                data = os.read(ours, 65536)
            except OSError:  # EIO: the child has closed its end
                break
            text += data
        child.wait()
    os.close(ours)
    return text.decode()


def test_pages_hold_neither_markup_nor_control_characters() -> None:
    assert html_text("<b>\x1b[2J&\n\"'\u202e") == "&lt;b&gt;\\x1b[2J&amp;\n&quot;&#x27;\\xe2\\x80\\xae"
    assert html_text('"', quote=False) == '"'


@pytest.mark.parametrize("command", [["trace", "--html"], ["check", "--no-faults", "--no-elsewhere", "--html"]])
def test_a_page_is_text(command: list[str], modules: BuiltTestModules, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    words = [KOBOX, *command, str(page), "-k", modules.kernel.name, str(modules("attacks"))]
    subprocess.run([*words, "attack=task_name", "text=\x1b[2J<b>"], capture_output=True, check=False)
    text = page.read_text()
    assert "\\x1b[2J&lt;b&gt;" in text
    assert not CONTROL.search(text)
