"""Signatures of operators' commands: Ed25519 keys in files, signing and verifying.

What is signed, and which commands need it, `models.authority` says. A private key is read from its file when a
command is to be signed; nothing prints it.
"""

import os
import stat
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple, TypeVar

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

from models.authority import signed_bytes
from models.canonical import canonical_bytes
from models.messages import Command
from streams.config import ConfigurationError, Settings, variable

C = TypeVar("C", bound=Command)

PUBLIC_SUFFIX = ".pub"
"""What is added to the name of a private key's file to name that of its public key."""
_OTHERS = stat.S_IRWXG | stat.S_IRWXO


class KeyFileError(ConfigurationError):
    """A file holds no key that can be used, or lets others read a private one."""


class Signer(NamedTuple):
    """A private key, and the id under which operator keys list its public one."""

    key_id: str
    key: Ed25519PrivateKey

    def __repr__(self) -> str:
        return f"Signer({self.key_id!r})"

    @property
    def public_key(self) -> str:
        """The public key in hexadecimal, as an `operator_keys` record has it."""
        return public_text(self.key.public_key())

    def sign(self, message: C, topic: str) -> C:
        """Return the message signed for a topic; every field of it is then said."""
        unsigned = message.model_copy(update={"signed_by": self.key_id, "signature": None})
        read = type(message).model_validate_json(canonical_bytes(unsigned))  # as whoever verifies will have it
        return read.model_copy(update={"signature": self.key.sign(signed_bytes(read, topic)).hex()})


def verify(public_key: str, signature: str, signed: bytes) -> bool:
    """Tell whether a signature over bytes is that of a public key; both in hexadecimal."""
    try:
        _public(public_key).verify(bytes.fromhex(signature), signed)
    except (InvalidSignature, ValueError):
        return False
    return True


@lru_cache(maxsize=64)
def _public(key: str) -> Ed25519PublicKey:
    return Ed25519PublicKey.from_public_bytes(bytes.fromhex(key))


def public_text(key: Ed25519PublicKey) -> str:
    """Return a public key as records have it: 32 bytes in hexadecimal."""
    return key.public_bytes(Encoding.Raw, PublicFormat.Raw).hex()


def signer(settings: Settings) -> Signer | None:
    """Return what signs commands, None where the settings name no key.

    Raises:
        KeyFileError: If the file cannot be used.
    """
    if settings.signing_key is None:
        return None
    assert settings.signing_key_id is not None  # settings that go together
    try:
        return Signer(settings.signing_key_id, load_private_key(settings.signing_key))
    except KeyFileError as error:
        raise KeyFileError([f"{variable('signing_key')}: {violation}" for violation in error.violations]) from None


def load_private_key(path: Path) -> Ed25519PrivateKey:
    """Return the private key in a file (PEM, PKCS8, not encrypted).

    Raises:
        KeyFileError: If it holds none, or if others than its owner may read it.
    """
    try:
        with path.open("rb") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            data = file.read()
    except OSError as error:
        raise KeyFileError([f"cannot read {path}: {error.strerror or error}"]) from None
    if mode & _OTHERS:
        raise KeyFileError([f"{path} must be its owner's alone, has mode {mode:04o}: `chmod 600 {path}`"])
    try:
        key = load_pem_private_key(data, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):  # their texts may quote the file
        key = None
    if not isinstance(key, Ed25519PrivateKey):
        raise KeyFileError([f"{path} must be an Ed25519 private key in PEM, not encrypted: `seawall keys generate`"])
    return key


def load_public_key(path: Path) -> str:
    """Return the public key in a file (PEM, SubjectPublicKeyInfo) in hexadecimal.

    Raises:
        KeyFileError: If it holds none.
    """
    try:
        key = load_pem_public_key(path.read_bytes())
    except OSError as error:
        raise KeyFileError([f"cannot read {path}: {error.strerror or error}"]) from None
    except (ValueError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, Ed25519PublicKey):
        raise KeyFileError([f"{path} must be an Ed25519 public key in PEM, as `seawall keys generate` writes beside"])
    return public_text(key)


def generate(path: Path) -> str:
    """Write a new private key to a new file that its owner alone may read, and its public key beside it.

    Returns:
        The public key in hexadecimal.

    Raises:
        KeyFileError: If a file exists already, or cannot be written.
    """
    key = Ed25519PrivateKey.generate()
    public = key.public_key()
    beside = path.with_name(path.name + PUBLIC_SUFFIX)
    try:
        if beside.exists():
            raise FileExistsError(17, "File exists", str(beside))
        _write_new(path, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()), 0o600)
        _write_new(beside, public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo), 0o644)
    except OSError as error:
        raise KeyFileError([f"cannot write {error.filename or path}: {error.strerror or error}"]) from None
    return public_text(public)


def _write_new(path: Path, data: bytes, mode: int) -> None:
    # Never an existing file: what it was the key of could no longer be signed for.
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
        file.write(data)
        os.fsync(file.fileno())
