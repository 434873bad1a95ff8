"""Files of the authority, what it signs, and its lists."""

import stat
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from headrace.access.pki import Authority, Identity, PkiSettings, Usage, keys
from headrace.access.pki.config import PKI
from headrace.kernel import config
from headrace.kernel.clock import NS_PER_S, ManualClock
from headrace.kernel.errors import ConfigError, Conflict, Corrupt, Denied, InputError, NotFound

SETTINGS = PkiSettings()
YEAR_S = 365 * 86_400


def create(folder: Path, clock: ManualClock, passphrase: str | None = None) -> Authority:
    return Authority.create(folder, node="plant-1", clock=clock, settings=SETTINGS, passphrase=passphrase)


def test_private_files_are_for_their_owner(tmp_path: Path) -> None:
    create(tmp_path / "pki", ManualClock())
    modes = {p.name: stat.S_IMODE(p.stat().st_mode) for p in (tmp_path / "pki").iterdir()}
    assert modes == {
        "root.pem": 0o644, "root.key": 0o600, "root.crl.pem": 0o644,
        "issuing-1.pem": 0o644, "issuing-1.key": 0o600,
    }  # fmt: skip
    assert stat.S_IMODE((tmp_path / "pki").stat().st_mode) == 0o700


def test_opens_with_its_passphrase_only(tmp_path: Path) -> None:
    clock = ManualClock()
    made = create(tmp_path / "pki", clock, "keep this")
    assert b"ENCRYPTED" in (tmp_path / "pki" / "root.key").read_bytes()
    assert b"ENCRYPTED" in (tmp_path / "pki" / "issuing-1.key").read_bytes()
    opened = Authority.open(tmp_path / "pki", clock=clock, settings=SETTINGS, passphrase="keep this")
    assert (opened.fingerprint, opened.node) == (made.fingerprint, "plant-1")
    for passphrase, code in ((None, "pki.passphrase_missing"), ("other", "pki.passphrase_wrong")):
        with pytest.raises(Denied) as error:
            Authority.open(tmp_path / "pki", clock=clock, settings=SETTINGS, passphrase=passphrase)
        assert error.value.code == code


def test_an_exposed_or_damaged_key_is_refused(tmp_path: Path) -> None:
    clock = ManualClock()
    create(tmp_path / "pki", clock)
    key = tmp_path / "pki" / "issuing-1.key"
    key.chmod(0o640)
    with pytest.raises(Conflict, match="others may read"):
        Authority.open(tmp_path / "pki", clock=clock, settings=SETTINGS)
    key.chmod(0o600)
    key.write_bytes(keys.dump(keys.generate()))
    with pytest.raises(Corrupt, match="does not match its key"):
        Authority.open(tmp_path / "pki", clock=clock, settings=SETTINGS)
    key.write_bytes(b"-----BEGIN PRIVATE KEY-----\nAA==\n-----END PRIVATE KEY-----\n")
    with pytest.raises(Corrupt, match="not a private key"):
        Authority.open(tmp_path / "pki", clock=clock, settings=SETTINGS)
    with pytest.raises(NotFound):
        Authority.open(tmp_path / "nothing", clock=clock, settings=SETTINGS)
    with pytest.raises(Conflict):
        create(tmp_path / "pki", clock)
    with pytest.raises(InputError):
        Authority.create(tmp_path / "b", node="Not A Name", clock=clock, settings=SETTINGS)


def test_what_a_certificate_says(tmp_path: Path) -> None:
    clock = ManualClock()
    authority = create(tmp_path / "pki", clock)
    identity = Identity("plant-1", "org1", Usage.MACHINE, "gateway-7")
    made = authority.sign(keys.generate().public_key(), identity, ())
    made.verify_directly_issued_by(authority.issuer.certificate)
    get = made.extensions.get_extension_for_class
    assert get(x509.SubjectAlternativeName).value.get_values_for_type(x509.UniformResourceIdentifier) == [
        "spiffe://plant-1/org/org1/machine/gateway-7"
    ]
    assert list(get(x509.ExtendedKeyUsage).value) == [ExtendedKeyUsageOID.CLIENT_AUTH]
    assert get(x509.BasicConstraints).value.ca is False and get(x509.BasicConstraints).critical
    start, end = made.not_valid_before_utc.timestamp(), made.not_valid_after_utc.timestamp()
    assert start == clock.now() // NS_PER_S - 300
    assert end == clock.now() // NS_PER_S + 90 * 86_400


def test_the_issuer_is_renewed_before_it_shortens_a_certificate(tmp_path: Path) -> None:
    clock = ManualClock()
    authority = create(tmp_path / "pki", clock)
    assert not authority.issuer_due()
    clock.advance(5 * YEAR_S - 179 * 86_400)
    assert authority.issuer_due()
    (tmp_path / "pki" / "root.key").rename(tmp_path / "elsewhere.key")
    with pytest.raises(NotFound):
        authority.renew_issuer()
    (tmp_path / "elsewhere.key").rename(tmp_path / "pki" / "root.key")
    second = authority.renew_issuer()
    assert second.name == "Headrace plant-1 issuer 2"
    second.certificate.verify_directly_issued_by(authority.root)
    again = Authority.open(tmp_path / "pki", clock=clock, settings=SETTINGS)
    assert [i.name for i in again.issuers] == ["Headrace plant-1 issuer 1", "Headrace plant-1 issuer 2"]
    assert (
        x509.load_pem_x509_crl(again.root_crl)
        .extensions.get_extension_for_class(x509.CRLNumber)
        .value.crl_number
        == 2
    )


def test_lists_within_one_second_still_have_an_order(tmp_path: Path) -> None:
    clock = ManualClock()
    authority = create(tmp_path / "pki", clock)
    starts, after = [], 0
    for number in range(1, 4):
        crl = authority.crl(authority.issuer, [], number=number, after=after)
        after = int(crl.last_update_utc.timestamp()) * NS_PER_S
        starts.append(after)
    assert starts == sorted(set(starts)) and starts[-1] <= clock.now()


def test_lives_have_to_fit_each_other(tmp_path: Path) -> None:
    raw = {"pki": {"life": "10d", "renew_before": "10d", "overlap": "11d", "crl": "1d", "crl_every": "1d",
                   "root_years": 5}}  # fmt: skip
    with pytest.raises(ConfigError) as error:
        config.check(raw, [PKI], file=tmp_path / "headrace.toml")
    assert [p.code for p in error.value.problems] == [
        "pki.renewal_window", "pki.overlap_window", "pki.crl_window", "pki.issuing_outlives",
    ]  # fmt: skip
