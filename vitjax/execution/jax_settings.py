"""JAX's settings in force in this thread."""

from __future__ import annotations

from typing import Any

import jax


def setting(name: str) -> Any:
    """Of that name, such as "jax_enable_x64"; mypy does not know them."""
    return getattr(jax.config, name)
