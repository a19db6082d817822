"""Whether a model has found an object at all, judged without a label."""

import math
from dataclasses import dataclass
from typing import Any, Literal, Self

Found = Literal["found", "doubtful", "not found"]
_STEPS: tuple[Found, ...] = ("found", "doubtful", "not found")

_UNSTEADY = "the masks are others where photos are cropped"

MEASURE = 3
"""What scores are made of: raise it when the same masks get another one. Those of two can't be compared."""
FOUND, NOT_FOUND = 0.25, 0.1
"""Scores from which an object counts as found, and below which as not (docs/auto.md)."""
SURE = 0.3
"""A mask with no more doubt than this is sure."""
STEADY = 0.6
"""Steadiness (`signals.steadiness`) below which an object that beginnings dispute is doubted once more, and
one on which they agree is doubted, too: at most .59 on three folders without one thing in them, .67 and more
on eight with one; .55 where something else was found, and beginnings agreed (docs/auto.md). Of a game it says
little: birds and digits that were found have .46 and .54."""
AGREED = 0.55
"""Agreement of beginnings (Cohen's kappa) below which an object is doubted: .54 at most on three folders
without one thing in them (where anybody was to ask), .65 and more on seven of eight with one, .52 on the last
(docs/auto.md)."""
HARDLY_AGREED = 0.35
"""Agreement below which an object is doubted once more: .11 and .25 on two folders without one thing in them,
as they are tried now (on the third nobody is to ask), .52 and more on eight with one (docs/auto.md)."""
WELL_AGREED, WITH_SUPPORT = 0.65, 0.15
"""Agreement of beginnings from which a lower score will do for an object to count as found, and that score.
Objects that the border cuts off score low, however well they are found (docs/auto.md)."""
NEARLY_AGREED, VERY_STEADY = 0.45, 0.65
"""Agreement and steadiness which together count as beginnings that agree well: .52 and .74 on flowers off the
middle, found as well as can be, on which the other beginnings do badly. Steadiness was .59 at most on three
folders without one thing in them (docs/auto.md)."""
FRAMED = 0.1
"""Share of photos with a frame of one colour from which an object is doubted: of 300 photos of motorbikes,
.65 of them framed, all beginnings found the picture within the frame (docs/auto.md)."""
LEAST_SURE = 0.01
"""The share of sure masks that counts at least where students are compared."""
MOST_SURE, FEW_SURE = 0.6, 0.4
"""Shares of sure masks from which an object counts as found, and below which as not, whatever the score."""


