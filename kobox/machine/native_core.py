"""The native core (`native/machine.h`) as ctypes sees it: one shared library that itself loads libunicorn.

Unicorn's own Python binding is not imported: it costs 50 to 100 ms, and every hook here is native.
"""

from __future__ import annotations

import ctypes
import enum
import importlib.util
from functools import cache
from pathlib import Path

from kobox.arch.native import ABI, CORE
from kobox.arch.registry import architecture
from kobox.errors import KoboxError
from kobox.native_library import load_library


class Event(enum.IntEnum):
    """Why `kobox_run` came back (enum event in machine.h)."""

    NONE = 0
    HYPERCALL = 1
    IDLE = 2
    DEADLINE = 3
    SLICE = 4
    HALTED = 5
    RESET = 6
    TRIPLE_FAULT = 7
    ERROR = 8
    STOPPED = 9
    DEVICE = 10


HOME = "x86_64"  # whose core also has what needs no machine: decoders, check sums
STOP_WHEN_IDLE = 1
# Which arrivals at a probe are told: at a place that only jumps and calls lead to; when watched code has called; when
# the first or second argument points to tracked memory; while `Watch.inside` is set.
PROBE_ENTRY, PROBE_FROM_MODULE, PROBE_TRACKED_0, PROBE_TRACKED_1, PROBE_INSIDE = 1, 2, 4, 8, 16
PROBE_UNFIT, PROBE_DECLINED = 32, 64
FOREVER = (1 << 64) - 1
ProbeCallback = ctypes.CFUNCTYPE(None, ctypes.c_uint64)
PciCallback = ctypes.CFUNCTYPE(
    ctypes.c_uint64, ctypes.c_int, ctypes.c_uint64, ctypes.c_uint, ctypes.c_uint64, ctypes.c_int
)
DeviceCallback = ctypes.CFUNCTYPE(ctypes.c_uint64, ctypes.c_uint64, ctypes.c_uint, ctypes.c_uint64, ctypes.c_int)
WatchCallback = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.c_int, ctypes.c_uint64, ctypes.c_uint64, ctypes.c_uint64, ctypes.c_int, ctypes.c_uint64
)
TraceCallback = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_uint64)
StepCallback = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_uint64, ctypes.c_uint64)

