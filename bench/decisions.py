"""Access decisions per CPU-second: batches as the API and the streams ask them.

    python bench/decisions.py [--quick] [--json]

`batched`: `decide_many` over distinct principals, resources and actions, warm. `first`: the same by a fresh
decision point, where many questions are new. `distinct`: under an operator's policy that looks at the
resource's and the principal's id, so that no two questions are equal: the worst case. `explained`: refusals
with what would help. `single`: `decide` one by one. The peer in the same run is Cedar through cedarpy by
itself: the same policies, parsed once, batched, all facts handed over, nothing reduced or remembered.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from collections.abc import Callable
from typing import Any

import cedarpy

from _report import report
from headrace.access.decisions import (
    DecisionPoint,
    PolicyBook,
    Request,
    Resource,
    load_policies,
    vocabulary,
)
from headrace.access.decisions._facts import Facts, Gatherer, Moment
from headrace.access.decisions.book import parse_policies
from headrace.access.decisions.vocabulary import CONTEXT, PRINCIPAL, RESOURCE
from headrace.access.identity import Held, Principal, PrincipalKind
from headrace.kernel.clock import SystemClock

WORDS = vocabulary()


def questions(count: int, now: int) -> list[Request]:
    """People of 50 firms with 4 plants each, machines of 200 tags; nine of ten ask within their own firm."""
    pick = random.Random(1)
    people = [r for r, role in WORDS.roles.items() if not (role.service or role.implicit)]
    actions = list(WORDS.actions)
    principals = [
        Principal(
            kind=PrincipalKind.ACCOUNT,
            id=f"u{i}",
            account=f"u{i}",
            name=f"u{i}",
            roles=tuple(
                Held(
                    pick.choice(people), pick.choice([f"firm{i % 50}", f"plant{i % 50}-{pick.randrange(4)}"])
                )
                for _ in range(pick.choice([1, 1, 2]))
            ),
            second_factor=now if i % 2 else None,
        )
        for i in range(1000)
    ]
    asked = []
    for i in range(count):
        principal = principals[pick.randrange(1000)]
        firm = int(principal.id[1:]) % 50 if pick.random() < 0.9 else pick.randrange(50)
        plant = f"plant{firm}-{pick.randrange(4)}"
        resource = Resource("tag", f"m{i % 37}/t{i}", plant, frozenset({f"firm{firm}", plant}), f"m{i % 37}")
        asked.append(Request(principal, pick.choice(actions), resource))
    return asked


def per_cpu_second(work: Callable[[], Any], count: int) -> float:
    start = time.process_time()
    work()
    return count / (time.process_time() - start)


def batches(point: DecisionPoint, asked: list[Request], *, explain: bool = False) -> None:
    for start in range(0, len(asked), 1000):
        point.decide_many(asked[start : start + 1000], explain=explain)


def looking_at_ids(book: PolicyBook) -> PolicyBook:
    text = (
        '@id("ids") @version("1") @effective_from("2020-01-01") @zh("编号") @en("ids")\n'
        'forbid (principal, action, resource) when { resource.id == "x" && principal.id == "y" };'
    )
    return PolicyBook([*book.policies, *parse_policies(text, "bench.cedar", [], WORDS)], WORDS)


def cedar_alone(book: PolicyBook, asked: list[Request], now: int) -> float:
    """Cedar's own rate, facts gathered beforehand."""
    gatherer = Gatherer(WORDS, 300.0)
    gathered = [(gatherer.gather(r, Moment(now, 12, 3)), r.action) for r in asked]
    found = [(facts, action) for facts, action in gathered if isinstance(facts, Facts)]
    static = {str(i): json.loads(p.body) for i, p in enumerate(book.edition(now).policies)}
    policies = cedarpy.PolicySet.from_json_str(
        json.dumps({"staticPolicies": static, "templates": {}, "templateLinks": []})
    )

    def run() -> None:
        for start in range(0, len(found), 1000):
            entities, requests = WORDS.entities(), []
            for i, (facts, action) in enumerate(found[start : start + 1000]):
                parents = [{"type": "Role", "id": role} for role in facts.roles]
                actor = dict(zip(PRINCIPAL, facts.principal, strict=True))
                thing = dict(zip(RESOURCE, facts.resource, strict=True))
                entities.append({"uid": {"type": "Actor", "id": str(i)}, "attrs": actor, "parents": parents})
                entities.append({"uid": {"type": "Resource", "id": str(i)}, "attrs": thing, "parents": []})
                context = dict(zip(CONTEXT, facts.context, strict=True))
                del context["address"]
                requests.append(
                    {
                        "principal": f'Actor::"{i}"',
                        "action": f'Action::"{action}"',
                        "resource": f'Resource::"{i}"',
                        "context": context,
                    }
                )
            cedarpy.is_authorized_batch(requests, policies, entities)

    return per_cpu_second(run, len(found))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="fewer questions")
    parser.add_argument("--json", action="store_true", help="one JSON object on the last line")
    options = parser.parse_args()
    count = 20_000 if options.quick else 200_000
    small = count // 20
    clock = SystemClock()
    book = load_policies()
    asked = questions(count, clock.now())
    point = DecisionPoint(book, clock)
    first = per_cpu_second(lambda: batches(point, asked[:small]), small)
    batches(point, asked)
    evaluations = point.evaluations
    batched = per_cpu_second(lambda: batches(point, asked), count)
    decisions = point.decide_many(asked)
    refused = [r for r, d in zip(asked, decisions, strict=True) if not d.allowed]
    batches(point, refused[:small], explain=True)
    explained = per_cpu_second(lambda: batches(point, refused[:small], explain=True), len(refused[:small]))
    single = per_cpu_second(
        lambda: [point.decide(r.principal, r.action, r.resource) for r in asked[:small]], small
    )
    worst = DecisionPoint(looking_at_ids(book), clock)
    distinct = per_cpu_second(lambda: batches(worst, asked[:small]), small)
    alone = cedar_alone(book, asked[:small], clock.now())
    report(
        "decisions",
        {
            "batched_per_cpu_s": batched,
            "first_per_cpu_s": first,
            "distinct_per_cpu_s": distinct,
            "explained_refusals_per_cpu_s": explained,
            "single_per_cpu_s": single,
            "questions": count,
            "evaluations": evaluations,
            "allowed_share": sum(d.allowed for d in decisions) / count,
        },
        peers={"cedarpy_batched_per_cpu_s": alone},
        ratios={"batched_to_cedarpy": batched / alone},
        details={"policies": len(book.edition(clock.now()).policies), "target_batched_per_cpu_s": 20_000},
        as_json=options.json,
        packages=("cedarpy",),
    )


if __name__ == "__main__":
    main()
