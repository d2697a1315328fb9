r"""File names as a person can read them, and what is odd about them. Knows no files.

A name is shown on one line, whatever it holds, and two names are never shown alike.
"""

import unicodedata
from collections.abc import Iterator

_INVISIBLE = ("Cf", "Zl", "Zp", "Co", "Cn")


def escaped(name: str) -> str:
    r"""The name with everything that would not be seen, or not as it is, written as Python writes it.

    >>> print(escaped("a\nb.jpg"), escaped("back\\slash"), escaped(" end "))
    a\nb.jpg back\\slash \x20end\x20
    """
    composed = unicodedata.is_normalized("NFC", name)
    text = "".join(_shown(letter, composed) for letter in name)
    bare = text.strip(" ")
    left = len(text) - len(text.lstrip(" "))
    return "\\x20" * left + bare + "\\x20" * (len(text) - left - len(bare)) if bare else "\\x20" * len(text)


def _shown(letter: str, composed: bool) -> str:
    if letter == "\\":
        return "\\\\"
    kind = unicodedata.category(letter)
    strange = kind in ("Cc", "Cs", *_INVISIBLE) or (kind == "Zs" and letter != " ")
    decomposed = not composed and letter > "\x7f" and unicodedata.normalize("NFC", letter) != letter
    if strange or decomposed or (not composed and unicodedata.combining(letter)):
        return letter.encode("unicode_escape").decode()
    return letter


def oddities(name: str) -> list[str]:
    r"""What may trip other programs over a name; nothing for most names.

    >>> oddities("photo_01.jpg"), oddities("a\n b.jpg")
    ([], ['a line break', 'a space'])
    """
    return list(_oddities(name))


def _oddities(name: str) -> Iterator[str]:
    kinds = {unicodedata.category(letter) for letter in name}
    if any(letter in "\n\r\v\f\x85\u2028\u2029" for letter in name):
        yield "a line break"
    if any(unicodedata.category(letter) == "Cc" and letter not in "\n\r\v\f\x85" for letter in name):
        yield "a control character"
    if "Cs" in kinds:
        yield "bytes that are not UTF-8"
    elif not unicodedata.is_normalized("NFC", name):
        yield "Unicode that is not NFC"
    if "Cf" in kinds:
        yield "an invisible character"
    if name != name.strip():
        yield "a space at its end" if name == name.lstrip() else "a space at its beginning"
    elif "Zs" in kinds:
        yield "a space"
    if "\\" in name:
        yield "a backslash"


def columns(text: str) -> int:
    """The width of a text in a terminal: wide letters take two places, combining ones none.

    >>> columns("ant"), columns("蟻")
    (3, 2)
    """
    return sum(
        0 if unicodedata.combining(letter) else 2 if unicodedata.east_asian_width(letter) in "WF" else 1
        for letter in text
    )


def fitted(text: str, width: int) -> str:
    """The text in exactly ``width`` places: filled up, or cut with an ellipsis.

    >>> fitted("longsleeve", 6), fitted("hat", 6)
    ('longs…', 'hat   ')
    """
    if columns(text) > width:
        while columns(text) > width - 1:
            text = text[:-1]
        text += "…"
    return text + " " * (width - columns(text))
