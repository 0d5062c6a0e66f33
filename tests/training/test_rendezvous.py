from __future__ import annotations

import threading
import time
from datetime import timedelta

import pytest
import torch

pytestmark = pytest.mark.skipif(not torch.distributed.is_available(), reason="PyTorch was built without distribution")

MINUTE = timedelta(minutes=1)


def _together(store: torch.distributed.Store, size: int, late: int | None = None) -> list[str]:
    """Let so many processes, here threads, agree; one of them comes when the others wait already."""
    from unpaired.training.rendezvous import agreed_name

    names = [""] * size

    def agree(rank: int) -> None:
        names[rank] = agreed_name(store, rank, size, MINUTE)

    threads = [threading.Thread(target=agree, args=(rank,)) for rank in range(size)]
    for rank, thread in enumerate(threads):
        if rank != late:
            thread.start()
    if late is not None:
        time.sleep(0.2)
        assert all(name == "" for name in names), "nobody goes on without the last one"
        threads[late].start()
    for thread in threads:
        thread.join()
    return names


def test_all_agree_on_a_name_that_no_earlier_start_had() -> None:
    store, seen = torch.distributed.HashStore(), set[str]()
    for late in (None, 0, 1, 2, None):
        names = _together(store, 3, late)
        assert len(set(names)) == 1
        assert not seen & set(names)
        seen |= set(names)


def test_a_process_that_died_before_it_met_the_others_is_replaced() -> None:
    from unpaired.training.rendezvous import agreed_name

    store = torch.distributed.HashStore()
    with pytest.raises(RuntimeError, match="did not come"):
        agreed_name(store, 1, 2, timedelta(seconds=0.01))  # its word stays behind
    assert len(set(_together(store, 2, late=1))) == 1
    assert len(set(_together(store, 2, late=0))) == 1
