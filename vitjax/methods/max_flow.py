"""Maximum flow through a stack of layers, from the tokens that the head reads to every input token."""

from __future__ import annotations

from typing import Any

import numpy as np

CAPACITY_UNIT = 10**9
"""Integer that stands for a capacity of 1, because scipy's maximum flow takes int32 capacities. The source emits a flow
of 1 in total, well below 2^31."""


def input_flows(capacities: np.ndarray, readout: np.ndarray) -> np.ndarray:
    """Maximum flow from the source to each input token, computed for one token at a time.

    Args:
        capacities: [l, n, m] >= 0; entry [l, i, j] is the capacity from token i above block l to token j below it.
        readout: [n] >= 0, capacities from the source to the tokens above the last block.

    Returns:
        [n], float64, flows in [0, 1] rounded to about 1e-8.

    Cost: n maximum flows (Dinic) through l·n² edges, distributed over all cores; joblib reuses its worker processes.
    """
    from joblib import Parallel, cpu_count, delayed

    depth, tokens, _ = capacities.shape
    graph = layered_graph(capacities, readout)
    source = (depth + 1) * tokens
    parts = np.array_split(np.arange(tokens), min(tokens, 4 * cpu_count()))
    flows = Parallel(n_jobs=-1, max_nbytes=None)(delayed(_flows)(graph, source, part) for part in parts)
    return np.concatenate(flows) / CAPACITY_UNIT


def layered_graph(capacities: np.ndarray, readout: np.ndarray) -> Any:
    """Flow network as a scipy.sparse CSR matrix of integer capacities.

    Node k·n + t is token t of layer k, where layer 0 is the input and layer l lies above the last block; the last node
    is the source.
    """
    from scipy.sparse import coo_array

    depth, tokens, _ = capacities.shape
    upper, lower = np.meshgrid(np.arange(tokens), np.arange(tokens), indexing="ij")
    layers = np.arange(depth)[:, None, None]
    tails = np.concatenate([((layers + 1) * tokens + upper).ravel(), np.full(tokens, (depth + 1) * tokens)])
    heads = np.concatenate([(layers * tokens + lower).ravel(), depth * tokens + np.arange(tokens)])
    amounts = np.rint(np.concatenate([capacities.ravel(), readout]) * CAPACITY_UNIT).astype(np.int32)
    size = (depth + 1) * tokens + 1
    edges = amounts > 0
    return coo_array((amounts[edges], (tails[edges], heads[edges])), shape=(size, size)).tocsr()


def _flows(graph: Any, source: int, sinks: np.ndarray) -> np.ndarray:
    """Maximum flow from the source to each sink, in units of 1 / CAPACITY_UNIT."""
    from scipy.sparse.csgraph import maximum_flow

    return np.array([maximum_flow(graph, source, int(sink), method="dinic").flow_value for sink in sinks], np.float64)
