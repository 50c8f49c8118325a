"""Every notifier against a real receiver on loopback: one table of failures for all, then what each does by itself."""

from __future__ import annotations

import base64
import contextlib
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import msgspec
import pytest

from alerting import channels, lifecycle, message
from alerting.explain import Totals
from alerting.message import ItemView, Message
from alerting.notifiers import Delivery, Notifier, Taken, address, apprise_child, email, email_body, http, webhook
from alerting.notifiers.apprise import Apprise
from alerting.signal import Signal
from milepost import signing
from milepost.catalog.routing import Channel
from milepost.errors import ConfigurationError, Gone, MilepostError, Permanent, Transient, Unavailable
from milepost.settings import Alerting
from tests import providers
from tests.providers import Provider
from tests.receivers import RETRY_AFTER, Receiver, Trouble, closed_port, http_receiver, smtp_receiver

NOW = datetime(2026, 11, 20, 10, 0, tzinfo=UTC)
SECRET = "whsec_" + base64.b64encode(b"0123456789abcdef01234567").decode()
ENVIRON = {"HOOK_SECRET": SECRET}
NASTY = 'Late\r\nBcc: thief@example.org <script>alert("x")</script>'


def a_message(event: str = "opened", **fields: object) -> Message:
    seed = Signal("raise", "sla", "ack", {"warehouse": "north"}, "breach:1", NOW, title=NASTY, severity="critical")
    alert = lifecycle.opened("key", replace(seed, owner="anna", runbook="https://wiki.example.org/ack"), NOW)
    totals = Totals(2, 3, NOW, "S1 is late", {"EUR": Decimal("12.50")})
    counted = lifecycle.count(replace(alert, alert_id=17), totals, NOW)
    item = ItemView("breach:1", "S1 <b>is</b> late", NOW, None, {"carrier": "dhl"}, Decimal("12.50"), "EUR")
    made = message.compose(
        "opened", counted, totals, [item], public_url="https://milepost.example.org", thread="msg_first", at=NOW
    )
    return msgspec.structs.replace(made, event=event, **fields)


ACKNOWLEDGE = "https://milepost.example.org/acknowledge/token"
DELIVERY = Delivery("msg_first", a_message(), NOW, ACKNOWLEDGE)


def stage(event: str, **fields: object) -> Message:
    made = a_message(event)
    return msgspec.structs.replace(made, alert=msgspec.structs.replace(made.alert, **fields))


A_LIFE = [
    stage("opened", severity="warning"),
    stage("updated", severity="warning", items_open=3),
    stage("updated", severity="critical"),
    stage("acknowledged", state="acknowledged", acknowledged_by="ann", acknowledged_at=NOW),
    stage("resolved", state="resolved", resolved_at=NOW),
    stage("reopened"),
]


def settings(**fields: object) -> Alerting:
    plain = Alerting(notify_timeout=10.0, allow_private_receivers=True, mail_from="milepost@example.org")
    return msgspec.structs.replace(plain, **fields)


def a_webhook(port: int, **fields: object) -> Notifier:
    channel = Channel("hook", "webhook", url=f"http://127.0.0.1:{port}/in?a=b", secret_env="HOOK_SECRET")
    return channels.make(channel, settings(**fields), ENVIRON)


def an_email(port: int, to: tuple[str, ...] = ("ops@example.org",), user: str = "", timeout: float = 10.0) -> Notifier:
    channel = Channel("mail", "email", to=list(to))
    given = settings(smtp_url=f"smtp://{user}127.0.0.1:{port}", notify_timeout=timeout)
    return channels.make(channel, given, {})


SECRETS = {**ENVIRON, "SLACK_TOKEN": "xoxb-1-secret", "PAGERDUTY_KEY": "0123456789abcdef0123456789abcdef"}


