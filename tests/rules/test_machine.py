"""The state machine against ISA-18.2, step by step and under hypothesis."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from headrace.kernel.errors import Conflict, InputError
from headrace.rules import machine
from headrace.rules.machine import Cause, Delays, Move, State, Status

NONE = Delays()


def feed(
    status: Status, delays: Delays, samples: list[tuple[int, bool | None]]
) -> tuple[Status, list[tuple[int, str]]]:
    out = []
    for time, condition in samples:
        status, moves = machine.observe(status, delays, time, condition, condition)
        out += [(move.time, move.after.value) for move in moves]
    return status, out


def test_the_plain_life_of_an_alarm() -> None:
    status, moves = feed(Status(), NONE, [(1, False), (2, True)])
    assert moves == [(2, "active-unack")]
    status, (ack,) = machine.acknowledge(status, 3)
    assert ack == Move(2, 3, State.ACTIVE_UNACK, State.ACTIVE_ACK, Cause.ACKNOWLEDGE)
    status, moves = feed(status, NONE, [(4, False)])
    assert moves == [(4, "normal")] and status.number == 3


def test_cleared_before_it_was_acknowledged() -> None:
    status, moves = feed(Status(), NONE, [(1, True), (2, False)])
    assert moves == [(1, "active-unack"), (2, "cleared-unack")]
    _, moves = feed(status, NONE, [(3, True)])
    assert moves == [(3, "active-unack")]
    status, (ack,) = machine.acknowledge(status, 4)
    assert status.state is State.NORMAL and ack.after is State.NORMAL
    with pytest.raises(Conflict) as caught:
        machine.acknowledge(status, 5)
    assert caught.value.code == "alarm.nothing_to_acknowledge"


def test_delays_are_exact_and_start_anew() -> None:
    delays = Delays(on=5, off=3)
    _, moves = feed(Status(), delays, [(10, True), (14, False), (15, True), (19, True), (40, True)])
    assert moves == [(20, "active-unack")]  # seen at 40, due at 20
    status, _ = feed(Status(), delays, [(10, True), (20, True)])
    status, moves = feed(status, delays, [(21, False), (23, True), (30, False), (33, False)])
    assert moves == [(33, "cleared-unack")]
    status, moves = feed(Status(), delays, [(10, True), (15, False)])
    assert moves == []  # gone at the very moment at which it would have counted


def test_the_clock_ends_a_delay_like_a_sample() -> None:
    delays = Delays(on=5)
    status, _ = feed(Status(), delays, [(10, True)])
    assert machine.condition_due(status, delays) == 15
    by_clock, moves = machine.elapse(status, delays, 15)
    assert [m.time for m in moves] == [15]
    assert by_clock == machine.observe(status, delays, 15, True, True)[0]


def test_hysteresis_uses_hold_while_it_lasts() -> None:
    status, moves = machine.observe(Status(), NONE, 1, False, True)
    assert not moves
    status, moves = machine.observe(status, NONE, 2, True, True)
    assert len(moves) == 1
    status, moves = machine.observe(status, NONE, 3, False, True)
    assert not moves
    status, moves = machine.observe(status, NONE, 4, False, False)
    assert len(moves) == 1


def test_unknown_keeps_the_state_and_drops_a_delay() -> None:
    delays = Delays(on=5)
    status, moves = feed(Status(), delays, [(10, True), (12, None), (13, True), (17, True)])
    assert moves == [] and status.known and status.waiting == 13
    status, moves = feed(status, delays, [(18, True)])
    assert moves == [(18, "active-unack")]
    status, moves = feed(status, delays, [(19, None), (90, None)])
    assert moves == [] and not status.known and status.state is State.ACTIVE_UNACK


def test_shelving_follows_the_condition_unseen() -> None:
    status, _ = feed(Status(), NONE, [(1, True)])
    status, (move,) = machine.shelve(status, 2, 100)
    assert move.after is State.SHELVED
    status, moves = feed(status, NONE, [(3, False), (4, True)])
    assert moves == [] and status.state is State.SHELVED and status.active
    _, moves = feed(status, NONE, [(200, True)])
    assert moves == [(100, "active-unack")]
    assert machine.expire(status, 99) == (status, ())
    assert machine.expire(status, 100)[0].state is State.ACTIVE_UNACK
    status, _ = feed(status, NONE, [(5, False)])
    status, (move,) = machine.unshelve(status, 6)
    assert move.after is State.NORMAL and status.until is None
    with pytest.raises(Conflict):
        machine.unshelve(status, 7)
    with pytest.raises(InputError):
        machine.shelve(status, 7, 7)


class Life(RuleBasedStateMachine):
    """Any order of samples, requests and waiting, against a model that keeps the whole past."""

    @initialize(on=st.integers(0, 6), off=st.integers(0, 6))
    def begin(self, on: int, off: int) -> None:
        self.delays = Delays(on, off)
        self.status = Status()
        self.now = 0
        self.moves: list[Move] = []
        self.past: list[tuple[int, bool | None]] = []  # (time, condition) of each sample

    def _did(self, made: tuple[Status, tuple[Move, ...]]) -> None:
        self.status = made[0]
        self.moves += made[1]

    @rule(wait=st.integers(1, 5), condition=st.sampled_from([True, True, False, False, None]))
    def sample(self, wait: int, condition: bool | None) -> None:
        self.now += wait
        self.past.append((self.now, condition))
        self._did(machine.observe(self.status, self.delays, self.now, condition, condition))

    @rule(wait=st.integers(0, 9))
    def time_passes(self, wait: int) -> None:
        self.now += wait
        self._did(machine.elapse(self.status, self.delays, self.now))

    @rule()
    def acknowledge(self) -> None:
        waiting = self.status.state in (State.ACTIVE_UNACK, State.CLEARED_UNACK)
        try:
            self._did(machine.acknowledge(self.status, self.now))
            assert waiting
        except Conflict:
            assert not waiting

    @rule(time=st.integers(1, 12))
    def shelve(self, time: int) -> None:
        self._did(machine.shelve(self.status, self.now, self.now + time))

    @precondition(lambda self: self.status.state is State.SHELVED)
    @rule()
    def unshelve(self) -> None:
        self._did(machine.unshelve(self.status, self.now))

    @invariant()
    def the_debounced_condition_is_what_the_past_says(self) -> None:
        """The model goes through time tick by tick."""
        past = dict(self.past)
        active, condition, since = False, None, None
        for tick in range(self.now + 1):
            condition = past.get(tick, condition)
            if condition is None or condition == active:
                since = None
                continue
            since = tick if since is None else since
            if tick - since >= (self.delays.on if condition else self.delays.off):
                active, since = condition, None
        assert self.status.active == active

    @invariant()
    def moves_are_numbered_in_order_of_time_and_linked(self) -> None:
        assert [m.number for m in self.moves] == list(range(1, len(self.moves) + 1))
        assert [m.time for m in self.moves] == sorted(m.time for m in self.moves)
        assert all(m.time <= self.now for m in self.moves)
        before = [State.NORMAL, *(m.after for m in self.moves)]
        assert [m.before for m in self.moves] == before[:-1]
        assert self.status.state is before[-1]

    @invariant()
    def the_state_fits_the_condition(self) -> None:
        state, active = self.status.state, self.status.active
        if state in (State.ACTIVE_UNACK, State.ACTIVE_ACK):
            assert active
        if state in (State.NORMAL, State.CLEARED_UNACK):
            assert not active
        assert (state is State.SHELVED) == (self.status.until is not None)
        assert self.status.until is None or self.status.until > self.now - 6


Life.TestCase.settings = settings(max_examples=80, stateful_step_count=25, deadline=None)
TestLife = Life.TestCase


@given(
    samples=st.lists(st.tuples(st.integers(1, 5), st.sampled_from([True, False, None])), max_size=30),
    looks=st.lists(st.integers(0, 120), max_size=10),
    on=st.integers(0, 7),
    off=st.integers(0, 7),
)
def test_looking_at_the_clock_in_between_changes_nothing(
    samples: list[tuple[int, bool | None]], looks: list[int], on: int, off: int
) -> None:
    delays = Delays(on, off)
    time, timed = 0, []
    for wait, condition in samples:
        time += wait
        timed.append((time, condition))
    plain, expected = feed(Status(), delays, timed)
    status, moves = Status(), []
    for at, condition in timed:
        for look in sorted(looks):
            if look < at:
                status, made = machine.elapse(status, delays, look)
                moves += [(m.time, m.after.value) for m in made]
        status, made = machine.observe(status, delays, at, condition, condition)
        moves += [(m.time, m.after.value) for m in made]
    assert moves == expected and status == plain
