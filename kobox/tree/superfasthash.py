"""Paul Hsieh's SuperFastHash, of many keys at once.

depmod writes modules.symbols in the order of a hash table of 2,048 buckets, so to write the same file one must
know the hash. A loop in Python over every byte of 14,000 symbols would take longer than reading the modules;
here all keys of one length are hashed together, each in a 64-bit lane of one large integer.

    h = length; for each 4 bytes: h += low16; h = (h << 16) ^ (high16 << 11) ^ h; h += h >> 11
    then the 1 to 3 bytes left, then a final avalanche; all in 32 bits

Source: http://www.azillionmonkeys.com/qed/hash.html. 16-bit reads are little-endian, as on every machine that
Debian's module trees are built on.
"""

from __future__ import annotations

from collections.abc import Iterable

_LANE = 8


def hash_all(keys: Iterable[bytes]) -> dict[bytes, int]:
    """The 32-bit hash of every key."""
    groups: dict[int, list[bytes]] = {}
    for key in keys:
        groups.setdefault(len(key), []).append(key)
    found: dict[bytes, int] = {}
    for length, group in groups.items():
        found.update(zip(group, _hash_group(group, length), strict=True))
    return found


def _hash_group(keys: list[bytes], length: int) -> Iterable[int]:
    if length == 0:
        return [0] * len(keys)
    count = len(keys)
    text = b"".join(keys)
    one = int.from_bytes(b"\1\0\0\0\0\0\0\0" * count, "little")
    mask = one * 0xFFFFFFFF

    def lanes(start: int, size: int) -> int:
        """Bytes `start` to `start + size` of every key, little-endian, one key a lane."""
        buffer = bytearray(_LANE * count)
        for place in range(size):
            buffer[place::_LANE] = text[start + place :: length]
        return int.from_bytes(buffer, "little")

    def down(value: int, bits: int) -> int:
        return (value >> bits) & (one * (0xFFFFFFFF >> bits))

    state = one * length
    whole = length // 4 * 4
    for start in range(0, whole, 4):
        state = (state + lanes(start, 2)) & mask
        state = ((state << 16) ^ (lanes(start + 2, 2) << 11) ^ state) & mask
        state = (state + down(state, 11)) & mask
    rest = length - whole
    if rest == 3:
        state = (state + lanes(whole, 2)) & mask
        state ^= (state << 16) & mask
        state ^= (_signed(lanes(whole + 2, 1), one) << 18) & mask
        state = (state + down(state, 11)) & mask
    elif rest == 2:
        state = (state + lanes(whole, 2)) & mask
        state ^= (state << 11) & mask
        state = (state + down(state, 17)) & mask
    elif rest == 1:
        state = (state + _signed(lanes(whole, 1), one)) & mask
        state ^= (state << 10) & mask
        state = (state + down(state, 1)) & mask
    for left, right in ((3, 5), (4, 17), (25, 6)):
        state ^= (state << left) & mask
        state = (state + down(state, right)) & mask
    return memoryview(state.to_bytes(_LANE * count, "little")).cast("Q").tolist()


def _signed(lanes: int, one: int) -> int:
    """Each lane's byte as a signed char, extended to 32 bits, as C reads the odd byte."""
    negative = (lanes >> 7) & one
    return lanes | negative * 0xFFFFFF00
