"""What functions of the kernel do with the memory that a module hands them, as data for the watcher.

Each row: names, the stretches they touch (arguments are counted from 0), and whether what is known of the
source goes to the target. Kernels that lack a function have no use for its row.
"""

from __future__ import annotations

from kobox.machine.watch import (
    BOUNDED_STRING,
    COMPARED,
    COMPARED_STRINGS,
    CONSTANT,
    FOUND,
    FOUND_IN_STRING,
    MAY_BE_USER,
    READ,
    STRING,
    TO_USER,
    VALUE,
    WRITE,
    Part,
)

_COPY = (Part(READ, 1, 2), Part(WRITE, 0, 2))
_USER_COPY_3 = (Part(TO_USER | MAY_BE_USER, 1, 3), Part(WRITE | MAY_BE_USER, 0, 3))  # the length is the fourth argument

INTERCEPTORS: tuple[tuple[str, tuple[Part, ...], bool], ...] = (
    ("memcpy __memcpy memmove __memmove", _COPY, True),
    ("memset __memset", (Part(WRITE, 0, 2),), False),
    ("memset16", (Part(WRITE, 0, 2, 2),), False),
    ("memset32", (Part(WRITE, 0, 2, 4),), False),
    ("memset64", (Part(WRITE, 0, 2, 8),), False),
    ("memzero_explicit get_random_bytes", (Part(WRITE, 0, 1),), False),
    ("memcmp bcmp crypto_memneq __crypto_memneq", (Part(READ, 0, 2), Part(READ, 1, 2)), False),
    ("strlen kstrdup", (Part(READ, 0, STRING),), False),
    ("strnlen kstrndup", (Part(READ, 0, BOUNDED_STRING + 1),), False),
    ("strcpy stpcpy", (Part(READ, 1, STRING), Part(WRITE, 0, like=0)), False),
    ("strncpy", (Part(READ, 1, BOUNDED_STRING + 2), Part(WRITE, 0, 2)), False),
    ("strscpy sized_strscpy", (Part(READ, 1, BOUNDED_STRING + 2), Part(WRITE, 0, like=0)), False),
    ("strlcpy", (Part(READ, 1, STRING),), False),
    ("strchr strrchr", (Part(READ, 0, STRING),), False),
    ("strcmp", (Part(READ, 0, COMPARED_STRINGS), Part(READ, 1, COMPARED_STRINGS)), False),
    ("strncmp", (Part(READ, 0, COMPARED + 2), Part(READ, 1, COMPARED + 2)), False),
    ("memchr", (Part(READ, 0, FOUND + 2),), False),
    ("strchr", (Part(READ, 0, FOUND_IN_STRING),), False),
    ("strrchr", (Part(READ, 0, STRING),), False),
    ("memchr_inv memscan", (Part(READ, 0, CONSTANT, 1),), False),
    ("strstr", (Part(READ, 0, STRING), Part(READ, 1, STRING)), False),
    ("kmemdup", (Part(READ, 0, 1),), False),
    ("__check_object_size", (Part(READ, 0, 1),), False),  # the kernel's hardening sees the room round objects as theirs
    ("_copy_to_user __arch_copy_to_user", (Part(TO_USER, 1, 2),), False),
    ("_copy_from_user __arch_copy_from_user", (Part(WRITE, 0, 2),), False),
    ("rep_movs_alternative", _USER_COPY_3, False),
    (
        "copy_user_generic_unrolled copy_user_generic_string copy_user_enhanced_fast_string __copy_user_nocache",
        (Part(TO_USER | MAY_BE_USER, 1, 2), Part(WRITE | MAY_BE_USER, 0, 2)),
        False,
    ),
    *((f"__put_user_{n} __put_user_nocheck_{n}", (Part(VALUE, 0, CONSTANT, n),), False) for n in (1, 2, 4, 8)),
    ("strncpy_from_user", (Part(WRITE, 0, 2),), False),
    ("_copy_to_iter", (Part(READ, 0, 1),), False),
    ("_copy_from_iter", (Part(WRITE, 0, 1),), False),
    ("skb_copy_bits", (Part(WRITE, 2, 3),), False),
    ("skb_store_bits", (Part(READ, 2, 3),), False),
    ("crc32_le crc32_be crc32c", (Part(READ, 1, 2),), False),
    ("csum_partial", (Part(READ, 0, 1),), False),
)

# Functions that print into a buffer: argument of the buffer, and of its size (-1: it has none); the result says how
# much they wrote, or would have written.
PRINTERS = {
    "sprintf": (0, -1),
    "vsprintf": (0, -1),
    "snprintf": (0, 1),
    "vsnprintf": (0, 1),
    "scnprintf": (0, 1),
    "vscnprintf": (0, 1),
}

# Functions that add to a string: how many bytes they may add at most (argument; -1: all), and the size of the whole.
APPENDERS = {"strcat": (-1, -1), "strncat": (2, -1), "strlcat": (-1, 2)}
