from __future__ import annotations

from unpaired.study import messages as limits
from unpaired.study.messages import Limit


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_burst_then_a_rate_for_every_key() -> None:
    clock = Clock()
    limit = Limit(per_second=2.0, burst=3, clock=clock)
    assert [limit.wait("a") for _ in range(4)] == [0, 0, 0, 0.5]
    assert limit.wait("b") == 0
    clock.now += 0.5
    assert [limit.wait("a") for _ in range(2)] == [0, 0.5]
    clock.now += 100
    assert [limit.wait("a") for _ in range(4)] == [0, 0, 0, 0.5]


def test_memory_is_bounded() -> None:
    limit = Limit(per_second=1.0, burst=1, clock=Clock())
    for number in range(limits.MOST_KEYS + 100):
        limit.wait(str(number))
    assert len(limit._buckets) == limits.MOST_KEYS
    assert limit.wait("0") == 0, "forgotten"
    assert limit.wait(str(limits.MOST_KEYS + 99)) > 0, "remembered"
