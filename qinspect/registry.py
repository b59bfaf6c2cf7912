"""Names to classes, found by walking a package: adding one more scheme, format, target or view is adding one file."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Iterator
from typing import Generic, TypeVar

T = TypeVar("T")


class Registry(Generic[T]):
    """The concrete subclasses of `base` defined in the modules of `package`, by their `name`.

    The package is walked at the first look-up, so that importing the package costs nothing.
    """

    def __init__(self, package: str, base: type[T]) -> None:
        self._package = package
        self._base = base
        self._classes: dict[str, type[T]] | None = None

    def _found(self) -> dict[str, type[T]]:
        if self._classes is None:
            found: list[type[T]] = []
            package = importlib.import_module(self._package)
            for module in pkgutil.iter_modules(package.__path__, f"{self._package}."):
                members = vars(importlib.import_module(module.name)).values()
                found += [member for member in members if self._belongs(member, module.name)]
            found.sort(key=lambda cls: (getattr(cls, "order", 100), cls.name))  # type: ignore[attr-defined]
            self._classes = {cls.name: cls for cls in found}  # type: ignore[attr-defined]
        return self._classes

    def _belongs(self, member: object, module: str) -> bool:
        return (
            isinstance(member, type)
            and issubclass(member, self._base)
            and not inspect.isabstract(member)
            and member.__module__ == module
            and "name" in vars(member)
        )

    def __getitem__(self, name: str) -> type[T]:
        return self._found()[name]

    def __contains__(self, name: object) -> bool:
        return name in self._found()

    def __iter__(self) -> Iterator[type[T]]:
        return iter(self._found().values())

    def names(self) -> list[str]:
        """The registered names, in the order in which they are shown."""
        return list(self._found())