def a_channel(kind: str, base: str) -> tuple[Channel, dict[str, str]]:
    """A channel of each kind at a receiver's address, with the variables that it needs."""
    match kind:
        case "webhook":
            return Channel(kind, "webhook", url=f"{base}/in", secret_env="HOOK_SECRET"), SECRETS
        case "slack":
            return Channel(kind, "slack", url=f"{base}/api", to=["#ops"], secret_env="SLACK_TOKEN"), SECRETS
        case "pagerduty":
            return Channel(kind, "pagerduty", url=f"{base}/v2/enqueue", secret_env="PAGERDUTY_KEY"), SECRETS
        case "alertmanager":
            return Channel(kind, "alertmanager", url=base), SECRETS
        case "slack-hook":
            return Channel(kind, "slack", url_env="ADDRESS"), {"ADDRESS": f"{base}/services/T0/B0/secret"}
        case "teams":
            return Channel(kind, "teams", url_env="ADDRESS"), {"ADDRESS": f"{base}/workflows/1?sig=secret"}
        case _:
            return Channel(kind, "apprise", url_env="ADDRESS"), {"ADDRESS": base.replace("http", "json", 1)}


PROVIDERS: dict[str, Callable[[], Provider]] = {
    "webhook": providers.SignedWebhook,
    "slack": providers.SlackApi,
    "slack-hook": providers.SlackWebhook,
    "teams": providers.TeamsWorkflow,
    "pagerduty": providers.PagerDutyEvents,
    "alertmanager": providers.AlertmanagerApi,
    "apprise": providers.AppriseJson,
}
DOUBLES = {"slack", "slack-hook", "teams", "apprise", "email"}
"""Their providers know no idempotency key: what was taken is sent again when the answer was lost."""


@dataclass(frozen=True)
class Kind:
    """A notifier with its receiver, arranged for one test."""

    name: str
    receiver: Receiver
    provider: Provider | None = None

    def make(self, timeout: float = 10.0, port: int | None = None) -> Notifier:
        """The notifier; Apprise's in this process, as starting another one for each case would take too long."""
        port = self.receiver.port if port is None else port
        if self.name == "email":
            return an_email(port, timeout=timeout)
        channel, environ = a_channel(self.name, f"http://127.0.0.1:{port}")
        made = channels.make(channel, settings(notify_timeout=timeout), environ)
        return replace(made, run=apprise_child.send) if isinstance(made, Apprise) else made

    def shown(self) -> int:
        """How many of the alert people have before them."""
        return len(self.provider.shown if self.provider else self.receiver.got)


KINDS = [*PROVIDERS, "email"]


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> Iterator[Kind]:
    if request.param == "email":
        with smtp_receiver() as receiver:
            yield Kind("email", receiver)
    else:
        provider = PROVIDERS[request.param]()
        with http_receiver(answer=provider) as receiver:
            yield Kind(request.param, receiver, provider)
        assert provider.complaints == []


# --- the table that every notifier passes -----------------------------------------------------------------------------

FAILURES: list[tuple[Trouble, type[MilepostError]]] = [
    ("hang", Transient),
    ("drip", Transient),
    ("hang up", Transient),
    ("rate limited", Transient),
    ("server error", Transient),
    ("client error", Permanent),
    ("redirect", Permanent),
    ("answer lost", Transient),
    ("malformed", Transient),
]
SHORT = 0.1
CANNOT = {
    # the status is all that their answers tell
    *{(name, "malformed") for name in ("webhook", "teams", "alertmanager", "apprise", "email")},
    ("apprise", "drip"),  # its process is killed, see below
}
CASES = [(name, *failure) for name in KINDS for failure in FAILURES if (name, failure[0]) not in CANNOT]


@pytest.mark.parametrize(("kind", "trouble", "expected"), CASES, indirect=["kind"])
def test_a_failure_is_told_by_its_type_and_loses_and_doubles_nothing(
    kind: Kind, trouble: Trouble, expected: type[MilepostError]
) -> None:
    kind.receiver.troubles = [trouble]
    with pytest.raises(expected) as caught:
        kind.make(SHORT if trouble in ("hang", "drip") else 10.0).deliver(DELIVERY)
    assert str(caught.value)
    assert "secret" not in str(caught.value)
    kind.receiver.has_had_its_troubles()
    if expected is Permanent:
        assert kind.shown() == 0
        return
    kind.make().deliver(DELIVERY)
    assert kind.shown() == (2 if trouble == "answer lost" and kind.name in DOUBLES else 1)


