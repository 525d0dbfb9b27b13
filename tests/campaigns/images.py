"""Small PNG files, each determined by its number, and the hash by which campaigns compare them."""

import hashlib
import random
import struct
import zlib


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(number: int, side: int = 8) -> bytes:
    """A sound PNG of random pixels; equal numbers and sides give equal bytes."""
    noise = random.Random(number * 1000 + side)
    rows = b"".join(b"\0" + noise.randbytes(3 * side) for _ in range(side))
    head = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", head) + _chunk(b"IDAT", zlib.compress(rows, 1)) + _chunk(b"IEND", b"")


def sha256(data: bytes) -> str:
    """The hash as hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()
