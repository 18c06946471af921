"""How PyTorch's threads wait for one another: spinning or asleep, whichever makes PyTorch faster here and now.

On two cores with another process beside it, spinning makes PyTorch 5 to 20 times slower, which says nothing about
PyTorch; on a quiet machine sleeping may cost a little. OpenMP reads the choice once, before torch is imported.
"""

from __future__ import annotations

import os
import subprocess
import sys

SPINNING, ASLEEP = "active, then asleep (OpenMP's default)", "asleep"
WORTH = 0.95
"""Spinning must be faster by this to be chosen: a neighbour that comes later would ruin it."""

PROBE = """
import time, torch
torch.set_num_threads({threads})
weights = [torch.randn(a, b) for a, b in ((192, 576), (192, 192), (192, 768), (768, 192))]
def blocks(x):
    for _ in range(12):
        q, k, v = torch.layer_norm(x, (192,)).matmul(weights[0]).reshape(*x.shape[:2], 3, 3, 64).permute(2, 0, 3, 1, 4)
        x = x + ((q @ k.mT).softmax(-1) @ v).transpose(1, 2).reshape(x.shape) @ weights[1]
        x = x + torch.nn.functional.gelu(torch.layer_norm(x, (192,)) @ weights[2]) @ weights[3]
        x = torch.layer_norm(x, (192,))
with torch.inference_mode():
    seconds = []
    for batch in (1, 8) * 8:
        x = torch.randn(batch, 197, 192)
        start = time.perf_counter()
        blocks(x)
        seconds.append((time.perf_counter() - start) / batch)
print(sum(sorted(seconds[2:])[:7]))
"""


def choose() -> str:
    """Set the environment for the import of torch to come, and say how its threads will wait.

    Does nothing where the user has set OMP_WAIT_POLICY or GOMP_SPINCOUNT, or torch is there already.
    Cost: six short processes, a few seconds each.
    """
    given = {name: os.environ[name] for name in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT") if name in os.environ}
    if given or "torch" in sys.modules:
        return ", ".join(f"{name}={value}" for name, value in given.items()) or SPINNING
    # In turns, the best of each: a neighbour that passes by does not decide.
    tried = [(_seconds({}), _seconds({"OMP_WAIT_POLICY": "PASSIVE"})) for _ in range(3)]
    spinning, asleep = map(min, zip(*tried, strict=True))
    if spinning < WORTH * asleep:
        return SPINNING
    os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
    return ASLEEP


def _seconds(environment: dict[str, str]) -> float:
    """Of a small transformer's forward in a process of its own."""
    code = PROBE.format(threads=os.cpu_count() or 1)
    command = [sys.executable, "-c", code]
    found = subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True, check=True)
    return float(found.stdout)
