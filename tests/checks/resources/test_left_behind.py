"""Things left behind: each kind of thing is found with who made it, and none where it was undone."""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path

import pytest

from kobox.checks.report.finding import Finding, Severity, own_frame
from kobox.checks.resources.left_behind import LeftBehindCheck
from kobox.checks.resources.resource_table import ResourceCall, parse_call, resource_table
from kobox.checks.runner.session import Examination
from tests.checks.conftest import Laboratory

SOURCE = Path("left/left.c")
# what -> (severity, what it is called, what its line says)
THINGS = {
    "timer": (True, "timer left_timer"),
    "hrtimer": (True, "high-resolution timer left_clock"),
    "delayed": (True, "delayed work item left_later"),
    "work": (True, "work item left_work"),
    "kthread": (True, "kernel thread left/1"),
    "rcu": (True, "RCU callback left_head"),
    "tasklet": (True, "tasklet left_tasklet"),
    "region": (False, "device numbers left_region"),
    "chrdev": (True, "character device left_chrdev"),
    "cdev": (True, "character device left_cdev"),
    "misc": (True, "misc device left_misc"),
    "class": (False, "class left_class"),
    "device": (False, "device left_root"),
    "platform_device": (False, "platform device left_pdev"),
    "driver": (True, "driver left_driver"),
    "input": (False, "input device left_input"),
    "irq": (True, "interrupt handler left_irq"),
    "ports": (False, "region of ports or memory left_ports"),
    "ioremap": (False, "mapping of device memory"),
    "proc": (True, "proc entry left_proc"),
    "proc_dir": (False, "proc directory left_dir"),
    "debugfs": (False, "debugfs entry left_debugfs"),
    "sysfs": (True, "sysfs file left_attribute"),
    "kobject": (False, "kobject left_kobject"),
    "filesystem": (True, "file system left_fs"),
    "sysctl": (True, "sysctl table kernel"),
    "file": (False, "open file /proc/version"),
    "binfmt": (True, "binary format left_format"),
    "netdev": (True, "network device left0"),
    "nf_hook": (True, "netfilter hook left_hook_ops"),
    "pernet": (True, "operations for each network namespace left_pernet"),
    "genl": (True, "generic netlink family left_family"),
    "socket": (False, "socket"),
    "notifier": (True, "notifier left_block"),
    "kprobe": (True, "kprobe ksys_read"),
    "cpuhp": (True, "CPU hotplug state left:online"),
    "workqueue": (False, "workqueue left_queue"),
    "cache": (False, "slab cache left_cache"),
    "tfm": (False, "cipher handle sha256"),
    "alg": (True, "cipher or hash left-alg"),
    "reference": (False, "reference to a device left_held"),
    "group": (True, "group of sysfs files left_group"),
    "kset": (False, "kobject left_kset"),
    "number": (False, "debugfs entry left_number"),
    "packets": (True, "packet handler left_packets"),
    "link": (True, "link type left_link"),
    "bus": (True, "bus left_bus"),
    "kretprobe": (True, "kprobe ksys_write"),
    "kprobes": (True, "kprobe ksys_read"),
    "tracepoint": (True, "tracepoint probe left_traced"),
    "handler": (True, "input handler left_handler"),
    "disk": (False, "allocated disk"),
    "sequence": (False, "sequence for one show function"),
    "pair": (True, "what inet_add_protocol() was given: left_protocol"),
}
# The kernel's own functions end in a jump to the one that is watched, so that the call of make_…() leaves no trace.
MADE_IN_INIT = {"driver", "notifier", "alg"}
BOTH = {
    "class": ("makes class now */", "makes class before */"),
    "disk": ("makes disk now */", "makes disk before */"),
}


def left(findings: list[Finding]) -> list[Finding]:
    return [finding for finding in findings if finding.kind == "left-behind"]


def examine(laboratory: Laboratory, parameters: str) -> list[Finding]:
    return laboratory.examine(laboratory.file("left", "left"), [LeftBehindCheck()], parameters)


@pytest.mark.parametrize("what", THINGS)
def test_what_is_left_is_found_and_what_is_undone_is_not(
    laboratory: Laboratory, what: str, line_of: Callable[[str, Path], int]
) -> None:
    points_into_module, label = THINGS[what]
    findings = left(examine(laboratory, f"what={what} leave=1"))
    found = next((finding for finding in findings if finding.object and finding.object.what == label), None)
    assert found is not None, findings
    assert found.severity == Severity.ERROR
    assert "memory" in found.message or not points_into_module
    made = own_frame(found.object.made_at) if found.object else None
    assert made is not None
    assert made.file == "left.c"
    if what in MADE_IN_INIT:
        assert made.function in ("left_init", f"make_{what}")
    else:
        lines = {line_of(text, SOURCE) for text in BOTH.get(what, (f"makes {what} */",))}
        assert made.line in lines
        assert made.function == ("undo_rcu" if what == "rcu" else f"make_{what}")
    assert found.where == made
    assert [frame.function for frame in found.chain][-1].startswith("entry_SYSCALL_64")
    assert examine(laboratory, f"what={what}") == []


