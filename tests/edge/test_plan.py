"""The planner against brute force, and the bisection against a model of a device with illegal addresses."""

import math
import random
from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.edge.plan import Bisection, Hole, cost, make_plan, probe
from headrace.kernel.errors import InputError
from headrace.kernel.ports import Block, Limits, Span

LIMITS = Limits(max_units={"holding": 125, "coil": 2000}, request_cost=20.0)


def brute(spans: list[Span], limits: Limits, holes: tuple[Hole, ...] = ()) -> float:
    """The least cost over every way to cut the points, sorted by start, into any groups at all."""

    def partitions(items: list[int]):
        if not items:
            yield []
            return
        head, rest = items[0], items[1:]
        for size in range(len(rest) + 1):
            for chosen in combinations(rest, size):
                group = (head, *chosen)
                left = [i for i in rest if i not in chosen]
                for tail in partitions(left):
                    yield [group, *tail]

    best = math.inf
    for groups in partitions(list(range(len(spans)))):
        total = 0.0
        for group in groups:
            start = min(spans[i].start for i in group)
            end = max(spans[i].end for i in group)
            whole = Span("a", start, end - start)
            if whole.length > limits.max_units["a"] or any(h.spoils(whole) for h in holes):
                break
            if not limits.gaps:
                used = {u for i in group for u in range(spans[i].start, spans[i].end)}
                if len(used) != whole.length:
                    break
            total += limits.request_cost + whole.length
        else:
            best = min(best, total)
    return best


def point_spans(areas: tuple[str, ...] = ("a",), most: int = 40, reach: int = 60):
    span = st.builds(Span, st.sampled_from(areas), st.integers(0, reach), st.integers(1, 4))
    return st.lists(span, min_size=1, max_size=most)


def covered(blocks: tuple[Block, ...]) -> list[int]:
    return sorted(p for b in blocks for p in b.points)


@settings(max_examples=120, deadline=None)
@given(
    point_spans(most=6, reach=24),
    st.floats(0, 12),
    st.integers(4, 16),
    st.booleans(),
    st.lists(st.tuples(st.integers(0, 24), st.integers(0, 3)), max_size=2),
)
def test_optimal_against_brute_force(spans, request_cost, longest, gaps, ranges):
    limits = Limits(max_units={"a": longest}, request_cost=request_cost, gaps=gaps)
    holes = tuple(Hole("a", s, s + n, (0,)) for s, n in ranges)
    plan = make_plan(spans, limits, holes=holes)
    rest = [s for i, s in enumerate(spans) if i not in plan.isolated]
    assert cost(plan.blocks, limits) == pytest.approx(brute(rest, limits, holes) if rest else 0.0)
    assert all(any(h.spoils(spans[i]) for h in holes) for i in plan.isolated)


@settings(max_examples=150, deadline=None)
@given(
    point_spans(("a", "b"), most=80, reach=400),
    st.floats(0, 60),
    st.integers(4, 60),
    st.booleans(),
    st.lists(st.tuples(st.integers(0, 400), st.integers(0, 9)), max_size=6),
)
def test_invariants(spans, request_cost, longest, gaps, ranges):
    limits = Limits(max_units={"a": longest, "b": longest + 3}, request_cost=request_cost, gaps=gaps)
    holes = tuple(Hole("a", s, s + n, (0,)) for s, n in ranges)
    plan = make_plan(spans, limits, holes=holes)
    assert sorted([*covered(plan.blocks), *plan.isolated]) == list(range(len(spans)))
    for block in plan.blocks:
        assert block.span.length <= limits.max_units[block.span.area]
        assert not any(h.spoils(block.span) for h in holes)
        for p in block.points:
            assert spans[p].area == block.span.area
            assert block.span.start <= spans[p].start and spans[p].end <= block.span.end
        if not gaps:
            used = {u for p in block.points for u in range(spans[p].start, spans[p].end)}
            assert len(used) == block.span.length
    one_per_tag = sum(request_cost + spans[i].length for i in covered(plan.blocks))
    contiguous = make_plan(
        spans, Limits(max_units=limits.max_units, request_cost=request_cost, gaps=False), holes=holes
    )
    assert cost(plan.blocks, limits) <= one_per_tag + 1e-6
    assert cost(plan.blocks, limits) <= cost(contiguous.blocks, limits) + 1e-6


def test_contiguous_map_fills_requests():
    spans = [Span("holding", 2 * i, 2) for i in range(10_000)]
    assert len(make_plan(spans, LIMITS).blocks) == math.ceil(10_000 / 62)


