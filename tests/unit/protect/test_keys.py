"""Key files and derived keys, compared with HKDF, X25519 and HPKE written out by hand."""

from __future__ import annotations

import base64
import errno
import hashlib
import hmac
import json
import os
import stat

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from intact.errors import OutputError, UsageError
from intact.protect import keys
from intact.protect.keys import Key, KeyWarning, PublicKey

KEY = Key(bytes(range(32)), "for tests")
CONTENT = bytes(range(100, 132))


def extract(salt, secret):
    return hmac.digest(salt or bytes(32), secret, "sha256")


def expand(key, info, length):
    stream, block = b"", b""
    for count in range(1, 1 - -length // 32):
        block = hmac.digest(key, block + info + bytes([count]), "sha256")
        stream += block
    return stream[:length]


def x25519_public(secret):
    """RFC 7748, the Montgomery ladder from base point 9."""
    p = 2**255 - 19
    scalar = int.from_bytes(secret, "little") & ~7 & ~(1 << 255) | 1 << 254
    x2, z2, x3, z3 = 1, 0, 9, 1
    for bit in reversed(range(255)):
        if scalar >> bit & 1:
            x2, z2, x3, z3 = x3, z3, x2, z2
        a, b, c, d = x2 + z2, x2 - z2, x3 + z3, x3 - z3
        e = a * a - b * b
        x3, z3 = (d * a + c * b) ** 2 % p, 9 * (d * a - c * b) ** 2 % p
        x2, z2 = a * a * b * b % p, e * (a * a + 121665 * e) % p
        if scalar >> bit & 1:
            x2, z2, x3, z3 = x3, z3, x2, z2
    return (x2 * pow(z2, -1, p) % p).to_bytes(32, "little")


def hpke_open(wrapped, private, info):
    """RFC 9180, base mode, one message: sections 4.1 (DHKEM), 5.1 (key schedule) and 5.2."""
    kem, suite = b"KEM\x00\x20", b"HPKE\x00\x20\x00\x01\x00\x02"

    def labelled_extract(suite, salt, label, secret):
        return extract(salt, b"HPKE-v1" + suite + label + secret)

    def labelled_expand(suite, key, label, info, length):
        return expand(key, length.to_bytes(2, "big") + b"HPKE-v1" + suite + label + info, length)

    sender, own = wrapped[:32], private.public_key().public_bytes_raw()
    shared = private.exchange(X25519PublicKey.from_public_bytes(sender))
    shared = labelled_expand(
        kem, labelled_extract(kem, b"", b"eae_prk", shared), b"shared_secret", sender + own, 32
    )
    context = b"\x00" + labelled_extract(suite, b"", b"psk_id_hash", b"")
    context += labelled_extract(suite, b"", b"info_hash", info)
    secret = labelled_extract(suite, shared, b"secret", b"")
    key, nonce = (
        labelled_expand(suite, secret, label, context, n) for label, n in ((b"key", 32), (b"base_nonce", 12))
    )
    return AESGCM(key).decrypt(nonce, wrapped[32:], b"")


def test_derived_keys_are_hkdf_of_the_secret():
    salt = bytes(range(16))
    assert keys.content_key(KEY, salt) == expand(extract(salt, KEY.secret), b"intact/1/content", 32)
    assert keys.ledger_key(KEY) == expand(extract(b"", KEY.secret), b"intact/1/ledger", 32)
    for purpose, length in (("check", 32), ("pixels-nonce", 12), ("blocks", 1), ("blocks", 8160)):
        assert keys.derive(CONTENT, purpose, length) == expand(
            CONTENT, b"intact/1/" + purpose.encode(), length
        )


def test_derived_keys_never_change():
    """What is sealed today must open in ten years: the first bytes of each, stored."""
    content = keys.content_key(KEY, bytes(16))
    found = [KEY.id, content, keys.ledger_key(KEY), keys.derive(content, "pixels", 32)]
    assert [found[0], *(key.hex()[:16] for key in found[1:])] == STORED


def test_the_public_half_is_x25519_of_a_derived_secret():
    private = expand(extract(b"", KEY.secret), b"intact/1/x25519", 32)
    assert KEY.public.point == x25519_public(private)
    assert KEY.id == KEY.public.id == hashlib.sha256(KEY.public.point).hexdigest()[:16]


def test_purposes_and_salts_give_unrelated_keys():
    purposes = ("check", "pixels", "pixels-nonce", "file", "file-nonce", "file-mac", "blocks")
    assert len({keys.derive(CONTENT, purpose, 12) for purpose in purposes}) == len(purposes)
    assert keys.content_key(KEY, bytes(16)) != keys.content_key(KEY, bytes(15) + b"\x01")


def test_a_key_comes_back_from_its_file(tmp_path):
    key = keys.new_key(tmp_path / "my.key", "ward 3 – Größe")
    assert keys.load_key(tmp_path / "my.key") == key
    assert key.note == "ward 3 – Größe"
    assert stat.S_IMODE((tmp_path / "my.key").stat().st_mode) == 0o600
    record = json.loads((tmp_path / "my.key").read_text())
    secret = base64.b64encode(key.secret).decode()
    assert record == {"intact_key": 1, "kind": "secret", "id": key.id, "secret": secret, "note": key.note}
    assert [path.name for path in tmp_path.iterdir()] == ["my.key"]


def test_two_new_keys_differ(tmp_path):
    assert keys.new_key(tmp_path / "a").secret != keys.new_key(tmp_path / "b").secret


def test_the_public_file_holds_no_secret(tmp_path):
    key = keys.new_key(tmp_path / "my.key", "ward 3")
    keys.write_public(key, tmp_path / "my.public")
    assert keys.load_public(tmp_path / "my.public") == keys.load_public(tmp_path / "my.key") == key.public
    text = (tmp_path / "my.public").read_text()
    assert set(json.loads(text)) == {"intact_key", "kind", "id", "public", "note"}
    assert base64.b64encode(key.secret).decode() not in text
    assert stat.S_IMODE((tmp_path / "my.public").stat().st_mode) & 0o600 == 0o600


def test_a_key_shows_no_secret():
    for text in (repr(KEY), str(KEY), f"{KEY}"):
        assert repr(KEY.secret) not in text
        assert KEY.secret.hex() not in text
        assert "secret" not in text


@pytest.mark.parametrize("links", [True, False], ids=["links", "no links"])
def test_no_file_is_overwritten(tmp_path, monkeypatch, links):
    if not links:
        monkeypatch.setattr(os, "link", no_links)
    path = tmp_path / "my.key"
    key = keys.new_key(path)
    before = path.read_bytes()
    with pytest.raises(UsageError, match=r"my\.key exists and may be a key.*choose another name"):
        keys.new_key(path)
    with pytest.raises(UsageError, match="exists and may be a key"):
        keys.write_public(key, path)
    assert path.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["my.key"]


def test_a_key_can_be_written_where_links_are_unknown(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "link", no_links)
    assert keys.new_key(tmp_path / "my.key") == keys.load_key(tmp_path / "my.key")
    assert stat.S_IMODE((tmp_path / "my.key").stat().st_mode) == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["my.key"]


def test_a_full_disk_leaves_no_half_key(tmp_path, monkeypatch):
    def full(_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OutputError, match=r"my\.key: the key cannot be written: No space left.*choose"):
        keys.new_key(tmp_path / "my.key")
    assert not list(tmp_path.iterdir())


def test_a_missing_folder_is_told(tmp_path):
    with pytest.raises(OutputError, match="the key cannot be written: No such file"):
        keys.new_key(tmp_path / "nowhere" / "my.key")


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620])
@pytest.mark.parametrize("load", [keys.load_key, keys.load_public])
def test_a_file_that_others_can_read_is_warned_of(tmp_path, mode, load):
    key = keys.new_key(tmp_path / "my.key")
    (tmp_path / "my.key").chmod(mode)
    with pytest.warns(KeyWarning, match=rf"other users \(mode {mode:o}\).*chmod 600") as caught:
        assert load(tmp_path / "my.key").id == key.id
    assert caught[0].filename == __file__


