"""Why a record gives no text: one exception, and every reason there is."""

from __future__ import annotations

REASONS: dict[str, str] = {
    "bad-archive-record": "an archive holds bytes that are no record",
    "bad-http": "an HTTP response without a readable header",
    "bad-json": "a line that is not a JSON object",
    "binary": "bytes that are no text in any encoding",
    "changed": "the file is not the one that was planned",
    "corrupt": "compressed or structured data that does not decode",
    "directory-link": "a link to a folder, which is not followed: links can form loops",
    "empty": "no bytes",
    "empty-answer": "an instruction whose answer says nothing",
    "encoding": "text in no encoding that could be found",
    "equal-answers": "a pair whose chosen and rejected answers do not differ",
    "expansion-limit": "a compressed file that grows beyond any use",
    "extraction-failed": "the extractor gave up",
    "http-status": "an HTTP response that is not 200 to 299",
    "image-aspect": "an image that is too long for its width, or too wide for its height",
    "image-bomb": "an image of more pixels than its bytes can honestly hold",
    "image-corrupt": "an image that does not decode",
    "image-empty": "an image of no bytes",
    "image-format": "an image in a format that is not read",
    "image-frames": "an animation of too many frames",
    "image-lying": "an image whose header says other than its data",
    "image-missing": "an image that is not where the record says",
    "image-too-large": "an image of too many bytes or pixels",
    "image-too-small": "an image of too few pixels a side",
    "image-truncated": "an image that ends too early",
    "io-error": "the storage failed",
    "link-loop": "links that lead to each other",
    "marks-differ": "a text with more or fewer image marks than images",
    "media-type": "a kind of file no reader takes",
    "missing-field": "a row without its text",
    "missing-package": "a kind of file whose optional package is not installed",
    "no-text": "nothing left after extraction",
    "over-length": "a conversation, or the end of one, of more tokens than `fit` allows",
    "permission": "not allowed to read",
    "record-too-large": "more bytes than limits.max_record_bytes",
    "revisit": "a WARC record that repeats the payload of another crawl",
    "segmented": "one segment of a WARC record that was cut in pieces",
    "special-file": "a pipe, socket or device",
    "truncated": "the data end too early",
    "vanished": "the file was there when planned and is gone",
    "work-budget": "a page or document that would take unbounded work",
}


class Refusal(Exception):
    """A record cannot be read; becomes one ``Unreadable`` row."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(reason, detail)
        self.reason = reason
        self.detail = detail


def from_os_error(error: OSError, what: str = "") -> Refusal:
    """The refusal for a failed system call or storage request, without machine paths."""
    text = what or type(error).__name__
    if isinstance(error, FileNotFoundError):
        return Refusal("vanished", text)
    if isinstance(error, PermissionError):
        return Refusal("permission", text)
    if isinstance(error, OSError) and error.errno == 40:
        return Refusal("link-loop", text)
    return Refusal("io-error", text)
