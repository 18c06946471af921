"""Whether JAX can compute at all."""

from __future__ import annotations

import os

import jax

from vitjax.errors import ConfigError


def check_backend() -> None:
    """Start JAX's backend.

    Raises:
        ConfigError: JAX has none of the platforms that JAX_PLATFORMS names.
    """
    try:
        jax.default_backend()
    except Exception as error:  # JAX raises RuntimeError or AssertionError, depending on platform and version
        cause = " ".join(str(error).split(". ")[0].split())
        asked = jax.config.jax_platforms or os.environ.get("JAX_PLATFORMS", "")  # type: ignore[attr-defined]
        raise ConfigError(
            f"JAX cannot use the platform {asked!r}{f' ({cause})' if cause else ''}: install its plugin, such as "
            "jax[cuda13], or set JAX_PLATFORMS=cpu"
        ) from error
