"""Maximum flow through a stack of layers, from what the head reads to every input token."""

from __future__ import annotations

import numpy as np

UNIT = 10**9
"""Capacities are integers to scipy: one is this many. All that leaves the source is one, well below 2^31."""


def input_flows(capacities: np.ndarray, readout: np.ndarray) -> np.ndarray:
    """Maximum flow to each input token alone, in [0, 1].

    Args:
        capacities: [l, n, m], from token i above block l to token j below it.
        readout: [n] >= 0, capacity from the source to each token above the last block.

    Returns [n], float64, rounded to about 1e-8.

    Cost: n maximum flows (Dinic) through l·n² edges, spread over all cores in processes that joblib keeps.
    """
    from joblib import Parallel, cpu_count, delayed

    depth, tokens, _ = capacities.shape
    graph = layered_graph(capacities, readout)
    source = (depth + 1) * tokens
    parts = np.array_split(np.arange(tokens), min(tokens, 4 * cpu_count()))
    found = Parallel(n_jobs=-1, max_nbytes=None)(delayed(_flows)(graph, source, part) for part in parts)
    return np.concatenate(found) / UNIT


def layered_graph(capacities: np.ndarray, readout: np.ndarray):
    """scipy.sparse CSR of integer capacities; node t of layer k is k·n + t, layer 0 the input, the last the source."""
    from scipy.sparse import coo_array

    depth, tokens, _ = capacities.shape
    upper, lower = np.meshgrid(np.arange(tokens), np.arange(tokens), indexing="ij")
    layers = np.arange(depth)[:, None, None]
    starts = np.concatenate([((layers + 1) * tokens + upper).ravel(), np.full(tokens, (depth + 1) * tokens)])
    boundary = np.concatenate([(layers * tokens + lower).ravel(), depth * tokens + np.arange(tokens)])
    amounts = np.rint(np.concatenate([capacities.ravel(), readout]) * UNIT).astype(np.int32)
    size = (depth + 1) * tokens + 1
    kept = amounts > 0
    return coo_array((amounts[kept], (starts[kept], boundary[kept])), shape=(size, size)).tocsr()


def _flows(graph, source: int, sinks: np.ndarray) -> np.ndarray:
    from scipy.sparse.csgraph import maximum_flow

    return np.array([maximum_flow(graph, source, int(sink), method="dinic").flow_value for sink in sinks], np.float64)
