"""Whether the files of a data set are those that a run was begun with, and which images can be asked for again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from vitjax.data.contents import Contents, file_digest, files_of
from vitjax.data.source import Source
from vitjax.errors import RunError
from vitjax.output.terminal import say
from vitjax.rundir.contents_file import missing_images, read_contents, recorded_digests, write_contents
from vitjax.rundir.store import RunStore


def changed_files(store: RunStore) -> list[str]:
    """A line for each file of the data set that changed since the run was begun."""
    then = read_contents(store)
    return [] if then is None else then.changed(recorded_digests(store))


def check_files(store: RunStore, source: Source, count: int) -> None:
    """Check that the files are those of the run, or list them in a new run.

    Args:
        store: the run.
        source: the data set.
        count: number of images that the run evaluates.

    Raises:
        RunError: files have other contents; names the first five.
    """
    then = read_contents(store)
    if then is None:
        if (now := Contents.of(source, count)) is None:
            return
        if store.finished():
            say(
                f"{store.directory}: begun by a version that compared only names and sizes of the images; their "
                "contents are compared from now on",
                error=True,
            )
        write_contents(store, now)
        store.contents = now
        return
    store.contents = then
    changed = then.changed(recorded_digests(store))
    if changed:
        raise RunError(
            f"{store.directory}: {len(changed)} files of {source.name} have changed since the run was begun; pass "
            f"another -o: {_some(changed)}"
        )


def digests(store: RunStore, source: Source, indices: Sequence[int], chunk: int) -> Mapping[str, str]:
    """Digests of the files of a chunk that was just evaluated, by path.

    Args:
        store: the run.
        source: the data set.
        indices: of the chunk's images.
        chunk: number of the chunk, for the error message.

    Raises:
        RunError: a file has changed while the run was under way.
    """
    paths = files_of(source, indices)
    if store.contents is not None and (changed := store.contents.changed({}, paths)):
        raise RunError(f"chunk {chunk} is left open: files have changed while it was evaluated: {_some(changed)}")
    digests = {path: file_digest(path) for path in paths}
    return {path: digest for path, digest in digests.items() if digest}


def _some(lines: Sequence[str], count: int = 5) -> str:
    """The first lines in one, and how many more there are."""
    return "; ".join(lines[:count]) + (f"; and {len(lines) - count} more" if lines[count:] else "")


def chunks_to_ask_again(source: Source, finished: Mapping[int, Path]) -> dict[int, str]:
    """Finished chunks of which a missing image is back, with its id."""
    back = {}
    for chunk, path in finished.items():
        for index in missing_images(path):
            raw = source.read(index)
            files = [part for part in (raw.image, raw.mask) if isinstance(part, Path)]
            if files and all(file.is_file() for file in files):
                back[chunk] = source.ids[index]
                break
    return back
