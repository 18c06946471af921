"""Mutations of bytes and of texts. Each takes a random generator, and the same seed gives the same input."""

from __future__ import annotations

import re

import numpy as np

NUMBERS = (0, 1, 2, 127, 128, 255, 256, 32767, 65535, 65536, 2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1, 2**64 - 1)
TOKENS = (
    *("", "0", "-1", "2", "3", "0.5", "1e999", "nan", "inf", "1_0", "0x10", "٣", "9" * 400, "1" * 5000),
    *("true", "null", "None", "mean", "max", "probability", "image", "label", "mask", "items", "layer", "rollout"),
    *(":", ",", "=", '"', "'", "[]", "{}", "()", "[" * 3000, "(" * 300, '{"a":' * 2000, "a" * 5000),
    *("\n", "\r", "\t", "\0", "\x1b[31m", "\ufeff", "../", "/", "\\", ";", "#", "%s", "é"),
)


def mutated(rng: np.random.Generator, content: bytes, other: bytes) -> tuple[bytes, str]:
    """One to three mutations of `content`, and the names of them; `other` is spliced in."""
    names = []
    for _ in range(rng.integers(1, 4)):
        name = str(rng.choice(list(OPERATIONS)))
        content = OPERATIONS[name](rng, content, other)
        names.append(name)
    return content, "+".join(names)


def mutated_text(rng: np.random.Generator, text: str) -> tuple[str, str]:
    """One to four tokens of `text` replaced by, or next to, tokens of the dictionary or of the text itself."""
    parts = re.findall(r"\w+|\W", text) or [""]
    for _ in range(rng.integers(1, 5)):
        token = str(rng.choice(TOKENS)) if rng.random() < 0.7 else parts[rng.integers(len(parts))]
        at = int(rng.integers(len(parts)))
        how = rng.integers(4)
        parts[at] = (token, parts[at] + token, token + parts[at], "")[how]
    return "".join(parts), "tokens"


def _flip(rng: np.random.Generator, content: bytes, other: bytes) -> bytes:
    changed = np.frombuffer(content, np.uint8).copy()
    if len(changed):
        where = rng.integers(len(changed), size=rng.choice([1, 1, 4, 64]))
        changed[where] ^= (1 << rng.integers(8, size=len(where))).astype(np.uint8)
    return changed.tobytes()


def _truncate(rng: np.random.Generator, content: bytes, other: bytes) -> bytes:
    return content[: rng.integers(len(content) + 1)]


def _zero_to_the_end(rng: np.random.Generator, content: bytes, other: bytes) -> bytes:
    kept = int(rng.integers(len(content) + 1))
    return content[:kept] + bytes(len(content) - kept)


def _zero_block(rng: np.random.Generator, content: bytes, other: bytes) -> bytes:
    start, stop = _range(rng, content)
    return content[:start] + bytes(stop - start) + content[stop:]


def _splice(rng: np.random.Generator, content: bytes, other: bytes) -> bytes:
    return content[: rng.integers(len(content) + 1)] + other[rng.integers(len(other) + 1) :]


def _repeat(rng: np.random.Generator, content: bytes, other: bytes) -> bytes:
    start, stop = _range(rng, content)
    return content[:stop] + content[start:stop] * int(rng.integers(1, 4)) + content[stop:]


def _remove(rng: np.random.Generator, content: bytes, other: bytes) -> bytes:
    start, stop = _range(rng, content)
    return content[:start] + content[stop:]


def _number(rng: np.random.Generator, content: bytes, other: bytes) -> bytes:
    """A binary number of 1 to 8 bytes, mostly in the header."""
    size = int(rng.choice([1, 2, 4, 8]))
    number = (NUMBERS[rng.integers(len(NUMBERS))] % 256**size).to_bytes(size, str(rng.choice(["little", "big"])))  # type: ignore[arg-type]
    at = int(rng.integers(min(len(content), 512 if rng.random() < 0.8 else len(content)) + 1))
    return content[:at] + number + content[at + size :]


def _written_number(rng: np.random.Generator, content: bytes, other: bytes) -> bytes:
    """A number written in digits, as in the header of safetensors, replaced by one of the same length."""
    found = list(re.finditer(rb"\d+", content[:65536]))
    if not found:
        return content
    match = found[rng.integers(len(found))]
    digits = bytes(rng.integers(48, 58, size=len(match[0])).astype(np.uint8))
    return content[: match.start()] + digits + content[match.end() :]


def _range(rng: np.random.Generator, content: bytes) -> tuple[int, int]:
    start = int(rng.integers(len(content) + 1))
    return start, min(len(content), start + int(2 ** rng.uniform(0, 14)))


OPERATIONS = {
    "flip": _flip,
    "truncate": _truncate,
    "zero_to_the_end": _zero_to_the_end,
    "zero_block": _zero_block,
    "splice": _splice,
    "repeat": _repeat,
    "remove": _remove,
    "number": _number,
    "written_number": _written_number,
}
