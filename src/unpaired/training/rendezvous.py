"""Where the processes of a training meet: a store that is new at every start.

torchrun keeps one store for all its restarts (PyTorch 2.13), so a process that is started again may read there where
another one listened before it died, and both wait in vain until the timeout. Here the processes first agree on a name
that no earlier start knew, and everything is stored below it.
"""

from __future__ import annotations

import hashlib
import time
import uuid
from datetime import timedelta
from typing import TYPE_CHECKING

import torch.distributed as dist
from torch.distributed.rendezvous import rendezvous

if TYPE_CHECKING:
    from torch._C._distributed_c10d import Store

_PAUSE_SECONDS = 0.05


def fresh_store(rank: int, size: int, timeout: timedelta) -> Store:
    """Return the store of this start, as the environment says where it is; `RuntimeError` where the others are missing.

    Every process calls this.
    """
    store, *_ = next(rendezvous("env://", rank, size, timeout=timeout))
    prefix = agreed_name(store, rank, size, timeout)
    return dist.PrefixStore(prefix, store)  # type: ignore[attr-defined]  # public, and not exported by name


def agreed_name(store: Store, rank: int, size: int, timeout: timedelta) -> str:
    """Return a name that these processes have in common with one another and with no earlier ones.

    Each writes a random word. The first one offers all words together, until all others have taken the same offer; an
    offer without one's own word is of an earlier start.
    """
    word, offered, deadline = uuid.uuid4().hex, "", time.monotonic() + timeout.total_seconds()
    store.set(f"unpaired/word/{rank}", word)
    others = range(1, size)
    while time.monotonic() < deadline:
        if rank == 0:
            words = [word, *(_read(store, f"unpaired/word/{other}") for other in others)]
            offer = " ".join(words)
            if offer != offered and all(words):
                store.set("unpaired/offer", offer)
            offered = offer
            if all(_read(store, f"unpaired/taken/{other}") == offer for other in others):
                store.set("unpaired/settled", offer)
                return _name(offer)
        else:
            offer = _read(store, "unpaired/offer")
            if offer.split(" ")[rank : rank + 1] == [word]:
                if offer != offered:
                    store.set(f"unpaired/taken/{rank}", offer)
                offered = offer
                if _read(store, "unpaired/settled") == offer:
                    return _name(offer)
        time.sleep(_PAUSE_SECONDS)
    raise RuntimeError("the other processes did not come within the time")


def _read(store: Store, key: str) -> str:
    return store.get(key).decode() if store.check([key]) else ""


def _name(offer: str) -> str:
    return f"unpaired/{hashlib.sha256(offer.encode()).hexdigest()[:16]}"
