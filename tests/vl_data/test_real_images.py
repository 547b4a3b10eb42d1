"""Real images, where they are at hand: photographs, scans, drawings, and files meant to do harm."""

from __future__ import annotations

import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from tests.vl_data.made_images import encode
from vl_data.clusters import KEPT, LEVELS, NEAR, PIXELS, ImageClusters, cluster_images
from vl_data.decode import decode_image
from vl_data.hashes import colour_thumbnail, pixel_hash
from vl_data.hygiene import ImageRefused, inspect
from vl_data.images import IMAGE
from vl_data.limits import ANY_SIZE

DATA = Path(__file__).parents[3] / "shared" / "data" / "f_vision_language"
COLUMNS = ("digest", "pixels", "phash", "width", "height", "blank")


def archive(name: str) -> Path:
    path = DATA / f"{name}.tar"
    if not path.exists():
        pytest.skip(f"needs ../shared/data/f_vision_language/{name}.tar")
    return path


def files(name: str) -> dict[str, bytes]:
    """The images of an archive by name."""
    with tarfile.open(archive(name)) as tar:
        members = [m for m in tar if m.name.endswith((".png", ".jpg", ".jpeg"))]
        found = {m.name: tar.extractfile(m) for m in members}
        return {name: stream.read() for name, stream in found.items() if stream is not None}


def clusters(
    images: list[bytes], scratch: Path, *, look: bool = True, levels: int = LEVELS
) -> ImageClusters:
    facts = [inspect(data, ANY_SIZE) for data in images]
    table = pa.table(
        {
            name: pa.array([getattr(f, name) for f in facts], IMAGE.field(name).type)
            for name in COLUMNS
        }
    )
    seen = np.stack([colour_thumbnail(decode_image(data).shown()) for data in images])
    look_at = seen.__getitem__ if look else None
    return cluster_images(table, scratch, thumbnails=look_at, levels=levels)


@pytest.mark.parametrize(
    "name", ["coco_cc", "nlvr_shapes", "tuxpaint_stamps", "sroie_receipts", "openstax_anthropology"]
)
def test_different_images_stay_apart(name: str, tmp_path: Path) -> None:
    """Photographs, scans and drawings: only files of equal pixels are one."""
    images = list(files(name).values())
    hashes = [pixel_hash((d := decode_image(data)).colour, d.alpha) for data in images]
    found = clusters(images, tmp_path)
    assert not (found.kind == NEAR).any()
    assert (found.kind == KEPT).sum() == len(set(hashes))


def test_the_perceptual_hash_alone_does_not_tell_drawings_apart(tmp_path: Path) -> None:
    """Why near pairs are verified by what they look like."""
    images = list(files("nlvr_shapes").values())
    assert (clusters(images, tmp_path, look=False).kind == NEAR).sum() > 10


def test_copies_of_photographs_are_found(tmp_path: Path) -> None:
    images = list(files("coco_cc").values())
    copies = []
    for data in images:
        shown = decode_image(data).shown()
        half = shown.resize((shown.width // 2, shown.height // 2), Image.Resampling.BICUBIC)
        copies += [encode(half, "jpeg", quality=80), encode(shown, "webp", quality=60)]
        copies.append(encode(shown, "png"))
    found = clusters(images + copies, tmp_path)
    n = len(images)
    assert found.survivor[:n].tolist() == list(range(n))
    own = found.survivor[n:].reshape(n, 3) == np.arange(n)[:, None]
    assert (own.mean(axis=0) >= [0.9, 0.9, 1.0]).all()
    assert found.kind[n:].reshape(n, 3)[:, 2].tolist() == [PIXELS] * n
    looser = clusters(images + copies, tmp_path, levels=16)
    assert looser.survivor[n:].tolist() == np.repeat(np.arange(n), 3).tolist()


def test_photographs_that_were_cut_and_mended_are_refused() -> None:
    """A download that broke off, to which someone has added the marker of the end."""
    for name, data in files("coco_cc").items():
        with pytest.raises(ImageRefused) as caught:
            inspect(data[: len(data) // 2] + b"\xff\xd9", ANY_SIZE)
        assert caught.value.reason == "image-lying", name
        with pytest.raises(ImageRefused) as caught:
            inspect(data[: len(data) // 2], ANY_SIZE)
        assert caught.value.reason == "image-truncated", name


CHILD = """
import resource, sys, tarfile
resource.setrlimit(resource.RLIMIT_CPU, (120, 120))
resource.setrlimit(resource.RLIMIT_AS, (3 << 30, 3 << 30))
from vl_data.decode import decode
from vl_data.hygiene import ImageRefused, inspect
from vl_data.limits import ANY_SIZE
with tarfile.open(sys.argv[1]) as tar:
    for member in tar:
        data = tar.extractfile(member).read()
        try:
            facts = inspect(data, ANY_SIZE)
            assert decode(data).shape == (facts.height, facts.width, 3)
            print(member.name, facts.format, facts.width, facts.height)
        except ImageRefused as error:
            print(member.name, error.reason)
# Not ru_maxrss: that one starts with what the parent held.
status = open("/proc/self/status").read().split()
print("peak", int(status[status.index("VmHWM:") + 1]) >> 10)
"""


def test_the_odd_images_of_pillows_own_tests() -> None:
    """Fuzzers' crashes, bombs, every variant of every format: in two minutes and 3 GB of space."""
    done = subprocess.run(
        [sys.executable, "-c", CHILD, str(archive("odd_images_pillow"))],
        capture_output=True,
        check=False,
        cwd=Path(__file__).parents[2],
    )
    assert done.returncode == 0, done.stderr[-2000:]
    *lines, peak = done.stdout.decode().splitlines()
    found = dict(line.split(" ", 1) for line in lines)
    assert len(found) == len(lines) == 367
    decoded = [name for name, outcome in found.items() if not outcome.startswith("image-")]
    assert len(decoded) > 250
    assert int(peak.split()[1]) < 600
    assert found["truncated_image.png"] == "image-truncated"
    assert found["bmp/b/reallybig.bmp"] == "image-bomb"
    assert found["hopper_orientation_6.jpg"] == "jpeg 128 128"
    assert found["decompression_bomb.ico"] == "image-format"
