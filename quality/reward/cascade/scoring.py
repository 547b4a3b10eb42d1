"""The cascade at work, and the file that holds it: the linear student's and the network's."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from blake3 import blake3
from numpy.typing import NDArray

from quality.reward.cascade.network import Network, Shape, words_of
from quality.reward.cascade.training import corrections_of
from quality.reward.labels import HIGHEST, SCORES
from quality.reward.student.model import (
    GRID_BITS,
    POINT_BITS,
    StudentError,
    fixed_entry,
    parse_model,
    write_model,
)
from quality.reward.student.scoring import SCHEMA, Student

F64 = NDArray[np.float64]
FORMAT = 1


@dataclass(frozen=True)
class Middle:
    """Where a second opinion is asked for: linear depth + helpfulness from ``low`` to ``high``."""

    low: float
    high: float

    @classmethod
    def of(cls, scores: F64, share: float) -> Middle:
        """The middle ``share`` of some documents by their scores, float64[n, scores]."""
        if not 0 < share <= 1:
            raise ValueError(f"middle: found a share of {share:g}, expected above 0, at most 1")
        low, high = np.quantile(scores[:, 0] + scores[:, 1], (0.5 - share / 2, 0.5 + share / 2))
        return cls(float(low), float(high))


class Cascade:
    """A linear student, a network for its uncertain middle, and how far that is believed."""

    def __init__(
        self, student: Student, network: Network, trust: F64, middle: Middle, version: str
    ) -> None:
        self.student = student
        self.network = network
        self.trust = trust
        self.middle = middle
        self.version = version

    def score(
        self, texts: pa.Array | pa.ChunkedArray, scan: Mapping[str, Any] | None = None
    ) -> pa.Table:
        """Score n texts as ``Student.score`` does; in the middle with the network's corrections.

        Those differ in their last bits from machine to machine; scores are rounded to 1/64 after.
        """
        whole = texts.combine_chunks() if isinstance(texts, pa.ChunkedArray) else texts
        points = self.student.points(whole, scan)
        table = self.student.table(points)
        scores = points[:, : len(SCORES)] / float(1 << POINT_BITS)
        total = scores[:, 0] + scores[:, 1]
        unsure = np.flatnonzero((total >= self.middle.low) & (total <= self.middle.high))
        if not len(unsure):
            return table
        words = words_of(whole.take(pa.array(unsure)), self.network.shape.bits)
        # Of like length together: a batch is as long as its longest document.
        order = np.argsort((words != 0).sum(axis=1), kind="stable")
        found = corrections_of(self.network, words[order], scores[unsure][order])
        scores[unsure[order]] += self.trust * found
        for j, name in enumerate(SCORES):
            grid = np.rint(np.clip(scores[unsure, j], 0, HIGHEST) * (1 << GRID_BITS))
            values = table[f"reward.{name}"].to_numpy().copy()
            values[unsure] = grid / (1 << GRID_BITS)
            table = table.set_column(j, SCHEMA.field(j), pa.array(values))
        return table

    def to(self, device: str) -> Cascade:
        """The same with its network on a device.

        Raises
        ------
        StudentError
            If it is a GPU and there is none.
        """
        if device.startswith("cuda") and not torch.cuda.is_available():
            raise StudentError(f"device: found no CUDA GPU for {device!r}, expected one, or cpu")
        self.network.to(device)
        return self


def write_cascade(student: Student, network: Network, trust: F64, middle: Middle) -> bytes:
    """The file of a cascade: the student's own file, and the network's arrays in float16."""
    header = {
        "format": FORMAT,
        "kind": "cascade",
        "shape": asdict(network.shape),
        "trust": trust.tolist(),
        "middle": asdict(middle),
    }
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as file:
        text = json.dumps(header, indent=1, sort_keys=True)
        file.writestr(fixed_entry("cascade.json"), text)
        file.writestr(fixed_entry("student.zip"), write_model(student.model))
        for name, values in sorted(network.state_dict().items()):
            array = io.BytesIO()
            np.lib.format.write_array(array, values.cpu().numpy().astype(np.float16))
            file.writestr(fixed_entry(f"network/{name}.npy"), array.getvalue())
    return buffer.getvalue()


def load_cascade(path: Path) -> Cascade:
    """A cascade from its file.

    Raises
    ------
    StudentError
        If it is none of this version, or damaged.
    """
    try:
        data = path.read_bytes()
        with zipfile.ZipFile(io.BytesIO(data)) as file:
            header = json.loads(file.read("cascade.json"))
            if header.get("format") != FORMAT:
                raise StudentError(
                    f"{path}: found a cascade of format {header.get('format')!r}, expected "
                    f"{FORMAT}; distil it again"
                )
            student = Student(*parse_model(file.read("student.zip"), f"{path}: student.zip"))
            network = Network(Shape(**header["shape"]))
            network.load_state_dict(
                {
                    name: torch.from_numpy(
                        np.lib.format.read_array(
                            io.BytesIO(file.read(f"network/{name}.npy")), allow_pickle=False
                        ).astype(np.float32)
                    )
                    for name in network.state_dict()
                }
            )
    except StudentError:
        raise
    except (OSError, zipfile.BadZipFile, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise StudentError(
            f"{path}: found no cascade, or a damaged one ({error}), expected a file of "
            "`python -m quality distill --kind cascade`"
        ) from error
    network.eval()
    version = blake3(data).hexdigest(length=16)
    trust = np.array(header["trust"], np.float64)
    return Cascade(student, network, trust, Middle(**header["middle"]), version)
