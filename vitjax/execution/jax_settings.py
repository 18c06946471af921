"""JAX's settings in force in this thread."""

from __future__ import annotations

from typing import Any

import jax


def setting(name: str) -> Any:
    """Of that name, such as "jax_enable_x64"; mypy does not know them."""
    return getattr(jax.config, name)


def allow_what_debugging_forbids() -> None:
    """Switch off, in this process, the checks that users set in their environment to find faults in their own programs.

    JAX_NUMPY_RANK_PROMOTION and JAX_TRANSFER_GUARD forbid what vitjax does on purpose.
    """
    jax.config.update("jax_numpy_rank_promotion", "allow")
    jax.config.update("jax_transfer_guard", "allow")
