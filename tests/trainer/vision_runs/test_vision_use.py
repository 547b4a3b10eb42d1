"""A model that sees, used: asked about images, and measured on questions about them."""

from __future__ import annotations

import json
import math
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from tests.trainer.run.small_runs import MODEL
from trainer.command import main
from trainer.data.corpus import Corpus, Stretch
from trainer.data.pictures import Pictures, images_of
from trainer.evaluation.corpus_loss import corpus_loss
from trainer.evaluation.held_out import choose
from trainer.evaluation.picture_questions import choose_questions
from trainer.evaluation.pictures import between, evaluate_pictures
from trainer.generation.chats import answer_ids, chat_ids
from trainer.generation.decoder import Decoder
from trainer.generation.loading import open_decoder
from trainer.generation.pictures import read_picture, tokens_of
from trainer.models.recipe import ModelRecipe
from trainer.run.request import Request
from trainer.run.train import train
from trainer.stages.recipe import StageRecipe
from vl_data.synthesis.synthesise import Settings
from vl_data.synthesis.write import write_samples

LENGTH, STEPS = 256, 3
VISION = {
    "layers": 1, "hidden": 24, "heads": 4, "ffn": 40, "patch": 14, "tile": 56, "tiling": "tiny56",
}  # fmt: skip
MODEL_VL = ModelRecipe.model_validate({**MODEL.model_dump(), "name": "two-vl", "vision": VISION})