def damaged_files():
    secret = {
        "intact_key": 1,
        "kind": "secret",
        "id": KEY.id,
        "secret": base64.b64encode(KEY.secret).decode(),
        "note": "",
    }
    point = base64.b64encode(KEY.public.point).decode()
    public = {"intact_key": 1, "kind": "public", "id": KEY.id, "public": point, "note": ""}
    zeros = PublicKey(bytes(32))
    low = {**public, "id": zeros.id, "public": base64.b64encode(zeros.point).decode()}
    without = {name: value for name, value in secret.items() if name != "secret"}
    return {
        "not JSON": (b"\x89PNG\xff", "damaged or edited key file: it is not JSON; take it from a backup"),
        "empty": (b"", "it is not JSON"),
        "cut short": (json.dumps(secret)[:-9], "it is not JSON"),
        "deep": (200_000 * b"[", "it is not JSON"),
        "a list": ([secret], "not a key file of Intact.*give one that has"),
        "other JSON": ({"a": 1}, "not a key file of Intact"),
        "newer": ({**secret, "intact_key": 2}, "key format 2, this version of Intact reads format 1: use"),
        "no kind": ({**secret, "kind": None}, "its kind is None"),
        "odd kind": ({**secret, "kind": ["secret"]}, r"its kind is \['secret'\]"),
        "no secret": (without, "its id, secret or note is missing"),
        "number as id": ({**secret, "id": 7}, "its id, secret or note is missing"),
        "kind changed": ({**secret, "kind": "public"}, "its id, public or note is missing"),
        "not base64": ({**secret, "secret": "?"}, "its secret key is not base64"),
        "not ASCII": ({**secret, "secret": "ü"}, "its secret key is not base64"),
        "short": ({**secret, "secret": "AAAA"}, "its secret key has 3 bytes, not 32"),
        "edited": ({**secret, "id": 16 * "0"}, f"its id is 0{{16}}, but its secret key has id {KEY.id}"),
        "edited public": ({**public, "id": 16 * "0"}, "its id is 0{16}, but its public key has id"),
        "low order": (low, "its public key is not one that X25519 can use"),
    }  # fmt: skip


