"""Policy files: what is refused and why, versions, effective dates, replacement."""

from pathlib import Path

import pytest

from headrace.access.decisions import Context, DecisionPoint, PolicyBook, Resource, load_policies
from headrace.access.identity import Held, Principal, PrincipalKind
from headrace.kernel.clock import ManualClock, parse_time
from headrace.kernel.errors import ConfigError

PLANT = frozenset({"firm", "plant"})
TAG = Resource("tag", "oven/zone1/setpoint", "plant", PLANT, machine="oven")


def person(role: str, factor: int | None = None) -> Principal:
    return Principal(
        kind=PrincipalKind.ACCOUNT,
        id="li",
        account="li",
        name="Li",
        roles=(Held(role, "plant"),),
        second_factor=factor,
    )


def policy(body: str, id: str = "own", version: str = "1", start: str = "2020-01-01", extra: str = "") -> str:
    return (
        f'@id("{id}") @version("{version}") @effective_from("{start}") {extra} '
        f'@zh("自订策略") @en("our own policy")\n{body}\n'
    )


def when(condition: str) -> str:
    return policy(f"permit (principal, action, resource) when {{ {condition} }};")


def load(folder: Path, *texts: str) -> PolicyBook:
    for i, text in enumerate(texts):
        (folder / f"{i}.cedar").write_text(text, encoding="utf-8")
    return load_policies([folder])


PERMIT = 'permit (principal in Role::"viewer", action == Action::"alarm.shelve", resource);'


def test_an_operators_policy_adds_to_the_built_in_ones(tmp_path: Path, clock: ManualClock) -> None:
    book = load(tmp_path, policy(PERMIT))
    yes = DecisionPoint(book, clock).decide(person("viewer"), "alarm.shelve", TAG)
    assert yes.allowed
    assert [(p.id, p.version, Path(p.source).name) for p in yes.policies] == [("own", 1, "0.cedar")]


def test_versions_come_into_force_and_end_on_their_dates(tmp_path: Path) -> None:
    book = load(
        tmp_path,
        policy(PERMIT, version="1", start="2024-01-01"),
        policy(PERMIT.replace("viewer", "developer"), version="2", start="2024-03-01T08:00:00+08:00"),
        policy(
            PERMIT.replace("viewer", "official"), id="brief", start="2024-02-01",
            extra='@effective_until("2024-02-02")',
        ),
    )  # fmt: skip
    clock = ManualClock(parse_time("2023-12-31T23:59:59.999999999Z"))
    point = DecisionPoint(book, clock)

    def at(moment: str) -> list[str]:
        clock.set(parse_time(moment))
        roles = ("viewer", "developer", "official")
        return [r for r in roles if point.decide(person(r), "alarm.shelve", TAG).allowed]

    assert at("2023-12-31T23:59:59.999999999Z") == []
    assert at("2024-01-01T00:00:00Z") == ["viewer"]
    assert at("2024-02-01T00:00:00Z") == ["viewer", "official"]
    assert at("2024-02-02T00:00:00Z") == ["viewer"]
    assert at("2024-02-29T23:59:59.999999999Z") == ["viewer"]
    assert at("2024-03-01T00:00:00Z") == ["developer"]
    assert at("2024-02-01T12:00:00Z") == ["viewer", "official"], "a clock that steps back decides as then"
    digests = {book.edition(parse_time(f"2024-0{m}-01T12:00:00Z")).digest for m in (1, 2, 3)}
    assert len(digests) == 3


def test_before_the_first_effective_date_nothing_is_allowed() -> None:
    clock = ManualClock(0)
    point = DecisionPoint(load_policies(), clock)
    assert point.decide(person("viewer"), "tag.read", TAG).code == "decision.no_permit"
    assert point.edition.policies == ()


