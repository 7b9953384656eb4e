"""Names of Rust symbols, as rustc writes them and as RFC 2603 describes them; and hostile ones."""

from __future__ import annotations

import random
import string

import pytest

from kobox.ko.demangle import demangle, demangle_text


@pytest.mark.parametrize(
    ("mangled", "shown"),
    [
        ("_RNvCshfMI71CQuHV_8rust_bad5third", "rust_bad::third"),
        (
            "_RNvXCshfMI71CQuHV_8rust_badNtB2_3BadNtCsdJ13ReMSUMg_6kernel6Module4init",
            "<rust_bad::Bad as kernel::Module>::init",
        ),
        (
            "_RNvXs0_NtCsdJ13ReMSUMg_6kernel3fmtINtB5_7AdapterRxENtNtCsbZfwWpAStWS_4core3fmt7Display3fmtCshfMI71CQuHV_8rust_bad",
            "<kernel::fmt::Adapter<&i64> as core::fmt::Display>::fmt",
        ),
        ("_RNvC6_123foo3bar", "123foo::bar"),
        (
            "_RNqCs4fqI2P2rA04_11utf8_identsu30____7hkackfecea1cbdathfdh9hlq6y",
            "utf8_idents::საჭმელად_გემრიელი_სადილი",
        ),
        (
            "_RNCNCNgCs6DXkGYLi8lr_2cc5spawn00B5_",
            "cc::spawn::{closure#0}::{closure#0}",
        ),
        (
            "_RINbNbCskIICzLVDPPb_5alloc5alloc8box_freeDINbNiB4_5boxed5FnBoxuEp6OutputuEL_ECs1iopQbuBiw2_3std",
            "alloc::alloc::box_free::<dyn alloc::boxed::FnBox<(), Output = ()>>",
        ),
        ("_RMC0INtC8arrayvec8ArrayVechKj7b_E", "<arrayvec::ArrayVec<u8, 123>>"),
        ("_RMCs4fqI2P2rA04_13const_genericINtB0_8UnsignedKhb_E", "<const_generic::Unsigned<11>>"),
        ("_RMCs4fqI2P2rA04_13const_genericINtB0_6SignedKs98_E", "<const_generic::Signed<152>>"),
        ("_RMCs4fqI2P2rA04_13const_genericINtB0_6SignedKanb_E", "<const_generic::Signed<-11>>"),
        ("_RMCs4fqI2P2rA04_13const_genericINtB0_4BoolKb1_E", "<const_generic::Bool<true>>"),
        ("_RMCs4fqI2P2rA04_13const_genericINtB0_4CharKc76_E", "<const_generic::Char<'v'>>"),
        ("_RNvMs_C1aTRShQiPxOyE1f", "<(&[u8], &mut isize, *const i64, *mut u64)>::f"),
        ("_RIC1aFUKCjEuE", 'a::<unsafe extern "C" fn(usize)>'),
        ("_RIC1aFG_RL0_hEhE", "a::<for<'a> fn(&'a u8) -> u8>"),
        ("_RNvCshfMI71CQuHV_8rust_bad5third.llvm.123", "rust_bad::third"),
    ],
)
def test_a_name_of_rust(mangled: str, shown: str) -> None:
    assert demangle(mangled) == shown


@pytest.mark.parametrize(
    "name",
    [
        "",
        "printk",
        "_R",
        "_RAPL",
        "_RANGE",
        "_RNvC1",
        "_RNvB_1a",
        "_RIC1aB_E",
        "_RNvC9999a",
        "_ZN3foo3barE",
        "_RNvC1a1b!",
    ],
)
def test_other_names_stay(name: str) -> None:
    assert demangle(name) == name


def test_names_within_a_line() -> None:
    line = " ? _RNvCshfMI71CQuHV_8rust_bad5third+0x1e/0x20 [rust_bad] _RAPL"
    assert demangle_text(line) == " ? rust_bad::third+0x1e/0x20 [rust_bad] _RAPL"


@pytest.mark.parametrize("seed", range(3))
def test_hostile_names_end(seed: int) -> None:
    """Mutations of real names, nests of every production, and backrefs to backrefs: quickly, and in bounded memory."""
    rng = random.Random(seed)
    alphabet = string.ascii_letters + string.digits + "_"
    for _ in range(3000):
        name = "_R" + "".join(rng.choice("CNMXYIBTSARQPOFDGLKEsu_0123" + alphabet) for _ in range(rng.randrange(40)))
        assert len(demangle(name)) < 1 << 15
    for nest in ("_RI" + "C1a" + "I" * 4000, "_RMC1a" + "T" * 4000, "_RMC1a" + "R" * 4000, "_RM" * 1300):
        assert demangle(nest) == nest
    doubling = "_RMC1aT" + "TuuE" + "".join(f"B{alphabet[26 + n]}_B{alphabet[26 + n]}_" for n in range(9)) + "E"
    assert len(demangle(doubling)) < 1 << 15
