"""One whole parameter at a time on rank 0, from the parts that all ranks hold."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import torch
from torch import Tensor
from torch import distributed as dist

from trainer.convert.errors import ConversionError
from trainer.convert.parameter import Parameter
from trainer.convert.ranks import Place, join

_GO, _STOP = 1, 0


class Gathering:
    """A collective of all ranks: rank 0 iterates over :meth:`wholes`, the others :meth:`serve`.

    Any layout of tensor, expert, pipeline and data parallelism will do: each part is sent by the
    lowest rank that holds it. Rank 0 holds one parameter at a time,
    whole and its parts. Before each parameter it
    says whether it goes on, so that an error there (a full disk) ends every rank.

    Made on every rank together. Raises ConversionError, on all of them, when no rank holds a part.
    """

    def __init__(
        self, local: Mapping[str, Tensor], table: Iterable[Parameter], place: Place
    ) -> None:
        self._local, self._place, self._table = local, place, list(table)
        self._rank = dist.get_rank()
        mine = {
            one.name: (place.part_of(one)[0], tuple(local[one.name].shape), local[one.name].dtype)
            for one in self._table
            if one.name in local
        }
        everyone: list[dict[str, tuple[int, tuple[int, ...], torch.dtype]]]
        everyone = [{} for _ in range(dist.get_world_size())]
        dist.all_gather_object(everyone, mine)
        self._owners: dict[str, list[int]] = {}
        self._kinds: dict[str, list[tuple[tuple[int, ...], torch.dtype]]] = {}
        for one in self._table:
            holders: dict[int, int] = {}
            for rank, held in reversed(list(enumerate(everyone))):
                if one.name in held:
                    holders[held[one.name][0]] = rank
            parts = range(place.part_of(one)[1])
            if missing := [part for part in parts if part not in holders]:
                raise ConversionError(
                    f"{one.name}: found no rank that holds part {missing[0]} of {len(parts)}, "
                    "expected each part on one; the model is not of this recipe"
                )
            self._owners[one.name] = [holders[part] for part in parts]
            self._kinds[one.name] = [everyone[holders[part]][one.name][1:] for part in parts]

    def wholes(self) -> Iterator[tuple[str, Tensor]]:
        """On rank 0: each name and whole tensor, in the table's order."""
        for one in self._table:
            self._say(_GO)
            kinds = zip(self._owners[one.name], self._kinds[one.name], strict=True)
            yield one.name, join(one, [self._piece(one, owner, *kind) for owner, kind in kinds])

    def finish(self, *, well: bool) -> None:
        """On rank 0: tell the others that all is written, or that it never will be."""
        self._say(_GO if well else _STOP)

    def serve(self) -> None:
        """On the other ranks: send this rank's parts, and return when all is written.

        Raises ConversionError when rank 0 stopped.
        """
        for one in self._table:
            self._listen()
            if self._rank in self._owners[one.name]:
                dist.send(_bytes(self._local[one.name]), 0)
        self._listen()

    def _piece(
        self, one: Parameter, owner: int, shape: tuple[int, ...], dtype: torch.dtype
    ) -> Tensor:
        if owner == self._rank:
            return self._local[one.name].detach()
        size = torch.Size(shape).numel() * dtype.itemsize
        data = torch.empty(size, dtype=torch.uint8, device=self._device())
        dist.recv(data, owner)
        return data.view(dtype).view(shape)

    def _say(self, word: int) -> None:
        dist.broadcast(torch.tensor([word], device=self._device()), 0)

    def _listen(self) -> None:
        word = torch.tensor([_STOP], device=self._device())
        dist.broadcast(word, 0)
        if word.item() == _STOP:
            raise ConversionError("found that rank 0 stopped writing, see its error")

    def _device(self) -> torch.device:
        return next(iter(self._local.values())).device


def _bytes(tensor: Tensor) -> Tensor:
    """A tensor's bytes: every backend sends these, whatever the dtype."""
    return tensor.detach().contiguous().view(-1).view(torch.uint8)
