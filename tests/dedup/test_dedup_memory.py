"""Ten million records are sorted in the memory that was granted, not in what they take."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import orjson
import pytest

RECORDS = 10_000_000
BUDGET = 32 << 20

SCRIPT = """
import resource, sys
import numpy as np
from dedup.bands import sort_band

def runs(records, seed):
    # A third of the keys occur twice; one key is shared by a hundredth of all documents.
    random = np.random.default_rng(seed)
    for start in range(0, records, 50_000):
        ranks = np.arange(start, start + 50_000, dtype=np.uint32)
        keys = random.integers(0, 2**64, 50_000, dtype=np.uint64)
        keys[10_000:30_000:2] = ranks[10_000:30_000:2].astype(np.uint64) ^ np.uint64(2**40)
        keys[10_001:30_000:2] = keys[10_000:30_000:2]
        keys[:500] = 17
        yield keys, ranks

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10

records, budget, folder = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
sort_band(0, runs(100_000, 0), folder, budget)
before = peak()
found = sort_band(1, runs(records, 1), folder, budget)
print('{"before": %d, "after": %d, "memberships": %d, "largest": %d}'
      % (before, peak(), found.memberships, found.largest))
"""


@pytest.mark.long
def test_sorting_holds_what_it_was_granted(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(RECORDS), str(BUDGET), str(tmp_path)],
        capture_output=True,
        text=True,
        check=True,
    )
    answer = orjson.loads(done.stdout)
    assert answer["memberships"] == RECORDS // 50_000 * 20_500
    assert answer["largest"] == RECORDS // 100
    # The records take 120 MB. Pages of the mapped runs count too until the kernel takes them back,
    # so this bounds the process from above.
    assert answer["after"] - answer["before"] < BUDGET + (16 << 20)
