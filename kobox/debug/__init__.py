"""Debuggers: a module's life in a box that one can stop anywhere and go through in both directions.

| file | what it holds |
|---|---|
| `replay.py` | one life, moments of it by the number of their instruction, and the ways from one to another |
| `packets.py` | gdb's remote serial protocol: packets on a stream |
| `gdb_server.py` | what gdb asks, answered of a replay |
| `tasks.py` | the kernel's tasks as threads of a debugger |
| `run_gdb.py` | gdb on this terminal |
| `mi.py`, `dap.py` | gdb driven by its machine interface, and behind the Debug Adapter Protocol |
| `vscode.py` | the extension that has VS Code start the adapter |
| `gdb_library.py` | a module's file as gdb reads and places it |
| `gdb_program.py`, `lx_functions.gdb` | which gdb debugs, and the names of the kernel's own scripts in it |
| `moments.py` | moments by what happens there: 1,000 instructions before the oops |
"""
