"""Lines to WebSocket text frames, and the frames of a peer to lines."""

from websockets.frames import Frame, Opcode

# RFC 6455, section 5.2: FIN and opcode 1 (text), no reserved bit; then the length in 7 bits, in 16 or in 64. A server
# masks nothing.
_SHORT = [bytes((0x81, length)) for length in range(126)]


def text_frames(lines: bytes) -> bytes:
    """Whole lines, each ended by a newline, as one text frame each, without the newline; empty ones left out."""
    parts: list[bytes] = []
    for line in lines.split(b"\n"):  # not splitlines: raw JSON may hold a carriage return between two tokens
        length = len(line)
        if length < 126:
            if not length:
                continue
            parts.append(_SHORT[length])
        elif length < 65_536:
            parts.append(b"\x81\x7e" + length.to_bytes(2, "big"))
        else:
            parts.append(b"\x81\x7f" + length.to_bytes(8, "big"))
        parts.append(line)
    return b"".join(parts)


class Messages:
    """Joins the frames of text messages. Their order and size were checked by whoever parsed them."""

    def __init__(self) -> None:
        self._parts: bytearray | None = None
        self._is_text = True
        self.had_binary = False

    def add(self, frame: Frame) -> bytes | None:
        """The line that this frame ends; None for a part, a control frame, a blank or binary message.

        Raises UnicodeDecodeError: RFC 6455, section 8.1, fails a connection for text that is not UTF-8.
        """
        if frame.opcode in (Opcode.TEXT, Opcode.BINARY):
            self._is_text = frame.opcode is Opcode.TEXT
            self.had_binary |= not self._is_text
            if frame.fin:
                return _line(bytes(frame.data)) if self._is_text else None
            self._parts = bytearray(frame.data if self._is_text else b"")
        elif frame.opcode is Opcode.CONT and self._parts is not None:
            if self._is_text:
                self._parts += frame.data
            if frame.fin:
                whole, self._parts = bytes(self._parts), None
                return _line(whole)
        return None


def _line(text: bytes) -> bytes | None:
    if not text.isascii():
        text.decode()
    if b"\n" in text:
        # JSON that was printed over several lines: everybody behind us splits at newlines.
        text = text.replace(b"\n", b" ")
    return text if text and not text.isspace() else None
