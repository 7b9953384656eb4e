"""Parameters as the kernel takes them: every line here is also given to a real one."""

from __future__ import annotations

import errno

import pytest

from kobox.box.box import Box
from kobox.explain.box_answer import try_in_box
from kobox.explain.explanation import Conditions
from kobox.explain.load_rules import explain
from kobox.explain.parameter_rules import answer, troubles, words_of
from kobox.images.store import KernelImage
from kobox.ko.modulefile import ModuleFile
from tests.building import BuiltTestModules

TEXTS = [
    "",
    "n=1",
    "n=-1 hold",
    "n",
    "n=",
    "n=abc",
    "n=0x10",
    "n=0x",
    "n=0xg",
    "n=010",
    "n=08",
    "n=+5",
    "n=-+5",
    "n=5 ",
    " \t n=5",
    "n=2147483647",
    "n=2147483648",
    "n=-2147483648",
    "n=-2147483649",
    "n=99999999999999999999",
    '"n=5"',
    '"n=5" hold=y',
    'n="5"',
    'n="5',
    'n="',
    'n="5 6"',
    '"n=5 6"',
    "n=5\thold=n",
    "hold",
    "hold=",
    "hold=on",
    "hold=oN",
    "hold=of",
    "hold=o",
    "hold=true",
    "hold=x",
    "=5",
    "=n=5",
    "nosuch",
    "nosuch=1 n=x",
    "n=x hold=x",
    "n=99999999999 hold=x",
    "hold=x n=99999999999",
    "-- n=x",
    "n=1 -- rest of it",
    "--=1",
    "other.n=x",
    "good.n=3",
    "good.dyndbg=+p",
    "async_probe",
    "dyndbg=+p",
    'nosuch="a b" n=3',
]


@pytest.fixture(scope="module")
def good(modules: BuiltTestModules) -> bytes:
    return modules("good").read_bytes()


@pytest.mark.parametrize("text", TEXTS)
def test_a_real_kernel_answers_the_same(text: str, box: Box, good: bytes) -> None:
    found = list(troubles(text, {one.name: one.type for one in ModuleFile(good).parameters}, "good"))
    expected = next((one.errno for one in reversed(found) if one.errno), "")
    start = box.log.next_seq
    try:
        box.init_module(good, text)
        got = ""
    except OSError as error:
        got = errno.errorcode[error.errno or 0]
    said = [record.text for record in box.log.since(start)]
    assert got == expected, said
    about = [line for line in said if "parameter" in line]
    assert about == [line for one in found for line in one.log]


@pytest.mark.parametrize("kernel", ["trixie_kernel", "sid_kernel"])
def test_newer_kernels_do_too(kernel: str, request: pytest.FixtureRequest) -> None:
    from kobox.box.boot.boot import boot

    image: KernelImage = request.getfixturevalue(kernel)
    module = BuiltTestModules(image)("good").read_bytes()
    with boot(image) as box:
        for text in TEXTS[::4]:
            conditions = Conditions(parameters=text)
            result = try_in_box(module, explain(module, image, conditions), box, conditions)
            assert result.agrees, (text, result)
            assert [line for fact in result.facts if "parameter" in fact.rule for line in fact.log] == [
                line for line in result.log if "parameter" in line
            ], text
            box.reset()


def test_strings_and_arrays(box: Box, modules: BuiltTestModules) -> None:
    module = modules("params").read_bytes()
    types = {one.name: one.type for one in ModuleFile(module).parameters}
    strings = [name for name, kind in types.items() if kind == "charp"]
    arrays = [name for name, kind in types.items() if kind == "array of int"]
    assert strings
    assert arrays
    lines = [(f"{strings[0]}={'x' * length}", "" if length <= 1024 else "ENOSPC") for length in (1024, 1025)]
    lines += [(f"{arrays[0]}=1,2", ""), (f"{arrays[0]}=1,x", "EINVAL"), (f"{arrays[0]}=1,", "EINVAL")]
    lines += [(f"{arrays[0]}", "EINVAL"), (strings[0], "EINVAL"), (f'{strings[0]}="a b"', "")]
    for text, expected in lines:
        assert [one.errno for one in troubles(text, types, "params") if one.errno] == [expected][: bool(expected)]
        try:
            box.init_module(module, text)
            got = ""
        except OSError as error:
            got = errno.errorcode[error.errno or 0]
        assert got == expected, text[:20]
        box.reset()


def test_the_words_of_a_text() -> None:
    assert [(name, value) for name, value, _ in words_of('a "b=c d" e="f g" h= =i')] == [
        ("a", None),
        ("b", "c d"),
        ("e", "f g"),
        ("h", ""),
        ("=i", None),
    ]


@pytest.mark.parametrize(
    ("kind", "value", "said"),
    [
        ("uint", "-1", "EINVAL"),
        ("uint", "4294967296", "ERANGE"),
        ("byte", "255", ""),
        ("byte", "256", "ERANGE"),
        ("ullong", "18446744073709551615", ""),
        ("short", "-32769", "ERANGE"),
        ("invbool", None, "EINVAL"),
        ("", "anything", ""),
        ("string", "anything", ""),
    ],
)
def test_types_by_the_kernel_s_source(kind: str, value: str | None, said: str) -> None:
    assert answer(kind, value) == said
