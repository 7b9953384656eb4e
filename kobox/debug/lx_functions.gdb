# $lx_current() and its like for `kobox gdb`, by the names that the kernel's own scripts have (scripts/gdb/linux): those
# need a build directory with constants.py and a vmlinux with macros, which no distribution ships. gdb sources this file;
# it needs gdb's Python, and says nothing where there is none.
python
try:
    import gdb

    def _offset(kind, member):
        return next(f.bitpos // 8 for f in kind.fields() if f.name == member)

    def _type(name):
        return gdb.lookup_type(name)

    def _at(address, name):
        return gdb.Value(address).cast(_type(name).pointer()).dereference()

    def _address(symbol):
        return int(gdb.parse_and_eval("(unsigned long)&" + symbol))

    def _entries(head, name, member, most=100000):
        """Each structure of a list of the kernel's, which may be damaged: it ends where it comes back, or at nothing."""
        kind, seen = _type(name), set()
        offset = _offset(kind, member)
        node = head["next"]
        while int(node) != int(head.address) and int(node) and int(node) not in seen and len(seen) < most:
            seen.add(int(node))
            yield _at(int(node) - offset, name)
            node = node["next"]

    def _tasks():
        first = _at(_address("init_task"), "struct task_struct")
        yield first
        yield from _entries(first["tasks"], "struct task_struct", "tasks")

    def _modules():
        yield from _entries(_at(_address("modules"), "struct list_head"), "struct module", "list")

    def _text(value):
        return value.string(errors="replace").split("\0")[0]

    class LxCurrent(gdb.Function):
        """$lx_current(): the task_struct of the task that has the CPU."""

        def __init__(self):
            super().__init__("lx_current")

        def invoke(self, cpu=-1):
            return _at(int(gdb.execute("monitor current", to_string=True), 16), "struct task_struct")

    class LxTaskByPid(gdb.Function):
        """$lx_task_by_pid(PID): the task_struct of a process, by its leader's PID."""

        def __init__(self):
            super().__init__("lx_task_by_pid")

        def invoke(self, pid):
            for task in _tasks():
                if int(task["pid"]) == int(pid):
                    return task
            raise gdb.GdbError("No task of PID " + str(pid))

    class LxModule(gdb.Function):
        """$lx_module("NAME"): the struct module of a module."""

        def __init__(self):
            super().__init__("lx_module")

        def invoke(self, name):
            wanted = name.string().replace("-", "_")
            for module in _modules():
                if _text(module["name"]) == wanted:
                    return module
            raise gdb.GdbError("No module " + wanted)

    class LxPerCpu(gdb.Function):
        """$lx_per_cpu(VARIABLE[, CPU]): a CPU's copy of a per-CPU variable."""

        def __init__(self):
            super().__init__("lx_per_cpu")

        def invoke(self, variable, cpu=0):
            offsets = _at(_address("__per_cpu_offset"), "unsigned long").address
            place = int(variable.address) + int((offsets + int(cpu)).dereference())
            return gdb.Value(place & (1 << 64) - 1).cast(variable.type.pointer()).dereference()

    class LxPs(gdb.Command):
        """lx-ps: the tasks, as the kernel's own script lists them."""

        def __init__(self):
            super().__init__("lx-ps", gdb.COMMAND_DATA)

        def invoke(self, arg, from_tty):
            gdb.write("{:>14} {:>12} {:>7}\n".format("TASK", "PID", "COMM"))
            for task in _tasks():
                gdb.write("{:#x} {:>6} {}\n".format(int(task.address), int(task["pid"]), ascii(_text(task["comm"]))[1:-1]))

    class LxLsmod(gdb.Command):
        """lx-lsmod: the modules, with their addresses and sizes."""

        def __init__(self):
            super().__init__("lx-lsmod", gdb.COMMAND_DATA)

        def invoke(self, arg, from_tty):
            gdb.execute("monitor modules")

    class LxDmesg(gdb.Command):
        """lx-dmesg: the kernel's log."""

        def __init__(self):
            super().__init__("lx-dmesg", gdb.COMMAND_DATA)

        def invoke(self, arg, from_tty):
            gdb.execute("monitor log")

    for made in (LxCurrent, LxTaskByPid, LxModule, LxPerCpu, LxPs, LxLsmod, LxDmesg):
        made()
except ImportError:
    pass
end