def test_a_rate_limit_says_when_to_come_back(kind: Kind) -> None:
    kind.receiver.trouble = "rate limited"
    with pytest.raises(Transient) as caught:
        kind.make().deliver(DELIVERY)
    silent = kind.name in ("email", "apprise")  # SMTP has no such word, and Apprise keeps it to itself
    assert caught.value.retry_after == (None if silent else RETRY_AFTER)


def test_nobody_listening_may_pass(kind: Kind) -> None:
    with pytest.raises(Transient):
        kind.make(port=closed_port()).deliver(DELIVERY)


def test_what_was_taken_was_taken_once(kind: Kind) -> None:
    assert kind.make().deliver(DELIVERY).remark == ""
    assert (len(kind.receiver.seen), kind.shown()) == (1, 1)


def test_the_longest_texts_fit(kind: Kind) -> None:
    long = 'ä<b>&"' * 2000
    made = a_message()
    alert = msgspec.structs.replace(made.alert, summary=long, title=long, owner=long)
    items = [msgspec.structs.replace(made.items[0], summary=long)] * 20
    message = msgspec.structs.replace(made, headline=long, alert=alert, items=items, items_left_out=10_000)
    kind.make().deliver(replace(DELIVERY, message=message))
    assert kind.shown() == 1


def test_a_life_of_an_alert(kind: Kind) -> None:
    """Opened, worse, acknowledged, over, and firing again."""
    receipt: Mapping[str, str] = {}
    for number, told in enumerate(A_LIFE):
        delivery = Delivery(f"msg_{number}", told, NOW, receipt=receipt)
        receipt = kind.make().deliver(delivery).receipt or receipt
    assert kind.shown() == {"slack": 1, "pagerduty": 1, "alertmanager": 2}.get(kind.name, len(A_LIFE))


# --- TLS --------------------------------------------------------------------------------------------------------------


