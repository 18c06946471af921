"""Text in LaTeX: special characters escaped, and how wide it is set."""

from __future__ import annotations

import re
import unicodedata

_GREEK = (
    *("α", "alpha", "β", "beta", "γ", "gamma", "δ", "delta", "ε", "epsilon", "ζ", "zeta", "η", "eta", "θ", "theta"),
    *("ι", "iota", "κ", "kappa", "λ", "lambda", "μ", "mu", "ν", "nu", "ξ", "xi", "π", "pi", "ρ", "rho", "σ", "sigma"),
    *("τ", "tau", "υ", "upsilon", "φ", "phi", "χ", "chi", "ψ", "psi", "ω", "omega", "Γ", "Gamma", "Δ", "Delta"),
    *("Θ", "Theta", "Λ", "Lambda", "Ξ", "Xi", "Π", "Pi", "Σ", "Sigma", "Φ", "Phi", "Ψ", "Psi", "Ω", "Omega"),
)
ESCAPES = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "&": r"\&",
    "%": r"\%",
    "#": r"\#",
    "_": r"\_",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "`": r"\textasciigrave{}",
    '"': r"\char34{}",  # babel makes a command of it in German and others
    "[": "{[}",  # at the start of a row LaTeX would read it as the optional argument of the line break before it
    "]": "{]}",
    "−": "$-$",
    "–": "--",
    "↑": r"$\uparrow$",
    "↓": r"$\downarrow$",
    **{letter: rf"$\{name}$" for letter, name in zip(_GREEK[::2], _GREEK[1::2], strict=True)},
}
NEEDS_OTHER_FONTS = "«»ÐÞðþĄąĐđĘęĦħĮįĸĿŀŉŊŋŦŧŲųſ"
LATIN = frozenset(map(chr, range(0xA1, 0x180))) - frozenset(NEEDS_OTHER_FONTS) | frozenset("—‘’“”…")
"""Characters beyond ASCII that pdflatex sets with its default fonts."""

EM_1000 = {
    **dict.fromkeys("0123456789abhknopquvxydgL$_", 540),
    **dict.fromkeys("ilj.,:;'!|", 280),
    **dict.fromkeys("rstf()- I[]", 390),
    **dict.fromkeys("cez", 450),
    **dict.fromkeys("mwM%W", 860),
}
"""Widths of characters in Computer Modern at 10 pt [em / 1000], rounded up; of others, OTHER."""
OTHER = 780
LONGEST = 24
"""Characters of a word that is set without a line break."""
DIGIT_PT = {"footnotesize": 4.25, "scriptsize": 3.98, "6 pt": 3.67, "tiny": 3.4}
"""Width of a digit in the sizes of LaTeX's 10 pt classes [points]; all characters are scaled by it."""


def escape(text: str) -> str:
    """`text` with LaTeX's special characters escaped.

    Of a letter that pdflatex's default fonts lack, the letter without its accent is set; other characters that they
    lack become "?".
    """
    one_line = " ".join(text.split())
    return re.sub(r"-(?=-)", "-{}", "".join(map(_escaped, one_line)))


def _escaped(character: str) -> str:
    if character in ESCAPES:
        return ESCAPES[character]
    if character in LATIN or (character.isascii() and character.isprintable()):
        return character
    letter = unicodedata.normalize("NFKD", character)[0]
    return letter if letter.isascii() and letter.isalnum() else "?"


def width(text: str, size: str) -> float:
    """Width of unescaped text [points], an upper estimate."""
    return sum(EM_1000.get(c, OTHER) for c in text) / 500 * DIGIT_PT[size]


def wrapped(text: str, points: float, size: str) -> list[str]:
    """The text in lines of at most `points`, broken at spaces; a word that is wider is broken after punctuation.

    One part may be wider; if it has more than LONGEST characters, it is broken in its middle."""

    def fits(word: str) -> bool:
        return width(word.rstrip(), size) <= points

    parts = []
    for word in (word + " " for word in text.split()):
        for part in [word] if fits(word) else re.findall(r"\(?[^_,/(-]*[_,/-]?", word):
            parts += [part[start : start + LONGEST] for start in range(0, len(part), LONGEST)]
    lines = [""]
    for part in parts:
        if lines[-1] and not fits(lines[-1] + part):
            lines.append("")
        lines[-1] += part
    return [line.rstrip() for line in lines]
