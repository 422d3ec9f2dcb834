"""Protection: seal images reversibly, restore them bit for bit, verify that they are untouched."""

from intact.protect.archive import restore_archive, seal_archive
from intact.protect.cloak import Against, Cloak
from intact.protect.files import restore_file, seal_file, verify_file
from intact.protect.keys import Key, PublicKey, load_key, load_public, new_key, write_public
from intact.protect.learn import LearnedAttack, learn_attack, load_attack
from intact.protect.ledger import Ledger, LedgerError
from intact.protect.ledger import check as check_ledger
from intact.protect.seal import Verdict, restore, seal, verify
from intact.protect.verification import verify_archive

__all__ = [
    "Against",
    "Cloak",
    "Key",
    "LearnedAttack",
    "Ledger",
    "LedgerError",
    "PublicKey",
    "Verdict",
    "check_ledger",
    "learn_attack",
    "load_attack",
    "load_key",
    "load_public",
    "new_key",
    "restore",
    "restore_archive",
    "restore_file",
    "seal",
    "seal_archive",
    "seal_file",
    "verify",
    "verify_archive",
    "verify_file",
    "write_public",
]
