"""Fonts of figures: a sans-serif as journals ask for, and others for the characters that it lacks.

Arial or Helvetica, or a free face of the same widths, where one is installed; else DejaVu Sans, which ships with
matplotlib. Names of classes may be in any script: characters that these lack are taken from other installed fonts.
"""

from __future__ import annotations

import unicodedata
import warnings
from functools import lru_cache
from pathlib import Path
from typing import Any

from vitjax.plots.backend import import_matplotlib

JOURNALS = ("Arial", "Helvetica", "Liberation Sans", "Arimo", "Nimbus Sans", "TeX Gyre Heros", "FreeSans")
"""Families to take, the first that is installed; from the third on of Helvetica's widths."""
SHIPPED = "DejaVu Sans"
OTHER_SCRIPTS = (
    *("Noto Sans CJK JP", "Noto Sans CJK SC", "Source Han Sans", "Hiragino Sans", "PingFang SC", "Microsoft YaHei"),
    *("Yu Gothic", "Malgun Gothic", "WenQuanYi Zen Hei", "Droid Sans Fallback", "Noto Sans", "Arial Unicode MS"),
)
"""Families that are asked first for characters that the others lack."""
NOT_READABLE = ("Last Resort", "Emoji", "Symbol", "STIX", "cm")
"""What the names of fonts begin with or contain whose glyphs are not letters as a reader knows them."""
TOFU = "□"


@lru_cache(maxsize=1)
def main_family() -> str:
    """The family of all text: the first of JOURNALS that is installed, or the one that ships with matplotlib."""
    return next((family for family in JOURNALS if _is_installed(family)), SHIPPED)


def drawable(text: str) -> tuple[str, list[str]]:
    """The text as it can be drawn, and the families to draw it with.

    Characters that no installed font has become "□", in a warning that names them once.
    """
    families = [main_family()] + [SHIPPED] * (main_family() != SHIPPED)
    unusual = {character for character in text if not character.isascii() and character != TOFU}
    for character in sorted(unusual):
        family = _family_of(character)
        if family is None:
            text = text.replace(character, "" if unicodedata.category(character) in ("Cf", "Mn") else TOFU)
        elif family not in families:
            families.append(family)
    return text, families


@lru_cache(maxsize=16384)
def advance(character: str, bold: bool = False) -> float:
    """How far a character moves the next one, in font sizes; kerning, which mostly moves it back, is not counted."""
    from matplotlib.font_manager import FontProperties, get_font

    character, families = drawable(character)
    if not character:
        return 0.0
    family = families[-1] if len(families) > 2 else _family_of(character) or SHIPPED
    font = get_font(_manager().findfont(FontProperties(family=[family], weight="bold" if bold else "normal")))
    font.set_size(100, 72)
    return font.load_char(ord(character)).linearHoriAdvance / 65536 / 100


@lru_cache(maxsize=4096)
def _family_of(character: str) -> str | None:
    """The first family with this character; None if none has it."""
    usual = [main_family(), SHIPPED]
    for family in (*usual, *filter(_is_installed, OTHER_SCRIPTS), *_all_families()):
        if ord(character) in _characters(family):
            return family
    if unicodedata.category(character) not in ("Cf", "Mn"):
        name = unicodedata.name(character, "unknown")
        warnings.warn(
            f"no installed font has {character!r} ({name}); it is drawn as {TOFU}. Noto Sans CJK has the letters of "
            "Chinese, Japanese and Korean",
            stacklevel=2,
        )
    return None


def _manager() -> Any:
    import_matplotlib()
    from matplotlib.font_manager import fontManager

    return fontManager


@lru_cache(maxsize=64)
def _is_installed(family: str) -> bool:
    """Whether matplotlib can use this family; fonts that were installed after its cache was written are added."""
    manager = _manager()
    known = {font.name for font in manager.ttflist}
    if family in known:
        return True
    start = family.replace(" ", "").removesuffix("JP").removesuffix("SC").lower()
    for path in _font_files():
        if Path(path).stem.replace(" ", "").lower().split("-")[0] == start:
            try:
                manager.addfont(path)
            except (OSError, RuntimeError, ValueError):  # of a format that FreeType cannot read
                continue
    return family in {font.name for font in manager.ttflist}


@lru_cache(maxsize=1)
def _font_files() -> tuple[str, ...]:
    from matplotlib.font_manager import findSystemFonts

    return tuple(sorted(findSystemFonts()))


@lru_cache(maxsize=1)
def _all_families() -> tuple[str, ...]:
    """All families with letters, sans-serif ones first."""
    names = {font.name for font in _manager().ttflist}
    letters = {name for name in names if not any(name.startswith(word) or f" {word}" in name for word in NOT_READABLE)}
    return tuple(sorted(letters, key=lambda name: ("Sans" not in name, name)))


@lru_cache(maxsize=256)
def _characters(family: str) -> frozenset[int]:
    """Code points of a family; none of a font of bitmaps, which cannot be scaled."""
    from matplotlib.font_manager import FontProperties, get_font

    try:
        font = get_font(_manager().findfont(FontProperties(family=[family]), fallback_to_default=False))
    except (OSError, RuntimeError, ValueError):
        return frozenset()
    return frozenset(font.get_charmap()) if font.scalable else frozenset()
