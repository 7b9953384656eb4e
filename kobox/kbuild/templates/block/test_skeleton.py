import os


def test_it_keeps_what_is_written(box, module):
    loaded = box.insmod(module, megabytes=2)
    assert box.path("/sys/block/skeleton/size").read_text() == "4096\n"  # sectors of 512 bytes
    content = bytes(range(256)) * 64
    with box.open("/dev/skeleton", "r+b") as disk:
        assert disk.read(4096) == bytes(4096)
        disk.seek(1 << 20)
        assert disk.write(content) == len(content)
        box.syscall("fsync", disk.fileno())
        assert disk.seek(0, os.SEEK_END) == 2 << 20
    with box.open("/dev/skeleton", "rb") as disk:
        disk.seek(1 << 20)
        assert disk.read(len(content)) == content
    loaded.unload()
    assert not box.path("/dev/skeleton").exists()
