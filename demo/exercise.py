"""What `kobox check demo/notes.c --exercise demo/exercise.py` does with the device: one note is written, and read."""

from kobox.box.box import Box


def exercise(box: Box) -> None:
    with box.open("/dev/notes", "r+b") as notes:
        notes.write(b"hello")
        notes.read(10)
