"""The values of a configuration, by key."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from trainer.convert.errors import ConversionError

_T = TypeVar("_T")


class Fields:
    """A configuration's values by key, of the type that is expected."""

    def __init__(self, config: Mapping[str, Any], source: str) -> None:
        self.config = config
        self.source = source

    def wrong(self, key: str, expected: str) -> ConversionError:
        found = repr(self.config[key]) if key in self.config else "none"
        return ConversionError(f"{self.source}, {key}: found {found}, expected {expected}")

    def get(self, key: str, kind: type[_T]) -> _T:
        value: Any = self.config.get(key)
        if kind is float and isinstance(value, int) and not isinstance(value, bool):
            value = float(value)
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            raise self.wrong(key, f"a value of type {kind.__name__}")
        return value