def test_only_replaceable_policies_can_be_replaced(tmp_path: Path, clock: ManualClock) -> None:
    relaxed = policy(
        'forbid (principal, action == Action::"machine.write", resource)\n'
        'unless { context.approved || context.standing || resource.machine == "oven" };',
        id="dangerous-machine-write-second-person",
        extra='@code("decision.needs_approval")',
    )
    point = DecisionPoint(load(tmp_path, relaxed), clock)
    operator = person("operator", clock.now())
    # the built-in policy for all dangerous acts leaves machine.write to the replaceable one
    assert point.decide(operator, "machine.write", TAG).allowed
    press = Resource("tag", "press/force", "plant", PLANT, machine="press")
    assert point.decide(operator, "machine.write", press).code == "decision.needs_approval"
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, relaxed.replace("dangerous-machine-write-second-person", "dangerous-second-factor"))
    assert [p.code for p in caught.value.problems] == ["decision.policy_fixed"]


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("permit (principal, action, resource", "decision.policy_syntax"),
        (policy('permit (principal == ?principal, action, resource);'), "decision.policy_template"),
        (policy('permit (principal, action == Action::"tag.fly", resource);'), "decision.policy_invalid"),
        (when("resource.colour == 1"), "decision.policy_invalid"),
        (when("context.address.isLoopback()"), "decision.policy_invalid"),
        ("permit (principal, action, resource);", "decision.policy_annotation"),
        (policy(PERMIT, version="one"), "decision.policy_annotation"),
        (policy(PERMIT, start="soon"), "decision.policy_annotation"),
        (policy(PERMIT, start="1700000000"), "decision.policy_annotation"),
        (policy(PERMIT, extra='@effective_until("2019-01-01")'), "decision.policy_annotation"),
        (policy(PERMIT, extra='@code("decision.forbidden")'), "decision.policy_annotation"),
        (policy(PERMIT.replace("permit", "forbid"), extra='@code("x.y")'), "decision.policy_annotation"),
        (policy('permit (principal == Actor::"li", action, resource);'), "decision.policy_names_entity"),
        (policy('permit (principal, action, resource == Resource::"x");'), "decision.policy_names_entity"),
        (when('principal == Actor::"li"'), "decision.policy_names_entity"),
        (when('[resource].contains(resource)'), "decision.policy_names_entity"),
        (when('{"a": context} == {"a": context}'), "decision.policy_names_entity"),
        (policy('permit (principal in Role::"emperor", action, resource);'), "decision.policy_unknown_role"),
        (when('principal in [Role::"emperor"]'), "decision.policy_unknown_role"),
        (policy(PERMIT) + policy(PERMIT), "decision.policy_twice"),
        (policy(PERMIT, id="plant-viewer"), "decision.policy_fixed"),
    ],
)  # fmt: skip
def test_a_faulty_file_is_refused_whole_with_a_reason(tmp_path: Path, text: str, code: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, text)
    assert code in [p.code for p in caught.value.problems]
    assert all(p.file.endswith("0.cedar") for p in caught.value.problems)
    assert "{" not in caught.value.problems[0].text("zh").replace("{}", "")


def test_an_unreadable_file_is_a_problem(tmp_path: Path) -> None:
    (tmp_path / "x.cedar").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError) as caught:
        load_policies([tmp_path])
    assert [p.code for p in caught.value.problems] == ["decision.policy_unreadable"]


def test_a_policy_that_fails_while_it_is_evaluated_means_no(tmp_path: Path, clock: ManualClock) -> None:
    overflow = policy(
        'forbid (principal, action == Action::"alarm.read", resource)\n'
        "when { context.weekday * 9223372036854775807 > 0 && context.local_hour > 30 };"
    )
    clock.set(parse_time("2024-01-02T00:00:00Z"))  # a Tuesday: 2 * (2**63 - 1) overflows
    point = DecisionPoint(load(tmp_path, overflow), clock)
    refused = point.decide(person("viewer"), "alarm.read", TAG)
    assert (refused.code, refused.params["policy"]) == ("decision.policy_failed", "own")
    assert point.decide(person("viewer"), "tag.read", TAG).allowed, "other actions are not touched"


def test_hours_weekdays_and_addresses(tmp_path: Path) -> None:
    office = policy(
        'forbid (principal, action == Action::"alarm.shelve", resource)\n'
        "unless { context.local_hour >= 8 && context.local_hour < 18 && context.weekday <= 5 &&\n"
        '  context has address && context.address.isInRange(ip("10.1.0.0/16")) };'
    )
    clock = ManualClock(parse_time("2024-01-05T09:59:59Z"))  # Friday 17:59:59 in Shanghai
    point = DecisionPoint(load(tmp_path, office), clock)

    def shelve(address: str = "10.1.2.3") -> str:
        operator = person("operator")
        return point.decide(operator, "alarm.shelve", TAG, Context(address=address)).code

    assert shelve() == "decision.allowed"
    assert shelve("10.2.0.1") == "decision.forbidden"
    assert shelve("") == "decision.forbidden"
    assert shelve("not an address") == "decision.policy_failed"
    clock.advance(1)
    assert shelve() == "decision.forbidden", "18:00"
    clock.set(parse_time("2024-01-06T02:00:00Z"))
    assert shelve() == "decision.forbidden", "Saturday"
    refusal = point.decide(person("operator"), "alarm.shelve", TAG)
    assert refusal.text("zh") == "策略禁止搁置报警：自订策略"
    assert refusal.what_would_help == (), "nothing that the operator could do changes the day"


def test_a_new_book_takes_effect_at_once(tmp_path: Path, clock: ManualClock) -> None:
    point = DecisionPoint(load_policies(), clock)
    assert not point.decide(person("viewer"), "alarm.shelve", TAG).allowed
    point.replace(load(tmp_path, policy(PERMIT)))
    assert point.decide(person("viewer"), "alarm.shelve", TAG).allowed
