"""Chooses how PyTorch's threads wait for one another, spinning or asleep: whichever is faster on this machine now.

Has no command of its own; `python -m benchmarks.speed` calls `choose` before it imports torch and records the choice.

On two cores with another busy process, spinning makes PyTorch 5 to 20 times slower, which is no property of PyTorch; on
an idle machine sleeping may cost a little. OpenMP reads the choice once, when torch is imported.
"""

from __future__ import annotations

import os
import subprocess
import sys

# Results files contain these texts.
SPINNING, ASLEEP = "active, then asleep (OpenMP's default)", "asleep"
SPINNING_BELOW = 0.95
"""Spinning is chosen if it takes less than this share of the time of sleeping. A smaller gain is not worth the risk: a
process that starts during the measurement would slow spinning threads down."""

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
    """Set OMP_WAIT_POLICY for a later import of torch, and return a description of how its threads will wait.

    Changes nothing if the user has set OMP_WAIT_POLICY or GOMP_SPINCOUNT, or torch has been imported.

    Cost: six short processes of a few seconds each.
    """
    settings = {name: os.environ[name] for name in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT") if name in os.environ}
    if settings or "torch" in sys.modules:
        return ", ".join(f"{name}={value}" for name, value in settings.items()) or SPINNING
    # Both are timed alternately, and the fastest run of each counts, so that brief load does not decide.
    seconds = [(_seconds({}), _seconds({"OMP_WAIT_POLICY": "PASSIVE"})) for _ in range(3)]
    spinning, asleep = map(min, zip(*seconds, strict=True))
    if spinning < SPINNING_BELOW * asleep:
        return SPINNING
    os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
    return ASLEEP


def _seconds(environment: dict[str, str]) -> float:
    """Seconds of the forward pass of a small transformer, in a process of its own with these environment variables."""
    code = PROBE.format(threads=os.cpu_count() or 1)
    command = [sys.executable, "-c", code]
    process = subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True, check=True)
    return float(process.stdout)
