"""A memory of normal images that grows night by night and forgets a patient exactly."""

from intact.bank.bank import Added, Bank, is_bank
from intact.bank.recall import Entry

__all__ = ["Added", "Bank", "Entry", "is_bank"]
