"""Records as arrays: which rows are a method's, and the columns in float64."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from vitjax.errors import RunError

if TYPE_CHECKING:
    import pyarrow as pa


class Records:
    """A table of records, column by column as arrays; each column is converted once.

    Rows keep the table's order; `rows[method]` are a method's, by place in the data set.
    """

    def __init__(self, table: pa.Table, methods: Sequence[str]) -> None:
        self.table = table
        self._scalars: dict[str, np.ndarray] = {}
        self._codes: dict[str, tuple[list[str], np.ndarray]] = {}
        names, codes = self.coded("method")
        order = np.lexsort((self.index, codes))
        bounds = np.searchsorted(codes[order], np.arange(len(names) + 1))
        found = {name: order[bounds[i] : bounds[i + 1]] for i, name in enumerate(names)}
        self.rows = {method: found.get(method, np.empty(0, np.int64)) for method in methods}

    @cached_property
    def index(self) -> np.ndarray:
        """int64 [rows]: place in the data set."""
        return self._column("index").to_numpy()

    def coded(self, name: str) -> tuple[list[str], np.ndarray]:
        """A text column as its different values and, for each row, the number of its value; null is the text "None"."""
        if name not in self._codes:
            column = self._column(name).combine_chunks().dictionary_encode(null_encoding="encode")
            names = [str(value) for value in column.dictionary.to_pylist()]
            self._codes[name] = names, np.asarray(column.indices.to_numpy())
        return self._codes[name]

    def scalar(self, name: str) -> np.ndarray:
        """float64 [rows], NaN where null. Raises RunError where there is no such column, or it holds lists."""
        import pyarrow as pa

        if name not in self._scalars:
            column = self._column(name)
            if pa.types.is_nested(column.type):
                raise RunError(f"record column {name!r} holds lists; a figure needs one number for each image")
            values = column.to_numpy() if column.null_count == 0 else column.cast(pa.float64()).fill_null(np.nan)
            self._scalars[name] = np.asarray(values, np.float64)
        return self._scalars[name]

    def levels(self, name: str) -> int:
        """Length of the lists of a column; 0 where there are none. Raises RunError where it holds single numbers."""
        import pyarrow.compute as pc

        return pc.max(pc.list_value_length(self._lists(name))).as_py() or 0

    def curve(self, name: str, method: str, levels: int) -> np.ndarray:
        """float64 [the method's rows, levels]; NaN for a row without a list, or with one of another length."""
        import pyarrow as pa

        column = self._lists(name).take(pa.array(self.rows[method])).combine_chunks()
        values = np.full((len(column), levels), np.nan)
        whole = column.value_lengths().fill_null(0).to_numpy(zero_copy_only=False) == levels
        flat = column.filter(pa.array(whole)).flatten().cast(pa.float64()).fill_null(np.nan)
        values[whole] = flat.to_numpy(zero_copy_only=False).reshape(-1, levels)
        return values

    def _lists(self, name: str) -> pa.ChunkedArray:
        import pyarrow as pa

        column = self._column(name)
        if not pa.types.is_list(column.type) and not pa.types.is_large_list(column.type):
            raise RunError(f"record column {name!r} holds no lists; a curve needs a number for each level")
        return column

    def _column(self, name: str) -> pa.ChunkedArray:
        if name not in self.table.column_names:
            raise RunError(f"the records have no column {name!r}; were they made by the metrics of this run?")
        return self.table[name]
