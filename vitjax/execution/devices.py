"""The devices of one process: batches are sharded over them, weights replicated, and devices never communicate."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from vitjax.errors import RunError
from vitjax.execution.jax_settings import setting
from vitjax.execution.plan import compiler_options

_CUT, _WHOLE = PartitionSpec("images"), PartitionSpec()
_COLLECTIVE = re.compile(r"\b(all-gather|all-reduce|all-to-all|reduce-scatter|collective-permute)[-\w]*\(")


class Devices:
    """The devices of one process as a one-dimensional mesh, along which batches are sharded."""

    def __init__(self, devices: Sequence[jax.Device] | None = None) -> None:
        self.devices = list(devices or jax.local_devices())
        # make_mesh defaults to Explicit axes, under which the shared pass compiles with an all-gather of the batch.
        self.mesh = Mesh(np.asarray(self.devices), ("images",), axis_types=(AxisType.Auto,))

    def __len__(self) -> int:
        return len(self.devices)

    def cut(self, batch: Any) -> Any:
        """Shard arrays along their leading batch axis, whose length is a multiple of the number of devices."""
        return jax.device_put(batch, NamedSharding(self.mesh, _CUT))

    def copy(self, tree: Any) -> Any:
        """Replicate a tree of arrays on every device."""
        return jax.device_put(tree, NamedSharding(self.mesh, _WHOLE))

    def compile(self, program: Any, *arguments: Any) -> Any:
        """The executable of a program whose results all lead with the batch axis.

        Every device runs the whole program on its shard (shard_map). The SPMD partitioner alone would shard some
        products of the shared pass along another axis and gather the batch for them.

        Args:
            arguments: arrays placed by `cut` or `copy`, or `jax.ShapeDtypeStruct`s with such shardings, for devices
                that only compile (`python -m benchmarks.tpu_compile`).

        Raises: RunError where the compiled program communicates between devices: images are independent, so that
            would be a defect which costs time and makes devices wait for one another.
        """
        leaves, structure = jax.tree.flatten(arguments)
        signature = tuple((leaf.shape, leaf.dtype, self._spec(leaf)) for leaf in map(_array, leaves))
        precision = setting("jax_default_matmul_precision")
        return _executable(program, self.mesh, structure, signature, precision)

    @staticmethod
    def _spec(argument: Any) -> PartitionSpec:
        placed = getattr(argument, "sharding", None)
        return placed.spec if isinstance(placed, NamedSharding) else _WHOLE


def _array(leaf: Any) -> Any:
    return leaf if isinstance(leaf, jax.Array | jax.ShapeDtypeStruct) else np.asarray(leaf)


@lru_cache(maxsize=64)
def _executable(program: Any, mesh: Mesh, structure: Any, signature: tuple[Any, ...], precision: Any) -> Any:
    """The executable for arguments of these shapes, at the matmul precision in force."""
    shapes = [
        jax.ShapeDtypeStruct(shape, dtype, sharding=NamedSharding(mesh, spec)) for shape, dtype, spec in signature
    ]
    specs = jax.tree.unflatten(structure, [spec for _, _, spec in signature])
    local = jax.shard_map(program, mesh=mesh, in_specs=specs, out_specs=_CUT, check_vma=False)
    lowered = jax.jit(local).lower(*jax.tree.unflatten(structure, shapes))
    executable = lowered.compile(compiler_options(mesh.devices.flat[0].platform))
    if mesh.size > 1 and (found := collectives(executable)):
        raise RunError(f"the compiled program exchanges data between devices ({', '.join(found)})")
    return executable


def collectives(executable: Any) -> list[str]:
    """Kinds of communication between devices in a compiled program."""
    return sorted({match[1] for match in _COLLECTIVE.finditer(executable.as_text())})
