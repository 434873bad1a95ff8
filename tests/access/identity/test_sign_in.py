"""Signing in: factors, pauses, links, recovery, and what a stranger can learn from the answers."""

from __future__ import annotations

import threading
from typing import Any

import msgspec
import pytest
import sqlalchemy as sa
from identity_world import NODE, PASSWORD, World, totp_secret

from headrace.access.identity import Hasher, Identity, Sealer, Strength, Unproven, totp
from headrace.access.identity._tables import account, link, recovery_code, session, token
from headrace.access.identity.config import IdentitySettings
from headrace.access.identity.lockout import pause_ns
from headrace.kernel.clock import NS_PER_S
from headrace.kernel.errors import Conflict, InputError, NotFound


def refused(act: Any, *args: Any, **kwargs: Any) -> str:
    with pytest.raises(Unproven) as error:
        act(*args, **kwargs)
    assert error.value.status == 401
    return error.value.code


def test_from_invitation_to_second_factor(world: World) -> None:
    identity = world.identity
    made = identity.accounts.create("Li.Hua", "李华", world.firm, NODE, by="t")
    assert (made.login, made.state.value, made.has_password) == ("li.hua", "invited", False)
    world.members.add(made.id, world.plant, "operator", NODE, by="t")
    secret = identity.accounts.make_link(made.id, NODE, by="t")
    signed = identity.proofs.redeem(secret, address="10.0.0.7", agent="Firefox")
    assert (signed.principal.must_enrol, signed.principal.roles) == ("password", ())
    assert refused(identity.proofs.redeem, secret) == "identity.bad_link"
    after = identity.proofs.set_password(signed.principal, PASSWORD)
    assert (after.must_enrol, after.method, after.strength) == ("", "password", Strength.ONE_FACTOR)
    assert after.orgs == (world.plant,)
    begun = identity.proofs.begin_totp(after)
    assert begun.uri.startswith("otpauth://totp/Headrace%3Ali.hua?")
    enrolled = world.enrol(signed)
    assert len(enrolled.codes) == 10 and len(set(enrolled.codes)) == 10
    now = identity.authenticate(session=signed.secret)
    assert now is not None and now.strength is Strength.TWO_FACTORS
    assert now.recent_second_factor(world.clock.now(), 60)
    assert refused(world.sign_in, "li.hua") == "identity.code_needed"
    assert refused(world.sign_in, "li.hua", code="000000") == "identity.wrong_code"
    again = world.sign_in("LI.HUA", code=world.code(enrolled))
    assert again.principal.strength is Strength.TWO_FACTORS
    assert identity.accounts.get(made.id, NODE).has_totp


def test_a_code_counts_once(world: World) -> None:
    world.person("ann")
    enrolled = world.enrol(world.sign_in("ann"))
    code = world.code(enrolled)
    world.sign_in("ann", code=code)
    assert refused(world.sign_in, "ann", code=code) == "identity.wrong_code"
    world.clock.advance(totp.STEP_S)
    world.sign_in("ann", code=world.code(enrolled))


def test_the_code_that_set_it_up_does_not_sign_in(world: World) -> None:
    world.person("ann")
    signed = world.sign_in("ann")
    enrolled = world.enrol(signed)
    earlier = totp.code_at(enrolled.secret, totp.step_at(world.clock.now()) - 1)  # within the window
    assert refused(world.sign_in, "ann", code=earlier) == "identity.wrong_code"


