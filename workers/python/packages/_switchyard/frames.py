"""Frames: length of the frame, length of its header, header as JSON, then bytes as they are.

Lengths are 4 bytes, big-endian, and do not count themselves.
"""

import json
import struct

LENGTH = struct.Struct(">I")
LENGTHS = struct.Struct(">II")
# Below this, joining costs less than a second system call.
JOINED_BYTES_MAX = 65536

encode_header = json.JSONEncoder(separators=(",", ":")).encode


class Frames:
    def __init__(self, connection):
        self._connection = connection
        self._reader = connection.makefile("rb", 65536)

    def read(self):
        """Header and body of the next frame; None when the other side has hung up."""
        head = self._reader.read(4)
        if len(head) < 4:
            return None
        (size,) = LENGTH.unpack(head)
        frame = self._reader.read(size)
        if len(frame) < size or size < 4:
            return None
        (header_size,) = LENGTH.unpack_from(frame)
        end = 4 + header_size
        return json.loads(frame[4:end]), frame[end:]

    def write(self, header, body=b""):
        head = encode_header(header).encode("ascii")
        lengths = LENGTHS.pack(4 + len(head) + len(body), len(head))
        if len(body) <= JOINED_BYTES_MAX:
            self._connection.sendall(b"".join((lengths, head, body)))
            return
        self._connection.sendall(lengths + head)
        self._connection.sendall(body)
