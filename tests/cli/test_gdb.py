"""`kobox gdb`, driven as a person drives it: by gdb's own commands."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from kobox.box.box import Box
from kobox.box.symbol_file.kernel_symbol_file import kernel_symbol_file
from kobox.debug.gdb_program import debian_gdb, gdb_words
from kobox.images.store import KernelImage, Store
from tests.building import BuiltTestModules

COMMAND = [sys.executable, "-m", "kobox", "gdb"]
USE = ["-c", "echo -n one > /dev/journal", "-c", "echo -n two > /dev/journal"]


@pytest.fixture(scope="module")
def journal(debian_kernel: KernelImage) -> Path:
    return BuiltTestModules(debian_kernel, "debug")("journal")


def gdb(*arguments: str | Path, commands: list[str], status: int = 0, more: Sequence[str] = ()) -> str:
    """What `kobox gdb` says when gdb is given these commands."""
    words = [
        *COMMAND,
        *map(str, arguments),
        "--",
        "-nx",
        "-batch",
        *more,
        *(w for c in [*commands, "echo"] for w in ("-ex", c)),
    ]
    done = subprocess.run(words, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == status, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_break_look_and_go_on(journal: Path) -> None:
    said = gdb(
        journal,
        *USE,
        commands=[
            *("break add_entry", "continue", "print word", "backtrace", "finish"),
            *("continue", "print written", "print *last", "next", "next", "info locals", "ptype struct entry"),
        ],
    )
    assert re.search(r"^journal_init \(\) at .*journal\.c:\d+", said, re.M)
    assert re.search(r"Breakpoint 1, (?:0x\w+ in )?add_entry \(word=.*\"one\"\) at .*journal.c", said)
    assert re.search(r"^#1 .* journal_write \(", said, re.M)
    frames = re.findall(r"^#(\d+) .*? in (\w+) \(", said, re.M)
    assert [name for _, name in frames][-4:] == [
        "vfs_write",
        "ksys_write",
        "do_syscall_64",
        "entry_SYSCALL_64_after_hwframe",
    ]
    assert "corrupt" not in said
    assert "Value returned is $2 = 1" in said
    assert "$3 = 1" in said
    assert 'number = 1, word = "one' in said


def test_backwards_from_the_end_to_who_wrote_a_variable_last(journal: Path) -> None:
    said = gdb(
        journal,
        *USE,
        commands=[
            *("break add_entry", "continue", "delete", "watch -l written", "continue", "continue", "continue"),
            *("reverse-continue", "backtrace 1", "reverse-continue", "reverse-continue", "info registers rip"),
        ],
    )
    assert "kobox: the module's life has ended as it should" in said
    old_and_new = re.findall(r"Old value = (\d+)\nNew value = (\d+)", said)
    assert old_and_new[:2] == [("0", "1"), ("1", "2")]
    assert ("2", "1") in old_and_new
    assert ("1", "0") in old_and_new
    assert said.count("No more reverse-execution history") >= 2


def test_an_oops_stops_before_the_instruction_that_caused_it(journal: Path) -> None:
    said = gdb(
        journal,
        "-c",
        "echo -n extraordinary > /dev/journal",
        commands=["continue", "print target", "backtrace", "continue", "monitor log"],
    )
    assert "kobox: the kernel oopses in the instruction that comes next" in said
    assert re.search(r"received signal SIGSEGV[^$]*journal_write \(.*\n\d+\s+target->number = 0;", said)
    assert "(struct entry * volatile) 0x0" in said
    assert re.search(r"^#1 .* vfs_write", said, re.M)
    assert "BUG: kernel NULL pointer dereference" in said
    assert "the module's life has ended" in said


def test_a_core_of_the_moment_before_an_oops(journal: Path, tmp_path: Path) -> None:
    """Its registers are those that gdb sees, and drgn reads the module's variables."""
    drgn = pytest.importorskip("drgn")
    core = tmp_path / "box.vmcore"
    said = gdb(
        journal,
        *("-c", "echo -n extraordinary > /dev/journal"),
        commands=[
            *("continue", "print/x $rip", f"monitor save-core {core}", f"monitor save-core {tmp_path}"),
            "monitor save-core",
        ],
    )
    assert f"{core}.vmlinux: drgn -c and crash open them" in said
    assert f"Is a directory: '{tmp_path}'" in said
    assert "monitor save-core FILE" in said
    (rip,) = re.findall(r"^\$1 = 0x(\w+)$", said, re.M)
    notes = subprocess.run(["readelf", "-lW", core], capture_output=True, text=True, check=True).stdout
    (at,) = re.findall(r"NOTE +0x(\w+)", notes)
    registers = core.read_bytes()[int(at, 16) + 20 + 112 :][: 27 * 8]  # behind the note's head and elf_prstatus's
    assert struct.unpack("<27Q", registers)[16] == int(rip, 16)
    prog = drgn.Program()
    prog.set_core_dump(str(core))
    prog.load_debug_info([f"{core}.vmlinux", str(journal)])
    assert prog["written"].value_() == 0
    assert {thread.name for thread in prog.threads() if thread.object.on_cpu and thread.object.pid} == {"sh"}