@dataclass(frozen=True)
class Verdict:
    """`score`: the label-free score of the network on photos that it learned from, 0 to 1, for which objects
    may be cut off by the border. `sure`: the share of all photos whose masks are sure, 0 to 1. `steady`:
    whether masks are the same where photos end elsewhere (`signals.steadiness`), at most 1; None, which says
    nothing, if an earlier version judged. `trouble`: what is wrong with the masks, in words, if it is a known
    failure.

    Of `auto` alone: `agreed`, how far another beginning has found the same, Cohen's kappa, at most 1; None
    where no other was asked. `alone`: there are others, and none of them has found anything. `framed`: the
    share of photos, 0 to 1, that have a frame of one colour, which masks take for the object's outline."""

    score: float
    sure: float
    agreed: float | None = None
    alone: bool = False
    trouble: str | None = None
    steady: float | None = None
    framed: float = 0.0

    @property
    def worth(self) -> float:
        """By which students are compared, 0 to 1: the score times steadiness and the root of the share of
        sure masks. The score alone prefers small masks that shun the border, also where they are not the
        object's, so that steadiness counts twice below VERY_STEADY; the share itself would prefer what is
        surely nothing (docs/auto.md). Where next to no mask is sure, the scores still put them in order."""
        steady = 1.0 if self.steady is None else max(0.0, self.steady)
        steady *= min(1.0, steady / VERY_STEADY)
        return self.score * steady * math.sqrt(max(self.sure, LEAST_SURE))

    @property
    def found(self) -> Found:
        """The verdict in a word: what score and sure share say, a step less for each doubt."""
        if self._hopeless:
            return "not found"
        return _STEPS[min(2, (0 if self._plausible else 1) + len(self._doubts))]

    @property
    def _hopeless(self) -> bool:
        """Whether the masks by themselves say that there is nothing."""
        return self.score < NOT_FOUND or self.sure < FEW_SURE

    @property
    def _plausible(self) -> bool:
        """Whether the masks by themselves look like an object's."""
        return self.score >= self._level and self.sure >= MOST_SURE

    @property
    def _level(self) -> float:
        """The score from which an object counts as found."""
        return WITH_SUPPORT if self._supported else FOUND

    @property
    def _supported(self) -> bool:
        """Whether beginnings agree well, or nearly so on very steady masks."""
        return self.agreed is not None and (self.agreed >= WELL_AGREED or self._steadied)

    @property
    def _steadied(self) -> bool:
        """Whether beginnings agree nearly on masks that are the same where photos end elsewhere, and show no
        known failure: what follows light alone is as steady."""
        nearly = self.agreed is not None and NEARLY_AGREED <= self.agreed < WELL_AGREED
        return nearly and self.trouble is None and self.steady is not None and self.steady >= VERY_STEADY

    @property
    def _unsteady(self) -> bool:
        return self.steady is not None and self.steady < STEADY

    @property
    def _doubts(self) -> list[str]:
        """What takes a step each from what the masks by themselves say, in words. Unsteady masks on which
        beginnings agree are no object that was found, and no less for that."""
        doubts = []
        if self.alone:
            doubts.append("no other beginning has found anything")
        if self.agreed is not None and self.agreed < AGREED and not self._supported:
            doubts.append("each beginning finds something else")
        if self.agreed is not None and self.agreed < HARDLY_AGREED:
            doubts.append("what they find has next to nothing in common")
        if doubts and self._unsteady:
            doubts.append(_UNSTEADY)
        if self.framed >= FRAMED:
            doubts.append("photos have frames of one colour, and masks may follow those")
        if not doubts and self._plausible and self.agreed is not None and self._unsteady:
            doubts.append(_UNSTEADY)
        return doubts

    @property
    def why(self) -> str:
        """What speaks against an object, in words: what decides, if several things do. Empty where an object
        was found."""
        if self.found == "not found" and not self._hopeless:
            return self._doubts[0]
        least, fewest = (NOT_FOUND, FEW_SURE) if self._hopeless else (self._level, MOST_SURE)
        if self.score < least:
            return self.trouble or "the masks look little like an object's"
        if self.sure < fewest:
            return "few masks are sure"
        return self._doubts[0] if self._doubts else ""

    @property
    def text(self) -> str:
        """In words, for a person."""
        shares = f"label-free score {self.score:.2f}, {self.sure:.0%} of the masks are sure"
        if self.agreed is not None:
            shares += f", agreement of beginnings {self.agreed:.2f}"
        if _UNSTEADY in self._doubts or self._steadied:
            shares += f", steadiness {self.steady:.2f}"
        if self.found == "found":
            return f"an object was found: {shares}"
        if self.found == "doubtful":
            return f"doubtful: {self.why} ({shares}); look at the page before using a mask"
        return (
            f"no object was found: {self.why} ({shares}). The masks are of no use. Photos of one kind of "
            "thing are needed, a few hundred or more, in which it stands out from what is around it"
        )

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> Self:
        """From what `as_json` gave, or an earlier version did."""
        return cls(
            fields["score"], fields["sure"], fields.get("agreed"), bool(fields.get("alone")),
            fields.get("trouble"), fields.get("steady"), fields.get("framed", 0.0),
        )  # fmt: skip

    def as_json(self) -> dict[str, Any]:
        fields = {"verdict": self.found, "measure": MEASURE, "score": self.score, "sure": self.sure}
        said: dict[str, Any] = {
            "steady": self.steady, "agreed": self.agreed, "alone": self.alone or None,
            "trouble": self.trouble, "framed": self.framed or None,
        }  # fmt: skip
        return fields | {name: value for name, value in said.items() if value is not None}
