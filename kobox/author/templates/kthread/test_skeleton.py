import re


def test_ticks_become_work_and_the_thread_sees_it(box, ko):
    module = box.insmod(ko, period=50)
    box.sleep(0.5)  # virtual seconds: this takes no time
    module.unload()
    found = re.search(r"skeleton: (\d+) ticks, (\d+) works, (\d+) seen", box.log.text())
    ticks, works, seen = map(int, found.groups())
    assert 7 <= ticks <= 10
    assert ticks - 1 <= works <= ticks
    assert seen == works