def test_threads_and_monitor(journal: Path) -> None:
    said = gdb(
        journal, commands=["info threads", "thread apply all bt 1", "monitor where", "monitor time", "monitor nonsense"]
    )
    assert re.search(r"\* 1 +Thread \d+ \"kobox\" \(running, PID \d+\) +journal_init \(\)", said)
    assert re.search(r"\"ksoftirqd/0\" \(asleep, PID \d+\) +0x\w+ in __schedule", said)
    assert "do_one_initcall+" in said
    assert re.search(r"^[\d.]+ s, instruction \d+ of \d+$", said, re.M)
    assert "monitor modules" in said


def test_memory_and_registers_are_set_and_stay_set_until_one_goes_back(journal: Path) -> None:
    said = gdb(
        journal,
        *USE,
        commands=[
            *("break add_entry", "continue", "set var written = 41", "set $r15 = 7", "print written * 10 + $r15"),
            *("finish", "reverse-stepi", "print written", "stepi", "reverse-continue", "reverse-stepi"),
            *("print written", "print *(int *)0", "set var *(int *)0 = 1", "set $eflags = 0x47", "set $cs = 1"),
            *("set $gs_base = 5", "print written"),
        ],
    )
    assert "= 417" in said
    assert "Value returned is $2 = 42" in said
    assert "$3 = 42" in said
    assert "$4 = 0" in said
    assert said.count("Cannot access memory at address 0x0") == 2
    assert [said.count(f"the register {name} cannot be set") for name in ("rflags", "cs", "gs_base")] == [1, 1, 1]
    assert "$5 = 0" in said
    assert "Traceback" not in said


