"""Settings from the environment, checked as a whole before anything starts."""

import difflib
import os
import re
import socket
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Final, Literal, NamedTuple, Self

from aiokafka.helpers import create_ssl_context
from pydantic import AfterValidator, Field, FilePath, SecretStr, ValidationError, model_validator
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, SettingsConfigDict

PREFIX: Final = "SEAWALL_"
"""A setting's environment variable is this and the field's name in capitals."""

TEST_PREFIX: Final = "SEAWALL_TEST_"
"""Variables of the test harness, which are no settings."""

# How long a client waits before it asks a broker again. A smaller pause wins nothing (the wait after a commit
# is another constant, the ledger's) and burns a core, and megabytes of log lines, while a broker is down.
PRODUCER_RETRY_BACKOFF_MS: Final = 50
READER_RETRY_BACKOFF_MS: Final = 20


class ConfigurationError(Exception):
    """The settings, or what they point at, do not allow a start.

    Attributes:
        violations: Every violation, one line each, in words for an operator.
    """

    def __init__(self, violations: Sequence[str]) -> None:
        super().__init__("\n".join(violations))
        self.violations = tuple(violations)


class Conflict(NamedTuple):
    """Settings that are valid alone and wrong together."""

    fields: frozenset[str]
    """The settings concerned. While one of them is invalid itself, the conflict is not worth a line."""
    violation: str


class ConflictsError(ValueError):
    """What `Settings` raises for its conflicts; pydantic hands it on inside its own error."""

    def __init__(self, conflicts: Sequence[Conflict]) -> None:
        super().__init__("\n".join(conflict.violation for conflict in conflicts))
        self.conflicts = tuple(conflicts)


def _servers(value: str) -> str:
    servers = [server.strip() for server in value.split(",")]
    for server in servers:
        host, _, port = server.rpartition(":")
        if (
            not re.fullmatch(r"[0-9]{1,5}", port)
            or not 0 < int(port) < 1 << 16
            or not re.fullmatch(r"[^\s/@]+", host)
        ):
            raise ValueError(server)
    return ",".join(servers)


def _seconds(low: float, high: float, why: str) -> FieldInfo:
    described = f"a number of seconds from {low:g} to {high:g} ({why})"
    info: FieldInfo = Field(ge=low, le=high, allow_inf_nan=False, description=described)
    return info


Servers = Annotated[str, AfterValidator(_servers)]
KafkaName = Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]*\z", max_length=100)]
"""What Kafka allows in the name of a topic, a group or a transactional id."""


def _host() -> str:
    return re.sub(r"[^A-Za-z0-9._-]", "-", socket.gethostname())[:100] or "worker"


