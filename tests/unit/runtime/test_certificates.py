"""The certificate bundle: what is served, what is refused, and that the old one goes on."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from cryptography.x509.oid import ExtendedKeyUsageOID
from tests.support.pki import HOUR, Authority

from aixgo.rpc.certificates import CertificateStore, InvalidCertificateError, check_bundle, load_bundle
from aixgo_cli.conformance.volumes import replace_volume


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


def test_a_good_bundle_is_described(authority: Authority) -> None:
    leaf = authority.runtime("r", "team")
    bundle = check_bundle(leaf.certificate, leaf.key, leaf.ca, "server")
    assert bundle.serial_number == leaf.serial
    assert len(bundle.sha256_fingerprint) == 64
    assert len(bundle.trust_bundle) == 1
    assert "PRIVATE" not in repr(bundle)


def test_an_intermediate_and_two_roots(authority: Authority) -> None:
    other = Authority("new CA")
    leaf = other.runtime("r", "team")
    bundle = check_bundle(leaf.certificate, leaf.key, authority.pem + other.pem, "server")
    assert len(bundle.trust_bundle) == 2


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda a: {"certificate": b"garbage"}, "no readable certificate"),
        (lambda a: {"key": b"garbage"}, "no readable private key"),
        (lambda a: {"key": a.runtime("r", "team").key}, "does not belong"),
        (lambda a: {"ca": Authority("foreign").pem}, "not signed by a valid CA"),
        (lambda a: {"ca": b""}, "no readable certificate"),
    ],
)
def test_a_bad_part_is_refused(authority: Authority, change: object, text: str) -> None:
    leaf = authority.runtime("r", "team")
    parts = {"certificate": leaf.certificate, "key": leaf.key, "ca": leaf.ca} | change(authority)  # type: ignore[operator]
    with pytest.raises(InvalidCertificateError, match=text):
        check_bundle(parts["certificate"], parts["key"], parts["ca"], "server")


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"ends": -timedelta(minutes=1)}, "expired on"),
        ({"starts": HOUR}, "valid from"),
        ({"usages": (ExtendedKeyUsageOID.CLIENT_AUTH,)}, "not for a server"),
    ],
)
def test_a_leaf_that_cannot_serve_is_refused(authority: Authority, options: dict, text: str) -> None:
    leaf = authority.runtime("r", "team", **options)
    with pytest.raises(InvalidCertificateError, match=text):
        check_bundle(leaf.certificate, leaf.key, leaf.ca, "server")


def test_an_expired_authority_is_refused() -> None:
    old = Authority(valid=-timedelta(minutes=1))
    leaf = old.runtime("r", "team")
    with pytest.raises(InvalidCertificateError, match="not signed by a valid CA"):
        check_bundle(leaf.certificate, leaf.key, leaf.ca, "server")


def test_a_missing_file_is_named_without_its_path(tmp_path: Path) -> None:
    with pytest.raises(InvalidCertificateError) as caught:
        load_bundle(tmp_path)
    assert "tls.crt" in str(caught.value)
    assert str(tmp_path) not in str(caught.value)


def test_the_store_follows_the_volume_and_keeps_the_old_on_failure(
    authority: Authority, tmp_path: Path
) -> None:
    reports: list[str | None] = []
    first, second = authority.runtime("r", "team"), authority.runtime("r", "team")
    replace_volume(tmp_path, first.files())
    store = CertificateStore(tmp_path, reports.append)
    assert store.refresh().serial_number == first.serial
    assert reports == []

    replace_volume(tmp_path, {**second.files(), "tls.key": first.key})
    assert store.refresh().serial_number == first.serial
    assert store.last_reload_error == "the private key does not belong to the certificate"

    replace_volume(tmp_path, second.files())
    assert store.refresh().serial_number == second.serial
    assert store.last_reload_error is None
    assert reports == ["the private key does not belong to the certificate", None]
    store.refresh()
    assert len(reports) == 2, "an unchanged volume is no reload"
