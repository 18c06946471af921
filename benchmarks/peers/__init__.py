"""Implementations of the methods in PyTorch ("peers"), which the speed of vitjax is compared with.

Has no command of its own: `python -m benchmarks.speed`, `python -m benchmarks.relevance` and the section "peers" of
`python -m benchmarks.accelerator` run the peers on the same weights and images as vitjax.

cases.py    the timed cases of all peers
hooks.py    eager, one image at a time, with hooks, as public repositories do
batched.py  written by hand for batches, optionally with torch.compile
relprop.py  transformer_attribution, eager, one image at a time
captum.py   integrated gradients by captum
waiting.py  how PyTorch's threads wait for one another

The peers are short implementations of the formulas. tests/benchmarks/test_speed.py checks that their maps equal
vitjax's.
"""

FOLDS = ("rollout", "grad_rollout", "gmar", "legrad", "transformer_mm", "attcat", "grad_cam", "token_grad_cam")
"""Methods that both hooks.py and batched.py implement. Defined here so that reading it does not import PyTorch."""