def test_scattered_map_needs_20x_fewer_requests():
    rng = random.Random(7)
    spans, at = [], 0
    for _ in range(1_000):
        at += rng.randint(0, 7)
        spans.append(Span("holding", at, 2))
        at += 2
    rng.shuffle(spans)
    blocks = make_plan(spans, LIMITS).blocks
    assert 1_000 / len(blocks) >= 20


def test_point_that_no_request_can_hold():
    with pytest.raises(InputError) as caught:
        make_plan([Span("holding", 0, 126)], LIMITS)
    assert caught.value.code == "edge.point_too_long"
    with pytest.raises(InputError) as caught:
        make_plan([Span("nowhere", 0, 1)], LIMITS)
    assert caught.value.code == "edge.unknown_area"
    with pytest.raises(InputError) as caught:
        make_plan([Span("coil", 0, 0)], LIMITS)
    assert caught.value.code == "edge.empty_point"


def test_fifty_thousand_points_plan_fast():
    import time

    rng = random.Random(1)
    spans = [Span("coil", rng.randrange(60_000), 1) for _ in range(25_000)]
    spans += [Span("holding", rng.randrange(60_000), rng.choice((1, 2, 4))) for _ in range(25_000)]
    begun = time.process_time()
    make_plan(spans, LIMITS)
    assert time.process_time() - begun < 2.0


class Device:
    """Refuses every request that touches an illegal unit, or is longer than its secret limit."""

    def __init__(self, illegal: set[int], longest: int = 10_000) -> None:
        self.illegal, self.longest, self.requests, self.refusals = illegal, longest, 0, 0

    def refuses(self, block: Block) -> bool:
        self.requests += 1
        bad = block.span.length > self.longest or any(
            u in self.illegal for u in range(block.span.start, block.span.end)
        )
        self.refusals += bad
        return bad


def settle(spans: list[Span], device: Device, limits: Limits) -> tuple[set[int], list[Hole], int]:
    """Plan, meet the device, bisect, plan again until nothing is refused; points on holes, holes, rounds."""
    holes: list[Hole] = []
    for rounds in range(200):
        plan = make_plan(spans, limits, holes=holes)
        refused = [b for b in plan.blocks if device.refuses(b)]
        if not refused:
            return set(plan.isolated), holes, rounds
        search = Bisection(spans, refused)
        while not search.done:
            search.learn({n for n, b in enumerate(search.requests) if device.refuses(b)})
        spoiled = {p for b in refused for p in b.points} - {p for b in search.accepted for p in b.points}
        assert len([p for b in search.accepted for p in b.points]) + len(spoiled) == sum(
            len(b.points) for b in refused
        )
        holes += search.holes
    raise AssertionError("does not converge")


@settings(max_examples=150, deadline=None)
@given(point_spans(most=60, reach=150), st.sets(st.integers(0, 150), max_size=8), st.integers(4, 60))
def test_bisection_isolates_exactly_the_illegal_points(spans, illegal, longest):
    limits = Limits(max_units={"a": longest}, request_cost=10.0)
    isolated, _, _ = settle(spans, Device(illegal), limits)
    expected = {i for i, s in enumerate(spans) if illegal & set(range(s.start, s.end))}
    assert isolated == expected


def test_bisection_converges_in_k_log_n():
    n, k = 4_000, 10
    spans = [Span("holding", 3 * i, 2) for i in range(n)]
    illegal = {3 * i + 1 for i in random.Random(3).sample(range(n), k)}
    device = Device(illegal)
    plan_size = len(make_plan(spans, LIMITS).blocks)
    isolated, _, rounds = settle(spans, device, LIMITS)
    assert len(isolated) == k
    # every illegal point costs one refusal and its sibling per halving of a block of at most 42 points
    extra = device.requests - (rounds + 1) * (plan_size + 2 * k)
    assert extra <= k * 2 * (math.ceil(math.log2(42)) + 1)


def test_device_with_a_shorter_limit_than_it_says_keeps_all_points():
    spans = [Span("holding", i, 1) for i in range(500)]
    isolated, holes, _ = settle(spans, Device(set(), longest=64), LIMITS)
    assert not isolated
    blocks = make_plan(spans, LIMITS, holes=holes).blocks
    assert max(b.span.length for b in blocks) <= 64 and len(blocks) <= 16


def test_probe_covers_the_hole():
    spans = [Span("a", 0, 2), Span("a", 6, 2)]
    gap = Hole("a", 2, 6, (0, 1))
    assert gap.spoils(probe(gap, spans).span)
    assert probe(gap, spans) == Block(Span("a", 0, 8), (0, 1))
