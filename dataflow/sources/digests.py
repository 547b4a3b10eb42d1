"""Content digests of files, and samples that they order."""

from __future__ import annotations

from collections.abc import Sequence

import xxhash

from dataflow.sources.filesystems import Found, is_remote, open_local
from dataflow.sources.refusal import Refusal
from dataflow.sources.spec import Sample


def file_digest(path: str) -> str:
    """``xxh3:`` and 32 hex digits over a local file's bytes; empty where it cannot be read."""
    digest = xxhash.xxh3_128()
    try:
        with open_local(path) as file:
            while data := file.read(1 << 20):
                digest.update(data)
    except (Refusal, OSError):
        return ""  # ``read`` opens it again and says why
    return "xxh3:" + digest.hexdigest()


def sample_files(found: Sequence[Found], sample: Sample) -> list[Found]:
    """The files of a sample: in the order of their content's hash mixed with the seed, up to a cap.

    It stops at the first file that does not fit, so that a larger cap gives a superset; files
    larger than the whole cap are left out first. Files of the same content stand together, by uri.
    A remote file is ordered by its uri and size instead: hashing it would fetch everything.
    Rows that are already refused stay.
    """
    refused = [f for f in found if f.reason]
    ranked = []
    for file in found:
        if file.reason or file.size > sample.bytes:
            continue
        if is_remote(file.locator):
            content = f"{file.uri}\0{file.size}"
        elif ":" in file.fingerprint:
            content = file.fingerprint
        else:
            content = file_digest(file.locator)
            file = file._replace(fingerprint=content or file.fingerprint)
        key = xxhash.xxh3_128_digest(f"leyden.sample.1\0{sample.seed}\0{content}".encode())
        ranked.append((key, file.uri, file))
    ranked.sort(key=lambda row: row[:2])
    taken: list[Found] = []
    room = sample.bytes
    for _, _, file in ranked:
        if file.size > room:
            break
        room -= file.size
        taken.append(file)
    return refused + taken