class Settings(BaseSettings):
    """Everything a worker or a tool can be told. `load` reads it and reports every violation at once.

    A field's description completes the sentence "must be ...".
    """

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_ignore_empty=True, frozen=True, extra="forbid", hide_input_in_errors=True
    )

    bootstrap_servers: Servers = Field(
        default="127.0.0.1:9092", description="host:port of a broker, or several with commas between them"
    )
    data_dir: Path = Field(default=Path("seawall-data"), description="a folder for checkpoints")
    application_id: KafkaName = Field(
        default="seawall", min_length=1, description="1 to 100 letters, digits, dots, underscores or hyphens"
    )
    """Consumer group, and first part of every transactional id: workers with the same one share the work."""
    topic_prefix: KafkaName = Field(
        default="", description="at most 100 letters, digits, dots, underscores or hyphens"
    )
    """Stands before the name of every topic, so that several gates can share a broker."""
    worker_id: KafkaName = Field(
        default_factory=_host,
        min_length=1,
        description="1 to 100 letters, digits, dots, underscores or hyphens",
    )
    """Name of the worker, another for each of one application, and the same after a restart.

    Kafka's static membership: restarted under it, a worker has its partitions back at once. Default: the host.
    """
    partitions: int | None = Field(
        default=None,
        ge=1,
        le=10_000,
        description="N, a whole number from 1 to 10000: partitions per account topic",
    )
    """None: as topics.yaml declares."""

    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = Field(
        default="PLAINTEXT", description="PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL"
    )
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] | None = Field(
        default=None, description="PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512"
    )
    sasl_username: str | None = Field(default=None, description="a user name")
    sasl_password: SecretStr | None = Field(default=None, description="a password")
    ssl_cafile: FilePath | None = Field(default=None, description="a file of trusted certificates (PEM)")
    ssl_certfile: FilePath | None = Field(default=None, description="a file with a client certificate (PEM)")
    ssl_keyfile: FilePath | None = Field(default=None, description="a file with its key (PEM, not encrypted)")

    signing_key: FilePath | None = Field(default=None, description="a file with an Ed25519 private key (PEM)")
    """Signs the commands that tools send; `streams.signatures` reads it when there is one to sign."""
    signing_key_id: str | None = Field(
        default=None, pattern=r"^[\x20-\x7e]{1,64}\z", description="1 to 64 printable ASCII characters"
    )
    """The id under which the operator keys list its public key."""

    session_timeout: Annotated[float, _seconds(6, 1800, "of silence until a worker loses its partitions")] = 6.0
    """Brokers allow no less than 6, unless told to."""
    rebalance_timeout: Annotated[float, _seconds(1, 1800, "for every worker to let go in a rebalance")] = 10.0
    request_timeout: Annotated[float, _seconds(1, 600, "for a broker to answer")] = 15.0
    transaction_timeout: Annotated[float, _seconds(1, 900, "until a transaction left open is aborted")] = 30.0
    """A dead worker that nobody replaces keeps read-committed readers waiting so long."""
    checkpoint_interval: Annotated[float, _seconds(0.1, 600, "between checkpoints of a partition")] = 1.0

    health_host: Annotated[str, Field(pattern=r"^[A-Za-z0-9._:-]+\z")] = Field(
        default="127.0.0.1", description="an address or host name of this machine"
    )
    """Where /livez and /readyz answer. They have no password: keep them off the network that others share."""
    health_port: int = Field(
        default=0, ge=0, le=65535, description="a port from 1 to 65535, or 0 for one that is free"
    )
    """0, so that workers on one host never collide: the log says which it is. A supervisor that asks sets one."""

    @property
    def worker_dir(self) -> Path:
        """Folder of this worker alone: RocksDB locks its folders, so two workers can share none."""
        return self.data_dir / self.application_id / self.worker_id

    @model_validator(mode="after")
    def _agree(self) -> Self:
        conflicts = [*_security_conflicts(self), *_signing_conflicts(self), *_timeout_conflicts(self)]
        if conflicts:
            raise ConflictsError(conflicts)
        return self


def variable(field: str) -> str:
    """Return the environment variable of the setting `field`."""
    return PREFIX + field.upper()


def load() -> Settings:
    """Return the settings in the process environment.

    Raises:
        ConfigurationError: With every violation: unknown variables (a mistyped setting is one that does not
            hold), invalid values, and values that do not go together. No password is ever part of the text.
    """
    given = {name.upper(): value for name, value in os.environ.items() if name.upper().startswith(PREFIX)}
    violations = list(_unknown_variables(given))
    settings, invalid, conflicts = _attempt({})
    if invalid:
        # Conflicts show only once every field is valid, so defaults stand in for what is not.
        _, _, conflicts = _attempt({field: _default(field) for field in invalid})
    violations += [_invalid_value(field, given.get(variable(field))) for field in invalid]
    violations += [conflict.violation for conflict in conflicts if conflict.fields.isdisjoint(invalid)]
    if violations or settings is None:
        raise ConfigurationError(violations)
    return settings


def kafka_arguments(settings: Settings) -> dict[str, Any]:
    """Return the keyword arguments that all aiokafka clients share: servers, security, the request timeout.

    Raises:
        ConfigurationError: If a certificate or key cannot be used.
    """
    arguments: dict[str, Any] = {
        "bootstrap_servers": settings.bootstrap_servers,
        "security_protocol": settings.security_protocol,
        "request_timeout_ms": round(settings.request_timeout * 1000),
    }
    if settings.security_protocol.endswith("SSL"):
        try:
            arguments["ssl_context"] = create_ssl_context(
                cafile=settings.ssl_cafile,
                certfile=settings.ssl_certfile,
                keyfile=settings.ssl_keyfile,
                password="",  # Without one, an encrypted key stops a service at a prompt that nobody sees.
            )
        except OSError as error:
            files = {
                variable(field): str(getattr(settings, field))
                for field in ("ssl_cafile", "ssl_certfile", "ssl_keyfile")
                if getattr(settings, field) is not None
            }
            named = ", ".join(f"{name}={file}" for name, file in files.items()) or "the system's certificates"
            raise ConfigurationError([f"TLS cannot use {named}: {error}"]) from error
    if settings.sasl_password is not None:
        arguments["sasl_mechanism"] = settings.sasl_mechanism
        arguments["sasl_plain_username"] = settings.sasl_username
        arguments["sasl_plain_password"] = settings.sasl_password.get_secret_value()
    return arguments