@pytest.mark.parametrize(("content", "message"), damaged_files().values(), ids=list(damaged_files()))
@pytest.mark.parametrize("load", [keys.load_key, keys.load_public])
def test_a_damaged_file_is_refused_with_the_reason(tmp_path, content, message, load):
    path = tmp_path / "my.key"
    if not isinstance(content, bytes):
        content = (content if isinstance(content, str) else json.dumps(content)).encode()
    path.write_bytes(content)
    path.chmod(0o600)
    with pytest.raises(UsageError, match=message) as caught:
        load(path)
    assert str(path) in str(caught.value)


def test_no_message_holds_the_secret(tmp_path):
    path = tmp_path / "my.key"
    keys.new_key(path)
    record = json.loads(path.read_text())
    path.write_text(json.dumps({**record, "id": 16 * "0"}))
    with pytest.raises(UsageError) as caught:
        keys.load_key(path)
    assert record["secret"] not in str(caught.value)


def test_a_missing_or_unreadable_file_is_told(tmp_path):
    with pytest.raises(UsageError, match="there is no such key file; check its name"):
        keys.load_key(tmp_path / "none.key")
    with pytest.raises(UsageError, match="the key cannot be read: Is a directory; check"):
        keys.load_public(tmp_path)


def test_a_public_key_opens_nothing(tmp_path):
    keys.write_public(KEY, tmp_path / "my.public")
    with pytest.raises(UsageError, match=f"is the public key {KEY.id}.*give the secret key file"):
        keys.load_key(tmp_path / "my.public")


def test_each_recipient_opens_its_own_and_a_stranger_none():
    recipients = [Key(bytes([number]) * 32) for number in range(4)]
    wrapped = [keys.wrap(CONTENT, key.public) for key in recipients[:3]]
    for own, key in enumerate(recipients):
        for number, text in enumerate(wrapped):
            assert keys.unwrap(text, key) == (CONTENT if number == own else None)
    assert {len(text) for text in wrapped} == {keys.WRAPPED_SIZE} == {80}


def test_wrapping_is_hpke_as_the_standard_has_it():
    private = X25519PrivateKey.from_private_bytes(expand(extract(b"", KEY.secret), b"intact/1/x25519", 32))
    assert hpke_open(keys.wrap(CONTENT, KEY.public), private, b"intact/1/recipient") == CONTENT


def test_wrapping_twice_gives_different_bytes():
    assert keys.wrap(CONTENT, KEY.public) != keys.wrap(CONTENT, KEY.public)


def test_every_changed_byte_of_a_wrapped_key_is_noticed():
    wrapped = keys.wrap(CONTENT, KEY.public)
    for place in range(len(wrapped)):
        changed = bytearray(wrapped)
        changed[place] ^= 1
        assert keys.unwrap(bytes(changed), KEY) is None
    for other in (b"", wrapped[:-1], wrapped + b"\0", bytes(80)):
        assert keys.unwrap(other, KEY) is None


def test_only_a_content_key_is_wrapped_and_unwrapped():
    with pytest.raises(ValueError, match="has 32 bytes, got 5"):
        keys.wrap(b"short", KEY.public)
    point = X25519PublicKey.from_public_bytes(KEY.public.point)
    assert keys.unwrap(keys._HPKE.encrypt(b"short", point, b"intact/1/recipient"), KEY) is None


def no_links(*_):
    raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))


STORED = ["7229e963e32339a8", "d5407bfb54eb5b20", "525b1bfe13cef2a4", "00c28f7901b869fa"]
