"""Virtual machines: the kernels of boxes under QEMU, as the third place that takes system calls.

with VirtualMachine(Store().get("6.1")) as machine:
    machine.init_module(Path("hello.ko").read_bytes())
    print(machine.new_lines())
"""

from kobox.vm.virtual_machine import VirtualMachine

__all__ = ["VirtualMachine"]
