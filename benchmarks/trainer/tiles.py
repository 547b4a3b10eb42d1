"""Training steps of a model that is shown images, at 2, 5, 10 and 1 tiles an image, on one GPU.

A step is what a run's is: forward and backward passes over micro-batches, the reduction, the norm
and AdamW, in bfloat16; pixels are made (`shown_steps`), sent and normalised, nothing is decoded.
At one tile the model is trained as in ``vl_stage1``, the language model frozen; at others as in
``vl_stage2``. MFU and matmul efficiency are those of the trainer's log.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch

from benchmarks.harness import Options, Report
from benchmarks.trainer.options import TrainerOptions
from benchmarks.trainer.shown_steps import IMAGE, Shape, micro_batch, shape_of
from trainer.flops import count_flops, datasheet_rate, utilisation
from trainer.megatron import start
from trainer.megatron.optimizer import OptimizerSettings, build_optimizer, set_rate, step, wrap
from trainer.models.build import build_model, count_parameters
from trainer.models.recipe import ModelRecipe
from trainer.run.batch import BatchResult, run_batch
from trainer.run.recorder import matmul_rate
from trainer.stages.loading import load_model, load_stage
from trainer.stages.recipe import StageRecipe
from trainer.vision.merge import features_of
from trainer.vision.parts import train_only

MODEL = "400m-vl"
STAGES = {"vl_stage2": (2, 5, 10), "vl_stage1": (1,)}
"""Tiles an image, by the stage whose parts are trained."""
MICRO_TOKENS = 65_536
"""Of a micro-batch on a GPU, where the model's recipe asks for no more; halved without memory."""
VOCABULARY = 32_768
MICRO_BATCHES = 2
"""Of a step."""
WARM_UP = 3
"""Steps that compile kernels and fill caches, and are not timed."""
SECONDS, LEAST_STEPS = 25.0, 5
ALONE = 10
"""Times that tower and projector are run by themselves."""
RATE = 1e-4


def run(report: Report, options: Options) -> None:
    """Build the model once a stage, and train it at each number of tiles."""
    asked = options if isinstance(options, TrainerOptions) else TrainerOptions()
    model = load_model(asked.model or MODEL)
    if model.vision is None:
        raise ValueError(f"--model {model.name}: found no vision block, expected one")
    total, active = count_parameters(model, _vocabulary(asked))
    report.add(f"input: {model.name}, parameters in all", total / 1e6, "M")
    report.add(f"input: {model.name}, of a token, with tower and projector", active / 1e6, "M")
    if asked.device == "cuda":
        name = torch.cuda.get_device_name()
        rate = matmul_rate(torch.device("cuda"))
        report.add(
            f"input: {name}, torch {torch.__version__}, an 8192³ product", rate / 1e12, "TFLOP/s"
        )
    for name, tiles in STAGES.items():
        ranks = start.start(start.Layout(), asked.seed)
        try:
            _Stage(report, asked, model, load_stage(name, model.stages.scale), ranks).run(tiles)
        finally:
            start.stop()
        gc.collect()
        if asked.device == "cuda":
            torch.cuda.empty_cache()


def _vocabulary(options: Options) -> int:
    """Entries of the vocabulary."""
    return options.size(VOCABULARY, 2048)


