"""Which documents of a run are of which component of a plan, and how often an epoch has them."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import blake3
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from dataflow.run import Run
from dataflow.shards import order_key
from mixtures.cluster_sizes import write_cluster_sizes
from mixtures.documents import NO_COMPONENT, ShardDocuments
from mixtures.errors import PlanRefused
from mixtures.lengths import bounds
from mixtures.selection import Part
from mixtures.spec import Component, PlanSpec
from mixtures.views import View, passed, views_of, write_views

SORT_BYTES = 256 << 20
"""Memory of each sort; it changes nothing of what is found."""

Bools = npt.NDArray[np.bool_]
I64 = npt.NDArray[np.int64]


class Members:
    """The members of a plan's components. For one thread.

    Parameters
    ----------
    views : of signals, as `write_views` gives them for `views_of` the plan; None without any
    sizes : of clusters by document number; None where nothing is repeated
    """

    def __init__(
        self,
        spec: PlanSpec,
        views: npt.NDArray[np.uint8] | None = None,
        sizes: npt.NDArray[np.int32] | None = None,
    ) -> None:
        self.spec = spec
        self._views, self._sizes = views, sizes
        self._places = {view: place for place, view in enumerate(views_of(spec))}
        named = {
            "source": True,
            "tier": any(c.tiers for c in spec.components),
            "language": any(c.languages for c in spec.components),
            "domain": any(c.domains for c in spec.components),
            "content_id": any(c.part for c in spec.components),
            "cluster": any(c.part for c in spec.components),
            "doc_id": views is not None,
        }
        self.columns = ["tokens", "split", *(name for name, wanted in named.items() if wanted)]
        """Of the index, that shards asked about must have; and ``images`` with a tiling."""

    def components(self, shard: ShardDocuments) -> npt.NDArray[np.int32]:
        """The component of each document, ``NO_COMPONENT`` where it is of none or held out.

        Lengths are those by the plan's tiling.

        Raises
        ------
        PlanRefused
            If a document is of two: signals do not tell these components apart.
        """
        tokens, trains = shard.expanded(self.spec.tiling), shard.trains
        found = np.full(len(shard), NO_COMPONENT, np.int32)
        for number, component in enumerate(self.spec.components):
            low, high = bounds(component.length, self.spec.l1)
            mask = trains & (tokens >= low)
            if high is not None:
                mask &= tokens < high
            mask &= self.chosen(shard, component)
            if self._views is not None:
                self._check_apart(shard, mask, found, number)
            found[mask] = number
        return found

    def chosen(
        self, shard: ShardDocuments, component: Component, *, by_signals: bool = True
    ) -> Bools:
        """Which documents match a component's fields, whatever their length and split; without
        ``by_signals`` those of columns alone."""
        mask = np.ones(len(shard), bool)
        if component.sources is not None:
            mask &= shard.one_of("source", component.sources)
        if component.except_sources:
            mask &= ~shard.one_of("source", component.except_sources)
        if component.tiers is not None:
            mask &= shard.one_of("tier", component.tiers)
        if component.languages is not None:
            mask &= shard.one_of("language", component.languages)
        if component.domains is not None:
            mask &= shard.one_of("domain", component.domains)
        if component.part is not None:
            mask &= in_part(shard, component.part)
        if by_signals and component.by_signals:
            assert self._views is not None, "members of a plan with views are opened with them"
            bits = self._views[shard.first : shard.first + len(shard)]
            mask &= passed(bits, self._places[View.of(component.where, component.dialects)])
        return mask

    def times(self, shard: ShardDocuments, component: Component) -> I64:
        """How often an epoch of a component has each document, were it of that component."""
        if component.repeat is None:
            return np.ones(len(shard), np.int64)
        assert self._sizes is not None, "members of a plan that repeats are opened with sizes"
        least = sorted(component.repeat)
        times = np.array([component.repeat[size] for size in least], np.int64)
        sizes = self._sizes[shard.first : shard.first + len(shard)]
        return times[np.searchsorted(least, sizes, side="right") - 1]

    def times_drawn(self, shard: ShardDocuments, component: npt.NDArray[np.int32]) -> I64:
        """How often an epoch of its ``component`` has each document."""
        found = np.ones(len(shard), np.int64)
        for number, one in enumerate(self.spec.components):
            if one.repeat is not None:
                mine = component == number
                found[mine] = self.times(shard, one)[mine]
        return found

    def _check_apart(
        self, shard: ShardDocuments, mask: Bools, found: npt.NDArray[np.int32], number: int
    ) -> None:
        both = np.flatnonzero(mask & (found != NO_COMPONENT))
        if not len(both):
            return
        names = [component.name for component in self.spec.components]
        first, second = names[found[both[0]]], names[number]
        doc_id = shard.table["doc_id"][int(both[0])].as_py().hex()
        raise PlanRefused(
            f"document {doc_id} is of component {first!r} and of {second!r}, and so are "
            f"{len(both) - 1:,} others of shard {shard.shard}; expected no document of two: give "
            "one of them the other's condition turned round (`>= 50` here, `< 50` there), or parts "
            "of one salt that do not overlap"
        )


@contextmanager
def open_members(
    run: Run, spec: PlanSpec, sort_bytes: int = SORT_BYTES, scratch: Path | None = None
) -> Iterator[Members]:
    """The members of a plan's components in a run: joins signals and clusters where they are asked
    for, in a temporary folder.

    Parameters
    ----------
    scratch : where the temporary folder is made; None: that of the system

    Raises
    ------
    PlanRefused
        If a signal is not to be had.
    """
    views = views_of(spec)
    repeats = any(component.repeat is not None for component in spec.components)
    if not views and not repeats:
        yield Members(spec)
        return
    with tempfile.TemporaryDirectory(prefix=".members-", dir=scratch) as name:
        folder = Path(name)
        yield Members(
            spec,
            write_views(run, views, folder, sort_bytes) if views else None,
            write_cluster_sizes(run, folder, sort_bytes) if repeats else None,
        )


def in_part(shard: ShardDocuments, part: Part) -> Bools:
    """Which documents are in a part, by `part_hashes`."""
    hashes = part_hashes(shard, part.salt)
    low, high = part.hashes
    mask = np.ones(len(shard), bool)
    if low:
        mask &= hashes >= np.uint64(low) if low < 1 << 64 else False
    if high < 1 << 64:
        mask &= hashes < np.uint64(high)
    return mask


def part_hashes(shard: ShardDocuments, salt: str) -> npt.NDArray[np.uint64]:
    """64-bit hashes by which parts of a salt have their documents: of the salt and the cluster, or
    the content where there is none."""
    seed = blake3.blake3(b"leyden.part.1\0" + salt.encode()).digest(length=8)
    ids = pc.coalesce(shard.table["cluster"], shard.table["content_id"])
    return order_key(pa.chunked_array([ids.combine_chunks()]), int.from_bytes(seed, "little"))
