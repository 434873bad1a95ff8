"""No hidden cell can be computed to within its protection level: linear programs against brute force."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.access.sharing.aggregates import (
    TOTAL,
    Contribution,
    Dimension,
    Protected,
    Reason,
    Rule,
    Shape,
    Status,
    intervals,
    protect,
)
from headrace.access.sharing.aggregates.rules import sensitive
from headrace.access.sharing.aggregates.simplex import Program
from headrace.kernel.errors import InputError


def flat(name: str, *codes: str) -> Dimension:
    return Dimension(name, tuple((code, TOTAL) for code in codes))


TWO = Shape((flat("trade", "a", "b", "c"), flat("zone", "x", "y", "z")))
TREE = Shape((
    Dimension("trade", (("34", TOTAL), ("35", TOTAL), ("341", "34"), ("342", "34"), ("351", "35"))),
    flat("zone", "x", "y"),
))  # fmt: skip
ONE = Shape((flat("zone", "x", "y", "z", "w"),))


# --- rules --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("amounts", "reasons", "level"),
    [  # levels worked by hand from the formulas of table 4.2
        ([], None, 0.0),
        ([50.0, 30.0, 20.0], None, 0.0),
        ([90.0, 9.0, 1.0], {Reason.DOMINANCE, Reason.P_PERCENT}, 100 / 85 * 99 - 100),
        ([100.0, 50.0, 10.0], {Reason.DOMINANCE, Reason.P_PERCENT}, 100 / 85 * 150 - 160),
        ([100.0, 50.0], {Reason.FREQUENCY, Reason.P_PERCENT}, 30.0),
        ([100.0], {Reason.FREQUENCY, Reason.P_PERCENT}, 20.0),
        ([0.0, 0.0, 0.0, 0.0], {Reason.ZERO}, 0.0),
        ([40.0, 30.0, 8.0, 7.0], None, 0.0),
    ],
)  # fmt: skip
def test_primary_rules(amounts: list[float], reasons: set[Reason] | None, level: float) -> None:
    found = sensitive(Rule(), amounts)
    assert (None if found is None else set(found.reasons)) == reasons
    if found is not None:
        assert found.level == pytest.approx(level)


def test_rules_can_be_switched_off_but_not_the_minimum() -> None:
    assert sensitive(Rule(dominance=None, p=None), [1000.0, 1.0, 1.0]) is None
    assert sensitive(Rule(dominance=None, p=None, minimum=4), [1000.0, 1.0, 1.0]) is not None
    import msgspec

    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"minimum": 2}, Rule)
    assert "3" in Rule().text("zh") and "3" in Rule().text("en")


# --- the linear program -------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_bounds_of_a_transport_table_agree_with_brute_force(data: st.DataObject) -> None:
    """Two-way tables have integral bounds, so all whole-number tables give the exact answer."""
    rows, cols = data.draw(st.integers(2, 3)), data.draw(st.integers(2, 3))
    table = [[data.draw(st.integers(0, 4)) for _ in range(cols)] for _ in range(rows)]
    shape = Shape((flat("r", *"abc"[:rows]), flat("c", *"xyz"[:cols])))
    inner = list(itertools.product("abc"[:rows], "xyz"[:cols]))
    value = {(r, c): float(table[i][j]) for (i, r), (j, c) in
             itertools.product(enumerate("abc"[:rows]), enumerate("xyz"[:cols]))}  # fmt: skip
    full = dict(value)
    for r in "abc"[:rows]:
        full[(r, TOTAL)] = sum(value[(r, c)] for c in "xyz"[:cols])
    for c in "xyz"[:cols]:
        full[(TOTAL, c)] = sum(value[(r, c)] for r in "abc"[:rows])
    full[(TOTAL, TOTAL)] = sum(value.values())
    hidden = data.draw(st.sets(st.sampled_from(inner), min_size=1, max_size=6))
    found = intervals(shape, full, hidden)
    low, high = _brute(full, hidden)
    for cell in hidden:
        assert found[cell].low == pytest.approx(low[cell], abs=1e-6)
        assert found[cell].high == pytest.approx(high[cell], abs=1e-6)


def _brute(full: dict, hidden: set) -> tuple[dict, dict]:
    cells = sorted(hidden)
    lines: dict = {}
    for r, c in cells:
        lines.setdefault(("r", r), []).append((r, c))
        lines.setdefault(("c", c), []).append((r, c))
    need = {k: sum(full[x] for x in v) for k, v in lines.items()}
    most = {cell: int(min(need[("r", cell[0])], need[("c", cell[1])])) for cell in cells}
    low, high = dict.fromkeys(cells, np.inf), dict.fromkeys(cells, -np.inf)

    def fill(at: int, left: dict, chosen: dict) -> None:
        if at == len(cells):
            if not any(left.values()):
                for cell, v in chosen.items():
                    low[cell], high[cell] = min(low[cell], v), max(high[cell], v)
            return
        cell = cells[at]
        row, column = ("r", cell[0]), ("c", cell[1])
        for v in range(min(most[cell], int(left[row]), int(left[column])) + 1):
            left[row] -= v
            left[column] -= v
            fill(at + 1, left, {**chosen, cell: v})
            left[row] += v
            left[column] += v

    fill(0, dict(need), {})
    return low, high


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_the_program_agrees_with_every_vertex(data: st.DataObject) -> None:
    """Small programs, all basic solutions tried."""
    n, m = data.draw(st.integers(2, 5)), data.draw(st.integers(1, 3))
    a = np.array([[data.draw(st.sampled_from([-1, 0, 1])) for _ in range(n)] for _ in range(m)], float)
    upper = np.array([data.draw(st.integers(0, 5)) for _ in range(n)], float)
    program = Program(a, upper)
    for _ in range(2):
        c = np.array([data.draw(st.integers(-3, 3)) for _ in range(n)], float)
        best, x = program.maximise(c)
        assert np.allclose(a @ x, 0, atol=1e-7)
        assert (x >= -1e-9).all() and (x <= upper + 1e-9).all()
        assert best == pytest.approx(_best_vertex(a, upper, c), abs=1e-6)


def _best_vertex(a: np.ndarray, upper: np.ndarray, c: np.ndarray) -> float:
    best, n = 0.0, len(c)
    for state in itertools.product((0, 1, 2), repeat=n):  # at 0, at upper, free
        free = [i for i in range(n) if state[i] == 2]
        x = np.where(np.array(state) == 1, upper, 0.0)
        if free:
            solved, *_ = np.linalg.lstsq(a[:, free], -a @ x, rcond=None)
            x[free] = solved
        if np.allclose(a @ x, 0, atol=1e-9) and (x >= -1e-9).all() and (x <= upper + 1e-9).all():
            best = max(best, float(c @ x))
    return best


def test_a_program_without_a_bound() -> None:
    program = Program(np.array([[1.0, -1.0]]), np.array([np.inf, np.inf]))
    assert program.maximise(np.array([1.0, 0.0]))[0] == np.inf
    assert program.maximise(np.array([1.0, -1.0]))[0] == 0.0


# --- suppression --------------------------------------------------------------------------------------------


def leaves(shape: Shape) -> list[tuple[str, ...]]:
    parents = [{p for _, p in d.parents} for d in shape.dimensions]
    return [c for c in shape.cells if all(x != TOTAL and x not in p for x, p in zip(c, parents, strict=True))]


def check(protected: Protected, contributions: list[Contribution]) -> None:
    """Independent of `protect`'s own bookkeeping, save for the primary rules, which are tested above."""
    cells = {c.code: c for c in protected.cells}
    for total, parts in protected.shape.sums:
        assert cells[total].value == pytest.approx(sum(cells[p].value for p in parts))
    for cell in protected.cells:
        inside = [c for c in contributions if all(
            _below(d, mine, above) for d, mine, above in
            zip(protected.shape.dimensions, c.cell, cell.code, strict=True))]  # fmt: skip
        amounts: dict[str, float] = {}
        for c in inside:
            amounts[c.contributor] = amounts.get(c.contributor, 0) + c.value
        assert cell.contributors == len(amounts) and cell.value == pytest.approx(sum(amounts.values()))
        judged = sensitive(protected.rule, amounts.values())
        assert (cell.status is Status.PRIMARY) == (judged is not None)
        if not amounts:
            assert cell.status is Status.EMPTY
    known = intervals(protected.shape, {c.code: c.value for c in protected.cells}, protected.hidden)
    biggest = max((c.value for c in protected.cells), default=0.0)
    for cell in protected.cells:
        if cell.status is Status.PRIMARY:
            low, high = known[cell.code].low, known[cell.code].high
            assert high - low > 1e-8 * biggest
            assert low <= max(0.0, cell.value - cell.level) + 1e-6 * biggest
            assert high >= cell.value + cell.level - 1e-6 * biggest