class _Stage:
    """A model and its optimizer, of which some parts are trained."""

    def __init__(
        self,
        report: Report,
        options: TrainerOptions,
        model: ModelRecipe,
        stage: StageRecipe,
        ranks: start.Ranks,
    ) -> None:
        self.report, self.options, self.model, self.stage = report, options, model, stage
        self.ranks = ranks
        self.on_gpu = ranks.device.type == "cuda"
        name = torch.cuda.get_device_name() if self.on_gpu else ""
        self.peak = datasheet_rate(name)
        self.matmul = matmul_rate(ranks.device) if self.on_gpu else None
        network = build_model(
            model,
            vocab_size=_vocabulary(options),
            sequence_tokens=stage.length,
            rope_base=stage.rope_base,
            parallel=ranks.layout,
            dtype=torch.bfloat16 if self.on_gpu else torch.float32,
            seed=options.seed,
            image_token=IMAGE,
            device=ranks.device,
        )
        train_only(network, stage.train)
        self.chunks = wrap([network], network.config)
        precision: Any = "bf16" if self.on_gpu else "fp32"
        self.optimizer = build_optimizer(self.chunks, OptimizerSettings(precision=precision))
        set_rate(self.optimizer, RATE)

    def run(self, counts: Sequence[int]) -> None:
        """Time each number of tiles that the model's tiling has."""
        assert self.model.vision is not None
        tiling = self.stage.tiling or self.model.vision.tiling
        tiling = self.model.stages.tilings.get(tiling, tiling)
        for tiles in counts:
            least = MICRO_TOKENS if self.on_gpu else 1
            sequences = max(least, self.model.stages.micro_batch) // self.stage.length
            sequences = self.options.size(max(1, sequences), 1)
            try:
                shape = shape_of(self.model.vision, tiling, tiles, self.stage.length, sequences)
            except ValueError as error:
                if not self.options.quick:
                    raise
                self.report.note(str(error))
                continue
            while True:
                try:
                    self._tiles(shape)
                    break
                except torch.OutOfMemoryError:
                    if shape.sequences == 1:
                        raise
                self.report.note(f"no memory for {shape.tokens:,} tokens at once; halved")
                torch.cuda.empty_cache()
                shape = replace(shape, sequences=shape.sequences // 2)

    def _tiles(self, shape: Shape) -> None:
        vision = self.model.vision
        assert vision is not None
        batches = [
            micro_batch(
                shape, vision, _vocabulary(self.options), self.options.seed + n, pin=self.on_gpu
            )
            for n in range(MICRO_BATCHES)
        ]
        for _ in range(1 if self.options.quick else WARM_UP):
            self._step(batches)
        if self.on_gpu:
            torch.cuda.reset_peak_memory_stats()
        results: list[BatchResult] = []
        taken, begun = 0.0, time.perf_counter()
        while len(results) < LEAST_STEPS or taken < SECONDS:
            results.append(self._step(batches))
            if self.on_gpu:
                torch.cuda.synchronize()
            taken = time.perf_counter() - begun
            if self.options.quick:
                break
        alone = self._tower_alone(batches)
        self._tell(shape, results, taken / len(results), alone)

    def _tower_alone(self, batches: list[Any]) -> float:
        """Seconds of both passes of tower and projector over the images of a step."""
        network, seconds = self.chunks[0].module, []
        for _ in range(1 if self.options.quick else ALONE):
            begun = time.perf_counter()
            for batch in batches:
                features = features_of(network.vision_tower, network.projector, batch.images)
                assert features is not None
                torch.autograd.backward(features, torch.ones_like(features))
            if self.on_gpu:
                torch.cuda.synchronize()
            seconds.append(time.perf_counter() - begun)
        return sorted(seconds)[len(seconds) // 2]

    def _step(self, batches: list[Any]) -> BatchResult:
        result = run_batch(
            self.chunks, batches, ranks=self.ranks, layers=self.model.layers, train=True
        )
        step(self.optimizer)
        return result

    def _tell(self, shape: Shape, results: list[BatchResult], seconds: float, alone: float) -> None:
        model, tiles = self.model, len(shape.plan.tiles)
        counted = count_flops(
            model,
            shape.segments,
            _vocabulary(self.options),
            tiles=shape.tiles,
            features=shape.features,
            labels=shape.labels,
        )
        # At the end of the timed steps: routers that begin drop more, and what they learn stays.
        routed = results[-1].routed
        dropped = float(routed.dropped.sum() / routed.slots.sum())
        # What is dropped is not computed: without it the count is what the device did for it.
        done = counted.training_of(self.stage.train)
        kept = replace(counted, experts=round(counted.experts * (1 - dropped)))
        rate = MICRO_BATCHES * done / seconds
        rate_kept = MICRO_BATCHES * kept.training_of(self.stage.train) / seconds
        where = f"{model.name}, {self.stage.name}, {tiles} {'tile' if tiles == 1 else 'tiles'}"
        add = self.report.add
        add(f"{where}: tokens", MICRO_BATCHES * shape.tokens / seconds, "tokens/s")
        images = MICRO_BATCHES * shape.images * shape.sequences
        add(f"{where}: images", images / seconds, "images/s")
        add(f"{where}: tiles through the tower", images * tiles / seconds, "tiles/s")
        add(f"{where}: model FLOPs", rate / 1e12, "TFLOP/s")
        for what, peak in (("MFU", self.peak), ("matmul efficiency", self.matmul)):
            for how, flops in (("", rate), (", dropped slots not counted", rate_kept)):
                if (part := utilisation(flops, peak)) is not None:
                    add(f"{where}: {what}{how}", 100 * part, "%")
        text = replace(counted, tower=0, projector=0, tower_input=0, projector_input=0)
        share = 1 - text.training_of(self.stage.train) / done
        add(f"{where}: of the FLOPs, tower and projector", 100 * share, "%")
        add(f"{where}: of the time, tower and projector run alone", 100 * alone / seconds, "%")
        shown = MICRO_BATCHES * done * share / alone
        add(f"{where}: tower and projector alone", shown / 1e12, "TFLOP/s")
        add(f"{where}: slots dropped", 100 * dropped, "%")
        add(f"{where}: tokens of an image", shape.plan.tokens, "tokens")
        add(
            f"{where}: tokens of text to an image",
            shape.labels / (images / MICRO_BATCHES),
            "tokens",
        )
        add(f"{where}: tokens of a micro-batch", shape.tokens, "tokens")
        add(f"{where}: a step of {MICRO_BATCHES} micro-batches", seconds, "s")
        add(f"{where}: loss, the last step", results[-1].loss, "nats")
        if self.on_gpu:
            add(f"{where}: memory", torch.cuda.max_memory_allocated() / 1e9, "GB")
