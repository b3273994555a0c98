"""What the hosts of one run have in common."""

from __future__ import annotations

import os
import sys
import time
from typing import NoReturn

import jax
import numpy as np
from jax.experimental import multihost_utils

_PATIENCE = 10.0  # seconds
_TEXT = 4096  # bytes of a text that the first host tells


def is_host0() -> bool:
    """Whether this host is the one that writes and prints."""
    return jax.process_index() == 0


def agreed(firsts: int, anyones: int) -> tuple[int, int]:
    """The first host's number, and the largest of all hosts' numbers.

    For all hosts to call: whatever decides what they do next must be the same.
    """
    if jax.process_count() == 1:
        return firsts, anyones
    numbers = multihost_utils.process_allgather(np.array([firsts, anyones]))
    return int(numbers[0, 0]), int(numbers[:, 1].max())


def broadcast_from_host0(text: str) -> str:
    """The first host's text, for all hosts to call."""
    if jax.process_count() == 1:
        return text
    content = np.frombuffer(text.encode()[:_TEXT].ljust(_TEXT, b"\0"), np.uint8)
    told = multihost_utils.broadcast_one_to_all(content)
    return np.asarray(told, np.uint8).tobytes().rstrip(b"\0").decode()


def barrier() -> None:
    """Waits for all hosts."""
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices("lipjax")


def let_others_speak() -> None:
    """Waits, as an error may come from another host's, which then ends this one."""
    time.sleep(_PATIENCE)


def abort(line: str) -> NoReturn:
    """Ends this process of several, from any thread, saying why: the others end too.

    Where the others wait for it in a library, an exception would be kept until then.
    """
    print(f"error: {line}", file=sys.stderr, flush=True)
    os._exit(2)


def shutdown() -> None:
    """Waits for all hosts, of which none needs another from then on."""
    if jax.process_count() > 1:
        jax.distributed.shutdown()