def test_recovery_codes_count_once_each(world: World) -> None:
    ann = world.person("ann")
    enrolled = world.enrol(world.sign_in("ann"))
    world.sign_in("ann", recovery=enrolled.codes[0].upper().replace("-", " "))
    assert refused(world.sign_in, "ann", recovery=enrolled.codes[0]) == "identity.wrong_code"
    signed = world.sign_in("ann", recovery=enrolled.codes[1])
    fresh = world.identity.proofs.new_recovery_codes(signed.principal)
    assert refused(world.sign_in, "ann", recovery=enrolled.codes[2]) == "identity.wrong_code"
    world.sign_in("ann", recovery=fresh[0])
    bob = world.person("bob")
    world.enrol(world.sign_in("bob"))
    assert refused(world.sign_in, "bob", recovery=fresh[1]) == "identity.wrong_code"  # another's
    world.identity.accounts.remove_totp(ann.id, NODE, by="t")
    assert world.sign_in("ann").principal.strength is Strength.ONE_FACTOR
    assert bob.id != ann.id


def test_pauses_double_up_to_a_quarter_of_an_hour() -> None:
    settings = IdentitySettings()
    pauses = [pause_ns(n, settings) // NS_PER_S for n in range(1, 20)]
    assert pauses == [0, 0, 0, 0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 900, 900, 900, 900, 900]
    assert pause_ns(10_000, settings) == 900 * NS_PER_S


def test_wrong_tries_pause_the_account_and_right_ones_end_it(world: World) -> None:
    world.person("ann")
    sign_in = world.identity.proofs.sign_in
    for _ in range(5):
        assert refused(sign_in, "ann", "wrong") == "identity.wrong_sign_in"
    assert refused(sign_in, "ann", PASSWORD) == "identity.paused"  # also the right one has to wait
    world.clock.advance(1)
    assert refused(sign_in, "ann", "wrong") == "identity.wrong_sign_in"
    with pytest.raises(Unproven) as error:
        sign_in("ann", PASSWORD)
    assert error.value.params == {"seconds": 2}
    assert error.value.text("zh") == "错误次数过多，请在 2 秒后再试"
    world.clock.advance(2)
    world.sign_in("ann")
    assert refused(sign_in, "ann", "wrong") == "identity.wrong_sign_in"
    world.sign_in("ann")  # the count began from nought


def test_an_administrator_ends_the_pause(world: World) -> None:
    ann = world.person("ann")
    for _ in range(5):
        refused(world.identity.proofs.sign_in, "ann", "wrong")
    assert world.identity.accounts.get(ann.id, NODE).locked_until is not None
    world.identity.accounts.unlock(ann.id, NODE, by="t")
    world.sign_in("ann")


def test_codes_are_paused_like_passwords_and_asking_for_one_costs_nothing(world: World) -> None:
    world.person("ann")
    enrolled = world.enrol(world.sign_in("ann"))
    for _ in range(4):
        assert refused(world.sign_in, "ann", code="123456") == "identity.wrong_code"
    for _ in range(20):
        assert refused(world.sign_in, "ann") == "identity.code_needed"
    assert refused(world.sign_in, "ann", code="123456") == "identity.wrong_code"
    assert refused(world.sign_in, "ann") == "identity.paused"
    assert refused(world.sign_in, "ann", code=world.code(enrolled)) == "identity.paused"


def test_guesses_at_the_same_moment_share_the_five_tries(world: World) -> None:
    world.person("ann")
    codes: list[str] = []

    def guess() -> None:
        codes.append(refused(world.process().proofs.sign_in, "ann", "wrong"))

    threads = [threading.Thread(target=guess) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (codes.count("identity.wrong_sign_in"), codes.count("identity.paused")) == (5, 7)


def test_a_stranger_cannot_tell_which_logins_there_are(world: World) -> None:
    world.person("ann")
    disabled = world.person("bob")
    world.identity.accounts.disable(disabled.id, NODE, by="t")
    world.identity.accounts.create("cas", "No password yet", world.firm, NODE, by="t")
    said = {}
    for login in ("ann", "bob", "cas", "nobody", "not a login!"):
        said[login] = [refused(world.identity.proofs.sign_in, login, "wrong") for _ in range(7)]
    assert set(map(tuple, said.values())) == {("identity.wrong_sign_in",) * 5 + ("identity.paused",) * 2}


def test_a_link_does_not_pass_by_the_second_factor(world: World) -> None:
    ann = world.person("ann")
    enrolled = world.enrol(world.sign_in("ann"))
    redeem = world.identity.proofs.redeem
    secret = world.identity.accounts.make_link(ann.id, NODE, by="t", purpose="recovery")
    assert refused(redeem, secret) == "identity.code_needed"
    assert refused(redeem, secret, code="000000") == "identity.wrong_code"
    signed = redeem(secret, code=world.code(enrolled))
    after = world.identity.proofs.set_password(signed.principal, "Another-Ladle-88")
    assert after.strength is Strength.TWO_FACTORS


def test_links_are_used_once_void_or_too_old(world: World) -> None:
    accounts, redeem = world.identity.accounts, world.identity.proofs.redeem
    ann = world.person("ann")
    first = accounts.make_link(ann.id, NODE, by="t")
    second = accounts.make_link(ann.id, NODE, by="t")
    assert refused(redeem, first) == "identity.bad_link"
    world.clock.advance(24 * 3600)
    assert refused(redeem, second) == "identity.bad_link"
    third = accounts.make_link(ann.id, NODE, by="t")
    accounts.disable(ann.id, NODE, by="t")
    assert refused(redeem, third) == "identity.bad_link"
    with pytest.raises(Conflict) as conflict:
        accounts.make_link(ann.id, NODE, by="t")
    assert conflict.value.code == "identity.account_disabled"


def test_step_up_shows_the_second_factor_again(world: World) -> None:
    world.person("ann")
    signed = world.sign_in("ann")
    with pytest.raises(Conflict) as conflict:
        world.identity.proofs.step_up(signed.principal, code="123456")
    assert conflict.value.code == "identity.no_totp"
    enrolled = world.enrol(signed)
    world.clock.advance(1200)
    stale = world.identity.authenticate(session=signed.secret)
    assert stale is not None and not stale.recent_second_factor(world.clock.now(), 900)
    assert refused(world.identity.proofs.begin_totp, stale) == "identity.sign_in_again"
    assert refused(world.identity.proofs.step_up, stale, code="000000") == "identity.wrong_code"
    fresh = world.identity.proofs.step_up(stale, code=world.code(enrolled))
    assert fresh.second_factor == world.clock.now()
    assert world.identity.authenticate(session=signed.secret) == fresh
    world.identity.sessions.sign_out(signed.secret)
    world.clock.advance(30)
    assert refused(world.identity.proofs.step_up, fresh, code=world.code(enrolled)) == "identity.signed_out"


def test_an_enrolment_is_for_one_session_and_ten_minutes(world: World) -> None:
    world.person("ann")
    one, two = world.sign_in("ann"), world.sign_in("ann")
    proofs = world.identity.proofs
    begun = proofs.begin_totp(one.principal)
    for principal, pending in [(two.principal, begun.pending), (one.principal, "x"), (one.principal, "甲")]:
        assert refused(proofs.confirm_totp, principal, pending, "123456") == "identity.enrolment_over"
    assert refused(proofs.confirm_totp, one.principal, begun.pending, "nope") == "identity.wrong_code"
    world.clock.advance(601)
    assert refused(proofs.confirm_totp, one.principal, begun.pending, "1") == "identity.enrolment_over"


def test_a_new_password_ends_the_other_sessions(world: World) -> None:
    world.person("ann")
    one, two = world.sign_in("ann"), world.sign_in("ann")
    proofs = world.identity.proofs
    new = "Another-Ladle-88"
    assert refused(proofs.set_password, one.principal, new, current="wrong") == "identity.wrong_password"
    with pytest.raises(InputError) as error:
        proofs.set_password(one.principal, PASSWORD, current=PASSWORD)
    assert error.value.code == "identity.password_same"
    proofs.set_password(one.principal, new, current=PASSWORD)
    assert world.identity.authenticate(session=one.secret) is not None
    assert world.identity.authenticate(session=two.secret) is None
    assert refused(world.sign_in, "ann") == "identity.wrong_sign_in"
    proofs.sign_in("ann", new)


def test_what_has_to_be_set_leaves_no_roles_until_it_is(world: World) -> None:
    world.person("ann")
    strict = msgspec.structs.replace(
        world.settings,
        second_factor="required",
        password_max_age=type(world.settings.link_life)(90 * 86_400 * NS_PER_S),
    )
    identity = world.process(settings=strict)
    signed = identity.proofs.sign_in("ann", PASSWORD)
    assert (signed.principal.must_enrol, signed.principal.roles) == ("totp", ())
    begun = identity.proofs.begin_totp(signed.principal)
    secret = totp_secret(begun.text)
    code = totp.code_at(secret, totp.step_at(world.clock.now()))
    identity.proofs.confirm_totp(signed.principal, begun.pending, code)
    ready = identity.authenticate(session=signed.secret)
    assert ready is not None and ready.must_enrol == "" and ready.roles
    world.clock.advance(91 * 86_400)
    code = totp.code_at(secret, totp.step_at(world.clock.now()))
    old = identity.proofs.sign_in("ann", PASSWORD, code=code).principal
    assert (old.must_enrol, old.roles) == ("password", ())
    assert identity.proofs.set_password(old, "Another-Ladle-88", current=PASSWORD).roles


def test_other_identity_services_sign_in_whom_they_vouch_for(world: World) -> None:
    identity = world.identity
    made = identity.accounts.create("ann", "Ann", world.firm, NODE, by="t")
    world.members.add(made.id, world.firm, "viewer", NODE, by="t")
    signed = identity.proofs.sign_in_external(made.id, method="oidc", strength=Strength.TWO_FACTORS)
    assert signed.principal.roles and signed.principal.second_factor == world.clock.now()
    weak = identity.proofs.sign_in_external(made.id, method="cas", strength=Strength.ONE_FACTOR)
    assert weak.principal.second_factor is None and weak.principal.method == "cas"
    identity.accounts.disable(made.id, NODE, by="t")
    external = identity.proofs.sign_in_external
    assert refused(external, made.id, method="oidc", strength=Strength.ONE_FACTOR) == "identity.wrong_sign_in"
    with pytest.raises(NotFound):
        external("0" * 32, method="oidc", strength=Strength.ONE_FACTOR)


def test_no_secret_stands_in_the_database(world: World) -> None:
    ann = world.person("ann")
    signed = world.sign_in("ann")
    enrolled = world.enrol(signed)
    text, _ = world.identity.tokens.create(ann.id, "x", ["*"], expires=world.clock.now() + 10**12, by=ann.id)
    invited = world.identity.accounts.create("bob", "Bob", world.firm, NODE, by="t")
    secret = world.identity.accounts.make_link(invited.id, NODE, by="t")
    with world.records.read() as connection:
        stored = repr(
            [
                connection.execute(sa.select(table)).all()
                for table in (account, link, recovery_code, session, token)
            ]
        )
    plain = [PASSWORD, signed.secret, text.rpartition("_")[2], secret, *enrolled.codes]
    plain += [code.replace("-", "") for code in enrolled.codes] + [repr(enrolled.secret)[2:-1]]
    assert [p for p in plain if p in stored] == []


def test_an_old_hash_is_made_anew_at_sign_in(world: World) -> None:
    ann = world.person("ann")
    stronger = Identity(
        world.events,
        world.settings,
        sealer=Sealer(b"k" * 32),
        hasher=Hasher(time_cost=2, memory_kib=16, lanes=1),
    )
    stronger.proofs.sign_in("ann", PASSWORD)
    with world.records.read() as connection:
        stored = connection.scalar(sa.select(account.c.password).where(account.c.id == ann.id))
    assert stored is not None and "$m=16,t=2,p=1$" in stored
    world.sign_in("ann")
