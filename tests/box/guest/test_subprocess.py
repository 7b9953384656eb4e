"""Programs in the box: what subprocess would give, for real programs of this machine."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from kobox.box.box import Box
from kobox.box.guest.subprocess import DEVNULL, PIPE, STDOUT
from kobox.errors import BoxError, ProgramError

PROGRAMS = {
    "crash": ("int main(void){*(volatile int*)0x1234=1;}", ["-O1"]),
    "static": (
        r"""#include <stdio.h>
        int main(int n, char **v) { printf("%d %s\n", n, v[n - 1]); return n; }""",
        ["-static"],
    ),
    "spin": ("int main(void){for(;;);}", ["-O1"]),
    "floats": (
        r"""#include <stdio.h>
        #include <unistd.h>
        #include <sys/wait.h>
        int main(void) {
            double s = 0;
            fork();
            for (int i = 1; i < 300000; i++) s += 1.0 / i;
            wait(0);
            printf("%.9f\n", s);
        }""",
        ["-O1"],
    ),
    "wide": ("#include <unistd.h>\nchar b[65536];int main(void){while(write(1,b,sizeof b)>0);}", []),
    "eater": (
        """#include <stdlib.h>
        #include <string.h>
        int main(void) { for (;;) memset(malloc(1 << 20), 1, 1 << 20); }""",
        [],
    ),
    "bomb": ("#include <unistd.h>\nint main(void){for(;;)fork();}", []),
    "illegal": ('int main(void){__asm__("ud2");}', []),
    # The hypercall's leaf at the very address where kobox's own CPUID stands, in a program that is not kobox's.
    "hypercall": (
        r"""__asm__(".globl _start; _start: nop; nop; nop; mov $0x6b6f626f, %eax; cpuid;"
                    "mov $60, %eax; mov $7, %edi; syscall");""",
        ["-static", "-nostdlib", "-Wl,-Ttext=0x4000b0,-z,norelro,--build-id=none", "-Wl,-N"],
    ),
}


@pytest.fixture(scope="session")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the small programs of PROGRAMS."""
    place = tmp_path_factory.mktemp("programs")
    for name, (code, flags) in PROGRAMS.items():
        source = place / f"{name}.c"
        source.write_text(code)
        subprocess.run(["gcc", "-w", "-o", str(place / name), str(source), *flags], check=True)
    return place


def test_a_program_of_this_machine_runs_with_its_loader_and_libraries(box: Box) -> None:
    done = box.run(["/bin/echo", "hello", "box"], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "hello box\n", "")
    assert done.args == ["/bin/echo", "hello", "box"]


