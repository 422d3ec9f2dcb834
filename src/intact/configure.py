"""A method by its name and some of its fields, as the command line and model folders give them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, TypeVar

from intact.errors import UsageError

M = TypeVar("M")


def configure(methods: Mapping[str, type[M]], name: str, fields: Mapping[str, Any]) -> M:
    """An instance of a method.

    Args:
        methods: Dataclasses by name.
        name: One of the names.
        fields: Those that differ from the method's defaults.

    Raises:
        UsageError: Unknown method or field, or a value of another type than the field's.
    """
    if name not in methods:
        raise UsageError(f"unknown method {name!r}; choose one of {', '.join(methods)}")
    kind = methods[name]
    known = {field.name: field.default for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
    if unknown := sorted(set(fields) - set(known)):
        raise UsageError(f"{name} has no field {unknown[0]!r}; it has {', '.join(known)}")
    for field, value in fields.items():
        allowed = (int, float) if isinstance(known[field], float) else type(known[field])
        if not isinstance(value, allowed):
            raise UsageError(f"{name} cannot take {field}={value!r}: give a value like {known[field]!r}")
    return kind(**fields)
