"""METRICS: every metric there is, a plain function on the arrays of ONE image. Larger is better for these."""

from collections.abc import Callable

from vitjax.metrics.pointing_game import energy_pointing_game, pointing_game

METRICS: dict[str, Callable] = {
    "pointing_game": pointing_game,
    "energy_pointing_game": energy_pointing_game,
}

__all__ = ["METRICS", "energy_pointing_game", "pointing_game"]
