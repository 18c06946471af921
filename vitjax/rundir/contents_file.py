"""files.parquet of a run: what the files of its data set contained, to compare with when the run is resumed."""

from __future__ import annotations

import io
import json
import os
from pathlib import Path

from vitjax.data.contents import Contents, State
from vitjax.errors import RunError
from vitjax.rundir.store import RunStore
from vitjax.storage import write_whole, writing

NAME = "files.parquet"
DIGESTS = b"vitjax.files"
"""Key of a record file's metadata: digests of all bytes of the files that its images were read from, by path."""


def read_contents(store: RunStore) -> Contents | None:
    """What files.parquet lists; None if the run has none: its data are no files, or it is of an older version.

    Raises:
        RunError: the file is damaged.
    """
    import pyarrow.parquet as pq

    path = store.directory / NAME
    try:
        columns = pq.read_table(io.BytesIO(path.read_bytes())).to_pydict()
        states = [State(*state) for state in zip(*(columns[field] for field in State._fields), strict=True)]
        names = [os.fsdecode(path) for path in columns["path"]]
        return Contents(dict(zip(names, states, strict=True)), dict(zip(names, columns["sample"], strict=True)))
    except FileNotFoundError:
        return None
    except Exception as error:  # pyarrow raises exceptions of many types for damaged data
        raise RunError(
            f"{path}: damaged: {' '.join(str(error).split())[:200]}; without it, the images are compared with their "
            "present contents"
        ) from error


def write_contents(store: RunStore, contents: Contents) -> None:
    """Write files.parquet, unless another process of the run has.

    Raises:
        OutputError: the file cannot be written.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    states = contents.states.values()
    # As bytes, because the names of files need not be UTF-8.
    columns = {"path": [os.fsencode(path) for path in contents.states], "sample": list(contents.samples.values())}
    columns |= {field: [getattr(state, field) for state in states] for field in State._fields}
    buffer = io.BytesIO()
    pq.write_table(pa.table(columns), buffer, compression="zstd")
    path = store.directory / NAME
    with writing(path):
        write_whole(path, lambda stream: stream.write(buffer.getvalue()), exclusive=True)


def recorded_digests(store: RunStore) -> dict[str, str]:
    """Digests of all bytes of the files that the finished chunks were computed from, by path."""
    import pyarrow.parquet as pq

    digests: dict[str, str] = {}
    for path in store.finished().values():
        metadata = pq.read_schema(path).metadata or {}
        digests.update(json.loads(metadata.get(DIGESTS, b"{}")))
    return digests


def missing_images(path: Path) -> list[int]:
    """Indices of the images of a record file whose files were missing."""
    import pyarrow.parquet as pq

    columns = pq.read_table(path, columns=["index", "status"]).to_pydict()
    pairs = zip(columns["index"], columns["status"], strict=True)
    return sorted({index for index, status in pairs if status == "missing"})