_U64, _P, _I = ctypes.c_uint64, ctypes.c_void_p, ctypes.c_int
_U32 = ctypes.c_uint32
_SIGNATURES: dict[str, tuple[object, tuple[object, ...]]] = {
    "kobox_preload": (None, (ctypes.c_char_p,)),
    "kobox_open": (_P, (ctypes.c_char_p, _I, _U64, _U64, _U64, _I, ctypes.c_char_p)),
    "kobox_close": (None, (_P,)),
    "kobox_start_at": (None, (_P, _U64, _U64, _U64, _U64)),
    "kobox_run": (_I, (_P, _U64, ctypes.c_int64, ctypes.c_uint)),
    "kobox_set_syscall": (None, (_P, _U64, ctypes.POINTER(_U64))),
    "kobox_set_hypercall": (None, (_P, _U64)),
    "kobox_cr3": (_U64, (_P,)),
    "kobox_syscalls": (_U64, (_P,)),
    "kobox_progress": (_U64, (_P,)),
    "kobox_registers": (None, (_P, ctypes.POINTER(_U64))),
    "kobox_guards": (_I, (_P, ctypes.POINTER(_U64), _I)),
    "kobox_register": (_U64, (_P, _I)),
    "kobox_set_register": (None, (_P, _I, _U64)),
    "kobox_translate": (_U64, (_P, _U64, _I)),
    "kobox_copy": (_I, (_P, _U64, _P, _U64, _I)),
    "kobox_copy_space": (_I, (_P, _U64, _U64, _P, _U64, _I)),
    "kobox_ram": (_P, (_P,)),
    "kobox_time": (_U64, (_P,)),
    "kobox_pass": (None, (_P, _U64)),
    "kobox_due": (_U64, (_P,)),
    "kobox_blocks": (_U64, (_P,)),
    "kobox_work": (_P, (_P,)),
    "kobox_spend": (None, (_P, _U64)),
    "kobox_error": (ctypes.c_char_p, (_P,)),
    "kobox_abi": (_I, ()),
    "kobox_stop": (None, (_P,)),
    "kobox_statistics": (None, (_P, ctypes.POINTER(_U64))),
    "kobox_console": (_U64, (_P, _U64, _P, _U64)),
    "kobox_uart_input": (_I, (_P, _I, ctypes.c_char_p, _I)),
    "kobox_on_probe": (None, (_P, ProbeCallback)),
    "kobox_probe_add": (_I, (_P, _U64, ctypes.c_uint)),
    "kobox_probe_remove": (None, (_P, _U64)),
    "kobox_on_device": (None, (_P, DeviceCallback)),
    "kobox_on_pci": (None, (_P, PciCallback)),
    "kobox_pci_all_ports": (None, (_P, _I)),
    "kobox_pci_store": (_I, (_P, _U64, _U64, _P)),
    "kobox_pci_forget_stores": (None, (_P,)),
    "kobox_pci_message": (_I, (_P, _U64, ctypes.c_uint)),
    "kobox_pci_line": (None, (_P, _I, _I)),
    "kobox_pci_pulse": (None, (_P, _I)),
    "kobox_device_interrupt": (None, (_P,)),
    "kobox_device_event": (None, (_P,)),
    "kobox_device_wrote": (None, (_P, _U64, _U64)),
    "kobox_step_open": (_I, (_P, StepCallback)),
    "kobox_step_close": (None, (_P,)),
    "kobox_step_count": (_U64, (_P,)),
    "kobox_step_rewound": (None, (_P, _U64)),
    "kobox_step_until": (None, (_P, _U64, _U64, _U64, _I)),
    "kobox_step_last": (None, (_P, ctypes.POINTER(_U64))),
    "kobox_step_break": (_I, (_P, _U64, _I)),
    "kobox_step_watch": (_I, (_P, _U64, _U64, ctypes.c_uint, _I)),
    "kobox_trace_open": (_I, (_P, TraceCallback)),
    "kobox_trace_close": (None, (_P,)),
    "kobox_trace_mark": (_I, (_P, _U64, ctypes.c_uint)),
    "kobox_trace_code": (_I, (_P, _U64, _U64, _I)),
    "kobox_trace_deep": (None, (_P, _I)),
    "kobox_trace_restored": (None, (_P,)),
    "kobox_profile_open": (_I, (_P,)),
    "kobox_profile_close": (None, (_P,)),
    "kobox_profile_functions": (_I, (_P, ctypes.c_char_p, _U64)),
    "kobox_profile_nodes": (_U64, (_P, _P, _U64)),
    "kobox_profile_blocks": (_U64, (_P, _P, _U64)),
    "kobox_profile_notes": (_U64, (_P, _U64, _P, _U64)),
    "kobox_profile_syscalls": (_U64, (_P, _P, _U64)),
    "kobox_profile_caches": (None, (_P, _U32, _U32)),
    "kobox_profile_whole": (_I, (_P,)),
    "kobox_profile_restored": (None, (_P,)),
    "kobox_return": (_I, (_P, _U64)),
    "kobox_keep_link": (None, (_P, _U64)),
    "kobox_set_patcher": (_I, (_P, _U64)),
    "kobox_state_size": (_U64, (_P,)),
    "kobox_state_save": (None, (_P, _P)),
    "kobox_state_load": (None, (_P, ctypes.c_char_p)),
    "kobox_checkpoint": (_P, (_P,)),
    "kobox_checkpoint_of": (_P, (_P, ctypes.c_char_p)),
    "kobox_checkpoint_size": (_U64, (_P,)),
    "kobox_checkpoint_free": (None, (_P,)),
    "kobox_restore": (ctypes.c_int64, (_P, _P)),
    "kobox_ram_save": (ctypes.c_int64, (_P, _I, _U64, _P)),
    "kobox_schedule": (None, (_P, _I, ctypes.c_int64, _U64, _I)),
    "kobox_hold": (None, (_P, _I, ctypes.c_int64)),
    "kobox_cpus": (_I, (_P,)),
    "kobox_cpu": (_I, (_P,)),
    "kobox_turns": (None, (_P, ctypes.POINTER(ctypes.c_int64))),
    "kobox_sum": (_U64, (ctypes.c_char_p, _U64)),
    "kobox_sum_runs": (_U64, (_P, ctypes.POINTER(_U64), _U64)),
}
_WATCHER: dict[str, tuple[object, tuple[object, ...]]] = {
    "kobox_watch_open": (_I, (_P, WatchCallback)),
    "kobox_watch_code": (_I, (_P, _U64, _U64)),
    "kobox_watch_retire": (None, (_P, _U64)),
    "kobox_watch_executed": (_I, (_P, _U64, _P)),
    "kobox_watch_leave": (None, (_P,)),
    "kobox_watch_forget": (None, (_P,)),
    "kobox_watch_mark": (None, (_P, _U64, _U64, ctypes.c_uint, _I)),
    "kobox_watch_unquarantine": (None, (_P, _U64)),
    "kobox_watch_find_corrupted": (_I, (_P, _U64, _P)),
    "kobox_watch_marks": (None, (_P, _U64, _U64, _P)),
    "kobox_watch_bounds": (_I, (_P, _P, ctypes.c_size_t)),
    "kobox_watch_rule": (_I, (_P, _P)),
    "kobox_watch_unrule": (None, (_P, _U64)),
    "kobox_watch_stack": (None, (_P, _U64)),
    "kobox_watch_from_module": (_I, (_P,)),
    "kobox_watch_thunk": (_I, (_P, _U64, _I)),
    "kobox_watch_caller": (_U64, (_P,)),
    "kobox_watch_count": (_U64, (_P,)),
    "kobox_watch_stop_at": (None, (_P, _U64)),
    "kobox_watch_look": (None, (_P, _U64, _U64, _U64, _I, _I)),
    "kobox_heap_open": (_I, (_P, _P, _P, _I)),
    "kobox_heap_rule": (_I, (_P, _P)),
    "kobox_heap_cache": (None, (_P, _U64, ctypes.c_uint32, _I, _I)),
    "kobox_heap_at": (_P, (_P, _U64, _I)),
    "kobox_heap_holding": (_P, (_P, _U64)),
    "kobox_heap_beside": (_P, (_P, _U64, _I)),
    "kobox_heap_list": (ctypes.c_size_t, (_P, _I, _P, ctypes.c_size_t)),
    "kobox_heap_add": (_P, (_P, _P, _U64)),
    "kobox_heap_guard": (_P, (_P, _P)),
    "kobox_heap_free": (_P, (_P, _P, ctypes.c_uint32)),
    "kobox_heap_drop": (None, (_P, _P)),
    "kobox_heap_set_canary": (None, (_P, _P)),
    "kobox_heap_overrun": (_U64, (_P, _P)),
    "kobox_heap_roomy": (_U64, (_P, _U64)),
    "kobox_heap_held": (_U64, (_P,)),
    "kobox_heap_armed": (None, (_P, _U64)),
    "kobox_heap_set_open": (None, (_P, _U64, _I)),
    "kobox_heap_is_open": (_I, (_P, _U64)),
    "kobox_heap_behalf": (_I, (_P, _U64)),
    "kobox_heap_note_stack": (None, (_P, _U64)),
    "kobox_heap_stacks": (ctypes.c_size_t, (_P, _P)),
    "kobox_heap_forget_traces": (None, (_P,)),
    "kobox_watch_restored": (None, (_P,)),
    "kobox_watch_declined": (_I, (_P,)),
    "kobox_watch_prints": (_I, (_P, _P)),
    "kobox_watch_format": (None, (_P, _P)),
    "kobox_watch_forget_formats": (None, (_P,)),
    "kobox_watch_context": (_I, (_P, _P, _U64)),
    "kobox_watch_context_rule": (_I, (_P, _P, _I)),
    "kobox_watch_context_base": (None, (_P, ctypes.c_uint32)),
    "kobox_watch_context_reset": (None, (_P,)),
    "kobox_watch_context_event": (None, (_P, _P, _I)),
    "kobox_watch_held": (_I, (_P, _U64, _P, _I)),
    "kobox_watch_holder": (_I, (_P, _U64, _P)),
    "kobox_watch_drop_held": (None, (_P, _U64, _I)),
    "kobox_race_trace": (_I, (_P,)),
    "kobox_race_traced": (_U64, (_P, ctypes.POINTER(_U64), _U64)),
    "kobox_race_hold": (_I, (_P, ctypes.POINTER(_U64))),
    "kobox_race_off": (None, (_P,)),
    "kobox_watch_referenced": (None, (_P, _P, _P, ctypes.c_size_t, _P, _P, _P, ctypes.c_size_t)),
}

