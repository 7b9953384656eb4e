import re
import struct


def test_ticks_become_work_and_the_thread_sees_it(box, module):
    loaded = box.insmod(module, period=50)
    box.syscall("nanosleep", struct.pack("qq", 1, 0), None)  # one second of the box's time: here it takes none
    loaded.unload()
    found = re.search(r"skeleton: (\d+) ticks, (\d+) works, (\d+) seen", box.log.text())
    ticks, works, seen = map(int, found.groups())
    assert 15 <= ticks <= 20
    assert ticks - 1 <= works <= ticks
    assert seen == works
