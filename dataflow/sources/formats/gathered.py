"""The images that a page shows, fetched within a budget and each decoded once."""

from __future__ import annotations

import re
from collections.abc import Callable
from urllib.parse import urljoin

from dataflow.sources.formats.named_images import inline
from dataflow.sources.formats.page_images import PageImage, is_ornament
from dataflow.sources.formats.picture import Budget, ImageRefusal, header_size, picture_of
from dataflow.sources.refusal import Refusal
from dataflow.sources.spec import Picture, SourceSpec

_MAX_REF = 1000
"""Characters of an address in the ledger."""

Fetch = Callable[[str], tuple[str, bytes]]
"""From an absolute address to the image's source-relative name and bytes; or a ``Refusal``."""


class Gathered:
    """Fetches the images of one page, whose addresses are relative to ``base``."""

    def __init__(self, spec: SourceSpec, base: str, fetch: Fetch) -> None:
        self._spec = spec
        self._base = base
        self._fetch = fetch
        self._budget = Budget(spec)
        self._captions: dict[int, list[str]] = {}
        self._known: dict[str, Picture | ImageRefusal | None] = {}

    def picture(self, image: PageImage) -> Picture | None:
        """The image from the best address that gives one; None for an ornament.

        Raises
        ------
        ImageRefusal
            Why the best address that leads anywhere, or else the first one, gives no image.
        """
        first: ImageRefusal | None = None
        for address in image.addresses:
            seen = address in self._known
            found = self._known[address] if seen else self._read(address)
            self._known[address] = found
            if found is None:
                return None
            if isinstance(found, Picture):
                if seen:  # not decoded again, but held again by whoever stores the document
                    self._spend(found)
                caption = image.caption(self._captions)
                return Picture(found.data, found.facts, found.ref, image.alt, caption)
            if found.reason != "image-missing":
                raise found
            first = first or found
        assert first is not None, "an image is asked for by its addresses"
        raise first

    def _spend(self, picture: Picture) -> None:
        try:
            self._budget.spend(picture.data, (picture.facts.width, picture.facts.height))
        except Refusal as refusal:
            raise ImageRefusal(picture.ref, refusal.reason, refusal.detail) from None

    def _read(self, address: str) -> Picture | ImageRefusal | None:
        ref = address
        try:
            if address.lower().startswith("data:"):
                ref = re.split("[;,]", address, maxsplit=1)[0]
                data = inline(address)
            else:
                ref, data = self._fetch(self._absolute(address))
            return self._decoded(data, ref)
        except Refusal as refusal:
            ref = refusal.ref if isinstance(refusal, ImageRefusal) else ref
            return ImageRefusal(ref[:_MAX_REF], refusal.reason, refusal.detail)

    def _absolute(self, address: str) -> str:
        try:
            return urljoin(self._base, address)
        except ValueError:  # a bracket without its other half
            raise Refusal("image-missing", "no address") from None

    def _decoded(self, data: bytes, ref: str) -> Picture | None:
        limits = self._spec.images
        size = header_size(data)
        if size is not None and is_ornament(*size) and min(size) < limits.min_side:
            return None
        self._budget.spend(data, size)
        return picture_of(data, limits, ref)