_TAINT: dict[str, tuple[object, tuple[object, ...]]] = {
    "kobox_taint_open": (_I, (_P, _I)),
    "kobox_taint_close": (None, (_P,)),
    "kobox_taint_code": (_I, (_P, _U64, _U64)),
    "kobox_taint_memory": (_I, (_P, _U64, _U64)),
    "kobox_taint_bytes": (_U64, (_P, _U64, _U64)),
    "kobox_taint_copier": (_I, (_P, _U64)),
    "kobox_taint_reset": (None, (_P,)),
    "kobox_taint_executed": (_I, (_P, _U64, _P)),
    "kobox_taint_nodes": (_P, (_P, ctypes.c_size_t, _P)),
    "kobox_taint_decisions": (_P, (_P, ctypes.c_size_t, _P)),
    "kobox_taint_result": (None, (_P, _U64)),
    "kobox_taint_recent": (ctypes.c_uint32, (_P, ctypes.c_size_t, _P, ctypes.c_uint32)),
}


@cache
def core() -> ctypes.CDLL:
    """The PC's native core, loaded once. Raises `KoboxError` when it was not built or is of another version."""
    return load_library(str(CORE), ABI, {**_SIGNATURES, **_WATCHER, **_TAINT})


@cache
def core_of(name: str) -> ctypes.CDLL:
    """The native core of a machine, by the architecture's name. Raises as `core` does."""
    if name == HOME:
        return core()
    more = _WATCHER | _TAINT if architecture(name).watched else {}
    return load_library(str(CORE.with_name(f"core_{name}.so")), ABI, {**_SIGNATURES, **more})


def preload() -> None:
    """Begin to load libunicorn on another core: a hundred thousand relocations, the longest step on the way to a
    machine. Who knows that one will be wanted says so first, and imports the rest meanwhile. Not for those that
    fork soon: the child would have half a library."""
    import _thread

    _thread.start_new_thread(core().kobox_preload, (unicorn_library().encode(),))


@cache
def unicorn_library() -> str:
    """The path of libunicorn inside the installed `unicorn` package, found without importing it."""
    spec = importlib.util.find_spec("unicorn")
    for place in (spec.submodule_search_locations or ()) if spec else ():
        for found in sorted(Path(place, "lib").glob("libunicorn.so*")):
            return str(found)
    raise KoboxError("the `unicorn` package is not installed, or holds no libunicorn", hint="pip install unicorn")