def _below(dimension: Dimension, code: str, above: str) -> bool:
    parent = dict(dimension.parents)
    while code != above and code != TOTAL:
        code = parent[code]
    return code == above


_AMOUNT = st.integers(0, 60).map(float)


@st.composite
def tables(draw: st.DrawFn, shape: Shape) -> list[Contribution]:
    codes = leaves(shape)
    return [
        Contribution(draw(st.sampled_from("ABCDEFGH")), draw(st.sampled_from(codes)), draw(_AMOUNT))
        for _ in range(draw(st.integers(0, 24)))
    ]


@pytest.mark.parametrize("shape", [ONE, TWO, TREE], ids=["one-way", "two-way", "hierarchy"])
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_no_sensitive_cell_can_be_computed(shape: Shape, data: st.DataObject) -> None:
    contributions = data.draw(tables(shape))
    check(protect(shape, contributions, Rule()), contributions)


@settings(max_examples=40, deadline=None)
@given(contributions=tables(TWO))
def test_nobody_can_whole_numbers_counted_out(contributions: list[Contribution]) -> None:
    """The same against all whole-number tables that agree with what is published, where the margins are."""
    protected = protect(TWO, contributions, Rule())
    if any(TOTAL in code for code in protected.hidden) or len(protected.hidden) > 6:
        return
    full = {c.code: c.value for c in protected.cells}
    if max((full[c] for c in protected.hidden), default=0) > 40:
        return
    low, high = _brute(full, set(protected.hidden))
    for cell in protected.cells:
        if cell.status is Status.PRIMARY:
            assert high[cell.code] > low[cell.code]
            assert low[cell.code] <= max(0, cell.value - cell.level) + 1
            assert high[cell.code] >= cell.value + cell.level - 1


