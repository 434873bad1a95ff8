"""Nobody gets in, and nothing is made, before a reviewer has said whose account it is."""

from typing import Any

import msgspec
import pytest

from headrace.access.federation import External, Links, LinkState, OidcProvider
from headrace.access.federation.config import FEDERATION, Attributes, Rule, completed
from headrace.access.identity.principal import Strength
from headrace.access.tenancy.scope import Scope
from headrace.kernel import config
from headrace.kernel.errors import ConfigError, Conflict, Denied, HeadraceError, NotFound
from headrace.kernel.messages import Text

RULES = (
    Rule("handlers", "handler", when={"type": ("agent",), "level": ("3", "4")}),
    Rule("others", "viewer", when={"type": ("legal", "agent")}),
)
PROVIDER = completed(
    OidcProvider(title=Text("x", "x"), issuer="https://idp.test", client_id="c", attributes=Attributes(),
                 rules=RULES)
)  # fmt: skip


def external(subject: str = "u-1", code: str = "", **attributes: tuple[str, ...]) -> External:
    return External("idp", subject, "王工", code, "甲厂", Strength.ONE_FACTOR, "oidc", 0, attributes)


@pytest.fixture
def links(node: Any) -> Links:
    return Links(node.events)


def counts(node: Any) -> tuple[int, int]:
    with node.records.read() as connection:
        return tuple(
            connection.exec_driver_sql(f"SELECT count(*) FROM {table}").scalar_one()
            for table in ("account", "membership")
        )


def test_an_arrival_makes_neither_account_nor_membership(node: Any, links: Links) -> None:
    before = counts(node)
    link = links.arrive(external(code=node.code, type=("agent",), level=("3",)), PROVIDER)
    assert (link.state, link.account, link.org, link.role, link.rule) == (
        LinkState.PENDING, None, node.firm, "handler", "handlers",
    )  # fmt: skip
    again = links.arrive(external(code=node.code, type=("agent",), level=("1",)), PROVIDER)
    assert (again.id, again.state, again.rule) == (link.id, LinkState.PENDING, "others")
    nobody = links.arrive(external("u-2", code="91370000000000000X"), PROVIDER)
    assert (nobody.org, nobody.role, nobody.rule) == (None, "", "")
    unknown = links.arrive(external("u-3", code="unregistered", type=("legal",)), PROVIDER)
    assert (unknown.org, unknown.rule) == (None, "others")
    assert counts(node) == before


def test_review_needs_another_person_and_the_state_they_saw(node: Any, links: Links) -> None:
    link = links.arrive(external(code=node.code, type=("legal",)), PROVIDER)
    firm = Scope.of([node.firm])
    with pytest.raises(Conflict, match="their own account"):
        links.approve(link.id, node.wang, firm, by=node.wang, version=1)
    with pytest.raises(Conflict, match="changed meanwhile"):
        links.approve(link.id, node.wang, firm, by=node.reviewer, version=2)
    with pytest.raises(NotFound):
        links.approve(link.id, "nobody", firm, by=node.reviewer, version=1)
    foreign = Scope.of([node.other])
    for act in (
        lambda: links.approve(link.id, node.wang, foreign, by="x", version=1),
        lambda: links.refuse(link.id, foreign, by="x", note="", version=1),
        lambda: links.end(link.id, foreign, by="x"),
        lambda: links.reopen(link.id, foreign, by="x"),
    ):
        with pytest.raises(NotFound):
            act()
    assert links.find(foreign) == ([], 0)
    done = links.approve(link.id, node.wang, firm, by=node.reviewer, version=1)
    assert (done.state, done.account, done.decided_by) == (LinkState.LINKED, node.wang, node.reviewer)
    assert links.arrive(external(code=node.code, type=("legal",)), PROVIDER).account == node.wang
    with pytest.raises(Conflict):
        links.approve(link.id, node.li, firm, by=node.reviewer, version=2)
    assert links.find(firm, state=LinkState.LINKED, account=node.wang)[1] == 1


def test_an_account_of_another_firm_cannot_be_linked(node: Any, links: Links) -> None:
    stranger = node.accounts.create("zhou", "zhou", node.other, node.all, by="t").id
    link = links.arrive(external(code=node.code, type=("legal",)), PROVIDER)
    with pytest.raises(NotFound):
        links.approve(link.id, stranger, Scope.of([node.firm]), by=node.reviewer, version=1)


def test_identities_without_an_organisation_are_for_the_whole_nodes_reviewers(
    node: Any, links: Links
) -> None:
    link = links.arrive(external(), PROVIDER)
    assert links.find(Scope.of([node.firm]))[1] == 0
    assert [found.id for found in links.find(node.all)[0]] == [link.id]