@pytest.mark.parametrize("what", ["timer", "kthread", "region", "misc", "proc", "debugfs", "netdev", "nf_hook", "irq"])
def test_what_a_failing_init_leaves(laboratory: Laboratory, what: str) -> None:
    examination = Examination(
        laboratory.box, laboratory.file("left", "left"), [LeftBehindCheck()], parameters=f"what={what} fail=1 leave=1"
    )
    found = left(examination.run())
    assert [finding.object.what for finding in found if finding.object] != []
    assert THINGS[what][1] in {finding.object.what for finding in found if finding.object}
    assert getattr(examination.error, "errno", None) in (errno.ENODEV, None)
    assert examine(laboratory, f"what={what} fail=1") == []


def test_a_task_that_sleeps_in_the_module_s_code(laboratory: Laboratory, line_of: Callable[[str, Path], int]) -> None:
    found = next(one for one in left(examine(laboratory, "what=work leave=1")) if one.message.startswith("task "))
    assert found.severity == "error"
    assert found.message.startswith("task kworker/")
    assert "still runs in left_slowly()" in found.message
    assert found.where is not None
    assert (found.where.function, found.where.line) == ("left_slowly", line_of("sleeps in the module", SOURCE))


def test_a_module_that_holds_itself(laboratory: Laboratory, line_of: Callable[[str, Path], int]) -> None:
    examination = Examination(
        laboratory.box, laboratory.file("left", "left"), [LeftBehindCheck()], parameters="what=itself leave=1"
    )
    (found,) = left(examination.run())
    assert "holds a reference to itself" in found.message
    assert found.where is not None
    assert found.where.line == line_of("makes itself", SOURCE)
    assert getattr(examination.error, "errno", None) == errno.EAGAIN


def test_advice_says_what_undoes_it(laboratory: Laboratory) -> None:
    (found,) = left(examine(laboratory, "what=misc leave=1"))
    assert "misc_deregister()" in found.advice
    (found,) = left(examine(laboratory, "what=timer leave=1"))
    assert "timer_shutdown_sync()" in found.advice


def test_correct_modules_leave_nothing(laboratory: Laboratory) -> None:
    names = "chardev chatty clocks entries good hello kbase kprobed memories miscdev notified params udpfilter workers"
    for name in names.split():
        file = laboratory.file(name)
        assert laboratory.examine(file, [LeftBehindCheck()]) == [], name


def test_calls_of_the_table_are_read() -> None:
    assert parse_call("KEY = class_create(NAME)") == ResourceCall("class_create", ("NAME",), "KEY", "", "pointer")
    assert parse_call("KEY@device.kobj = device_create") == ResourceCall(
        "device_create", (), "KEY", "device.kobj", "pointer"
    )
    assert parse_call("free_irq(KEY32, KEY2)") == ResourceCall("free_irq", ("KEY32", "KEY2"))
    call = parse_call("KEY? = __register_chrdev(KEY32, _, _, NAME) >= 0")
    assert (call.result, call.success, call.returns) == ("KEY?", ">= 0", True)
    assert call.succeeded(0)
    assert call.succeeded(240)
    assert not call.succeeded(-16)
    assert not parse_call("KEY = f").succeeded(-12)
    assert not parse_call("KEY = f").succeeded(0)
    for bad in ("f(", "f(WHAT)", "KEY2 = f", "f(KEY) == 0"):
        with pytest.raises(ValueError):
            parse_call(bad)


def test_pairs_are_known_by_their_names() -> None:
    pairs = resource_table().pairs
    assert "unregister_netevent_notifier" in pairs.counterparts("register_netevent_notifier")
    assert "hwmon_device_unregister" in pairs.counterparts("hwmon_device_register")
    assert "inet_del_protocol" in pairs.counterparts("inet_add_protocol")
    assert not list(pairs.counterparts("add_timer_on"))
    assert not list(pairs.counterparts("kmalloc"))


def test_a_call_without_a_key_is_about_all_of_a_kind() -> None:
    assert not parse_call("rtnl_unregister_all").keyed
    assert not parse_call("forget_all(_)").keyed
    assert parse_call("__rtnl_unregister_many(KEY)").keyed
    assert parse_call("KEY = class_create(NAME)").keyed
