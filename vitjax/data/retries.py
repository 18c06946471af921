"""Decode an image; if the storage or the memory fails, wait and try again."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence

from vitjax.data.decode import Decoded, decode
from vitjax.data.source import UNAVAILABLE, Source
from vitjax.images.geometry import Preprocessing

WAITS_S: Sequence[float] = (0.1, 0.4, 1.0, 2.0)
"""Times to wait before each further try [s]."""

_away = threading.Event()  # an image was tried in vain, and none was read since: the others need not wait as long


def decode_with_retries(source: Source, index: int, preprocessing: Preprocessing) -> Decoded:
    """`decode`, tried again after each of WAITS_S while its status is UNAVAILABLE.

    While the storage is away, only the first images wait; until one can be read again, the others are tried once.
    """
    decoded = decode(source, index, preprocessing)
    for seconds in WAITS_S:
        if decoded.status != UNAVAILABLE:
            _away.clear()
            return decoded
        if _away.is_set():
            return decoded
        time.sleep(seconds)
        decoded = decode(source, index, preprocessing)
    if decoded.status == UNAVAILABLE:
        _away.set()
    return decoded