def test_coming_for_another_firm_needs_a_new_review(node: Any, links: Links) -> None:
    link = links.arrive(external(code=node.code, type=("legal",)), PROVIDER)
    links.approve(link.id, node.wang, node.all, by=node.reviewer, version=1)
    moved = links.arrive(external(code="91370000000000000X", type=("legal",)), PROVIDER)
    assert (moved.state, moved.wish, moved.version) == (LinkState.PENDING, node.wang, 3)


def test_refused_and_ended_are_told_so(node: Any, links: Links) -> None:
    link = links.arrive(external(), PROVIDER)
    links.refuse(link.id, node.all, by=node.reviewer, note="不认识", version=1)
    with pytest.raises(Denied, match="refused"):
        links.arrive(external(), PROVIDER)
    open_again = links.reopen(link.id, node.all, by=node.reviewer)
    assert open_again.state is LinkState.PENDING
    links.approve(link.id, node.li, node.all, by=node.reviewer, version=open_again.version)
    heard: list[str] = []
    node.events.listen(lambda e: heard.append(e.kind))
    links.end(link.id, node.all, by=node.reviewer, note="离职")
    assert "federation.ended" in heard
    with pytest.raises(Denied, match="was ended"):
        links.arrive(external(), PROVIDER)


def test_a_disabled_account_lets_nobody_in(node: Any, links: Links) -> None:
    link = links.arrive(external(), PROVIDER)
    links.approve(link.id, node.li, node.all, by=node.reviewer, version=1)
    node.accounts.disable(node.li, node.all, by=node.reviewer)
    with pytest.raises(Denied) as error:
        links.arrive(external(), PROVIDER)
    assert error.value.code == "federation.account_gone"


def test_a_wish_is_only_a_wish(node: Any, links: Links) -> None:
    link = links.arrive(external(), PROVIDER)
    wished = links.arrive(external(), PROVIDER, wish=node.wang)
    assert (wished.id, wished.state, wished.wish, wished.account) == (
        link.id, LinkState.PENDING, node.wang, None,
    )  # fmt: skip


TOML = """
[federation.province]
kind = "cas"
title = { zh = "省统一身份认证", en = "Provincial login" }
base = "https://login.example/cas"
profile = "shandong-cas"

[federation.idp]
kind = "oidc"
title = { zh = "集团登录", en = "Group login" }
issuer = "https://idp.example"
client_id = "headrace"
client_secret_file = "secret"
"""


def read(text: str, node: Any) -> Any:
    path = node.folder / "headrace.toml"
    path.write_text(text, encoding="utf-8")
    environ = {"HEADRACE_FEDERATION__IDP__CLIENT_SECRET": "from-environment"}
    return config.load(path, [FEDERATION], environ)[FEDERATION]


async def test_providers_come_from_the_configuration(node: Any) -> None:
    providers = read(TOML, node)
    (node.folder / "secret").write_text("from-file\n")
    assert providers["idp"].client_secret == "from-environment"
    own = node.federation(providers)
    assert [(c.id, c.kind) for c in own.choices] == [("province", "cas"), ("idp", "oidc")]
    with pytest.raises(NotFound):
        await own.begin("nothing", browser="b")
    with pytest.raises(NotFound):
        own.metadata("idp")
    await own.close()
    (node.folder / "secret").unlink()
    with pytest.raises(HeadraceError, match="cannot be used"):
        node.federation(providers)


@pytest.mark.parametrize(
    ("old", "new", "code"),
    [
        ('profile = "shandong-cas"', 'profile = "mars"', "federation.no_profile"),
        ('"secret"', '"secret"\nalgorithms = ["none"]', "federation.weak_algorithm"),
        ('"secret"', '"secret"\nalgorithms = ["HS256"]', "federation.weak_algorithm"),
        ('kind = "oidc"', 'kind = "certificate"\ntrust = ["ca.pem"]', None),
        ('base = "https://login.example/cas"', 'base = "ftp://x"', None),
    ],
)
def test_mistakes_in_the_configuration(node: Any, old: str, new: str, code: str | None) -> None:
    with pytest.raises(ConfigError) as error:
        read(TOML.replace(old, new), node)
    assert code is None or [p.code for p in error.value.problems] == [code]


def test_a_certificate_slot_without_lists_has_to_say_so(node: Any) -> None:
    text = '[federation.key]\nkind = "certificate"\ntitle = { zh = "钥", en = "Key" }\ntrust = ["ca.pem"]\n'
    path = node.folder / "headrace.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError) as error:
        config.load(path, [FEDERATION], {})
    assert [p.code for p in error.value.problems] == ["federation.revocation_unset"]
    path.write_text(text + "without_revocation = true\n", encoding="utf-8")
    read = config.load(path, [FEDERATION], {})[FEDERATION]
    assert msgspec.to_builtins(read["key"])["kind"] == "certificate"
