"""Whether a model has found an object at all, judged without a label."""

from dataclasses import dataclass
from typing import Any, Literal, Self

Found = Literal["found", "doubtful", "not found"]

FOUND, NOT_FOUND = 0.25, 0.1
"""Label-free scores from which an object counts as found, and below which as not (docs/auto.md)."""
SURE = 0.3
"""A mask with no more doubt than this is sure."""
AGREED = 0.55
"""Agreement of beginnings (Cohen's kappa) below which there is no object: .36 and .46 on two folders without
one thing in them, .71 and more on five with an object (docs/auto.md)."""
LEAST_SURE = 0.01
"""The share of sure masks that counts at least where students are compared."""
MOST_SURE, FEW_SURE = 0.6, 0.4
"""Shares of sure masks from which an object counts as found, and below which as not, whatever the score."""


@dataclass(frozen=True)
class Verdict:
    """`score`: the label-free score of the network on photos that it learned from, 0 to 1. `sure`: the share
    of all photos whose masks are sure, 0 to 1. `agreed`, of `auto` alone: how far another beginning has found
    the same, Cohen's kappa, at most 1; None where there is no other."""

    score: float
    sure: float
    agreed: float | None = None

    @property
    def worth(self) -> float:
        """By which students are compared, 0 to 1: the score times the share of sure masks. The score alone
        prefers small masks that shun the border, also where they are not the object's (docs/auto.md). Where
        next to no mask is sure, the scores still put them in order."""
        return self.score * max(self.sure, LEAST_SURE)

    @property
    def found(self) -> Found:
        """The verdict in a word, by the levels above."""
        if self.score < NOT_FOUND or self.sure < FEW_SURE:
            return "not found"
        if self.agreed is not None and self.agreed < AGREED:
            return "not found"
        return "found" if self.score >= FOUND and self.sure >= MOST_SURE else "doubtful"

    @property
    def text(self) -> str:
        """In words, for a person."""
        shares = f"label-free score {self.score:.2f}, {self.sure:.0%} of the masks are sure"
        if self.agreed is not None:
            shares += f", agreement of beginnings {self.agreed:.2f}"
        return {
            "found": f"an object was found: {shares}",
            "doubtful": f"doubtful: there may be an object ({shares}); look at the page before using a mask",
            "not found": f"no object was found ({shares}): the masks are of no use. Photos of one kind of "
            "thing are needed, a few hundred or more, in which it stands out from what is around it",
        }[self.found]

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> Self:
        """From what `as_json` gave."""
        return cls(fields["score"], fields["sure"], fields.get("agreed"))

    def as_json(self) -> dict[str, Any]:
        agreed = {} if self.agreed is None else {"agreed": self.agreed}
        return {"verdict": self.found, "score": self.score, "sure": self.sure} | agreed
