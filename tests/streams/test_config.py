"""Settings: what is accepted, and that everything wrong is said at once."""

import ssl
from pathlib import Path

import pytest
from pydantic import SecretStr, ValidationError

from streams.config import ConfigurationError, Settings, kafka_arguments, load, variable


def violations(monkeypatch: pytest.MonkeyPatch, **environment: str) -> list[str]:
    """Return what `load` finds wrong with these variables (without the prefix)."""
    for name, value in environment.items():
        monkeypatch.setenv(f"SEAWALL_{name}", value)
    with pytest.raises(ConfigurationError) as caught:
        load()
    assert str(caught.value) == "\n".join(caught.value.violations)
    return list(caught.value.violations)


def test_defaults_are_valid() -> None:
    """A gate on one's own machine needs no setting at all."""
    settings = load()
    assert settings.bootstrap_servers == "127.0.0.1:9092"
    assert settings.application_id == "seawall"
    assert settings.worker_id
    assert settings.worker_dir == Path("seawall-data", "seawall", settings.worker_id)
    assert settings.partitions is None
    assert (settings.session_timeout, settings.transaction_timeout, settings.checkpoint_interval) == (6, 30, 1)


def test_every_field_completes_its_sentence() -> None:
    """A field without a description could not say what it must be."""
    assert all(info.description for info in Settings.model_fields.values())


def test_values_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also those that only look unlike: spaces in a list, a variable set to nothing."""
    monkeypatch.setenv("SEAWALL_BOOTSTRAP_SERVERS", "one:9092, [::1]:9093")
    monkeypatch.setenv("SEAWALL_SESSION_TIMEOUT", "7.5")
    monkeypatch.setenv("SEAWALL_PARTITIONS", "64")
    monkeypatch.setenv("SEAWALL_SASL_USERNAME", "")
    settings = load()
    assert settings.bootstrap_servers == "one:9092,[::1]:9093"
    assert settings.session_timeout == 7.5
    assert settings.partitions == 64
    assert settings.sasl_username is None


def test_settings_do_not_change() -> None:
    """A worker is told once."""
    with pytest.raises(ValidationError, match="frozen"):
        Settings().partitions = 3  # type: ignore[misc]  # the type checker refuses it as well


@pytest.mark.parametrize(
    ("name", "value", "allowed"),
    [
        ("BOOTSTRAP_SERVERS", "kafka", "host:port of a broker, or several with commas between them"),
        ("BOOTSTRAP_SERVERS", "kafka:0", "host:port of a broker, or several with commas between them"),
        ("BOOTSTRAP_SERVERS", "kafka:65536", "host:port of a broker, or several with commas between them"),
        ("BOOTSTRAP_SERVERS", "http://kafka:9092", "host:port of a broker, or several with commas between them"),
        ("BOOTSTRAP_SERVERS", "a:1,,b:2", "host:port of a broker, or several with commas between them"),
        ("APPLICATION_ID", "sea wall", "1 to 100 letters, digits, dots, underscores or hyphens"),
        ("APPLICATION_ID", "seawall\n", "1 to 100 letters, digits, dots, underscores or hyphens"),
        ("TOPIC_PREFIX", "ö.", "at most 100 letters, digits, dots, underscores or hyphens"),
        ("WORKER_ID", "w" * 101, "1 to 100 letters, digits, dots, underscores or hyphens"),
        ("PARTITIONS", "0", "N, a whole number from 1 to 10000: partitions per account topic"),
        ("PARTITIONS", "4.5", "N, a whole number from 1 to 10000: partitions per account topic"),
        ("SECURITY_PROTOCOL", "TLS", "PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL"),
        ("SASL_MECHANISM", "GSSAPI", "PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512"),
        ("SSL_CAFILE", "/no/such/file", "a file of trusted certificates (PEM)"),
        (
            "SESSION_TIMEOUT",
            "5.9",
            "a number of seconds from 6 to 1800 (of silence until a worker loses its partitions)",
        ),
        (
            "TRANSACTION_TIMEOUT",
            "901",
            "a number of seconds from 1 to 900 (until a transaction left open is aborted)",
        ),
        (
            "CHECKPOINT_INTERVAL",
            "nan",
            "a number of seconds from 0.1 to 600 (between checkpoints of a partition)",
        ),
    ],
)
def test_an_invalid_value_is_named_with_what_is_allowed(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, allowed: str
) -> None:
    """One line: the variable, the value, the rule."""
    assert violations(monkeypatch, **{name: value}) == [f"SEAWALL_{name} was {value!r}: must be {allowed}"]


def test_an_unknown_variable_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    """A mistyped limit is one that does not hold; the harness's own variables are no settings."""
    monkeypatch.setenv("SEAWALL_TEST_ANYTHING", "1")
    assert violations(monkeypatch, TOPICS_PREFIX="a", QQQ="b") == [
        "SEAWALL_QQQ is no setting: unset it",
        "SEAWALL_TOPICS_PREFIX is no setting: did you mean SEAWALL_TOPIC_PREFIX?",
    ]


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        (
            {"SECURITY_PROTOCOL": "SASL_SSL", "SASL_USERNAME": "seawall"},
            [
                (
                    "SEAWALL_SASL_MECHANISM is missing: SEAWALL_SECURITY_PROTOCOL SASL_SSL"
                    " needs PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512"
                ),
                "SEAWALL_SASL_PASSWORD is missing: SEAWALL_SECURITY_PROTOCOL SASL_SSL needs a password",
            ],
        ),
        (
            {"SASL_PASSWORD": "hunter2"},
            [
                (
                    "SEAWALL_SASL_PASSWORD has no effect with SEAWALL_SECURITY_PROTOCOL PLAINTEXT:"
                    " use SASL_PLAINTEXT or SASL_SSL, or unset it"
                )
            ],
        ),
        (
            {"SSL_CAFILE": __file__},
            [
                (
                    "SEAWALL_SSL_CAFILE has no effect with SEAWALL_SECURITY_PROTOCOL PLAINTEXT:"
                    " use SSL or SASL_SSL, or unset it"
                )
            ],
        ),
        (
            {"SECURITY_PROTOCOL": "SSL", "SSL_CERTFILE": __file__},
            ["SEAWALL_SSL_KEYFILE is missing: SEAWALL_SSL_CERTFILE needs a file with its key (PEM, not encrypted)"],
        ),
        (
            {"SIGNING_KEY": __file__},
            ["SEAWALL_SIGNING_KEY_ID is missing: SEAWALL_SIGNING_KEY needs 1 to 64 printable ASCII characters"],
        ),
        (
            {"SIGNING_KEY_ID": "jo"},
            ["SEAWALL_SIGNING_KEY is missing: SEAWALL_SIGNING_KEY_ID needs a file with an Ed25519 private key (PEM)"],
        ),
        (
            {"SESSION_TIMEOUT": "20", "REQUEST_TIMEOUT": "18"},
            ["SEAWALL_SESSION_TIMEOUT was 20: must not be more than SEAWALL_REQUEST_TIMEOUT, which is 18"],
        ),
        (
            {"TRANSACTION_TIMEOUT": "10"},
            ["SEAWALL_TRANSACTION_TIMEOUT was 10: must not be less than SEAWALL_REQUEST_TIMEOUT, which is 15"],
        ),
    ],
)
def test_settings_that_do_not_go_together(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], expected: list[str]
) -> None:
    """Each valid alone."""
    assert violations(monkeypatch, **environment) == expected


