"""The options that `explain` and `compare` share, in one place."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

import tyro

from vitjax.cli.arguments import Count, Dtype, ExifOption, Seed, Targets, one_line_help, parse_targets


@one_line_help
@dataclass(frozen=True)
class ExplainArguments:
    """What is explained, and how it is computed.

    Args:
        target: class number, class name, "top2" (the second most probable class), "topK" (each of the K most probable
            ones), "A - B" (a difference), or "text:WORDS" of CLIP or SigLIP; several give one map each. The predicted
            class if not given. For a model without a head, the number of a feature.
        dtype: of the model's numbers; float64 needs JAX_ENABLE_X64=1 in the environment.
        batch_size: images in one device call; memory grows with it, results do not change.
        seed: seed of methods that draw random numbers.
        exif: "apply" turns photos upright by their EXIF orientation; "ignore" takes them as stored, as evaluations do.
        overwrite: write into a directory that is not empty; files of the same name are replaced.
    """

    target: Targets = ()
    dtype: Dtype = "float32"
    batch_size: Count = 16
    seed: Seed = 0
    exif: ExifOption = "apply"
    overwrite: bool = False

    def settings(self) -> dict[str, Any]:
        """The arguments of `vitjax.cli.explain.explain_images` that these are."""
        return {
            "target": parse_targets(self.target),
            "dtype": self.dtype,
            "batch_size": self.batch_size,
            "seed": self.seed,
            "exif": self.exif,
            "overwrite": self.overwrite,
        }


ExplainOption = Annotated[ExplainArguments, tyro.conf.arg(name="")]
PLAIN = ExplainArguments()