SECURE = [*(kind for kind in PROVIDERS if kind != "apprise"), "smtp", "smtps"]
OPENSSL = (
    "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2"
    " -subj /CN=localhost -addext subjectAltName=DNS:localhost -keyout - -out -"
)


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for localhost that nobody vouches for, with its key in one file."""
    tool = shutil.which("openssl")
    if tool is None:
        pytest.skip("needs openssl to make a certificate")
    path = tmp_path_factory.mktemp("tls") / "both.pem"
    made = subprocess.run(
        [tool, *OPENSSL.split()],
        check=True,
        capture_output=True,
        timeout=30,
    )
    path.write_bytes(made.stdout)
    return path


def secure(kind: str, port: int) -> Notifier:
    if kind in PROVIDERS:
        channel, environ = a_channel(kind, f"https://localhost:{port}")
        return channels.make(channel, settings(), environ)
    scheme, user = ("smtps", "me:secret@") if kind == "smtps" else ("smtp", "me:secret@")
    url = f"{scheme}://{user}localhost:{port}"
    return channels.make(Channel("mail", "email", to=["ops@example.org"]), settings(smtp_url=url), {})


@contextlib.contextmanager
def secure_receiver(kind: str, certificate: Path) -> Iterator[Receiver]:
    made = (
        http_receiver(certificate, PROVIDERS[kind]())
        if kind in PROVIDERS
        else smtp_receiver(certificate, tls=kind == "smtps")
    )
    with made as receiver:
        yield receiver


@pytest.mark.parametrize("kind", SECURE)
def test_a_certificate_that_nobody_vouches_for_is_refused(kind: str, certificate: Path) -> None:
    with secure_receiver(kind, certificate) as receiver:
        with pytest.raises(Permanent, match="certificate"):
            secure(kind, receiver.port).deliver(DELIVERY)
        assert receiver.seen == []


def test_apprise_refuses_such_a_certificate_too(certificate: Path) -> None:
    """Its log says so without a status, so that it is tried again."""
    with http_receiver(certificate, providers.AppriseJson()) as receiver:
        made = secure("apprise", receiver.port)
        assert isinstance(made, Apprise)
        with pytest.raises(Transient):
            replace(made, run=apprise_child.send).deliver(DELIVERY)
        assert receiver.seen == []


@pytest.mark.parametrize("kind", SECURE)
def test_a_certificate_that_the_operator_trusts(kind: str, certificate: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    with secure_receiver(kind, certificate) as receiver:
        secure(kind, receiver.port).deliver(DELIVERY)
        assert len(receiver.got) == 1
        assert receiver.passwords == ([] if kind in PROVIDERS else ["me:secret"])


# --- webhook ----------------------------------------------------------------------------------------------------------


def test_the_published_signature_vector() -> None:
    """From the tests of the Standard Webhooks reference libraries."""
    keys = signing.secrets_of("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    signed = signing.sign(keys, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}')
    assert signed == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_two_secrets_sign_twice_while_they_are_rotated() -> None:
    other = "whsec_" + base64.b64encode(b"x" * 64).decode()
    both = signing.sign(signing.secrets_of(f"{SECRET} {other}"), "msg", 1, b"{}")
    assert both.split(" ") == [signing.sign(signing.secrets_of(one), "msg", 1, b"{}") for one in (SECRET, other)]


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("", "empty"),
        ("hunter2", "whsec_"),
        ("whsec_???", "base64"),
        ("whsec_" + base64.b64encode(b"short").decode(), "24 to 64"),
    ],
)
def test_a_bad_secret_is_refused_without_being_shown(value: str, reason: str) -> None:
    channel = Channel("hook", "webhook", url="https://example.org", secret_env="HOOK_SECRET")
    with pytest.raises(ConfigurationError, match=reason) as caught:
        channels.make(channel, settings(), {"HOOK_SECRET": value})
    assert not value or value not in str(caught.value)


def test_a_webhook_without_secret_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="always signed"):
        channels.make(Channel("hook", "webhook", url="https://example.org"), settings(), {})


def test_the_request_is_signed_and_says_it_all() -> None:
    with http_receiver() as receiver:
        a_webhook(receiver.port).deliver(DELIVERY)
        (request,) = receiver.got
    assert request.path == "/in?a=b"
    assert request.headers["host"] == f"127.0.0.1:{receiver.port}"
    assert request.headers["webhook-id"] == "msg_first"
    assert request.headers["webhook-timestamp"] == str(int(NOW.timestamp()))
    expected = signing.sign(signing.secrets_of(SECRET), "msg_first", int(NOW.timestamp()), request.body)
    assert request.headers["webhook-signature"] == expected
    body = request.json
    assert (body["type"], body["timestamp"]) == ("alert.opened", "2026-11-20T10:00:00Z")
    assert body["data"]["url"] == "https://milepost.example.org/alerts/17"
    assert body["data"]["alert"]["money"] == {"EUR": "12.50"}
    assert (len(body["data"]["items"]), body["data"]["items_left_out"]) == (1, 1)


def test_the_body_of_a_message_never_changes() -> None:
    again = msgspec.convert(msgspec.json.decode(msgspec.json.encode(DELIVERY.message)), Message)
    assert webhook.payload(again) == webhook.payload(DELIVERY.message)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("12", 12),
        ("Fri, 20 Nov 2026 10:02:00 GMT", 120),
        ("Fri, 20 Nov 2026 09:00:00 GMT", 0),
        ("Fri, 20 Nov 2026 09:00:00 +99999999999999", None),
        ("soon", None),
    ],
)
def test_retry_after(value: str, expected: float | None) -> None:
    assert http.retry_after(value, NOW) == expected


def test_gone_is_more_than_a_refusal() -> None:
    with http_receiver() as receiver:
        receiver.trouble = "gone"
        with pytest.raises(Gone):
            a_webhook(receiver.port).deliver(DELIVERY)


# --- addresses --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "127.0.0.1",
        "10.1.2.3",
        "172.16.0.1",
        "192.168.1.1",
        "169.254.169.254",
        "100.64.0.1",
        "0.0.0.0",
        "224.0.0.1",
        "255.255.255.255",
        "::1",
        "::",
        "fe80::1%eth0",
        "fd00::1",
        "ff0e::1",
        "::ffff:10.0.0.1",
        "2002:7f00:1::",
        "64:ff9b::a00:1",
        "64:ff9b:1::a00:1",
        "::ffff:0:0",
        "::ffff:169.254.169.254",
        "::127.0.0.1",
        "2001:0:53aa:64c::80ff:fffe",
        "2002:a9fe:a9fe::",
        "fe80::a9fe:a9fe",
        "fec0::1",
        "fd00:ec2::254",
        "192.0.0.192",
        "100.100.100.200",
        "168.63.129.16",
        "198.18.0.1",
        "192.0.2.1",
        "240.0.0.1",
    ],
)
def test_private_addresses(text: str) -> None:
    assert not address.is_public(text)


@pytest.mark.parametrize("text", ["1.1.1.1", "2606:4700:4700::1111", "::ffff:1.1.1.1", "64:ff9b::101:101"])
def test_public_addresses(text: str) -> None:
    assert address.is_public(text)


SPELLINGS = [
    "127.0.0.1", "localhost", "LOCALHOST", "localhost.", "2130706433", "0x7f000001", "0x7f.1", "017700000001",
    "0177.0.0.01", "127.1", "127.0.1", "0", "0.0.0.0", "[::1]", "[::]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]",
    "[0:0:0:0:0:ffff:7f00:0001]", "127.0.0.1.", "１２７.０.０.１", "127。0。0。1", "ⓛocalhost",
]  # fmt: skip


@pytest.mark.parametrize("host", SPELLINGS)
def test_a_private_receiver_is_refused_and_never_connected_to(host: str) -> None:
    with http_receiver() as receiver:
        channel = Channel("hook", "webhook", url=f"http://{host}:{receiver.port}/", secret_env="HOOK_SECRET")
        notifier = channels.make(channel, settings(allow_private_receivers=False), ENVIRON)
        # a spelling that the resolver doesn't know leads nowhere
        with pytest.raises((Permanent, Unavailable), match=r"MILEPOST_ALLOW_PRIVATE_RECEIVERS|can't be resolved"):
            notifier.deliver(DELIVERY)
        assert receiver.seen == []


def test_one_private_address_among_public_ones_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name with several addresses must not get through by the order in which they are tried."""
    both = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (ip, 443)) for ip in ("1.1.1.1", "169.254.169.254")]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: both)
    with pytest.raises(Permanent, match="private address"):
        address.resolve("hooks.example.org", 443, allow_private=False)


