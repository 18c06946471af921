"""Whether JAX can compute at all."""

from __future__ import annotations

import os

import jax

from vitjax.errors import ConfigError
from vitjax.execution.jax_settings import setting


def check_backend() -> None:
    """Start JAX's backend.

    Raises:
        ConfigError: JAX has none of the platforms that JAX_PLATFORMS or JAX_PLATFORM_NAME names.
    """
    try:
        jax.default_backend()
    except Exception as error:  # JAX raises RuntimeError or AssertionError, depending on platform and version
        cause = " ".join(str(error).split(". ")[0].split())
        named = setting("jax_platforms") or os.environ.get("JAX_PLATFORMS", "")
        asked, variable = (named, "JAX_PLATFORMS") if named else (setting("jax_platform_name"), "JAX_PLATFORM_NAME")
        raise ConfigError(
            f"JAX cannot use the platform {asked!r}{f' ({cause})' if cause else ''}: install its plugin, such as "
            f"jax[cuda13], or set {variable}=cpu"
        ) from error
