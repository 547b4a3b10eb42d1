"""The images that an archive holds, by address: what pages of the same archive show.

Images may lie before or behind the pages that show them, and compressed archives have no places to
jump to: a first pass over the archive copies its images into an unnamed temporary file.
"""

from __future__ import annotations

import tempfile
from types import TracebackType
from typing import BinaryIO, cast
from urllib.parse import urldefrag

from dataflow.sources.formats.picture import ImageRefusal
from dataflow.sources.formats.stored import Stored
from dataflow.sources.http import decoded_body, media_type_of, parse_response
from dataflow.sources.refusal import Refusal
from dataflow.sources.spec import SourceSpec
from vl_data.formats import sniff
from vl_data.refusals import ImageRefused


class ArchiveImages:
    """Images of one archive: the first that is stored for each address."""

    def __init__(self, spec: SourceSpec) -> None:
        self._spec = spec
        self._file = cast(BinaryIO, tempfile.TemporaryFile())  # noqa: SIM115 (closed by __exit__)
        self._places: dict[str, tuple[int, int]] = {}
        self._unusable: dict[str, tuple[str, str]] = {}

    def __enter__(self) -> ArchiveImages:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()

    def add(self, stored: Stored) -> None:
        """Keep the record's payload if it is an image by its bytes; of one that only says that it
        is an image, keep why it is none. With any other record nothing happens.
        """
        address = _key(stored.url)
        if not address or address in self._places or address in self._unusable:
            return
        try:
            kind, body = _body(stored, self._spec)
        except Refusal:
            return  # the second pass reports the record, and pages that show it miss an image
        try:
            sniff(body)
            self._spec.images.check_bytes(len(body))
        except ImageRefused as refused:
            if refused.reason == "image-too-large" or kind.startswith("image/"):
                self._unusable[address] = refused.reason, refused.detail
            return
        self._places[address] = self._file.seek(0, 2), len(body)
        self._file.write(body)

    def fetch(self, address: str) -> tuple[str, bytes]:
        """The image that the archive has for an absolute address, and the address.

        Raises
        ------
        ImageRefusal
            ``image-missing``, or why what the archive has is no image.
        """
        key = _key(address)
        shown = urldefrag(address).url
        if key in self._unusable:
            raise ImageRefusal(shown, *self._unusable[key])
        if key not in self._places:
            raise ImageRefusal(shown, "image-missing", "not in the archive")
        start, size = self._places[key]
        self._file.seek(start)
        return shown, self._file.read(size)


def _key(address: str) -> str:
    """An address without its fragment and scheme: a page by https may show what http gave."""
    bare = urldefrag(address).url
    scheme, colon, rest = bare.partition("://")
    return rest if colon and scheme.lower() in ("http", "https") else bare


def _body(stored: Stored, spec: SourceSpec) -> tuple[str, bytes]:
    """The media type that a record says it has, and its payload."""
    if not stored.is_http:
        return "", stored.block
    response = parse_response(stored.block)
    if not 200 <= response.status <= 299:
        raise Refusal("http-status", str(response.status))
    kind = media_type_of(response.header("content-type"))
    if kind.startswith("text/"):
        raise Refusal("media-type")  # most records: pages, whose bodies are not worth decoding
    return kind, decoded_body(response, spec.limits, stored.cut)
