"""Colours for lines and their labels: told apart by colour-blind people, and dark (or light) enough to be read as text."""

LIGHT = ("#0067B1", "#C4451C", "#00796B", "#6B1F7C", "#5E4300", "#5F7089")
DARK = ("#5AB0F2", "#F47C4B", "#1FB59A", "#EDC2F7", "#F2D675", "#7F8B9E")
MOST = len(LIGHT)
OTHERS = "other"  # groups beyond these are grey: more colours tell nothing apart


def color_class(place: int) -> str:
    """The class of the group at this place of the ranking.

    >>> color_class(0), color_class(6)
    ('c0', 'other')
    """
    return f"c{place}" if place < MOST else OTHERS