@pytest.fixture(scope="module")
def run(shown_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three steps on instructions, its images shown whole in one tile."""
    torch.set_num_threads(1)
    out = tmp_path_factory.mktemp("sees") / "asked"
    whole = STEPS * 4 * LENGTH
    stage = StageRecipe.model_validate(
        {
            "name": "asked", "length": LENGTH, "rope_base": 10_000, "tokens": whole,
            "batch": [{"tokens": 4 * LENGTH}], "packing": "whole", "tiling": "fixed56",
            "schedule": {"phases": [{"until": whole, "rate": 1e-2}]},
            "draws": {"instructions": {"sources": ["instructions"]}},
        }
    )  # fmt: skip
    train(
        Request(
            model=MODEL_VL, stage=stage, corpus=str(shown_run), out=out, micro_batch=2 * LENGTH,
            deterministic=True, json=True,
        )
    )  # fmt: skip
    return out


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Held-out questions, some with answers to be written."""
    out = tmp_path_factory.mktemp("asked") / "samples"
    families = ("colours", "counting", "grounding")
    settings = Settings(seed=9, size=112, families=families, split="heldout")
    write_samples(out, 90, settings)
    return out


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("images")
    draw = np.random.default_rng(0)
    for name, (height, width) in {"a": (56, 112), "b": (70, 50)}.items():
        pixels = draw.integers(0, 256, (height, width, 3), np.uint8)
        Image.fromarray(pixels).save(folder / f"{name}.png")
    return folder


def called(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, dict[str, Any]]:
    capsys.readouterr()
    code = main([*map(str, arguments), "--json"])
    return code, json.loads(capsys.readouterr().out)


def test_a_run_and_its_export_say_the_same_of_images(
    run: Path, images: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    ask = ("--most", 5, "--temperature", 0, "--device", "cpu")
    one = ("--prompt", "Is <image> like <image>?", "--image", images / "a.png", images / "b.png")
    code, found = called(capsys, "generate", run, *one, *ask)
    assert code == 0
    assert found["model"]["tiling"] == "fixed56"
    assert found["texts"][0]["images"] == [str(images / "a.png"), str(images / "b.png")]
    assert len(found["texts"][0]["tokens"]) in range(1, 6)
    # By the model's own tiling an image takes more places, and is another to it.
    _, other = called(capsys, "generate", run, *one, *ask, "--tiling", "tiny56")
    assert other["prefill"]["tokens"] > found["prefill"]["tokens"]
    assert main(["export", str(run), "--layout", "released", "--out", str(tmp_path / "out")]) == 0
    _, again = called(capsys, "generate", tmp_path / "out", *one, *ask)
    assert again["model"]["tiling"] == "tiny56"
    assert again["texts"] == other["texts"]
    # Several prompts in a file, with and without images, one by one as together.
    lines = [
        {"prompt": "Is <image> like <image>?", "images": ["a.png", "b.png"]},
        {"prompt": "What is it?", "images": ["b.png"]},
        {"prompt": "What is it?"},
    ]
    file = images / "asked.jsonl"
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    _, whole = called(capsys, "generate", run, "--prompts", file, *ask)
    _, parted = called(capsys, "generate", run, "--prompts", file, *ask, "--batch", 1)
    assert whole["texts"] == parted["texts"]
    assert whole["texts"][0]["tokens"] == found["texts"][0]["tokens"]


def test_a_question_is_read_as_training_reads_it(run: Path, images: Path) -> None:
    decoder, tokenizer, _ = open_decoder(run, device="cpu")
    assert tokenizer is not None
    assert decoder.vision is not None
    picture = read_picture(images / "a.png", decoder.vision.tiling)
    (places,) = tokens_of([picture])
    ids = chat_ids(tokenizer, "What is it?", [places], where="x").tolist()
    special = tokenizer.specials
    text = tokenizer.encode("\nWhat is it?").tolist()
    image = [special["image"]] * places
    assert ids == [special["user"], *image, *text, special["turn_end"], special["assistant"]]
    assert answer_ids(tokenizer, "red").tolist() == [
        *tokenizer.encode("red").tolist(), special["turn_end"],
    ]  # fmt: skip


def test_what_cannot_be_shown_is_refused(
    run: Path, images: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "broken.png").write_bytes((images / "a.png").read_bytes()[:200])
    one = ("--image", images / "a.png")
    for arguments, said in (
        (("--prompt", "<image> or <image>?", *one), "2 times <image> and 1 images"),
        (("--prompt", "<image>?", "--chat"), "1 times <image> and 0 images"),
        (("--prompt", " ", *one), "prompt 1: found no text"),
        (("--prompt", "a", "b", *one), "--image: found 2 prompts, expected one --prompt"),
        (("--prompt", "a", "--image", tmp_path / "no.png"), "found no image to read at"),
        (("--prompt", "a", "--image", tmp_path / "broken.png"), "image-truncated"),
        (("--prompt", "a", *one, "--tiling", "fixed336"), "found fixed336 with tiles of 336"),
        (("--prompt", "a", *one, "--tiling", "none"), "--tiling: found 'none', expected one of"),
    ):
        code, found = called(capsys, "generate", run, *arguments, "--device", "cpu")
        assert code == 1
        assert said in found["error"]
    file = tmp_path / "asked.jsonl"
    file.write_text('{"prompt": "a", "images": "a.png"}\n')
    code, found = called(capsys, "generate", run, "--prompts", file, "--device", "cpu")
    assert code == 1
    assert "line 1, images: found 'a.png', expected a list" in found["error"]


def test_answers_are_those_of_whole_texts(run: Path, asked: Path) -> None:
    """The likelihood of each candidate, read after its question at once; written answers too."""
    decoder, tokenizer, _ = open_decoder(run, device="cpu")
    assert tokenizer is not None
    assert decoder.vision is not None
    chosen = choose_questions(asked, limit=40)
    found = evaluate_pictures(decoder, tokenizer, chosen, batch_tokens=300)
    written = 0
    for number, question in enumerate(chosen.questions):
        donor = chosen.questions[chosen.donors[number]]
        for condition, image in (
            ("image", question.image), ("shuffled", donor.image), ("text-only", None),
        ):  # fmt: skip
            pictures = [] if image is None else [read_picture(image, decoder.vision.tiling)]
            ids = chat_ids(tokenizer, question.text, tokens_of(pictures), where="x")

            def score(answer: str, ids: torch.Tensor = ids, pictures: Any = pictures) -> float:
                more = answer_ids(tokenizer, answer)
                whole = decoder.score([torch.cat([ids, more])], images_of(pictures))[0]
                return float(whole[-len(more) :].double().sum())

            answer = found.answers[condition][number]
            expected = score(question.answer) / len(question.answer.encode())
            assert answer.log_prob_per_byte == pytest.approx(expected, abs=1e-4)
            scores = [score(candidate) for candidate in question.candidates]
            assert answer.log_probs == pytest.approx(scores, abs=1e-3)
            if scores:
                assert answer.said == question.candidates[int(np.argmax(scores))]
            else:
                written += 1
                assert answer.similarity is not None
                assert answer.right == (answer.similarity == 1)
    assert written > 10
    assert found.all.questions == len(chosen.questions)
    assert {part.name for part in found.families} == {"colours", "counting", "grounding"}
    own, other = (
        np.array([float(a.right) for a in found.answers[c]]) for c in ("image", "shuffled")
    )
    assert found.all.gains["shuffled"].accuracy.value == pytest.approx((own - other).mean())
    swapped = replace(found, answers={"image": found.answers["shuffled"]})
    gains = between(found, swapped)
    assert gains["all"].accuracy.value == pytest.approx((own - other).mean())
    assert set(gains) >= {"all", "colours", "counting", "grounding", found.groups[0].name}
    with pytest.raises(ValueError, match="other questions"):
        between(found, replace(found, chosen=choose_questions(asked, limit=50)))


def test_the_command_prints_tables_and_json(
    run: Path, asked: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    ask = ("evaluate", run, "--questions", asked, "--limit", 60, "--device", "cpu")
    code, found = called(capsys, *ask)
    assert code == 0
    pictures = found["pictures"]
    assert set(pictures["all"]["scores"]) == {"image", "shuffled", "text-only"}
    assert set(pictures["all"]["gains"]) == {"shuffled", "text-only"}
    assert len(pictures["samples"]["image"]["right"]) == pictures["all"]["questions"] <= 70
    assert main([*map(str, ask), "--baselines", "text-only"]) == 0
    told = capsys.readouterr().out
    assert "above text-only" in told
    assert "shuffled" not in told
    assert "similarity of written answers" in told
    shutil.copytree(asked, tmp_path / "asked")
    picture = next((tmp_path / "asked" / "images").iterdir())
    Image.new("RGB", (30, 40)).save(picture)
    for arguments, said in (
        ((*ask, "--baselines", "blind"), "--baselines: found blind, expected some of shuffled"),
        (("evaluate", run, "--tasks", "pictures"), "found no --questions FOLDER, expected one"),
        (
            ("evaluate", run, "--questions", tmp_path / "asked", "--device", "cpu"),
            "of 30 x 40 pixels, expected 112 x 112 as its line says",
        ),
    ):
        code, found = called(capsys, *arguments)
        assert code == 1
        assert said in found["error"]


def test_a_model_that_sees_nothing_is_told_so(
    run: Path, asked: Path, images: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    whole = open_decoder

    def blind(*arguments: Any, **named: Any) -> Any:
        decoder, tokenizer, about = whole(*arguments, **named)
        recipe = decoder.recipe.model_copy(update={"vision": None})
        return Decoder(recipe, decoder.weights, decoder.rope_base), tokenizer, about

    monkeypatch.setattr("trainer.generation.loading.open_decoder", blind)
    for arguments in (
        ("evaluate", run, "--questions", asked),
        ("generate", run, "--prompt", "a", "--image", images / "a.png"),
    ):
        code, found = called(capsys, *arguments, "--device", "cpu")
        assert code == 1
        assert "without a vision tower" in found["error"]


def test_held_out_documents_with_images_are_scored_where_they_carry_loss(
    run: Path, shown_run: Path
) -> None:
    decoder, tokenizer, _ = open_decoder(run, device="cpu")
    assert tokenizer is not None
    assert decoder.vision is not None
    with Corpus.open(shown_run) as corpus:
        found = corpus_loss(decoder, tokenizer, corpus)
        choice = choose(corpus, tokens=1 << 20, longest=1 << 13, tiling="fixed56")
        assert found.unseen == 0
        wanted = {"nats": 0.0, "tokens": 0, "bytes": 0}
        specials = set(tokenizer.specials.values())
        with Pictures(corpus, "fixed56") as pictures:
            for document in choice.documents:
                if document.source != "instructions":
                    continue
                images = pictures.of(document.shard, document.row)
                stretch = Stretch(document.shard, document.token_offset, document.tokens)
                ids = corpus.read([stretch])[0][0]
                assert ids is not None
                spans = corpus.carries_loss(document.shard, document.token_offset, 0, len(ids))
                assert spans is not None
                # One id after the other, an image's as often as it has features.
                laid, learnt, left = [], [], iter(images)
                for one, counts in zip(ids.tolist(), spans.tolist(), strict=True):
                    is_image = one == decoder.vision.image_token
                    times = next(left).plan.tokens if is_image else 1
                    laid += [one] * times
                    learnt += [counts] * times
                score = decoder.score([torch.tensor(laid)], images_of(images))[0]
                counted = [i for i in range(1, len(laid)) if learnt[i]]
                wanted["nats"] -= float(score[[i - 1 for i in counted]].double().sum())
                wanted["tokens"] += len(counted)
                text = tokenizer.decode([laid[i] for i in counted if laid[i] not in specials])
                wanted["bytes"] += len(text)
        assert wanted["tokens"] > 10
        (group,) = (one for one in found.sources if one.name == "instructions")
        assert group.tokens == wanted["tokens"]
        assert group.loss.value == pytest.approx(wanted["nats"] / wanted["tokens"], rel=1e-5)
        bits = wanted["nats"] / math.log(2) / wanted["bytes"]
        assert group.bits_per_byte is not None
        assert group.bits_per_byte.value == pytest.approx(bits, rel=1e-5)
        # A model of text alone is asked about text alone.
        blind = Decoder(
            decoder.recipe.model_copy(update={"vision": None}), decoder.weights, decoder.rope_base
        )
        text_only = corpus_loss(blind, tokenizer, corpus)
        assert {group.name for group in text_only.sources} == {"text"}
        assert text_only.unseen > 0
        short = choose(corpus, tokens=1 << 20, longest=12, tiling="fixed56")
        assert short.unseen == text_only.unseen