def test_a_name_is_resolved_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that is public when checked and private when connected to gains nothing: there is no second look-up."""
    asked: list[object] = []
    real = socket.getaddrinfo

    def look_up(host: object, *args: object, **given: object) -> object:
        asked.append(host)
        return real("127.0.0.1" if host == "hooks.example.org" else host, *args, **given)  # type: ignore[arg-type]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    with http_receiver() as receiver:
        url = f"http://hooks.example.org:{receiver.port}/"
        channels.make(Channel("hook", "webhook", url=url, secret_env="HOOK_SECRET"), settings(), ENVIRON).deliver(
            DELIVERY
        )
        assert receiver.got[0].headers["host"] == f"hooks.example.org:{receiver.port}"
    assert [host for host in asked if host == "hooks.example.org"] == ["hooks.example.org"]


NO_ADDRESSES = [
    "ftp://example.org", "https://user:pw@example.org/", "https://@example.org/", "https://user@example.org",
    "example.org", "https://", "https:///path", "file:///etc/passwd", "gopher://127.0.0.1:6379/_",
    "unix:/run/docker.sock",
    "https://example.org:99999/", "https://example.org:-1/", "https://example.org:http/", "https://exa mple.org/",
    "https://example.org/\r\nX-Injected: 1", "https://exam\tple.org/", "https://example.org\\@127.0.0.1/",
    "https://a..b.例え/", "https://[::1/", "javascript:alert(1)", "//example.org/",
]  # fmt: skip


@pytest.mark.parametrize("url", NO_ADDRESSES)
def test_addresses_that_are_none(url: str) -> None:
    with pytest.raises(ConfigurationError):
        http.parse(url)


def test_a_bad_address_is_told_without_its_password() -> None:
    with pytest.raises(ConfigurationError) as told:
        http.parse("ftp://user:hunter2@example.org/")
    assert "hunter2" not in str(told.value)
    assert "example.org" in str(told.value)


# --- e-mail -----------------------------------------------------------------------------------------------------------


def test_a_mail_has_text_and_html_and_no_injected_header() -> None:
    with smtp_receiver() as receiver:
        an_email(receiver.port, ("ops@example.org", "lead@example.org")).deliver(DELIVERY)
        (mail,) = receiver.got
    assert mail["Subject"].startswith("[critical] Late Bcc: thief@example.org <script>")
    assert mail["Bcc"] is None
    assert mail["To"] == "ops@example.org, lead@example.org"
    assert mail["Message-ID"] == "<msg_first@example.org>"
    assert mail["References"] is None
    text = mail.get_body(("plain",)).get_content()
    assert "Owner: anna" in text
    assert "https://milepost.example.org/alerts/17" in text
    assert "S1 <b>is</b> late (since 20 Nov 2026 10:00 UTC, 12.50 EUR)" in text
    assert "… and 1 more" in text
    html = mail.get_body(("html",)).get_content()
    assert "<script>" not in html
    assert "S1 &lt;b&gt;is&lt;/b&gt; late" in html
    assert '<a href="https://wiki.example.org/ack">' in html


def test_a_runbook_that_is_no_web_address_is_no_link() -> None:
    made = a_message()
    alert = msgspec.structs.replace(made.alert, runbook="javascript:alert(1)")
    assert 'href="javascript' not in email_body.html(
        replace(DELIVERY, message=msgspec.structs.replace(made, alert=alert))
    )


def test_what_is_over_says_how_it_ended() -> None:
    made = a_message("resolved")
    item = msgspec.structs.replace(made.items[0], cleared_why="retracted")
    body = email_body.text(replace(DELIVERY, message=msgspec.structs.replace(made, items=[item])))
    assert "12.50 EUR, taken back by late evidence)" in body


def test_later_mails_of_an_alert_are_in_its_thread() -> None:
    with smtp_receiver() as receiver:
        an_email(receiver.port).deliver(Delivery("msg_second", a_message("resolved"), NOW))
        (mail,) = receiver.got
    assert mail["Message-ID"] == "<msg_second@example.org>"
    assert (mail["In-Reply-To"], mail["References"]) == ("<msg_first@example.org>", "<msg_first@example.org>")


def test_one_refused_recipient_is_a_remark_when_others_got_it() -> None:
    with smtp_receiver() as receiver:
        receiver.refuse = "gone@example.org"
        note = an_email(receiver.port, ("ops@example.org", "gone@example.org")).deliver(DELIVERY)
        assert len(receiver.got) == 1
    assert note == Taken("gone@example.org was refused: SMTP 550 no such mailbox")


def test_a_mail_server_that_drips_is_cut_off() -> None:
    with smtp_receiver() as receiver:
        receiver.trouble = "drip"
        with pytest.raises(Unavailable, match=r"was not done within 0\.2 s"):
            an_email(receiver.port, timeout=SHORT).deliver(DELIVERY)


def test_a_mail_is_taken_whatever_the_farewell_is() -> None:
    with smtp_receiver() as receiver:
        receiver.trouble = "rude"
        an_email(receiver.port).deliver(DELIVERY)
        assert len(receiver.got) == 1


def test_a_password_never_goes_without_tls() -> None:
    with smtp_receiver() as receiver:
        with pytest.raises(Permanent, match="in the clear"):
            an_email(receiver.port, user="me:secret@").deliver(DELIVERY)
        assert receiver.got == []


@pytest.mark.parametrize("recipient", ["nobody", "a@b\r\nBcc: c@d", "a@", "@b", "a b@c", "a@b, c@d"])
def test_recipients_that_are_none(recipient: str) -> None:
    with pytest.raises(ConfigurationError, match="not an e-mail address"):
        an_email(25, (recipient,))


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("smtp://mail:1025", email.Server("mail", 1025, False)),
        ("smtps://u%40x:p%3Aw@mail", email.Server("mail", 465, True, "u@x", "p:w")),
    ],
)
def test_mail_server_addresses(url: str, expected: email.Server) -> None:
    assert email.parse(url) == expected


@pytest.mark.parametrize("url", ["", "http://mail", "smtp://", "smtps://u:p%C3%A4ss@mail"])
def test_mail_server_addresses_that_are_none(url: str) -> None:
    with pytest.raises(ConfigurationError, match="MILEPOST_SMTP_URL"):
        email.parse(url)
