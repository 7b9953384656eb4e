"""Declarations read off header files: small ones that show each form, and the kernels' own."""

from __future__ import annotations

from pathlib import Path

import pytest

from kobox.images.store import KernelImage
from kobox.kbuild.hints.headers import KernelHeaders, one_line, parameters

HEADER = """\
/* int in_a_comment(void); */
#define MACRO(a, b) do { called(a); } while (0)
#define CONSTANT 42
enum thing_kind { THING_ONE, THING_TWO = 5 };
typedef unsigned long word_t;
typedef int (*callback_t)(struct thing *t);
struct thing {
    int plain;
    struct { int nested; } inner;
#ifdef CONFIG_THING
    const char *name;    /* its name */
#endif
    int (*call)(struct thing *t,
        unsigned long flags);
};
extern int __must_check
two_lines(struct thing *t, unsigned long flags);
static inline void inlined(void)
{
    if (1)
        called(two_lines(NULL, 0));
    return called(1);
}
void called(int);
#ifdef CONFIG_THING
int only_with_it(void);
#else
static inline int without_it(void) { return 0; }
#endif
"""


@pytest.fixture
def headers(tmp_path: Path) -> KernelHeaders:
    (tmp_path / "build/include/linux").mkdir(parents=True)
    (tmp_path / "build/Makefile").touch()
    (tmp_path / "build/include/linux/thing.h").write_text(HEADER)
    return KernelHeaders(
        KernelImage("k", "k", tmp_path / "vmlinuz", None, tmp_path / "build", "test", tmp_path, "digest")
    )


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("MACRO", "#define MACRO(a, b)"),
        ("CONSTANT", "#define CONSTANT 42"),
        ("THING_TWO", "enum { THING_TWO = 5 }"),
        ("word_t", "typedef unsigned long word_t;"),
        ("callback_t", "typedef int (*callback_t)(struct thing *t);"),
        ("thing", "struct thing { … }"),
        ("two_lines", "int two_lines(struct thing *t, unsigned long flags);"),
        ("inlined", "void inlined(void);"),
        ("called", "void called(int);"),
    ],
)
def test_each_form_of_declaration(name: str, text: str, headers: KernelHeaders) -> None:
    found = headers.any(name)
    assert found is not None
    assert (found.header, found.text) == ("linux/thing.h", text)


@pytest.mark.parametrize("name", ["in_a_comment", "nowhere", "NULL"])
def test_what_is_no_declaration(name: str, headers: KernelHeaders) -> None:
    assert headers.any(name) is None


@pytest.mark.parametrize(
    ("member", "text"),
    [
        ("plain", "int plain;"),
        ("name", "const char *name;"),
        ("nested", "int nested;"),
        ("call", "int (*call)(struct thing *t, unsigned long flags);"),
        ("absent", None),
    ],
)
def test_members(member: str, text: str | None, headers: KernelHeaders) -> None:
    found = headers.member("thing", member)
    assert (found.text if found else None) == text


def test_the_option_behind_a_declaration(headers: KernelHeaders) -> None:
    assert headers.condition("only_with_it") == "CONFIG_THING"
    assert headers.condition("without_it") == ""
    assert headers.condition("called") == ""
    assert headers.condition("nowhere") == ""


def test_a_kernel_without_headers_knows_nothing(tmp_path: Path) -> None:
    headers = KernelHeaders(KernelImage("k", "k", tmp_path, None, None, "test", tmp_path, ""))
    assert headers.files == {}
    assert headers.any("printk") is None


def test_one_line_and_parameters() -> None:
    assert one_line("extern  int\n__must_check f( int *  a ,char b )") == "int f(int *a, char b)"
    assert parameters("int f(struct thing *t, unsigned long flags);") == ("struct thing", "unsigned long")


@pytest.mark.parametrize("suite", ["debian_kernel", "sid_kernel"])
def test_a_real_kernel_s_headers(suite: str, request: pytest.FixtureRequest) -> None:
    headers = KernelHeaders(request.getfixturevalue(suite))
    headers.prepare(["schedule_work", "file_operations", "GFP_KERNEL", "i2c_register_driver"])
    found = headers.any("schedule_work")
    assert found is not None
    assert (found.header, found.text) == ("linux/workqueue.h", "bool schedule_work(struct work_struct *work);")
    member = headers.member("file_operations", "read")
    assert member is not None
    assert member.text == "ssize_t (*read)(struct file *, char __user *, size_t, loff_t *);"
    assert headers.condition("i2c_add_driver") in ("", "CONFIG_I2C")
    assert headers.has_header("linux/module.h")
    assert not headers.has_header("linux/none.h")
    assert "timer_setup" in headers.functions_of("linux/timer.h")