def _attempt(replacements: Mapping[str, Any]) -> tuple[Settings | None, list[str], tuple[Conflict, ...]]:
    """Return the settings, or None with the names of invalid fields or, if there are none, the conflicts."""
    try:
        return Settings(**replacements), [], ()
    except ValidationError as error:
        errors = error.errors()
    invalid = sorted(
        {str(found["loc"][0]) for found in errors if found["loc"]}, key=list(Settings.model_fields).index
    )
    raised = [found["ctx"]["error"] for found in errors if not found["loc"]]
    return None, invalid, tuple(conflict for each in raised for conflict in each.conflicts)


def _default(field: str) -> object:
    return Settings.model_fields[field].get_default(call_default_factory=True)


def _described(field: str) -> str:
    return str(Settings.model_fields[field].description)


def _invalid_value(field: str, value: str | None) -> str:
    shown = "" if field == "sasl_password" else f" was {value!r}:"
    return f"{variable(field)}{shown} must be {_described(field)}"


def _unknown_variables(given: Mapping[str, str]) -> Iterator[str]:
    known = [variable(field) for field in Settings.model_fields]
    for name in sorted(given):
        if name not in known and not name.startswith(TEST_PREFIX):
            close = difflib.get_close_matches(name, known, n=1)
            advice = f"did you mean {close[0]}?" if close else "unset it"
            yield f"{name} is no setting: {advice}"


def _timeout_conflicts(settings: Settings) -> Iterator[Conflict]:
    def conflict(field: str, bound: str) -> Conflict:
        return Conflict(
            frozenset({field, "request_timeout"}),
            f"{variable(field)} was {getattr(settings, field):g}: must not be {bound} than"
            f" {variable('request_timeout')}, which is {settings.request_timeout:g}",
        )

    if settings.session_timeout > settings.request_timeout:
        yield conflict("session_timeout", "more")
    if settings.transaction_timeout < settings.request_timeout:
        # The coordinator would abort a transaction whose commit the client still waits for.
        yield conflict("transaction_timeout", "less")


def _security_conflicts(settings: Settings) -> Iterator[Conflict]:
    protocol = settings.security_protocol
    for field in ("sasl_mechanism", "sasl_username", "sasl_password"):
        missing = getattr(settings, field) is None
        if missing and protocol.startswith("SASL"):
            because = f"{variable('security_protocol')} {protocol}"
            yield Conflict(
                frozenset({field, "security_protocol"}),
                f"{variable(field)} is missing: {because} needs {_described(field)}",
            )
        if not missing and not protocol.startswith("SASL"):
            yield _without_effect(field, protocol, "SASL_PLAINTEXT or SASL_SSL")
    for field in ("ssl_cafile", "ssl_certfile", "ssl_keyfile"):
        if getattr(settings, field) is not None and not protocol.endswith("SSL"):
            yield _without_effect(field, protocol, "SSL or SASL_SSL")
    yield from _apart(settings, "ssl_certfile", "ssl_keyfile")


def _signing_conflicts(settings: Settings) -> Iterator[Conflict]:
    return _apart(settings, "signing_key", "signing_key_id")


def _apart(settings: Settings, one: str, other: str) -> Iterator[Conflict]:
    """Yield the conflict of two settings that are given together or not at all."""
    for missing, given in ((one, other), (other, one)):
        if getattr(settings, missing) is None and getattr(settings, given) is not None:
            yield Conflict(
                frozenset({missing, given}),
                f"{variable(missing)} is missing: {variable(given)} needs {_described(missing)}",
            )


def _without_effect(field: str, protocol: str, protocols: str) -> Conflict:
    """Return the conflict of a security setting that would be ignored while somebody relies on it."""
    return Conflict(
        frozenset({field, "security_protocol"}),
        f"{variable(field)} has no effect with {variable('security_protocol')} {protocol}:"
        f" use {protocols}, or unset it",
    )
