"""What every page of this house is put into: one HTML file that needs nothing beside itself."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from string import Template

from dataflow.report.markup import Safe, join, render, tag


@dataclass(frozen=True)
class Page:
    """A page's own parts. ``contents`` are (anchor of a section, its short name); ``without`` says
    what a reader without JavaScript misses; ``style`` and ``script`` come after the common ones;
    ``data`` is what the script reads, as ``markup.json_block`` writes it."""

    title: str
    header: Safe
    contents: Sequence[tuple[str, str]]
    body: Safe
    footer: str
    without: str
    style: str = ""
    script: str = ""
    data: Safe | None = None


def assemble(page: Page) -> str:
    """The HTML. A content security policy allows the page's own style and script, by hash, and no
    request at all."""
    folder = resources.files("dataflow.report")
    style = folder.joinpath("style.css").read_text("utf-8") + page.style
    script = folder.joinpath("page.js").read_text("utf-8") + page.script
    template = Template(folder.joinpath("template.html").read_text("utf-8"))
    policy = (
        f"default-src 'none'; style-src '{_source_hash(style)}'; script-src "
        f"'{_source_hash(script)}'; base-uri 'none'; form-action 'none'"
    )
    return template.substitute(
        policy=render(policy).replace("&#x27;", "'"),
        title=render(page.title),
        style=style,
        header=page.header,
        contents=join(tag("li", tag("a", text, href=f"#{key}")) for key, text in page.contents),
        without=render(page.without),
        body=page.body,
        footer=render(page.footer),
        data=page.data or "",
        script=script,
    )


def _source_hash(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return f"sha256-{base64.b64encode(digest).decode()}"
