"""The kinds of organisation, which may stand where, and where one tenant ends and another begins.

The tree is region → zone → firm → plant → line → machine, with bodies of other kinds beside the firms. It
says who belongs where, not who may look: access runs down the tree only within a tenant. A firm with its
plants, lines and machines is one tenant; every other organisation is one by itself. So a region does not see
into its zones, nor a zone into its firms; what is theirs leaves them by a grant (part sharing) or, for public
bodies, by a mandate.
"""

from __future__ import annotations

import enum

from headrace.kernel.messages import Text


class OrgKind(enum.StrEnum):
    REGION = "region"
    ZONE = "zone"
    FIRM = "firm"
    PLANT = "plant"
    LINE = "line"
    MACHINE = "machine"
    SERVICE_PROVIDER = "service-provider"
    AUTHORITY = "authority"  # 管委会 and other public offices
    OPERATOR_COMPANY = "operator-company"  # the company that runs a zone for its authority: 管委会+公司
    ALLIANCE = "alliance"
    INSTITUTE = "institute"


TITLES: dict[OrgKind, Text] = {
    OrgKind.REGION: Text("区域", "Region"),
    OrgKind.ZONE: Text("园区", "Zone"),
    OrgKind.FIRM: Text("企业", "Firm"),
    OrgKind.PLANT: Text("工厂", "Plant"),
    OrgKind.LINE: Text("产线", "Line"),
    OrgKind.MACHINE: Text("设备", "Machine"),
    OrgKind.SERVICE_PROVIDER: Text("服务商", "Service provider"),
    OrgKind.AUTHORITY: Text("主管部门", "Authority"),
    OrgKind.OPERATOR_COMPANY: Text("运营公司", "Operator company"),
    OrgKind.ALLIANCE: Text("联盟", "Alliance"),
    OrgKind.INSTITUTE: Text("科研院所", "Institute"),
}

AREAS = frozenset({OrgKind.REGION, OrgKind.ZONE})
"""Public bodies: everyone may know them by name, and mandates may be given over them."""
WITHIN_FIRM = frozenset({OrgKind.PLANT, OrgKind.LINE, OrgKind.MACHINE})
"""Kinds that belong to the tenant of what they stand under."""

PARENTS: dict[OrgKind, frozenset[OrgKind]] = {
    OrgKind.REGION: frozenset({OrgKind.REGION}),  # a county in its city
    OrgKind.ZONE: frozenset({OrgKind.REGION}),
    OrgKind.PLANT: frozenset({OrgKind.FIRM}),
    OrgKind.LINE: frozenset({OrgKind.PLANT}),
    OrgKind.MACHINE: frozenset({OrgKind.PLANT, OrgKind.LINE}),
}
"""Under which kinds a kind may stand; those not named stand under a region or a zone."""


def may_stand(kind: OrgKind, parent: OrgKind | None) -> bool:
    """Whether `kind` may stand under `parent`; None is the top, where every tenant may stand (a plant node
    knows its firm and nothing above it)."""
    if parent is None:
        return kind not in WITHIN_FIRM
    return parent in PARENTS.get(kind, AREAS)


class MandateKind(enum.StrEnum):
    """How one organisation may act upon another."""

    GOVERN = "govern"  # an authority over a region or a zone
    OPERATE = "operate"  # an operator company for a region or a zone, in what it was charged with


MANDATE_HOLDERS: dict[MandateKind, OrgKind] = {
    MandateKind.GOVERN: OrgKind.AUTHORITY,
    MandateKind.OPERATE: OrgKind.OPERATOR_COMPANY,
}


class OrgState(enum.StrEnum):
    ACTIVE = "active"
    SUSPENDED = "suspended"  # nobody acts for it, until it is active again
    CLOSED = "closed"  # for good; its records stay
