"""JSON objects with a digest of their content: a changed bit in run.json, profile.json or the log is noticed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vitjax.errors import RunError

SEAL = "digest"
_PREFIX = "sha256-"


def digest(value: Any) -> str:
    """64 hex digits of a JSON value, whatever the order of its keys."""
    stored = json.loads(json.dumps(value, default=str))
    return hashlib.sha256(json.dumps(stored, sort_keys=True).encode()).hexdigest()


def sealed(value: dict[str, Any], of: str = "") -> dict[str, Any]:
    """The object with its digest, to be written. `of` names the run that it belongs to."""
    return {**value, SEAL: _seal(value, of)}


def parsed(text: str | bytes, of: str = "") -> dict[str, Any]:
    """The object that `sealed` was given, from its JSON text. Objects of older versions have no digest.

    Raises:
        ValueError: the text is no JSON object, or its content or the run does not match its digest.
    """
    try:
        return _checked(json.loads(text), of)
    except RecursionError:  # of the parser, or of the digest
        raise ValueError("it nests too deeply") from None


def _checked(value: Any, of: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError("not a JSON object")
    seal = value.pop(SEAL, None)
    if seal is None:
        # A digest under another key: the key itself is damaged.
        intact = not any(isinstance(entry, str) and entry.startswith(_PREFIX) for entry in value.values())
    else:
        intact = seal == _seal(value, of)
    if not intact:
        raise ValueError("the content does not match its digest")
    return value


def _seal(value: dict[str, Any], of: str) -> str:
    return _PREFIX + digest([of, value] if of else value)[:16]


def read_profile(run_dir: Path, config: Mapping[str, Any]) -> dict[str, Any]:
    """The content of profile.json of a run with these settings; {} if the file does not exist.

    Raises:
        RunError: the file cannot be read, or is damaged.
    """
    path = run_dir / "profile.json"
    try:
        profile = parsed(path.read_bytes(), of=digest(config))
        methods = profile.get("methods")
        if not isinstance(methods, dict) or not all(isinstance(entry, dict) for entry in methods.values()):
            raise ValueError("its methods are no JSON objects")
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise RunError(f"{path}: damaged: {error}; without the file, the report has no speeds") from error
    return profile