def test_a_single_hidden_cell_gets_company() -> None:
    contributions = [Contribution(f"{code}{n}", (code,), 10.0) for code in "xyzw" for n in range(4)]
    contributions = [c for c in contributions if c.contributor not in ("x2", "x3")]
    protected = protect(ONE, contributions, Rule())
    states = {c.code[0]: c.status for c in protected.cells}
    assert states["x"] is Status.PRIMARY and states[TOTAL] is Status.PUBLISHED
    assert list(states.values()).count(Status.COMPLEMENTARY) == 1
    shown = {c.code[0]: c.value for c in protected.public()}
    assert shown["x"] is None and shown[TOTAL] == 140.0 and list(shown.values()).count(None) == 2


def test_two_lone_firms_do_not_find_each_other() -> None:
    """x and y hold one firm each: hidden together, each could compute the other from the total."""
    contributions = [Contribution("X", ("x",), 10.0), Contribution("Y", ("y",), 20.0)]
    contributions += [Contribution(f"z{n}", ("z",), 30.0) for n in range(5)]
    contributions += [Contribution(f"w{n}", ("w",), 30.0) for n in range(5)]
    protected = protect(ONE, contributions, Rule())
    assert len(protected.hidden) == 3
    own = intervals(ONE, {c.code: c.value for c in protected.cells}, protected.hidden - {("x",)})
    assert own[("y",)].high >= 24 and own[("y",)].low <= 16


def test_a_holding_counts_as_one() -> None:
    contributions = [Contribution("holding", ("x",), 10.0) for _ in range(5)]
    protected = protect(ONE, contributions, Rule())
    cell = next(c for c in protected.cells if c.code == ("x",))
    assert cell.contributors == 1 and cell.status is Status.PRIMARY


def test_cells_hidden_before_stay_hidden() -> None:
    contributions = [Contribution(f"{code}{n}", (code,), 10.0) for code in "xyzw" for n in range(4)]
    assert protect(ONE, contributions, Rule()).hidden == frozenset()
    assert ("z",) in protect(ONE, contributions, Rule(), keep_hidden=frozenset({("z",)})).hidden


def test_an_empty_table_is_empty() -> None:
    assert {c.status for c in protect(TWO, [], Rule()).cells} == {Status.EMPTY}


@pytest.mark.parametrize(
    ("shape", "contributions", "code"),
    [
        (Shape(()), [], "aggregate.bad_dimensions"),
        (Shape((flat("a", "x"),) * 3), [], "aggregate.bad_dimensions"),
        (Shape((Dimension("a", (("x", "y"), ("y", "x"))),)), [], "aggregate.bad_code"),
        (Shape((Dimension("a", (("x", "q"),)),)), [], "aggregate.bad_code"),
        (Shape((flat("a", "x", "x"),)), [], "aggregate.bad_code"),
        (
            Shape((flat("a", *map(str, range(70))), flat("b", *map(str, range(70))))),
            [],
            "aggregate.too_large",
        ),
        (ONE, [Contribution("A", ("x",), -1.0)], "aggregate.bad_value"),
        (ONE, [Contribution("A", ("x",), float("nan"))], "aggregate.bad_value"),
        (ONE, [Contribution("A", ("q",), 1.0)], "aggregate.bad_cell"),
        (ONE, [Contribution("A", ("x", "y"), 1.0)], "aggregate.bad_cell"),
        (TREE, [Contribution("A", ("34", "x"), 1.0)], "aggregate.bad_cell"),
    ],
)
def test_what_makes_no_sense_is_refused(shape: Shape, contributions: list, code: str) -> None:
    with pytest.raises(InputError) as caught:
        protect(shape, contributions, Rule())
    assert caught.value.code == code


def test_a_table_of_a_region() -> None:
    """12 districts by 5 trades with 14 sub-trades, 1500 firms of very different size."""
    random = np.random.default_rng(7)
    trades = [(f"t{n}", TOTAL) for n in range(5)] + [(f"t{n % 5}.{n}", f"t{n % 5}") for n in range(14)]
    shape = Shape((Dimension("trade", tuple(trades)), flat("district", *(f"d{n}" for n in range(12)))))
    fine = [code for code, _ in trades if "." in code]
    contributions = []
    for n in range(1500):
        cell = (str(random.choice(fine)), f"d{random.integers(12)}")
        contributions.append(Contribution(f"f{n}", cell, float(random.pareto(1.2) * 100)))
    protected = protect(shape, contributions, Rule())
    check(protected, contributions)
    states = [c.status for c in protected.cells]
    assert states.count(Status.PRIMARY) > 10 and states.count(Status.PUBLISHED) > 150