def test_a_static_program_gets_its_arguments_and_gives_its_status(box: Box, compiled: Path) -> None:
    done = box.run([compiled / "static", "a", "b"], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (3, "3 b\n")


def test_input_and_environment_and_directory(box: Box) -> None:
    done = box.run(["/bin/cat"], input=b"through\0it" * 50000, capture_output=True)
    assert done.stdout == b"through\0it" * 50000
    done = box.run(["/usr/bin/env"], env={"A": "1"}, capture_output=True, text=True)
    assert done.stdout == "A=1\n"
    assert box.run(["/bin/pwd"], cwd="/proc", capture_output=True, text=True).stdout == "/proc\n"


def test_standard_error_apart_or_together(box: Box) -> None:
    script = ["/bin/sh", "-c", "echo out; echo err >&2"]
    done = box.run(script, stdout=PIPE, stderr=PIPE, text=True)
    assert (done.stdout, done.stderr) == ("out\n", "err\n")
    done = box.run(script, stdout=PIPE, stderr=STDOUT, text=True)
    assert (done.stdout, done.stderr) == ("out\nerr\n", None)
    assert box.run(script, stdout=DEVNULL, stderr=DEVNULL).returncode == 0


def test_output_that_nobody_captures_is_this_process_s_own(box: Box, capfd: pytest.CaptureFixture[str]) -> None:
    box.run(["/bin/sh", "-c", "echo out; echo err >&2"])
    assert capfd.readouterr() == ("out\n", "err\n")


def test_check_and_timeout_raise_what_subprocess_raises(box: Box) -> None:
    with pytest.raises(subprocess.CalledProcessError) as failed:
        box.run(["/bin/sh", "-c", "echo so far; exit 4"], check=True, capture_output=True)
    assert (failed.value.returncode, failed.value.stdout) == (4, b"so far\n")
    box.run(["sleep", "0"])  # from now on the box has it
    with pytest.raises(subprocess.TimeoutExpired) as expired:
        box.run(["/bin/sh", "-c", "echo so far; sleep 1000"], timeout=5, capture_output=True)
    assert expired.value.output == b"so far\n"
    assert box.run(["/bin/true"]).returncode == 0


def test_an_endless_loop_ends_at_its_timeout(box: Box, compiled: Path) -> None:
    with pytest.raises(subprocess.TimeoutExpired):
        box.run([compiled / "spin"], timeout=2)
    assert "spin" not in box.run(["/bin/sh", "-c", "cat /proc/[0-9]*/comm"], capture_output=True, text=True).stdout


def test_a_crash_tells_its_signal_and_address(box: Box, compiled: Path) -> None:
    with box.popen([compiled / "crash"]) as program:
        assert program.wait() == -signal.SIGSEGV
    death = program.death
    assert death is not None
    assert (death.signal, death.address) == (signal.SIGSEGV, 0x1234)
    assert "segfault at 1234" in death.report
    assert box.run([compiled / "illegal"]).returncode == -signal.SIGILL


def test_two_way_talk(box: Box) -> None:
    with box.popen(["/bin/cat"], stdin=PIPE, stdout=PIPE, text=True) as cat:
        assert cat.stdin is not None
        assert cat.stdout is not None
        for word in ("one\n", "two\n"):
            cat.stdin.write(word)
            assert cat.stdout.readline() == word
        assert cat.poll() is None
        cat.stdin.close()
        assert cat.stdout.read() == ""
    assert cat.returncode == 0


def test_signals_reach_a_program(box: Box) -> None:
    with box.popen(["/bin/sleep", "1000"]) as sleeper:
        assert sleeper.poll() is None
        sleeper.terminate()
        assert sleeper.wait() == -signal.SIGTERM


def test_sleeping_takes_no_time(box: Box) -> None:
    before = box.time
    assert box.run(["/bin/sleep", "3600"]).returncode == 0
    assert 3600 <= box.time - before < 3602


def test_floating_point_survives_other_processes(box: Box, compiled: Path) -> None:
    first, second = box.run([compiled / "floats"], capture_output=True, text=True).stdout.split()
    assert first == second == f"{sum(1 / n for n in range(1, 300000)):.9f}"


def test_a_program_that_never_stops_printing_is_bounded(
    box: Box, compiled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kobox.box.guest.program.MOST_OUTPUT", 1 << 20)
    with pytest.raises(BoxError, match="more than 1 MiB"):
        box.run([compiled / "wide"], stdout=PIPE)
    with box.popen([compiled / "wide"], stdout=PIPE) as program:
        program.poll()
        assert len(program._outputs["stdout"].data) < 2 << 20
        program.kill()


def test_no_such_program_and_a_missing_library_and_another_architecture(box: Box, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        box.run(["no-such-program"])
    source = tmp_path / "lib.c"
    source.write_text("int f(void){return 1;}")
    subprocess.run(["gcc", "-shared", "-o", tmp_path / "libodd.so.3", "-Wl,-soname,libodd.so.3", source], check=True)
    (tmp_path / "main.c").write_text("int f(void);int main(void){return f();}")
    subprocess.run(["gcc", "-o", tmp_path / "main", tmp_path / "main.c", tmp_path / "libodd.so.3"], check=True)
    with pytest.raises(ProgramError, match=r"libodd\.so\.3 is missing") as caught:
        box.run([tmp_path / "main"])
    assert "libodd3" in caught.value.hint
    foreign = bytearray((tmp_path / "main").read_bytes())
    foreign[18] = 183
    (tmp_path / "foreign").write_bytes(foreign)
    (tmp_path / "foreign").chmod(0o755)
    with pytest.raises(ProgramError, match="aarch64"):
        box.run([tmp_path / "foreign"])


def test_what_a_program_may_not_do(box: Box) -> None:
    box.files.copy_in("/bin/true", "/tmp/not-executable")
    box.syscall("chmod", "/tmp/not-executable", 0o644)
    with pytest.raises(PermissionError):
        box.run(["/tmp/not-executable"])
    with pytest.raises(FileNotFoundError):
        box.run(["/bin/true"], cwd="/nowhere")
    assert box.run(["/bin/true"]).returncode == 0


def test_the_hypercall_is_none_for_programs(box: Box, compiled: Path) -> None:
    assert box.run([compiled / "hypercall"], timeout=10).returncode == 7


def test_a_program_that_was_written_over_runs_as_it_is_now(box: Box, tmp_path: Path) -> None:
    images = []
    for value in (1, 2):
        source = tmp_path / f"{value}.c"
        source.write_text(f"int main(void) {{ return {value}; }}")
        subprocess.run(["gcc", "-static", "-o", tmp_path / str(value), source], check=True)
        images.append((tmp_path / str(value)).read_bytes())
    box.files.copy_in(tmp_path / "1", "/tmp/program")
    assert box.run(["/tmp/program"]).returncode == 1
    with box.open("/tmp/program", "r+b") as file:  # the same pages, written by the kernel's own mapping of them
        file.write(images[1])
    assert box.run(["/tmp/program"]).returncode == 2


def test_a_program_whose_loader_the_box_lacks_is_named(box: Box, tmp_path: Path) -> None:
    (tmp_path / "script").write_text("#!/no/such/interpreter\n")
    (tmp_path / "script").chmod(0o755)
    box.files.copy_in(tmp_path / "script", "/tmp/script")
    with pytest.raises(ProgramError, match="/no/such/interpreter"):
        box.run(["/tmp/script"])


def test_files_go_in_and_out(box: Box, tmp_path: Path) -> None:
    (tmp_path / "tree/below").mkdir(parents=True)
    (tmp_path / "tree/below/file").write_bytes(b"content" * 100000)
    (tmp_path / "tree/link").symlink_to("below/file")
    box.files.copy_in(tmp_path / "tree", "/tmp/tree")
    assert box.read_bytes("/tmp/tree/link") == b"content" * 100000
    box.write_bytes("/tmp/tree/new", b"made inside")
    box.files.copy_out("/tmp/tree", tmp_path / "back")
    assert (tmp_path / "back/new").read_bytes() == b"made inside"
    assert (tmp_path / "back/below/file").read_bytes() == b"content" * 100000
    assert (tmp_path / "back/link").readlink() == Path("below/file")


def test_python_itself(box: Box) -> None:
    home = Path(sys.base_prefix)
    code = "import sys; print(6 * 7, sys.version_info[0])"
    library = home / f"lib/python3.{sys.version_info[1]}"
    for path in (library / "encodings", *library.glob("[_a-z]*.py")):  # which of them it needs, versions differ in
        box.files.copy_in(path, str(library / path.name))
    done = box.run([home / f"bin/python3.{sys.version_info[1]}", "-S", "-c", code], capture_output=True, text=True)
    assert (done.stdout, done.returncode) == ("42 3\n", 0), done.stderr


# -- when it goes wrong ------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """tests/programs/hostile.c: what programs may not do, each in a child of its own."""
    place = tmp_path_factory.mktemp("hostile") / "hostile"
    subprocess.run(["gcc", "-w", "-O1", "-o", place, Path(__file__).parents[2] / "programs/hostile.c"], check=True)
    return place


def test_what_the_cpu_forbids_to_programs_ends_them_and_nothing_else(box: Box, hostile: Path) -> None:
    done = box.run([hostile], capture_output=True, text=True, timeout=60)
    told = dict(line.rsplit(": ", 1) for line in done.stdout.splitlines() if ": " in line)
    segfaults = "hlt cli sti wrmsr rdmsr cr3 in out int14 int13 int8 int32 intf0 kernel kernelread jump nx lgdt"
    assert {name: told[name] for name in segfaults.split()} == dict.fromkeys(segfaults.split(), "signal 11")
    assert all(told[name] == "signal 11" for name in ("swapgs", "sysret", "iret", "invlpg", "noncanon"))
    assert (told["int3"], told["undefined"], told["div0"], told["tf"]) == (
        "signal 5",
        "signal 4",
        "signal 8",
        "signal 5",
    )
    assert "int80 getpid ok 1" in done.stdout
    assert "hypercall 0 0" in done.stdout, "the hypercall is an unknown leaf of CPUID to a program"
    assert "ioperm 0 port 1" in done.stdout, "root may ask for a port, as on any PC, and it is the box's"
    assert told["ioperm"] == "signal 11", "and has no others"
    assert done.stdout.endswith("end\n")
    assert box.alive


def test_nothing_of_this_machine_is_within_reach(box: Box, tmp_path: Path) -> None:
    """No file, process or port of this machine can be named from inside."""
    import socket

    secret = tmp_path / "secret"
    secret.write_text("not for the box")
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        for name in ("cat", "bash"):
            box.run([name, "--version"], capture_output=True)
        script = (
            f"cat {secret}; cat /proc/1/root{secret}; cat /proc/self/cwd{secret}; for p in /proc/[0-9]*; do "
            f"cat $p/root{secret}; done; exec 3<>/dev/tcp/127.0.0.1/{port}"
        )
        done = box.run(["bash", "-c", script], capture_output=True, text=True)
        server.settimeout(0)
        with pytest.raises(BlockingIOError):
            server.accept()
    assert "not for the box" not in done.stdout
    assert "Connection refused" in done.stderr
    names = box.run(["bash", "-c", "cat /proc/[0-9]*/comm"], capture_output=True, text=True).stdout
    assert "pytest" not in names
    assert "python" not in names


def test_memory_runs_out_for_the_program_and_not_for_the_box(box: Box, compiled: Path) -> None:
    assert box.run([compiled / "eater"]).returncode == -signal.SIGKILL
    assert "Out of memory: Killed process" in box.log.text()
    assert box.run(["/bin/echo", "still here"], capture_output=True).stdout == b"still here\n"
    with box.process() as other:  # the box's own processes are never what is killed
        assert box.read_text(f"/proc/{other.pid}/oom_score_adj") == "-1000\n"
    assert box.run(["/bin/cat", "/proc/self/oom_score_adj"], capture_output=True).stdout == b"0\n"


def test_a_fork_bomb_is_bounded_by_its_timeout(box: Box, compiled: Path) -> None:
    with pytest.raises(subprocess.TimeoutExpired):
        box.run([compiled / "bomb"], timeout=3)
    assert b"bomb" not in box.run(["bash", "-c", "cat /proc/[0-9]*/comm"], capture_output=True).stdout
