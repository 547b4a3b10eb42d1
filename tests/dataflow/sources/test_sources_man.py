from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dataflow.sources.formats.detect import by_content, by_name
from dataflow.sources.roff import to_text

Reader = Callable[..., Any]

MAN = r""".\" a comment
.TH TOOL 1 "2024" "Tools" "User Commands"
.ds Nm tool\-x
.de URL
\fI\\$1\fP <\\$2>
..
.SH NAME
tool \- does \(lqthings\(rq \(em well
.SH "SEE HERE"
.PP
First line
of a paragraph with \fBbold\fR, \*(Nm and a\ space.
.BR printf (3),
.IR x " and " y
.TP
.B \-a
Option a.
.TP
\fB\-b\fR \fIarg\fR
Option b
.RS
.IP \(bu 2
nested
.RE
.ie n terminal
.el printer
.if t \{\
hidden
.B also hidden
.\}
.nf
int  main(void);
  return 0;
.fi
.URL text http://a.example/
.TS
tab(;) allbox;
l l
l l.
A;B
T{
long
cell
T};D
.TE
caf\['e] \[u00E9] na\[:i]ve 3\(mu4 \N'65'
"""

MAN_TEXT = """TOOL(1)

NAME
tool - does “things” — well

SEE HERE
First line of a paragraph with bold, tool-x and a space. printf(3), x and y

-a
    Option a.

-b arg
    Option b

        • nested
    terminal
    int  main(void);
      return 0;
    text <http://a.example/>

    A\tB
    long cell\tD

    café é naïve 3×4 A
"""

MDOC = r""".Dd May 6, 2024
.Dt TOOL 1
.Os
.Sh NAME
.Nm tool
.Nd does things
.Sh SYNOPSIS
.Nm
.Op Fl ab
.Op Fl o Ar file
.Ar operand ...
.Sh DESCRIPTION
The
.Nm
utility reads
.Pa /etc/tool.conf ,
see
.Xr printf 3 .
.Bl -tag -width indent
.It Fl a
All of
.Dq them .
.It Fl o Ar file
Write to
.Ar file .
.El
.Bd -literal
x = 1
  y
.Ed
.Fn open "path" "flags"
"""

MDOC_TEXT = """TOOL(1)

NAME
tool – does things

SYNOPSIS
tool [-ab] [-o file] operand ...

DESCRIPTION
The tool utility reads /etc/tool.conf, see printf(3).

    -a
        All of “them.”

    -o file
        Write to file.

x = 1
  y
open(path, flags)
"""


def test_man_macros() -> None:
    assert to_text(MAN) == MAN_TEXT


def test_mdoc_macros() -> None:
    assert to_text(MDOC) == MDOC_TEXT


def test_a_macro_that_calls_itself_ends() -> None:
    assert to_text(".TH A 1\n.de X\n.X\n.X\n..\n.X\ntext\n").endswith("text\n")
    assert to_text(".TH A 1\n.ds a \\*b\\*b\\*b\n.ds b \\*a\\*a\\*a\n\\*a end\n").endswith("end\n")


@given(
    st.lists(
        st.sampled_from([*MAN.split("\n"), *MDOC.split("\n"), ".if", ".el", "\\", ".de", ".."])
        | st.text(alphabet="\\.'\"*(){}[]fnABs -+0", max_size=12),
        max_size=30,
    )
)
@settings(deadline=None, max_examples=200)
def test_any_lines_become_text(lines: list[str]) -> None:
    text = to_text("\n".join(lines))
    text.encode()
    assert not text or (text.endswith("\n") and not text.isspace())


def test_pages_as_files(tmp_path: Path, read_all: Reader) -> None:
    folder = tmp_path / "man" / "de" / "man1"
    folder.mkdir(parents=True)
    page = "'\\\" -*- coding: koi8-r -*-\n.TH T 1\n.SH ИМЯ\nпрограмма \\- делает всё\n"
    (folder / "tool.1.gz").write_bytes(gzip.compress(page.encode("koi8-r")))
    (folder / "other.1").write_text(".so man1/tool.1\n")
    (folder / "third.1x").write_text(MAN)
    (tmp_path / "notes.1").write_text("Not a page.\n")
    (tmp_path / "page.8").write_text('.\\" x\n.TH A 8\n.SH B\ntext\n')
    found = read_all()
    texts = {r.uri: r.text for r in found.records}
    assert texts == {
        "man/de/man1/third.1x": MAN_TEXT,
        "man/de/man1/tool.1.gz": "T(1)\n\nИМЯ\nпрограмма - делает всё\n",
        "notes.1": "Not a page.\n",
        "page.8": "A(8)\n\nB\ntext\n",
    }
    assert found.refused == [("man/de/man1/other.1", 0, "no-text")]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("share/man/man3/x.3pm.gz", "man"),
        ("a/b.warc.gz", "warc"),
        ("a/b.warc.wet.gz", "warc"),
        ("a/b.JSONL.zst", "jsonl"),
        ("index.html", "html"),
        ("lib.so.6", None),
        ("README", None),
        ("x.tar.gz", None),
        ("x.pyi", "text"),
    ],
)
def test_formats_by_name(name: str, expected: str | None) -> None:
    assert by_name(name) == expected


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        (b"WARC/1.0\r\n", "warc"),
        (b"%PDF-1.4", "pdf"),
        (b"PAR1", "parquet"),
        (b"\n<!-- x -->\n<!DOCTYPE html>", "html"),
        (b"\xff\xff\xff\xff\x10\0", "arrow"),
        (b"<p>text", "text"),
        (b"", "text"),
    ],
)
def test_formats_by_content(head: bytes, expected: str) -> None:
    assert by_content(head) == expected


@pytest.mark.parametrize("head", [b"\x89PNG\r\n", b"\x7fELF", b"PK\3\4", b"ab\0\0\0\0\0cd"])
def test_files_that_hold_no_text(tmp_path: Path, read_all: Reader, head: bytes) -> None:
    (tmp_path / "a").write_text("text")
    (tmp_path / "b").write_bytes(head)
    (tmp_path / "b.txt").write_bytes(head + bytes(9))
    assert read_all().refused == [("b", 0, "media-type"), ("b.txt", 0, "binary")]
