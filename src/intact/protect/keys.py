"""Key files, and every key that is derived from one.

A secret key file holds 32 random bytes. From them come an X25519 key pair, whose public half may
be given to anyone who should seal images for its owner, and with a salt the content key of an
image. From a content key comes one key for each purpose: no two uses share a key.

Derivation: HKDF with SHA-256, RFC 5869. Recipients: HPKE in base mode, RFC 9180, with
DHKEM(X25519, HKDF-SHA256), HKDF-SHA256 and AES-256-GCM.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import secrets
import warnings
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite
from cryptography.hazmat.primitives.kdf.hkdf import HKDF, HKDFExpand

from intact.errors import KeyWarning, OutputError, UsageError

FORMAT = 1
KEY_SIZE = 32  # bytes of a secret, of a content key and of a public key
SALT_SIZE = 16  # bytes
WRAPPED_SIZE = 80  # bytes: 32 of the sender's one-time public key, 32 of content key, 16 of tag

_HPKE = Suite(KEM.X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM)
_RECIPIENT = b"intact/1/recipient"


@dataclass(frozen=True)
class PublicKey:
    """A recipient: whoever has it can seal for its owner, and read nothing."""

    point: bytes  # X25519 public key
    note: str = ""

    @property
    def id(self) -> str:
        """Name of the key pair, 16 hexadecimal digits; tells keys apart, proves nothing."""
        return hashlib.sha256(self.point).hexdigest()[:16]


@dataclass(frozen=True)
class Key:
    """A secret key; its text form shows no secret."""

    secret: bytes = field(repr=False)
    note: str = ""
    public: PublicKey = field(init=False)

    def __post_init__(self) -> None:
        point = _private(self).public_key().public_bytes_raw()
        object.__setattr__(self, "public", PublicKey(point, self.note))

    @property
    def id(self) -> str:
        """Name of the key pair, the same as that of its public half."""
        return self.public.id


def new_key(path: str | Path, note: str = "") -> Key:
    """Make a key and write it to a new file that only its owner can read.

    Args:
        path: The new file; an existing one is never overwritten.
        note: What the key is for, in the open.

    Raises:
        UsageError: `path` exists.
        OutputError: It cannot be written.
    """
    key = Key(secrets.token_bytes(KEY_SIZE), note)
    _write_new(Path(path), "secret", key.secret, key, mode=0o600)
    return key


def write_public(key: Key, path: str | Path) -> None:
    """Write the public half of a key, with its note, to a new file.

    Raises:
        UsageError: `path` exists; it might be a secret key.
        OutputError: It cannot be written.
    """
    _write_new(Path(path), "public", key.public.point, key, mode=0o644)


def load_key(path: str | Path) -> Key:
    """Read a secret key file; warns with `KeyWarning` when others can read or change it.

    Raises:
        UsageError: It is missing, damaged, edited, or not a secret key.
    """
    half = _load(Path(path))
    if isinstance(half, PublicKey):
        raise UsageError(
            f"{path} is the public key {half.id}, which can seal for its owner but opens nothing: "
            "give the secret key file that belongs to it"
        )
    return half


def load_public(path: str | Path) -> PublicKey:
    """Read a public key file, or the public half of a secret key file.

    Raises:
        UsageError: It is missing, damaged, edited, or not a key.
    """
    half = _load(Path(path))
    return half.public if isinstance(half, Key) else half


def content_key(key: Key, salt: bytes) -> bytes:
    """Key of one sealed image, from its own random `salt` of `SALT_SIZE` bytes."""
    return _hkdf(key, b"intact/1/content", salt)


def ledger_key(key: Key) -> bytes:
    """Key that authenticates the lines of a ledger."""
    return _hkdf(key, b"intact/1/ledger")


def derive(content: bytes, purpose: str, length: int) -> bytes:
    """Key, nonce or stream of `length` bytes, up to 8160, for one purpose, from a content key.

    Of one purpose, a shorter output is the beginning of a longer one; other purposes are unrelated.
    """
    return HKDFExpand(SHA256(), length, b"intact/1/" + purpose.encode()).derive(content)


def wrap(content: bytes, public: PublicKey) -> bytes:
    """Encrypt a content key to a recipient; never twice to the same `WRAPPED_SIZE` bytes.

    Anyone can wrap to a public key, so this says nothing about who did.
    """
    if len(content) != KEY_SIZE:
        raise ValueError(f"a content key has {KEY_SIZE} bytes, got {len(content)}: see content_key")
    return _HPKE.encrypt(content, _point(public), _RECIPIENT)


def unwrap(wrapped: bytes, key: Key) -> bytes | None:
    """The content key in `wrapped`, or None when it is for another key or was changed."""
    if len(wrapped) != WRAPPED_SIZE:
        return None
    try:
        return _HPKE.decrypt(wrapped, _private(key), _RECIPIENT)
    except InvalidTag:
        return None


def _hkdf(key: Key, info: bytes, salt: bytes | None = None) -> bytes:
    return HKDF(SHA256(), KEY_SIZE, salt, info).derive(key.secret)


def _private(key: Key) -> X25519PrivateKey:
    return X25519PrivateKey.from_private_bytes(_hkdf(key, b"intact/1/x25519"))


def _point(public: PublicKey) -> X25519PublicKey:
    return X25519PublicKey.from_public_bytes(public.point)


def _write_new(path: Path, kind: str, half: bytes, key: Key, mode: int) -> None:
    """Write a file that must not exist yet, whole or not at all, and to the disk itself."""
    text = base64.b64encode(half).decode()
    record = {"intact_key": FORMAT, "kind": kind, "id": key.id, kind: text, "note": key.note}
    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
            file.write((json.dumps(record, indent=1) + "\n").encode())
            file.flush()
            os.fsync(file.fileno())
        _take_name(part, path, mode)
    except FileExistsError:
        raise UsageError(
            f"{path} exists and may be a key, without which what it sealed is lost: choose another name"
        ) from None
    except OSError as error:
        raise OutputError(
            f"{path}: the key cannot be written: {error.strerror or error}; choose another place"
        ) from error
    finally:
        with suppress(OSError):  # the folder is gone or closed; the error that matters is raised
            part.unlink(missing_ok=True)


def _take_name(part: Path, path: Path, mode: int) -> None:
    """Give a finished file its name, unless the name is taken."""
    try:
        os.link(part, path)
    except FileExistsError:
        raise
    except OSError:  # FAT and some network shares have no links: take the name first
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode))
        part.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    with suppress(OSError):  # some network shares cannot; the file itself is on the disk
        os.fsync(folder)
    os.close(folder)


def _load(path: Path) -> Key | PublicKey:
    """The key in a file of either kind."""
    record = _read(path)
    kind = record["kind"]
    try:
        data = base64.b64decode(record[kind], validate=True)
    except ValueError:
        raise _damaged(path, f"its {kind} key is not base64") from None
    if len(data) != KEY_SIZE:
        raise _damaged(path, f"its {kind} key has {len(data)} bytes, not {KEY_SIZE}")
    half = Key(data, record["note"]) if kind == "secret" else PublicKey(data, record["note"])
    if record["id"] != half.id:
        raise _damaged(path, f"its id is {record['id']}, but its {kind} key has id {half.id}")
    if isinstance(half, Key):
        _warn_of_readers(path)
    else:
        _check_point(path, half)
    return half


def _read(path: Path) -> dict[str, Any]:
    """The fields of a key file of either kind."""
    try:
        with path.open("rb") as file:
            data = file.read(1 << 20)  # more is some other file
    except FileNotFoundError:
        raise UsageError(f"{path}: there is no such key file; check its name, or make a new key") from None
    except OSError as error:
        raise UsageError(
            f"{path}: the key cannot be read: {error.strerror}; check its permissions"
        ) from error
    try:
        record = json.loads(data)
    except (ValueError, RecursionError):
        raise _damaged(path, "it is not JSON") from None
    if not isinstance(record, dict) or "intact_key" not in record:
        raise UsageError(f"{path} is not a key file of Intact: it has no intact_key; give one that has")
    if record["intact_key"] != FORMAT:
        raise UsageError(
            f"{path} has key format {record['intact_key']}, this version of Intact reads format {FORMAT}: "
            "use the version that wrote it, or a newer one"
        )
    if record.get("kind") not in ("secret", "public"):
        raise _damaged(path, f"its kind is {record.get('kind')!r}, not 'secret' or 'public'")
    if not all(isinstance(record.get(name), str) for name in ("id", record["kind"], "note")):
        raise _damaged(path, f"its id, {record['kind']} or note is missing or is not text")
    return record


def _warn_of_readers(path: Path) -> None:
    mode = path.stat().st_mode & 0o777
    if mode & 0o066:
        warnings.warn(
            f"{path} can be read or changed by other users (mode {mode:o}), and whoever has it can restore "
            f"every image that it sealed: chmod 600 {path}",
            KeyWarning,
            stacklevel=4,
        )


def _check_point(path: Path, public: PublicKey) -> None:
    """Refuse a point of low order: every sender would arrive at the same, known secret."""
    try:
        X25519PrivateKey.generate().exchange(_point(public))
    except ValueError:
        raise _damaged(path, "its public key is not one that X25519 can use") from None


def _damaged(path: Path, found: str) -> UsageError:
    return UsageError(f"{path} is a damaged or edited key file: {found}; take it from a backup")
