"""The lines of a stream, out of pieces that are cut anywhere."""

_WHITE = b" \t\r"


class LineSplitter:
    r"""Cuts at `\n`; blank lines are left out, and white space around a line.

    `is_too_long` as soon as a line has more than `max_bytes`, which is then no longer kept.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._rest = bytearray()
        self.is_too_long = False

    def feed(self, data: bytes) -> list[bytes]:
        """The lines that are complete now; none after one that is too long."""
        pieces = data.split(b"\n")
        last = pieces.pop()
        if pieces and self._rest:
            pieces[0] = bytes(self._rest) + pieces[0]
            self._rest.clear()
        lines: list[bytes] = []
        for piece in pieces:
            if len(piece) > self._max_bytes:
                self._give_up(piece)
                return lines
            if line := piece.strip(_WHITE):
                lines.append(line)
        self._rest += last
        if len(self._rest) > self._max_bytes:
            self._give_up(self._rest)
        return lines

    def rest(self) -> bytes:
        """The line that nothing has ended, or the beginning of the one that is too long."""
        return bytes(self._rest.strip(_WHITE))

    def _give_up(self, line: bytes | bytearray) -> None:
        self.is_too_long = True
        self._rest = bytearray(line[:1000])
