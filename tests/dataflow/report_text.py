"""Invented documents that look like a corpus: prose of four languages, code, lists, copies."""

from __future__ import annotations

import random


def _words(text: str) -> list[str]:
    return text.split()


_NOUNS = _words(
    "archive buffer cache document editor folder gateway handler index journal kernel ledger "
    "manual network object packet queue reader shard table update volume worker system signal "
    "river harbour garden window teacher village market bridge letter morning engine history"
)
_VERBS = _words(
    "reads writes keeps drops follows replaces describes opens closes measures returns carries "
    "answers remembers crosses builds explains moves settles begins"
)
_ADJECTIVES = _words(
    "small large quiet broken recent careful common final empty sorted stable narrow public "
    "hidden early plain bright slow exact partial"
)
_FRENCH = _words(
    "le la les un une des document fichier système lecture écriture table rivière village maison "
    "avec pour dans sur ouvre ferme garde décrit mesure petit grand ancien nouveau simple matin"
)
_GERMAN = _words(
    "der die das ein eine und mit für auf Datei Ordner Tabelle Leser Schreiber Fluss Dorf Brücke "
    "öffnet schließt behält beschreibt misst klein groß alt neu einfach Morgen Geschichte"
)
_CHINESE = list("文档系统读写表格河流村庄桥梁早晨历史打开关闭保存描述测量小大旧新简单的了在和是")


def sentence(rng: random.Random) -> str:
    """One English sentence."""
    subject = f"The {rng.choice(_ADJECTIVES)} {rng.choice(_NOUNS)}"
    rest = f"{rng.choice(_VERBS)} the {rng.choice(_NOUNS)} of a {rng.choice(_NOUNS)}"
    ending = rng.choice(
        (
            "",
            f", and that {rng.choice(_NOUNS)} {rng.choice(_VERBS)} with it",
            f" that {rng.choice(_VERBS)} to be {rng.choice(_ADJECTIVES)}",
            f" with {rng.choice(_ADJECTIVES)} {rng.choice(_NOUNS)}s",
        )
    )
    return f"{subject} {rest}{ending}."


def prose(rng: random.Random, sentences: int) -> str:
    """Paragraphs of English sentences."""
    parts, left = [], sentences
    while left > 0:
        size = min(left, rng.randint(2, 7))
        parts.append(" ".join(sentence(rng) for _ in range(size)))
        left -= size
    return "\n\n".join(parts)


def foreign(rng: random.Random, language: str, sentences: int) -> str:
    """Sentences of another language's words."""
    words = {"fr": _FRENCH, "de": _GERMAN, "zh": _CHINESE}[language]
    glue, stop = ("", "。") if language == "zh" else (" ", ".")
    lines = [
        glue.join(rng.choice(words) for _ in range(rng.randint(6, 16))).capitalize() + stop
        for _ in range(sentences)
    ]
    return (glue or "").join(lines) if language == "zh" else " ".join(lines)


def menu(rng: random.Random, lines: int) -> str:
    """Short lines without full stops, some of them again and again."""
    entries = [f"{rng.choice(_ADJECTIVES)} {rng.choice(_NOUNS)}" for _ in range(max(2, lines // 2))]
    return "\n".join(f"- {rng.choice(entries)}" for _ in range(lines))


def code(rng: random.Random, functions: int) -> str:
    """Something like Python."""
    parts = []
    for _ in range(functions):
        name = f"{rng.choice(_VERBS)}_{rng.choice(_NOUNS)}"
        parts.append(
            f"def {name}(self, {rng.choice(_NOUNS)}):\n"
            f'    """{sentence(rng)}"""\n'
            f"    for {rng.choice(_NOUNS)} in self.{rng.choice(_NOUNS)}s:  # {sentence(rng)}\n"
            f"        self.{rng.choice(_NOUNS)}[{rng.randint(0, 99)}] = {{'a': {rng.random()}}}\n"
        )
    return "\n".join(parts)


def chorus(rng: random.Random, copies: int) -> str:
    """A few sentences and one of them over and over."""
    refrain = sentence(rng)
    lines = [sentence(rng) if rng.random() < 0.4 else refrain for _ in range(copies)]
    return "\n".join(lines)


def altered(rng: random.Random, text: str, changes: int) -> str:
    """The text with a few words exchanged: a near duplicate."""
    words = text.split(" ")
    for _ in range(changes):
        words[rng.randrange(len(words))] = rng.choice(_NOUNS)
    return " ".join(words)
