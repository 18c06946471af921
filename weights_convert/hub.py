"""Hub id -> checkpoint file, from the local cache first."""

from __future__ import annotations

import re
from pathlib import Path

from vitjax.errors import WeightsError

FILES = ("model.safetensors", "pytorch_model.bin")  # in order of preference


def is_hub_id(text: str) -> bool:
    """Whether `owner/name` could be a hub id (and is not the name of a checkpoint file)."""
    from weights_convert.load import SUFFIXES

    return bool(re.fullmatch(r"[\w-][\w.-]*/[\w.-]+", text)) and not text.endswith(SUFFIXES)


def fetch(repo: str) -> Path:
    """The checkpoint of a hub repository, downloaded unless it is in the cache already.

    Raises WeightsError saying what was looked for, why it was not found and where to put the file instead.
    """
    from huggingface_hub import constants, get_hf_file_metadata, hf_hub_download, hf_hub_url
    from huggingface_hub.errors import LocalEntryNotFoundError, RemoteEntryNotFoundError

    for name in FILES:
        try:
            return Path(hf_hub_download(repo, name, local_files_only=True))
        except LocalEntryNotFoundError:
            continue
    cause: Exception | None = None
    for name in FILES:
        try:
            get_hf_file_metadata(hf_hub_url(repo, name))  # the download retries for half a minute, this does not
            return Path(hf_hub_download(repo, name))
        except RemoteEntryNotFoundError as error:
            cause = error
        except Exception as error:  # offline, no such repository, gated, proxy, disk full: all end the same way
            cause = error
            break
    reason = " ".join(str(cause).split())[:300]
    raise WeightsError(
        f"no weights for {repo}: looked for {' or '.join(FILES)} in the cache ({constants.HF_HUB_CACHE}) and "
        f"on the hub ({type(cause).__name__}: {reason}). Without a network, fetch {FILES[0]} of {repo} "
        "elsewhere, put it anywhere on this machine and pass weights='PATH/model.safetensors'."
    ) from cause
