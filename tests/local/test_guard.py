"""Who gives way to whom."""

from __future__ import annotations

from dataclasses import dataclass, field

from margod.local.guard import Guard


@dataclass(eq=False)
class Caller:
    uid: int
    touched: float = 0.0
    busy: bool = False
    aborted: list[bool] = field(default_factory=list)

    def abort(self) -> None:
        self.aborted.append(True)


def test_the_oldest_idle_one_of_the_same_user_gives_way() -> None:
    """Pins the bound of one user: its own oldest idle connection goes, not a busy one, not another user's."""
    guard = Guard(per_uid=3, overall=10)
    stranger, busy, old, new = Caller(2), Caller(1, 0, busy=True), Caller(1, 1), Caller(1, 2)
    for caller in (stranger, busy, new, old):
        assert guard.admit(caller)
    assert guard.admit(Caller(1, 3))
    assert [len(c.aborted) for c in (stranger, busy, old, new)] == [0, 0, 1, 0]
    assert len(guard) == 4


def test_all_busy_means_no() -> None:
    """Pins that a request under way is never cut off for a new caller."""
    guard = Guard(per_uid=1, overall=2)
    busy = Caller(1, busy=True)
    assert guard.admit(busy)
    assert not guard.admit(Caller(1))
    assert not busy.aborted


def test_overall_the_greediest_gives_way() -> None:
    """Pins that a full house costs the user who holds most, and that busy users are passed over."""
    guard = Guard(per_uid=3, overall=4)
    greedy = [Caller(1, t) for t in range(3)]
    modest = Caller(2, 0)
    for caller in (*greedy, modest):
        assert guard.admit(caller)
    assert guard.admit(Caller(3))
    assert [len(c.aborted) for c in greedy] == [1, 0, 0]
    assert not modest.aborted


def test_released_ones_do_not_count() -> None:
    """Pins that a caller that left makes room without anybody being hung up on."""
    guard = Guard(per_uid=1, overall=1)
    first, second = Caller(1), Caller(1)
    guard.admit(first)
    guard.release(first)
    guard.release(first)
    assert guard.admit(second)
    assert not first.aborted
