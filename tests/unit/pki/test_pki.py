"""Authority and leaves, judged by an independent path builder; inspection; the decision to renew."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.verification import PolicyBuilder, Store, VerificationError
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from aixgo_operator.pki import inspect
from aixgo_operator.pki.authority import (
    BACKDATE,
    Authority,
    InstallationAuthority,
    create_authority,
    load_authority,
    private_key_pem,
)
from aixgo_operator.pki.errors import AuthorityExpiredError, PKIError, UnparsableError
from aixgo_operator.pki.issue import KeyPair, LeafRequest, issue_leaf
from aixgo_operator.pki.renewal import Issue, IssueReason, Keep, decide, renewal_due_at

NOW = dt.datetime(2026, 3, 1, 12, 0, 0, 123456, tzinfo=dt.UTC)
DAY = dt.timedelta(days=1)
YEARS = 3650 * DAY
CA = create_authority(now=NOW, duration=YEARS)
OTHER_CA = create_authority(now=NOW, duration=YEARS)
NAME = "chat.team.svc"
SPIFFE = "spiffe://cluster.local/ns/team/agentruntime/chat"
REQUEST = LeafRequest(
    NAME, DAY, dns_names=(NAME, f"{NAME}.cluster.local", "*.chat-pods.team.svc"), uris=(SPIFFE,)
)
LEAF = issue_leaf(REQUEST, CA, now=NOW)


def secret(pair: KeyPair) -> dict[str, bytes]:
    return {"tls.crt": pair.cert_pem, "tls.key": pair.key_pem, "ca.crt": CA.cert_pem}


def policy(ca: Authority, at: dt.datetime) -> PolicyBuilder:
    return (
        PolicyBuilder()
        .store(Store(x509.load_pem_x509_certificates(ca.cert_pem)))
        .time(at.replace(tzinfo=None))
    )


def serves(pair: KeyPair, ca: Authority, name: str, at: dt.datetime = NOW) -> bool:
    """Whether a verifier that is not ours would accept the leaf of a server with this name."""
    verifier = policy(ca, at).build_server_verifier(x509.DNSName(name))
    try:
        verifier.verify(x509.load_pem_x509_certificate(pair.cert_pem), [])
    except VerificationError:
        return False
    return True


def calls_as(pair: KeyPair, ca: Authority, at: dt.datetime = NOW) -> list[str]:
    """The URI names under which a verifier that is not ours would accept the caller."""
    found = policy(ca, at).build_client_verifier().verify(x509.load_pem_x509_certificate(pair.cert_pem), [])
    return [str(n.value) for n in found.subjects or [] if isinstance(n, x509.UniformResourceIdentifier)]


class TestLeaves:
    @pytest.mark.parametrize("name", [NAME, f"{NAME}.cluster.local", "pod-1.chat-pods.team.svc"])
    def test_verifies_under_each_of_its_names(self, name: str) -> None:
        assert serves(LEAF, CA, name)

    @pytest.mark.parametrize("name", ["chat.other.svc", "a.b.chat-pods.team.svc", "team.svc"])
    def test_does_not_verify_under_other_names(self, name: str) -> None:
        assert not serves(LEAF, CA, name)

    def test_calls_as_its_spiffe_id(self) -> None:
        assert calls_as(LEAF, CA) == [SPIFFE]

    def test_verifies_only_with_its_own_authority(self) -> None:
        assert not serves(LEAF, OTHER_CA, NAME)

    def test_is_valid_from_a_little_earlier_to_its_end_and_no_longer(self) -> None:
        second = dt.timedelta(seconds=1)
        assert serves(LEAF, CA, NAME, NOW - BACKDATE + second)
        assert not serves(LEAF, CA, NAME, NOW - BACKDATE - second)
        assert serves(LEAF, CA, NAME, NOW + DAY - second)
        assert not serves(LEAF, CA, NAME, NOW + DAY + second)

    def test_without_the_server_usage_it_cannot_serve_but_call(self) -> None:
        pair = issue_leaf(replace(REQUEST, server=False), CA, now=NOW)
        assert not serves(pair, CA, NAME)
        assert calls_as(pair, CA) == [SPIFFE]

    def test_without_the_client_usage_it_cannot_call_but_serve(self) -> None:
        pair = issue_leaf(replace(REQUEST, client=False), CA, now=NOW)
        assert serves(pair, CA, NAME)
        with pytest.raises(VerificationError):
            calls_as(pair, CA)

    def test_a_client_with_nothing_but_a_uri(self) -> None:
        request = LeafRequest("", DAY, uris=(SPIFFE,), server=False)
        assert calls_as(issue_leaf(request, CA, now=NOW), CA) == [SPIFFE]

    def test_cannot_sign_a_certificate_itself(self) -> None:
        rogue = issue_leaf(REQUEST, Authority(LEAF.cert_pem, LEAF.key_pem), now=NOW)
        chain = x509.load_pem_x509_certificates(LEAF.cert_pem)
        verifier = policy(CA, NOW).build_server_verifier(x509.DNSName(NAME))
        with pytest.raises(VerificationError):
            verifier.verify(x509.load_pem_x509_certificate(rogue.cert_pem), chain)
        assert inspect.signed_by(rogue.cert_pem + LEAF.cert_pem, CA.cert_pem) is None

    def test_never_outlives_its_authority(self) -> None:
        short = create_authority(now=NOW, duration=dt.timedelta(hours=1))
        pair = issue_leaf(REQUEST, short, now=NOW)
        assert inspect.parse_certificate(pair.cert_pem).not_after == short.not_after

    def test_an_expired_authority_does_not_sign(self) -> None:
        with pytest.raises(AuthorityExpiredError):
            issue_leaf(REQUEST, CA, now=NOW + YEARS)

    @pytest.mark.parametrize(
        "request_",
        [LeafRequest("x", DAY), LeafRequest("x", DAY, ("x",), server=False, client=False)],
        ids=["no name", "no usage"],
    )
    def test_senseless_requests_are_errors(self, request_: LeafRequest) -> None:
        with pytest.raises(ValueError, match="a certificate needs a"):
            issue_leaf(request_, CA, now=NOW)

    def test_long_names_are_cut_in_the_subject_only(self) -> None:
        name = "a" * 63 + "." + "b" * 63 + ".svc"
        pair = issue_leaf(LeafRequest(name, DAY, (name,)), CA, now=NOW)
        assert serves(pair, CA, name)

    def test_every_leaf_has_its_own_key_and_serial(self) -> None:
        pairs = [issue_leaf(REQUEST, CA, now=NOW) for _ in range(5)]
        assert len({pair.key_pem for pair in pairs}) == 5
        assert len({inspect.parse_certificate(pair.cert_pem).serial_number for pair in pairs}) == 5

    def test_keys_never_show(self) -> None:
        for thing in (CA, LEAF, InstallationAuthority(CA, CA.cert_pem)):
            assert "PRIVATE" not in repr(thing)

    def test_an_rsa_authority_that_was_brought_along_signs_too(self) -> None:
        key = rsa.generate_private_key(65537, 2048)
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "Corporate")])
        usage = x509.load_pem_x509_certificate(CA.cert_pem).extensions.get_extension_for_class(x509.KeyUsage)
        certificate = (
            x509.CertificateBuilder(name, name, key.public_key(), 1, NOW, NOW + YEARS)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .add_extension(usage.value, critical=True)
            .sign(key, hashes.SHA256())
        )
        pem = certificate.public_bytes(serialization.Encoding.PEM)
        encoding = serialization.PrivateFormat.TraditionalOpenSSL
        key_pem = key.private_bytes(serialization.Encoding.PEM, encoding, serialization.NoEncryption())
        corporate = load_authority(pem, key_pem)
        assert inspect.signed_by(issue_leaf(REQUEST, corporate, now=NOW).cert_pem, pem) is not None


class TestInspection:
    def test_says_what_was_asked_for(self) -> None:
        info = inspect.parse_certificate(LEAF.cert_pem)
        assert info.dns_names == REQUEST.dns_names
        assert info.uris == (SPIFFE,)
        assert (info.server, info.client, info.is_ca) == (True, True, False)
        assert info.not_after == NOW.replace(microsecond=0) + DAY
        certificate = x509.load_pem_x509_certificate(LEAF.cert_pem)
        assert int(info.serial_number, 16) == certificate.serial_number
        assert info.serial_number == info.serial_number.lower()
        assert info.sha256_fingerprint == certificate.fingerprint(hashes.SHA256()).hex()

    def test_bundle_keeps_its_order(self) -> None:
        both = inspect.fingerprints(OTHER_CA.cert_pem + CA.cert_pem)
        assert both == inspect.fingerprints(OTHER_CA.cert_pem) + inspect.fingerprints(CA.cert_pem)
        assert all(certificate.is_ca for certificate in inspect.parse_bundle(CA.cert_pem))

    @pytest.mark.parametrize("text", [b"", b"no pem", LEAF.key_pem, LEAF.cert_pem[:300]])
    def test_what_is_no_certificate_is_an_error_without_its_text(self, text: bytes) -> None:
        with pytest.raises(UnparsableError) as caught:
            inspect.parse_certificate(text)
        assert str(caught.value) == "the certificate cannot be read"

    @given(st.binary(max_size=200), st.integers(0, len(LEAF.cert_pem)))
    def test_damaged_certificates_are_read_or_refused_never_a_crash(self, noise: bytes, at: int) -> None:
        damaged = LEAF.cert_pem[:at] + noise + LEAF.cert_pem[at + len(noise) :]
        try:
            inspect.parse_bundle(damaged)
            inspect.signed_by(damaged, CA.cert_pem)
        except UnparsableError:
            pass

    def test_key_of_another_certificate(self) -> None:
        other = issue_leaf(REQUEST, CA, now=NOW)
        assert inspect.key_matches(LEAF.cert_pem, LEAF.key_pem)
        assert not inspect.key_matches(LEAF.cert_pem, other.key_pem)

    def test_unusable_keys(self) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        locked = key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"x"),
        )
        for pem in (b"", b"no pem", locked, LEAF.cert_pem):
            with pytest.raises(UnparsableError):
                inspect.key_matches(LEAF.cert_pem, pem)

    def test_signer_is_found_in_a_bundle(self) -> None:
        found = inspect.signed_by(LEAF.cert_pem, OTHER_CA.cert_pem + CA.cert_pem)
        assert found == inspect.parse_certificate(CA.cert_pem)
        assert inspect.signed_by(LEAF.cert_pem, OTHER_CA.cert_pem) is None

    def test_chain_over_an_intermediate(self) -> None:
        root_key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "Root")])
        root = (
            x509.CertificateBuilder(name, name, root_key.public_key(), 1, NOW, NOW + YEARS)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .sign(root_key, hashes.SHA256())
            .public_bytes(serialization.Encoding.PEM)
        )
        middle = x509.load_pem_x509_certificate(CA.cert_pem)
        signed = (
            x509.CertificateBuilder(name, middle.subject, middle.public_key(), 2, NOW, NOW + YEARS)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .sign(root_key, hashes.SHA256())
            .public_bytes(serialization.Encoding.PEM)
        )
        assert inspect.signed_by(LEAF.cert_pem + signed, root) == inspect.parse_certificate(root)
        assert inspect.signed_by(LEAF.cert_pem, root) is None
        assert inspect.signed_by(LEAF.cert_pem + signed, OTHER_CA.cert_pem) is None


class TestInstallationAuthority:
    def test_survives_its_secret(self) -> None:
        created = InstallationAuthority.create(now=NOW, duration=YEARS)
        assert InstallationAuthority.from_secret(created.to_secret()) == created
        assert serves(issue_leaf(REQUEST, created.signer, now=NOW), created.signer, NAME)

    def test_a_bundle_of_old_and_new(self) -> None:
        both = InstallationAuthority(CA, CA.cert_pem + OTHER_CA.cert_pem)
        assert InstallationAuthority.from_secret(both.to_secret()) == both

    def test_a_pair_that_was_brought_along_trusts_its_certificate(self) -> None:
        data = {"ca.crt": CA.cert_pem, "ca.key": CA.key_pem}
        assert InstallationAuthority.from_secret(data) == InstallationAuthority(CA, CA.cert_pem)

    @pytest.mark.parametrize(
        ("change", "text"),
        [
            ({"ca.key": None}, "ca.key is missing"),
            ({"ca.crt": b"x"}, "cannot be read"),
            ({"ca.key": OTHER_CA.key_pem}, "does not belong"),
            ({"ca.crt": LEAF.cert_pem, "ca.key": LEAF.key_pem}, "not one of a certificate authority"),
            ({"trust-bundle.crt": OTHER_CA.cert_pem}, "lacks"),
        ],
    )
    def test_unusable_secrets(self, change: dict[str, bytes | None], text: str) -> None:
        data = InstallationAuthority(CA, CA.cert_pem).to_secret() | change
        with pytest.raises(PKIError, match=text):
            InstallationAuthority.from_secret({k: v for k, v in data.items() if v is not None})


class TestRenewal:
    def reason(
        self, data: dict[str, bytes] | None, request: LeafRequest = REQUEST, at: dt.datetime = NOW
    ) -> str:
        verdict = decide(data, request, CA.cert_pem, now=at)
        assert isinstance(verdict, Issue), verdict
        return verdict.reason

    def test_a_fresh_certificate_stays_until_two_thirds_of_its_life(self) -> None:
        verdict = decide(secret(LEAF), REQUEST, CA.cert_pem, now=NOW)
        assert isinstance(verdict, Keep)
        assert verdict.next_check_at == NOW.replace(microsecond=0) + dt.timedelta(hours=16)
        assert verdict.certificate == inspect.parse_certificate(LEAF.cert_pem)
        assert isinstance(decide(secret(LEAF), REQUEST, CA.cert_pem, now=NOW + dt.timedelta(hours=15)), Keep)

    def test_it_is_renewed_then(self) -> None:
        """O15: at two thirds of its life."""
        assert self.reason(secret(LEAF), at=NOW + dt.timedelta(hours=16)) == IssueReason.RENEWAL_DUE

    def test_there_is_none_yet(self) -> None:
        assert self.reason(None) == IssueReason.NOT_ISSUED
        assert self.reason({}) == IssueReason.NOT_ISSUED
        assert self.reason(secret(LEAF) | {"tls.key": b""}) == IssueReason.NOT_ISSUED

    @pytest.mark.parametrize("key", ["tls.crt", "tls.key"])
    def test_unreadable(self, key: str) -> None:
        """O15: what cannot be read is replaced."""
        assert self.reason(secret(LEAF) | {key: b"garbage"}) == IssueReason.UNPARSABLE

    def test_half_of_another_pair(self) -> None:
        other = issue_leaf(REQUEST, CA, now=NOW)
        assert self.reason(secret(LEAF) | {"tls.key": other.key_pem}) == IssueReason.KEY_MISMATCH

    def test_signed_by_another_authority(self) -> None:
        """O15: and what another authority signed."""
        foreign = secret(issue_leaf(REQUEST, OTHER_CA, now=NOW))
        assert self.reason(foreign) == IssueReason.CHAIN_INVALID
        # The leaf in hand decides, not an authority that came along with it.
        foreign["tls.crt"] += CA.cert_pem
        assert self.reason(foreign) == IssueReason.CHAIN_INVALID

    def test_other_names(self) -> None:
        """O15: and what is for other names."""
        for change in ({"dns_names": (NAME,)}, {"uris": (SPIFFE, f"{SPIFFE}2")}):
            assert self.reason(secret(LEAF), replace(REQUEST, **change)) == IssueReason.SAN_MISMATCH  # type: ignore[arg-type]

    def test_order_of_the_names_does_not_matter(self) -> None:
        request = replace(REQUEST, dns_names=REQUEST.dns_names[::-1])
        assert isinstance(decide(secret(LEAF), request, CA.cert_pem, now=NOW), Keep)

    def test_other_usages(self) -> None:
        assert self.reason(secret(LEAF), replace(REQUEST, server=False)) == IssueReason.USAGE_MISMATCH

    def test_expired(self) -> None:
        """O15: also when it is too late."""
        assert self.reason(secret(LEAF), at=NOW + DAY) == IssueReason.EXPIRED

    def test_from_the_future(self) -> None:
        assert self.reason(secret(LEAF), at=NOW - DAY) == IssueReason.NOT_YET_VALID

    @pytest.mark.parametrize("factor", [0.5, 2])
    def test_another_duration_is_wanted(self, factor: float) -> None:
        request = replace(REQUEST, duration=DAY * factor)
        assert self.reason(secret(LEAF), request) == IssueReason.DURATION_CHANGED

    @settings(max_examples=40, deadline=None)
    @given(
        duration=st.integers(600, 10_000_000),
        authority_life=st.integers(60, 20_000_000),
        later=st.floats(0, 1, exclude_max=True),
        microsecond=st.integers(0, 999_999),
    )
    def test_a_new_certificate_is_never_replaced_at_once(
        self, duration: int, authority_life: int, later: float, microsecond: int
    ) -> None:
        now = NOW.replace(microsecond=microsecond)
        ca = create_authority(now=now, duration=dt.timedelta(seconds=authority_life))
        request = replace(REQUEST, duration=dt.timedelta(seconds=duration))
        # Whenever it is issued in the authority's life, also near its end.
        issued = now + (ca.not_after - now) * later
        assume(issued < ca.not_after)  # rounding may reach the end
        data = secret(issue_leaf(request, ca, now=issued))
        verdict = decide(data, request, ca.cert_pem, now=issued)
        assert isinstance(verdict, Keep), verdict
        assert issued < verdict.next_check_at <= verdict.certificate.not_after or (
            verdict.certificate.not_after - issued < dt.timedelta(seconds=1)
        )
        before = max(issued, renewal_due_at(verdict.certificate) - dt.timedelta(seconds=1))
        if before < verdict.certificate.not_after:
            assert isinstance(decide(data, request, ca.cert_pem, now=before), Keep)

    def test_a_hundred_looks_with_one_clock_issue_once(self) -> None:
        """O14: no churn."""
        data, issued = None, 0
        for _ in range(100):
            verdict = decide(data, REQUEST, CA.cert_pem, now=NOW)
            if isinstance(verdict, Issue):
                issued += 1
                data = secret(issue_leaf(REQUEST, CA, now=NOW))
        assert issued == 1


def test_private_keys_are_pkcs8() -> None:
    assert private_key_pem(ec.generate_private_key(ec.SECP256R1())).startswith(b"-----BEGIN PRIVATE KEY-----")
