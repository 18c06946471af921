"""`Explanations`, the result of `explain_many`: a dict of explanations that shows itself in notebooks."""

from __future__ import annotations

import textwrap
from typing import Any

from vitjax.errors import UnknownNameError, unknown_name
from vitjax.explaining.explanation import Explanation
from vitjax.explaining.figure import notebook_png
from vitjax.explaining.requests import request


class Explanations(dict[str, Explanation]):
    """Explanations of the same images by label, in the order of the methods.

    A dict whose keys may also be asked for as methods are requested, es["rollout:head_fusion=max"]; and es.take(0)
    is the same methods for one image, as is es.take([0, 2]) or es.take(slice(3)) for several.

    Example:
        >>> es = vitjax.explain_many(model, [image, image], ["rollout", "gmar:norm=l2"])
        >>> es
        Explanations of 2 images by 2 methods, vitjax_scenes: striped star (98... %); striped star (98... %)
          rollout, gmar(norm=l2)
        >>> es["gmar:norm=l2"].label, len(es.take(0)["rollout"])
        ('gmar(norm=l2)', 1)
    """

    def __missing__(self, label: str) -> Explanation:
        """The explanation of a request with options. Raises: UnknownNameError, with close matches."""
        try:
            name = request(label).label
        except (UnknownNameError, AttributeError):
            name = label
        if name in self:
            return self[name]
        raise unknown_name("explanation", str(label), self)

    def take(self, index: Any) -> Explanations:
        """The same methods for some of the maps: an index, a slice or a list of indices, as for an Explanation."""
        return Explanations({label: explanation[index] for label, explanation in self.items()})

    def __repr__(self) -> str:
        """Two lines: how many images and methods, and which."""
        if not self:
            return "Explanations of no methods"
        first = next(iter(self.values()))
        methods = f"{len(self)} methods" if len(self) > 1 else "1 method"
        specific = next((explanation for explanation in self.values() if not explanation.class_agnostic), first)
        names = textwrap.shorten(", ".join(self), 110, placeholder=" ...")
        return (
            f"Explanations of {first.subjects} by {methods}, {first.model.name}: {specific.targets_in_words(50)}\n"
            f"  {names}"
        )

    def _repr_png_(self) -> tuple[bytes, dict[str, int]] | None:
        """The overlays of the first images, for notebooks."""
        return notebook_png(self) if self and len(next(iter(self.values()))) else None
