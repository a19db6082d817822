"""What is wrong with masks in which no object was found, in words for a person."""

from redoseg.label_free.signals import Signals

LEAST, MOST = 0.1, 0.85
"""An object's mean share of a photo: outside of this a region is empty or all there is."""
WHOLE = 0.73
"""Its share of the border from which it is the whole picture (`MaskStatistics.collapse`)."""
SAME = 0.03
"""`Signals.variation` below which masks are the same for all photos, whatever they show."""
GREY = 0.4
"""`Signals.confidence` below which masks are undecided."""
LIT = 0.4
"""`Signals.brightness` from which light says where the object is, if it changes sides when light and dark are
swapped."""
LITTLE = 0.1
"""Where one of the three factors of the label-free score is below this, it is named."""


def trouble(signals: Signals, contained: float = 0.0) -> str | None:
    """The first of the known failures that these signals show; None if they show none. `contained`: see
    `measures.contained`.

    The levels keep apart those of the 53 recorded runs in results/rule that found the object and those that
    didn't; only `SAME` is below what any of them came to.
    """
    size = 1 - signals.sizes[0]
    if not LEAST <= size <= MOST:
        return f"it would cover {size:.0%} of the photos"
    if signals.variation < SAME:
        return "the masks are the same for all photos"
    if signals.confidence < GREY:
        return "the masks are grey: they don't decide"
    if signals.border > WHOLE:
        return f"the object would be the whole picture, with {signals.border:.0%} of its border"
    if max(signals.centred, contained) < LITTLE:
        return "no region stands apart from the photos' borders"
    if signals.brightness >= LIT and signals.swapped < 0:
        return "the masks follow light and dark, not a thing"
    if signals.outline < LITTLE:
        return "the masks' outlines don't lie on edges in the photos"
    if signals.mirrored < LITTLE:
        return "the masks are others when photos are mirrored"
    return None