def test_every_violation_is_reported_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Unknown, invalid and conflicting; but no conflict with a value that is itself invalid, and no password."""
    found = violations(
        monkeypatch,
        BOOTSTRAP="x",
        WORKER_ID="a b",
        SESSION_TIMEOUT="3",
        REQUEST_TIMEOUT="forever",
        TRANSACTION_TIMEOUT="2",
        SASL_PASSWORD="hunter2",
        SSL_KEYFILE=__file__,
    )
    assert [line.split()[0].removeprefix("SEAWALL_") for line in found] == [
        "BOOTSTRAP",
        "WORKER_ID",
        "SESSION_TIMEOUT",
        "REQUEST_TIMEOUT",
        "SASL_PASSWORD",
        "SSL_KEYFILE",
        "SSL_CERTFILE",
    ]
    assert "hunter2" not in "\n".join(found)


def test_arguments_of_a_plain_client() -> None:
    """Nothing but where and how long."""
    assert kafka_arguments(Settings(bootstrap_servers="kafka:9092")) == {
        "bootstrap_servers": "kafka:9092",
        "security_protocol": "PLAINTEXT",
        "request_timeout_ms": 15_000,
    }


def test_arguments_of_a_secured_client() -> None:
    """The password leaves its envelope only here."""
    settings = Settings(
        security_protocol="SASL_SSL",
        sasl_mechanism="SCRAM-SHA-512",
        sasl_username="seawall",
        sasl_password=SecretStr("hunter2"),
    )
    arguments = kafka_arguments(settings)
    context = arguments.pop("ssl_context")
    assert isinstance(context, ssl.SSLContext)
    assert context.check_hostname
    assert arguments == {
        "bootstrap_servers": "127.0.0.1:9092",
        "security_protocol": "SASL_SSL",
        "request_timeout_ms": 15_000,
        "sasl_mechanism": "SCRAM-SHA-512",
        "sasl_plain_username": "seawall",
        "sasl_plain_password": "hunter2",
    }
    assert "hunter2" not in repr(settings)


def test_a_certificate_that_is_none_is_a_configuration_error() -> None:
    """The file is there, so only its use can tell."""
    settings = Settings(security_protocol="SSL", ssl_cafile=Path(__file__))
    with pytest.raises(ConfigurationError, match=f"^TLS cannot use SEAWALL_SSL_CAFILE={__file__}: "):
        kafka_arguments(settings)


def test_variable_names_the_environment() -> None:
    """One rule for all settings."""
    assert variable("data_dir") == "SEAWALL_DATA_DIR"
