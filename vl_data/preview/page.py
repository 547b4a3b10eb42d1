"""The page: one HTML document that needs nothing beside itself and runs no script."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib import resources
from string import Template

from vl_data.preview.figures import PictureDiffers, figure, planned
from vl_data.preview.markup import Markup, Part, element, markup
from vl_data.preview.sample import Sample
from vl_data.preview.spelling import IMAGE, Speller, Stretch
from vl_data.tiling import Plan

MOST_IMAGES = 6
"""Drawn of one document; all are counted."""
MOST_TEXT = 20_000
"""Characters of a document's text that are shown."""
_TURNS = frozenset({"system", "user", "assistant", "tool"})


@dataclass(frozen=True)
class Shown:
    """A sample as the page has it; ``faults``: what differs between the parts of the run."""

    sample: Sample
    plans: tuple[Plan, ...]
    stretches: tuple[Stretch, ...]
    figures: tuple[Markup, ...]
    faults: tuple[str, ...] = field(default=())

    @property
    def image_tokens(self) -> int:
        """Features of all its images."""
        return sum(plan.tokens for plan in self.plans)

    @property
    def text_tokens(self) -> int:
        """Ids that are none of an image."""
        return len(self.sample.ids) - sum(one.role == IMAGE for one in self.stretches)

    @property
    def learnt(self) -> int:
        """Ids that carry loss; an image's never does."""
        return sum(one.tokens for one in self.stretches if one.learnt)


def show(sample: Sample, speller: Speller, tiling: str) -> Shown:
    """A sample by one tiling: its images drawn, its ids spelled, and both held against it."""
    faults = []
    difference = speller.difference(sample)
    if difference is not None:
        faults.append(
            f"the ids decode to something else from byte {difference.byte:,} on: stored "
            f"{difference.stored!r}, decoded {difference.decoded!r}"
        )
    stretches = tuple(speller.stretches(sample))
    marks = sum(one.role == IMAGE for one in stretches)
    if marks != len(sample.images):
        faults.append(f"{marks} image ids stand for {len(sample.images)} images")
    plans = tuple(planned(image, tiling) for image in sample.images)
    figures = []
    pairs = zip(sample.images, plans, strict=True)
    for number, (image, laid) in enumerate(pairs, 1):
        if number > MOST_IMAGES:
            break
        try:
            figures.append(figure(image, laid, number))
        except PictureDiffers as differs:
            faults.append(str(differs))
    return Shown(sample, plans, stretches, tuple(figures), tuple(faults))


def page(run: str, name: str, shown: Sequence[Shown], tiling: str, seed: int) -> str:
    """The whole document."""
    parts = resources.files("vl_data.preview")
    style = parts.joinpath("style.css").read_text()
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    sources = list(dict.fromkeys(one.sample.source for one in shown))
    body = [
        element(
            "section",
            element("h2", source),
            *(_card(one) for one in shown if one.sample.source == source),
            id=f"source-{place}",
        )
        for place, source in enumerate(sources)
    ]
    contents = [
        element("li", element("a", source, href=f"#source-{place}"))
        for place, source in enumerate(sources)
    ]
    return Template(parts.joinpath("page.html").read_text()).substitute(
        title=markup(name),
        style=style,
        policy=f"default-src 'none'; img-src data:; style-src 'sha256-{digest}'",
        contents=markup(contents),
        header=_header(run, name, shown, tiling, seed),
        body=markup(body),
    )


def _header(run: str, name: str, shown: Sequence[Shown], tiling: str, seed: int) -> Markup:
    faulty = [one for one in shown if one.faults]
    figures = [
        (f"{len(shown)}", "documents, drawn by hash"),
        (f"{sum(len(one.plans) for one in shown):,}", "images"),
        (f"{sum(one.image_tokens for one in shown):,}", f"image tokens by {tiling}"),
        (f"{sum(one.text_tokens for one in shown):,}", "text tokens"),
        (f"{sum(one.learnt for one in shown):,}", "of them learnt"),
    ]
    alarm = None
    if faulty:
        ids = ", ".join(one.sample.doc_id.hex() for one in faulty)
        alarm = element(
            "div",
            element("p", element("b", f"{len(faulty)} of {len(shown)} do not agree "),
                    f"with what their shards hold: {ids}"),
            class_="alarm",
        )  # fmt: skip
    return element(
        "header",
        element("p", "Samples as the model sees them", class_="kicker"),
        element("h1", name),
        element(
            "p",
            "Images on the tiles they are cut into, and text as the token ids spell it. ",
            element("span", "What is learnt", class_="learnt"),
            " is coloured; all else is only read. Tinted red: padding whose features are dropped.",
            class_="story",
        ),
        element("dl", *(element("div", element("dd", value), element("dt", what))
                        for value, what in figures), class_="figures"),
        element("p", f"{run} · tiling {tiling} · seed {seed}", class_="identity"),
        alarm,
        class_="masthead",
    )  # fmt: skip


def _card(shown: Shown) -> Markup:
    sample = shown.sample
    facts = [
        ("tokens", f"{shown.text_tokens + shown.image_tokens:,}"),
        ("of images", f"{shown.image_tokens:,}"),
        ("of text", f"{shown.text_tokens:,}"),
        ("learnt", f"{shown.learnt:,}"),
    ]
    more = len(shown.plans) - MOST_IMAGES
    # Without images the text has all the width.
    parts: list[Part] = []
    if shown.plans:
        note = element("p", f"and {more:,} images more", class_="note") if more > 0 else None
        parts.append(element("div", *shown.figures, note, class_="images"))
    parts.append(_text(shown))
    return element(
        "article",
        element(
            "div",
            element("span", sample.split, class_="badge"),
            element("bdi", sample.uri, class_="uri"),
            element("span", sample.license, class_="dim"),
            element("code", sample.doc_id.hex()),
            class_="who",
        ),
        element("dl", *(element("div", element("dt", what), element("dd", value))
                        for what, value in facts), class_="facts"),
        element("div", *parts, class_="sides" if shown.plans else "sides alone"),
        element("p", "✓ the ids decode to the stored text, image by image", class_="agrees")
        if not shown.faults
        else [element("p", fault, class_="fault") for fault in shown.faults],
        class_="card",
        id=sample.doc_id.hex(),
    )  # fmt: skip


def _text(shown: Shown) -> Markup:
    parts: list[Part] = []
    left, image = MOST_TEXT, 0
    for one in shown.stretches:
        learnt = " learnt" if one.learnt else ""
        if one.role == IMAGE:
            image += 1
            tokens = shown.plans[image - 1].tokens if image <= len(shown.plans) else 0
            parts.append(element("span", f"image {image} · {tokens:,}", class_="chip picture"))
        elif one.role:
            if one.role in _TURNS and parts:
                parts.append(element("br"))  # on the page alone: the text goes on in its line
            parts.append(element("span", one.role, class_=f"chip{learnt}"))
        elif left > 0:
            said = one.text[:left]
            left -= len(said)
            parts.append(element("mark", said) if one.learnt else said)
    rest = sum(len(one.text) for one in shown.stretches if not one.role) - MOST_TEXT
    if rest > 0:
        parts.append(element("span", f" … {rest:,} characters more", class_="note"))
    return element("div", *parts, class_="text", dir="auto", tabindex="0")
