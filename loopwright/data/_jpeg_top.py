"""The top of a JPEG file: its bytes with a header that says that it ends early. Decodes nothing."""

END = b"\xff\xd9"
_SCAN, _RESTARTS, _BASELINE = 0xDA, 0xDD, 0xC0
_OTHER_FRAMES = frozenset(range(0xC1, 0xD0)) - {0xC4, 0xC8, 0xCC}  # extended, progressive, lossless, arithmetic
_MOST_LINES_A_BLOCK = 16  # colour at half height, the usual; a block has 8 or 16 lines then


def shortened(data: bytes, height: int, lines: int, reduction: int) -> tuple[bytes, int] | None:
    """The file with a header that says that it ends below so many lines, and the lines that it then has.

    Only for ordinary files: one scan, no restarts, an end where the end should be. Others are decoded whole, which
    also finds those that were cut short. The lines are those of whole blocks, and one more of reduced colour than asked for,
    since the row below has a part in the smooth enlarging of colours.
    """
    frame = _frame(data)
    if frame is None or data[-2:] != END:
        return None
    kept = -(-(lines + 2 * reduction) // _MOST_LINES_A_BLOCK) * _MOST_LINES_A_BLOCK
    if kept >= height or int.from_bytes(data[frame + 5 : frame + 7]) != height:
        return None
    return b"".join((data[: frame + 5], kept.to_bytes(2), data[frame + 7 :])), kept


def _frame(data: bytes) -> int | None:
    """Where the frame's header is in a baseline file of one scan without restarts; None for others."""
    place, frame = 2, 0
    try:
        while data[place] == 0xFF:
            marker, length = data[place + 1], int.from_bytes(data[place + 2 : place + 4])
            if marker == _SCAN:
                one_scan = frame and data[place + 4] == data[frame + 9]
                return frame if one_scan and _lines_a_block(data, frame) <= _MOST_LINES_A_BLOCK else None
            if marker in _OTHER_FRAMES or marker == _RESTARTS:
                return None
            frame = place if marker == _BASELINE else frame
            place += 2 + length
    except IndexError:
        pass
    return None


def _lines_a_block(data: bytes, frame: int) -> int:
    return 8 * max(data[frame + 11 + 3 * component] & 15 for component in range(data[frame + 9]))
