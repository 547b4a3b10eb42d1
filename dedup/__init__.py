"""Duplicate removal: exact by content id, near by MinHash bands with exact verification.

A library of pure functions on arrays; it knows no run folder. The steps of a near-duplicate search,
each of which can be a task of its own:

1. :func:`signatures` and :func:`band_keys` per partition (or the fused scan of ``kernels.text``),
2. :func:`sort_band` per band, 3. :func:`candidate_ranks`, 4. :func:`write_shingles` per partition
for the candidates only, 5. :func:`select_survivors`. :func:`near_duplicates` runs 2, 3 and 5;
:func:`text_duplicates` does everything for a column of text.
"""

from dedup.bands import Buckets, candidate_ranks, sort_band
from dedup.components import connected_components
from dedup.exact import ExactDuplicates, exact_duplicates, id_words
from dedup.shingles import ShingleFile, ShingleSets, write_shingles
from dedup.signatures import (
    MinHashParams,
    band_keys,
    candidate_probability,
    datasketch_signature,
    estimate,
    half_point,
    minhash_params,
    signatures,
)
from dedup.survivors import DedupStats, NearDuplicates, near_duplicates, select_survivors
from dedup.texts import TextDuplicates, text_duplicates
from dedup.verify import exact_threshold, is_near_duplicate, jaccard

__all__ = [
    "Buckets",
    "DedupStats",
    "ExactDuplicates",
    "MinHashParams",
    "NearDuplicates",
    "ShingleFile",
    "ShingleSets",
    "TextDuplicates",
    "band_keys",
    "candidate_probability",
    "candidate_ranks",
    "connected_components",
    "datasketch_signature",
    "estimate",
    "exact_duplicates",
    "exact_threshold",
    "half_point",
    "id_words",
    "is_near_duplicate",
    "jaccard",
    "minhash_params",
    "near_duplicates",
    "select_survivors",
    "signatures",
    "sort_band",
    "text_duplicates",
    "write_shingles",
]
