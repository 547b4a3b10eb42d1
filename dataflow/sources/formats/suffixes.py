"""What a file name's suffix says about its content."""

from __future__ import annotations

CODE: dict[str, str] = {
    ".ada": "text/x-ada", ".adb": "text/x-ada", ".ads": "text/x-ada", ".asm": "text/x-asm",
    ".awk": "text/x-awk", ".bash": "text/x-sh", ".bat": "text/x-bat", ".c": "text/x-c",
    ".cc": "text/x-c++", ".cl": "text/x-opencl", ".clj": "text/x-clojure",
    ".cmake": "text/x-cmake", ".cocci": "text/x-coccinelle", ".cpp": "text/x-c++",
    ".cs": "text/x-csharp", ".css": "text/css", ".cu": "text/x-cuda", ".cuh": "text/x-cuda",
    ".cxx": "text/x-c++", ".d": "text/x-d", ".dart": "text/x-dart", ".el": "text/x-elisp",
    ".erl": "text/x-erlang", ".ex": "text/x-elixir", ".exs": "text/x-elixir",
    ".f": "text/x-fortran", ".f90": "text/x-fortran", ".fs": "text/x-fsharp",
    ".glsl": "text/x-glsl", ".go": "text/x-go", ".gradle": "text/x-groovy",
    ".groovy": "text/x-groovy", ".h": "text/x-c", ".hh": "text/x-c++", ".hpp": "text/x-c++",
    ".hrl": "text/x-erlang", ".hs": "text/x-haskell", ".inl": "text/x-c++",
    ".java": "text/x-java", ".jl": "text/x-julia", ".js": "text/javascript",
    ".jsx": "text/javascript", ".kt": "text/x-kotlin", ".lisp": "text/x-lisp",
    ".lua": "text/x-lua", ".m4": "text/x-m4", ".metal": "text/x-metal",
    ".mjs": "text/javascript", ".mk": "text/x-makefile", ".ml": "text/x-ocaml",
    ".mli": "text/x-ocaml", ".nim": "text/x-nim", ".pas": "text/x-pascal",
    ".php": "text/x-php", ".pl": "text/x-perl", ".pm": "text/x-perl",
    ".proto": "text/x-protobuf", ".ps1": "text/x-powershell", ".pxd": "text/x-cython",
    ".pxi": "text/x-cython", ".py": "text/x-python", ".pyi": "text/x-python",
    ".pyx": "text/x-cython", ".r": "text/x-r", ".rb": "text/x-ruby", ".rs": "text/x-rust",
    ".s": "text/x-asm", ".scala": "text/x-scala", ".scm": "text/x-scheme",
    ".scss": "text/x-scss", ".sh": "text/x-sh", ".sql": "text/x-sql", ".swift": "text/x-swift",
    ".tcl": "text/x-tcl", ".thrift": "text/x-thrift", ".ts": "text/x-typescript",
    ".tsx": "text/x-typescript", ".v": "text/x-verilog", ".vhdl": "text/x-vhdl",
    ".vim": "text/x-vim", ".zig": "text/x-zig", ".zsh": "text/x-sh",
}  # fmt: skip
"""Source code: kept as written, and searched for an SPDX licence line."""

MARKUP: dict[str, str] = {
    ".adoc": "text/asciidoc", ".asciidoc": "text/asciidoc", ".markdown": "text/markdown",
    ".md": "text/markdown", ".mdx": "text/markdown", ".org": "text/x-org",
    ".pod": "text/x-pod", ".rst": "text/x-rst", ".tex": "text/x-tex", ".texi": "text/x-texinfo",
    ".texinfo": "text/x-texinfo", ".htm": "text/html", ".html": "text/html",
    ".xhtml": "application/xhtml+xml",
}  # fmt: skip
"""Written in a light markup, which is kept as it is; HTML is extracted."""

PROSE: dict[str, str] = {".txt": "text/plain", ".text": "text/plain", ".log": "text/plain"}

HTML = (".htm", ".html", ".xhtml")
TEXT = {s: m for s, m in (CODE | MARKUP | PROSE).items() if s not in HTML}
"""Media types of everything that is kept as written, by suffix."""
