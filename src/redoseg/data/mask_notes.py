"""What is noted of each mask when it is read, and what a set's notes say: how its masks were understood."""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from redoseg.data.labels import UNLABELLED
from redoseg.data.mask_files import Kind
from redoseg.data.naming import join_names

WIDTH = 7
"""Numbers in a note: the labels as 256 bits, the `Kind`, the object's share of the pixels in millionths, and
whether the mask is drawn on the photo upright or as its pixels lie in the file."""

_KIND, _SHARE, _DRAWN = 4, 5, 6
# Added to the photo's orientation where the mask's shape fits only so; alone, it fits both ways.
_LYING, _UPRIGHT = 10, 20
_WORDS = {
    Kind.BLACK_AND_WHITE: "black and white",
    Kind.SOFT: "with greys in between (the object from 128 on)",
    Kind.TRIMAP: "with areas of 128 (unlabelled)",
    Kind.NUMBERS: "of labels by number",
    Kind.WHITE: "of 255 all over",
}


def note_mask(
    labels: NDArray[np.uint8], kind: Kind, orientation: int, fits: tuple[bool, bool]
) -> NDArray[np.int64]:
    """The note of one mask. `orientation` is the photo's, from 1 to 8, and `fits` is whether the mask has the
    shape of the photo as its pixels lie in the file, and of the photo upright."""
    seen = np.bincount(labels.ravel(), minlength=256) > 0
    known = labels != UNLABELLED
    share = int(1e6 * (labels[known] > 0).mean()) if known.any() else 0
    drawn = (
        0 if orientation == 1 else orientation + {(True, False): _LYING, (False, True): _UPRIGHT}.get(fits, 0)
    )
    return np.concatenate([np.packbits(seen).view(np.int64), [int(kind), share, drawn]])


def labels_in(notes: NDArray[np.int64]) -> NDArray[np.int64]:
    """All labels that occur in masks with these notes (N, 7), at their full size, rising."""
    seen = np.bitwise_or.reduce(np.ascontiguousarray(notes[:, :_KIND]), axis=0)
    return np.flatnonzero(np.unpackbits(seen.view(np.uint8)))


def find_turns(notes: NDArray[np.int64]) -> NDArray[np.int64]:
    """By which orientation each mask has to be turned, (N,) from 1 to 8, to lie on its photo upright.

    A mask that fits both ways is turned if other masks of the set fit unturned photos alone.
    """
    drawn = notes[:, _DRAWN]
    lying, upright = ((drawn > start) & (drawn < start + 10) for start in (_LYING, _UPRIGHT))
    turned = lying | (_fit_both_ways(notes) & (lying.any() and not upright.any()))
    return np.where(turned, drawn % 10, 1)


def find_unlabelled(notes: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Of which masks, (N,), the 255 means unlabelled although they hold no label by number.

    They mean so in a set of labels by number: where masks with such labels and 255 are more than those of 0
    and 255 alone, and for a mask that is 255 all over, where most others have labels by number.
    """
    kinds = notes[:, _KIND]
    numbers, plain, white = (kinds == kind for kind in (Kind.NUMBERS, Kind.BLACK_AND_WHITE, Kind.WHITE))
    last_byte = np.ascontiguousarray(notes[:, :_KIND]).view(np.uint8)[:, 31]  # its last bit is label 255
    with_unlabelled = numbers & (last_byte % 2 == 1)
    of_numbers = numbers.any() and 2 * numbers.sum() >= (~white).sum()
    return (white & of_numbers) | (plain & (with_unlabelled.sum() > plain.sum()))


def _fit_both_ways(notes: NDArray[np.int64]) -> NDArray[np.bool_]:
    drawn = notes[:, _DRAWN]
    return (drawn > 0) & (drawn < _LYING)


def say_what_was_read(notes: NDArray[np.int64]) -> str:
    """A line about the masks: how many were read how, the labels found, the object's share."""
    kinds = np.where(find_unlabelled(notes), Kind.NUMBERS, notes[:, _KIND])
    counts = [(int((kinds == kind).sum()), _WORDS[kind]) for kind in Kind]
    read = ", ".join(f"{count} {word}" for count, word in counts if count)
    labels = ", ".join(str(label) for label in labels_in(notes).tolist() if label != UNLABELLED)
    share = notes[:, _SHARE].mean() / 1e4
    unknown = " and unlabelled pixels" if UNLABELLED in labels_in(notes) else ""
    found = f"labels {labels or 'none'}{unknown}"
    return f"{len(notes)} masks: {read}; {found}; {share:.0f} % of their pixels are objects"


def find_doubts(notes: NDArray[np.int64], names: Sequence[str]) -> Iterator[str]:
    """What about the masks may have been understood wrongly, in lines that say what to do."""
    kinds, share, turns = notes[:, _KIND], notes[:, _SHARE], find_turns(notes)
    numbers, count = kinds == Kind.NUMBERS, len(notes)
    others = ~numbers & (kinds != Kind.WHITE) & ~find_unlabelled(notes)
    few, word = (
        (numbers, "labels by number") if numbers.sum() <= others.sum() else (others, "black and white")
    )
    few = few & (numbers.any() and others.any())
    doubts = [
        (few, f"of {count} are read as {word}, the others not; if that is wrong, save all alike"),
        (
            turns > 1,
            "are drawn on photos that aren't turned as their EXIF data say, and were turned with them",
        ),
        (
            _fit_both_ways(notes) & (turns == 1),
            "fit their photos both as they lie in the file and turned by their EXIF data, and are taken "
            "to be drawn on the turned photo",
        ),
    ]
    for value, what in ((0, "hold no object"), (10**6, "are an object all over")):
        if 1 < count <= 2 * (share == value).sum():
            doubts.append((share == value, f"of {count} {what}: are these the right files?"))
    for which, said in doubts:
        if which.any():
            named = join_names([name for name, is_one in zip(names, which, strict=True) if is_one])
            yield f"{which.sum()} masks {said}: {named}".replace("?: ", "? ")
