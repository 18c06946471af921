"""Hub id -> checkpoint file: from the local cache, or downloaded."""

from __future__ import annotations

import json
import re
from contextlib import suppress
from pathlib import Path

from vitjax.errors import WeightsError

FILES = ("model.safetensors", "pytorch_model.bin", "model.safetensors.index.json")
"""Files of weights that a repository may have, in order of preference."""
SIDECARS = ("config.json", "preprocessor_config.json", "open_clip_config.json", "tokenizer.json")
"""Files that describe the weights; a repository may lack each."""


def is_hub_id(text: str) -> bool:
    """Whether the text has the form of a hub id, `owner/name`, and not of a checkpoint file's name."""
    from weights_convert.load import SUFFIXES

    return bool(re.fullmatch(r"[\w-][\w.-]*/[\w.-]+", text)) and not text.endswith(SUFFIXES)


def fetch(repo: str) -> Path:
    """The checkpoint file of a hub repository, downloaded if it is not in the cache.

    Args:
        repo: hub id, `owner/name`.

    Raises:
        WeightsError: the repository has no such file or cannot be reached. The message says which files were looked
            for, why they were not found and how to pass a local file instead.
    """
    from huggingface_hub import constants, get_hf_file_metadata, hf_hub_download, hf_hub_url
    from huggingface_hub.errors import LocalEntryNotFoundError, RemoteEntryNotFoundError

    for name in FILES:
        try:
            return _with_shards(repo, Path(hf_hub_download(repo, name, local_files_only=True)))
        except LocalEntryNotFoundError:
            continue
    cause: Exception | None = None
    for name in FILES:
        try:
            # Fails at once without a network, where the download would retry for half a minute.
            get_hf_file_metadata(hf_hub_url(repo, name))
            path = Path(hf_hub_download(repo, name))
            _fetch_sidecars(repo)
            return _with_shards(repo, path)
        except RemoteEntryNotFoundError as error:
            cause = error
        except Exception as error:  # offline, no such repository, gated, proxy, disk full: the same advice applies
            cause = error
            break
    reason = " ".join(str(cause).split())[:300]
    raise WeightsError(
        f"no weights for {repo}: looked for {' or '.join(FILES)} in the cache ({constants.HF_HUB_CACHE}) and "
        f"on the hub ({type(cause).__name__}: {reason}). Without a network, download {FILES[0]} of {repo} on "
        "another machine, copy it to this one and pass weights='PATH/model.safetensors'."
    ) from cause


def _fetch_sidecars(repo: str) -> None:
    """Download those files of `SIDECARS` that the repository has, to the folder of its weights."""
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import RemoteEntryNotFoundError

    for name in SIDECARS:
        with suppress(RemoteEntryNotFoundError):
            hf_hub_download(repo, name)


def _with_shards(repo: str, path: Path) -> Path:
    """The path itself; if it is an index, the shards that it lists are in its folder afterwards."""
    from huggingface_hub import hf_hub_download

    if path.name.endswith(".index.json"):
        for shard in sorted(set(json.loads(path.read_text(encoding="utf-8"))["weight_map"].values())):
            hf_hub_download(repo, shard)
    return path
