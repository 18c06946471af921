"""A table of records as numpy arrays: row numbers by method, and columns in float64."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from vitjax.errors import RunError

if TYPE_CHECKING:
    import pyarrow as pa


class Records:
    """A table of records with columns as arrays; each column is converted once.

    Attributes:
        table: one row for each image and method.
        rows: row numbers of each method's records, sorted by image number.
    """

    def __init__(self, table: pa.Table, methods: Sequence[str]) -> None:
        self.table = table
        self._scalars: dict[str, np.ndarray] = {}
        self._codes: dict[str, tuple[list[str], np.ndarray]] = {}
        names, codes = self.coded("method")
        order = np.lexsort((self.index, codes))
        bounds = np.searchsorted(codes[order], np.arange(len(names) + 1))
        by_name = {name: order[bounds[i] : bounds[i + 1]] for i, name in enumerate(names)}
        self.rows = {method: by_name.get(method, np.empty(0, np.int64)) for method in methods}

    @cached_property
    def index(self) -> np.ndarray:
        """int64 [rows]: image number, the position in the data set."""
        return self._column("index").to_numpy()

    def coded(self, name: str) -> tuple[list[str], np.ndarray]:
        """A text column as (distinct values, index of each row's value among them); null becomes the text "None"."""
        if name not in self._codes:
            column = self._column(name).combine_chunks().dictionary_encode(null_encoding="encode")
            names = [str(value) for value in column.dictionary.to_pylist()]
            self._codes[name] = names, np.asarray(column.indices.to_numpy())
        return self._codes[name]

    def scalar(self, name: str) -> np.ndarray:
        """A column as float64 [rows], NaN for null.

        Raises:
            RunError: the column is missing or holds lists.
        """
        import pyarrow as pa

        if name not in self._scalars:
            column = self._column(name)
            if pa.types.is_nested(column.type):
                raise RunError(f"record column {name!r} holds lists; a statistic needs one number per image")
            values = column.to_numpy() if column.null_count == 0 else column.cast(pa.float64()).fill_null(np.nan)
            self._scalars[name] = np.asarray(values, np.float64)
        return self._scalars[name]

    def levels(self, name: str) -> int:
        """Length of the longest list of a column; 0 if there are no lists.

        Raises:
            RunError: the column is missing or holds single numbers.
        """
        import pyarrow.compute as pc

        return pc.max(pc.list_value_length(self._lists(name))).as_py() or 0

    def curve(self, name: str, method: str, levels: int) -> np.ndarray:
        """A column of lists as float64 [records of the method, levels]; NaN for a list that is null or of other length.

        Raises:
            RunError: the column is missing or holds single numbers.
        """
        import pyarrow as pa

        column = self._lists(name).take(pa.array(self.rows[method])).combine_chunks()
        values = np.full((len(column), levels), np.nan)
        complete = column.value_lengths().fill_null(0).to_numpy(zero_copy_only=False) == levels
        flat = column.filter(pa.array(complete)).flatten().cast(pa.float64()).fill_null(np.nan)
        values[complete] = flat.to_numpy(zero_copy_only=False).reshape(-1, levels)
        return values

    def _lists(self, name: str) -> pa.ChunkedArray:
        import pyarrow as pa

        column = self._column(name)
        if not pa.types.is_list(column.type) and not pa.types.is_large_list(column.type):
            raise RunError(f"record column {name!r} holds no lists; a curve needs one number per level")
        return column

    def _column(self, name: str) -> pa.ChunkedArray:
        if name not in self.table.column_names:
            raise RunError(f"the records have no column {name!r}; were they computed by the metrics of this run?")
        return self.table[name]
