"""Whatever a file holds, it is read or refused in a line, and nothing else happens.

REDOSEG_FUZZ=N tries N inputs in all; with REDOSEG_FUZZ_PAGE=FILE the counts are written there as a table.
"""

import os
import random
import tempfile
import time
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from hostile import KINDS

pytestmark = pytest.mark.training
INPUTS = int(os.environ.get("REDOSEG_FUZZ", "500"))
PAGE = os.environ.get("REDOSEG_FUZZ_PAGE")
LONGEST = 60.0  # seconds that no input takes unless it hangs


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.filterwarnings("ignore")
def test_it_is_read_or_refused(kind: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    base, found, longest = tmp_path_factory.mktemp("hostile"), Counter[str](), 0.0

    @settings(
        max_examples=-(-INPUTS // len(KINDS)), deadline=None, derandomize=True, database=None,
        phases=[Phase.generate], suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(st.integers(0, 2**32 - 1))
    def try_one(seed: int) -> None:
        nonlocal longest
        begun = time.monotonic()
        with tempfile.TemporaryDirectory(dir=base) as folder:
            found[KINDS[kind](random.Random(seed), Path(folder))] += 1
        longest = max(longest, time.monotonic() - begun)

    try_one()
    assert set(found) <= {"read", "refused"}
    assert min(found["read"], found["refused"]) > 0  # else they are too sound, or too broken, to show much
    assert longest < LONGEST
    if PAGE:
        doc = (KINDS[kind].__doc__ or "").rstrip(".").lower()
        with Path(PAGE).open("a") as page:
            page.write(f"| {doc} | {found.total():,} | {found['read']:,} | {found['refused']:,} | 0 |\n")
