"""The same methods as people run them today, in PyTorch: what vitjax's speed is compared with.

Written from the formulas, as short as a good engineer would, on the same weights and images.
tests/benchmarks/test_speed.py checks every map against ours: a peer that computes something else is no peer.
"""

FOLDS = ("rollout", "grad_rollout", "gmar", "legrad", "transformer_mm", "attcat", "grad_cam", "token_grad_cam")
"""Methods that a peer has both with hooks and in batches. Here because this imports no PyTorch."""