def test_exercise_and_parameters(tmp_path: Path, modules: BuiltTestModules) -> None:
    exercise = tmp_path / "use.py"
    exercise.write_text("def exercise(box):\n    assert 'params' in box.modules\n")
    said = gdb(modules("params"), "number=7", "--exercise", exercise, commands=["continue", "print number"])
    assert "has ended as it should" in said


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["nothing.ko"], 1, "nothing.ko"),
        (["JOURNAL", "--gdb", "no-such-gdb"], 1, "there is no program no-such-gdb"),
        (["JOURNAL", "--listen", "0"], 2, "not a port"),
        (["JOURNAL", "--exercise", "missing.py"], 1, "missing.py: cannot be run"),
        (["JOURNAL", "nosuch=1", "-k", "no-such-kernel"], 1, "no-such-kernel"),
    ],
)
def test_errors(journal: Path, arguments: list[str], status: int, words: str) -> None:
    given = [str(journal) if word == "JOURNAL" else word for word in arguments]
    done = subprocess.run([*COMMAND, *given], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == status
    assert words in done.stderr
    assert "Traceback" not in done.stderr


def test_a_module_that_is_refused_is_told(tmp_path: Path, journal: Path) -> None:
    """Its version magic is another's."""
    other = tmp_path / "journal.ko"
    other.write_bytes(journal.read_bytes().replace(b" SMP preempt", b" UP  preempt"))
    done = subprocess.run([*COMMAND, str(other)], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 1
    assert "none of journal comes to its first instruction" in done.stderr
    assert "kobox explain" in done.stderr


def test_a_debugger_of_ones_own_connects(journal: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    ours = subprocess.Popen([*COMMAND, str(journal), "--listen", str(port)], stdout=subprocess.PIPE, text=True)
    assert ours.stdout is not None
    line = ours.stdout.readline()
    assert f"target remote 127.0.0.1:{port}" in line
    words = [*gdb_words(Store(), ""), "-nx", "-batch", line.split()[5], "-ex", f"target remote 127.0.0.1:{port}"]
    done = subprocess.run([*words, "-ex", "bt"], capture_output=True, text=True, timeout=120, check=False)
    assert "journal_init () at" in done.stdout
    assert ours.wait(60) == 0


def test_ctrl_c_stops_an_endless_loop(debian_kernel: KernelImage) -> None:
    """gdb gets the signal, as on any terminal, and has the box stop where it is."""
    spins = BuiltTestModules(debian_kernel, "debug")("spinner")
    ours = subprocess.Popen(
        [*COMMAND, str(spins), "spin=2000", "--", "-nx", "-q"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    assert ours.stdin is not None
    assert ours.stdout is not None
    ours.stdin.write("set confirm off\nset pagination off\necho BEGIN\\n\ncontinue\n")
    ours.stdin.flush()
    seen = ""
    while "BEGIN" not in seen:
        seen += ours.stdout.readline()
    while "Continuing" not in seen:
        seen += ours.stdout.readline()
    os.killpg(ours.pid, signal.SIGINT)
    said, _ = ours.communicate("backtrace\nkill\nquit\n", timeout=120)
    assert "SIGINT" in said
    assert "spinner_init" in said
    assert ours.returncode == 0


@pytest.mark.parametrize("every_processor", [False, True])
def test_debians_gdb_runs_from_the_cache(kernel_store: Store, every_processor: bool) -> None:
    """With its own Python, whatever this machine has."""
    words = debian_gdb(kernel_store, every_processor=every_processor)
    commands = ["-ex", "python import os; print(os.__file__)", "-ex", "set architecture i386:x86-64"]
    commands += ["-ex", "set architecture aarch64"] if every_processor else []
    done = subprocess.run([*words, "-nx", "-batch", *commands], capture_output=True, text=True, check=False)
    assert done.stdout.startswith(str(kernel_store.root)), done.stderr
    assert "ndefined item" not in done.stderr


def test_functions_of_the_kernels_own_scripts(journal: Path) -> None:
    said = gdb(
        journal,
        *USE,
        commands=[
            *("break add_entry", "continue", "print $lx_current().comm", "print $lx_current().pid > 1"),
            *("print $lx_task_by_pid(1).comm", 'print $lx_module("journal").state', "print $lx_per_cpu(runqueues).cpu"),
            *('print $lx_module("nothing")', "lx-lsmod", "lx-ps", "lx-dmesg", "info mem"),
        ],
    )
    values = re.findall(r"^\$\d+ = (.*)$", said, re.M)
    assert [value.split("\\0")[0].split('", ')[0].strip('"') for value in values] == [
        *("sh", "1", "init", "MODULE_STATE_LIVE", "0")
    ]
    assert "No module nothing" in said
    assert re.search(r"^journal +0xffffffff", said, re.M)
    assert re.search(r"^0xffff\w+ +2 kthreadd$", said, re.M)
    assert "loading out-of-tree module taints kernel" in said
    assert re.search(r"0xffff\w+ 0x1?0+ rw|0x8000000000000000 0x10000000000000000", said)


def test_the_frames_are_those_of_the_kernels_own_tables(box: Box, tmp_path: Path, journal: Path) -> None:
    """gdb's backtrace at many moments, also inside of interrupts, beside the unwinder's."""
    kernel_symbol_file(box, tmp_path)
    places = ["timekeeping_advance", "enqueue_task_fair", "kmem_cache_alloc", "rcu_segcblist_accelerate", "strscpy"]
    commands = [f"break {place}" for place in places]
    for _ in range(12):
        commands += ["continue", "echo <gdb>\\n", "backtrace", "echo <kernel>\\n", "monitor where", "echo <end>\\n"]
    said = gdb(journal, *USE, commands=commands)
    pairs = re.findall(r"<gdb>\n(.*?)<kernel>\n(.*?)<end>", said, re.S)
    assert len(pairs) == 12
    for by_gdb, by_kernel in pairs:
        ours = re.findall(r"^#\d+\s+(?:0x\w+ in )?(\w+(?:\.\w+)*) ", by_gdb, re.M)
        theirs = [re.split(r"[+ ]", line)[0] for line in by_kernel.splitlines()]
        assert [name for name in ours if name in theirs] == theirs, (by_gdb, by_kernel)


def test_the_session_of_the_docs_that_finds_who_freed_a_note(debian_kernel: KernelImage) -> None:
    """docs/debugging.md: its commands are given, and each line that it shows must come, numbers and paths aside."""
    page = (Path(__file__).parent.parent.parent / "docs" / "debugging.md").read_text()
    block = re.search(r"^\$ kobox gdb notes\.ko -c '(.*)'\n(.*?)^```", page, re.M | re.S)
    assert block is not None
    lines = block[2].splitlines()
    commands = [line.removeprefix("(gdb) ") for line in lines if line.startswith("(gdb) ")]
    said = gdb(BuiltTestModules(debian_kernel, "debug")("notes"), "-c", block[1], commands=commands)
    at = 0
    for line in (line for line in lines if not line.startswith("(gdb) ")):
        pattern = re.escape(line.strip()).replace("…", ".*")
        pattern = re.sub(r"0x[0-9a-f]+|\d{6,}|(?<=Thread\\ )\d+", r"\\w+", pattern)
        found = re.compile(pattern).search(said, at)
        assert found is not None, f"{pattern} is not in what follows:\n{said[at:]}"
        at = found.end()


@pytest.mark.parametrize("place", ["beside the module", "in the module"])
def test_scripts_that_come_with_a_module_do_not_run(place: str, journal: Path, tmp_path: Path) -> None:
    words = gdb_words(Store(), "")
    module, ran = tmp_path / "journal.ko", tmp_path / "ran"
    shutil.copy(journal, module)
    if place == "beside the module":
        (tmp_path / "journal.ko-gdb.gdb").write_text(f"shell touch {ran}\n")
    else:  # gdb/auto-load.c: SECTION_SCRIPT_ID_PYTHON_TEXT, the script's name, the script
        (tmp_path / "script").write_bytes(b"\4mine\nopen(%r, 'w')\n\0" % str(ran))
        section = f".debug_gdb_scripts={tmp_path / 'script'}"
        flags = ".debug_gdb_scripts=alloc,readonly"
        subprocess.run(
            ["objcopy", "--add-section", section, "--set-section-flags", flags, str(module)],
            check=True,
            capture_output=True,
        )
    anywhere = ["-iex", "set auto-load safe-path /"]  # as a user may have it in his .gdbinit, or a gdb may be built
    plain = words[: words.index("-iex")]
    subprocess.run([*plain, "-nx", "-batch", *anywhere, str(module)], capture_output=True, check=False)
    has_python = place == "beside the module" or "not supported" not in _python_of(plain)
    assert ran.exists() == has_python
    ran.unlink(missing_ok=True)
    if place == "beside the module":
        assert '"one"' in gdb(module, *USE, commands=["break add_entry", "continue", "print word"], more=anywhere)
    subprocess.run([*words, "-nx", "-batch", *anywhere, str(module)], capture_output=True, check=False)
    assert not ran.exists()


def _python_of(words: list[str]) -> str:
    done = subprocess.run([*words, "-nx", "-batch", "-ex", "python 1"], capture_output=True, text=True, check=False)
    return done.stderr
