"""Recipe: which tensor is quantized with which scheme, as ordered rules over tensor names.

A file of it is JSON: `{"version": 1, "rules": [{"match": "*.attn*", "scheme": "base11", "group_size": 126},
{"match": "*", "scheme": null}]}`. A scheme's parameters stand beside its name; those left out have their defaults.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase, translate
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, Self

from qinspect.errors import ExportError, SchemeError
from qinspect.formats.checkpoint import FLOATING, TensorInfo
from qinspect.quant.scheme import Scheme, scheme_from_json

VERSION = 1
_WRITTEN = 'a recipe is written {"version": 1, "rules": [{"match": glob, "scheme": name or null} …]}'
ALL = "*"
"""The pattern of every layer; a rule of it at the end is the base of a recipe."""


@dataclass(frozen=True)
class Rule:
    """Tensors whose full name fits the glob `match` get `scheme`; None leaves them alone."""

    match: str
    scheme: Scheme | None

    def names(self, info: TensorInfo) -> bool:
        """Whether this rule means this very tensor and so insists on it, be it 1-D, as long as it is floating."""
        return self.match == info.name and info.dtype in FLOATING and info.size > 0

    def applies(self, info: TensorInfo) -> bool:
        """Whether this rule decides on `info`: a glob does where a tensor is quantizable or packed already."""
        usual = info.quantizable or info.qtype is not None
        return self.names(info) or (usual and fnmatchcase(info.name, self.match))


@dataclass(frozen=True)
class Recipe:
    """Ordered rules, of which the first that applies to a tensor decides; without one the tensor is left alone."""

    rules: tuple[Rule, ...]

    @classmethod
    def of(cls, scheme: Scheme | None) -> Self:
        """One scheme for every tensor that is quantized by default."""
        return cls((Rule(ALL, scheme),))

    @cached_property
    def _exact(self) -> dict[str, int]:
        """The first rule with each pattern, which may be a tensor's very name."""
        return {rule.match: at for at, rule in reversed(list(enumerate(self.rules)))}

    @cached_property
    def _globs(self) -> list[tuple[int, Callable[[str], object]]]:
        """The rules with wildcards: there are few of them, however many tensors have a rule of their own."""
        globs = [(at, rule.match) for at, rule in enumerate(self.rules) if re.search(r"[*?\[]", rule.match)]
        return [(at, re.compile(translate(match)).match) for at, match in globs]

    def position(self, info: TensorInfo) -> int | None:
        """Which rule decides on `info`, from 0; None where none applies."""
        named = self._exact.get(info.name)
        if named is not None and not self.rules[named].applies(info):
            named = None
        if info.quantizable or info.qtype is not None:
            for at, fits in self._globs:
                if named is not None and named < at:
                    break
                if fits(info.name):
                    return at
        return named

    def rule_for(self, info: TensorInfo) -> Rule | None:
        """The rule that decides on `info`."""
        at = self.position(info)
        return None if at is None else self.rules[at]

    def scheme_for(self, info: TensorInfo) -> Scheme | None:
        """The scheme for `info`; None leaves it as it is."""
        rule = self.rule_for(info)
        return rule.scheme if rule else None

    @property
    def base(self) -> Scheme | None:
        """The scheme of all layers that have no rule of their own."""
        return next((rule.scheme for rule in reversed(self.rules) if rule.match == ALL), None)

    def idle(self, infos: Iterable[TensorInfo]) -> list[tuple[int, Rule]]:
        """The rules that apply to none of `infos`, with their numbers from 1."""
        infos = list(infos)
        return [(n, rule) for n, rule in enumerate(self.rules, 1) if not any(rule.applies(info) for info in infos)]

    def put(self, matches: Iterable[str], scheme: Scheme | None, infos: Iterable[TensorInfo]) -> Recipe:
        """With rules for `matches` on top. Rules that decided on some of `infos` and now on none go, but the base."""
        infos = list(infos)
        new = [Rule(match, scheme) for match in dict.fromkeys(matches)]
        kept = [rule for rule in self.rules if rule.match not in {rule.match for rule in new}]
        merged = Recipe((*new, *kept))
        idle = self._deciding(infos) - merged._deciding(infos)
        return Recipe((*new, *(rule for rule in kept if rule not in idle or rule.match == ALL)))

    def _deciding(self, infos: Iterable[TensorInfo]) -> set[Rule]:
        return {self.rules[at] for at in map(self.position, infos) if at is not None}

    def replace(self, at: int, rule: Rule) -> Recipe:
        """With another rule in the place of one."""
        return Recipe((*self.rules[:at], rule, *self.rules[at + 1 :]))

    def to_json(self) -> dict[str, Any]:
        """As a recipe file holds it."""
        rules = [{"match": r.match, **(r.scheme.to_json() if r.scheme else {"scheme": None})} for r in self.rules]
        return {"version": VERSION, "rules": rules}

    @classmethod
    def from_json(cls, value: Any) -> Self:
        """The recipe that `to_json` or a person wrote; SchemeError names the first rule, from 1, that does not fit."""
        if not isinstance(value, Mapping) or set(value) != {"version", "rules"} or not isinstance(value["rules"], list):
            raise SchemeError(_WRITTEN)
        if value["version"] is True or value["version"] != VERSION:
            raise SchemeError(f"the recipe is of version {value['version']!r}; this program reads version {VERSION}")
        return cls(tuple(_rule(number, rule) for number, rule in enumerate(value["rules"], 1)))

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read a recipe file; SchemeError names the file and what is wrong in it."""
        try:
            return cls.from_json(json.loads(Path(path).read_text(encoding="utf-8"), object_pairs_hook=_unique))
        except SchemeError as error:
            raise error.within(path=path) from None
        except OSError as error:
            raise SchemeError(f"the recipe cannot be read: {error.strerror}", path=path) from error
        except (ValueError, RecursionError) as error:
            at = f" in line {error.lineno}, column {error.colno}" if isinstance(error, json.JSONDecodeError) else ""
            raise SchemeError(f"the recipe is not JSON{at}; {_WRITTEN}", path=path) from error

    def save(self, path: str | Path) -> None:
        """Write a recipe file; an old one stays whole until the new one is complete."""
        path = Path(path)
        part = path.with_name(f".{path.name}.part")
        try:
            part.write_text(json.dumps(self.to_json(), indent=1) + "\n", encoding="utf-8")
            part.replace(path)
        except OSError as error:
            with contextlib.suppress(OSError):
                part.unlink(missing_ok=True)
            raise ExportError(
                f"the recipe cannot be written: {error.strerror}; choose another place", path=path
            ) from error


def is_recipe(path: Path) -> bool:
    """Whether a file is a recipe, and not the index of a checkpoint: told by its name and beginning alone."""
    if path.suffix != ".json" or path.name.endswith(".index.json"):
        return False
    try:
        with path.open("rb") as file:
            return b'"weight_map"' not in file.read(4096)
    except OSError:
        return False


@lru_cache(1 << 16)
def kind_of(name: str) -> str:
    """`h.*.attn.weight` for `h.3.attn.weight`: what layers of the same kind in other blocks share."""
    return ".".join(ALL if word.isdecimal() else word for word in name.split("."))


def block_of(name: str) -> str:
    """`h.3` for `h.3.attn.weight`, `head` for `head.weight`: the part of a network that a tensor belongs to."""
    words = name.split(".")
    number = next((at for at, word in enumerate(words) if word.isdecimal()), 0)
    return ".".join(words[: number + 1]) if number < len(words) - 1 else ".".join(words[:-1]) or name


def patterns_for(names: Sequence[str], infos: Iterable[TensorInfo]) -> tuple[str, ...]:
    """Few patterns that match just these layers among `infos`: kinds where all of a kind are meant, else names."""
    usual = [info.name for info in infos if info.quantizable or info.qtype is not None]
    wanted, kinds = set(names), {name: kind_of(name) for name in names}
    taken = {kind: {name for name in usual if fnmatchcase(name, kind)} for kind in set(kinds.values())}
    whole = {kind for kind, matched in taken.items() if len(matched) > 1 and matched <= wanted}
    patterns = (kind if kind in whole and name in taken[kind] else name for name, kind in kinds.items())
    return tuple(dict.fromkeys(patterns))


def _rule(number: int, value: Any) -> Rule:
    """Rule `number` of a file."""
    if not isinstance(value, Mapping) or not isinstance(value.get("match"), str) or not value["match"]:
        raise SchemeError(f'rule {number} is not {{"match": glob, "scheme": name or null}}')
    scheme = {key: part for key, part in value.items() if key != "match"}
    if scheme == {"scheme": None}:
        return Rule(value["match"], None)
    try:
        return Rule(value["match"], scheme_from_json(scheme))
    except SchemeError as error:
        raise SchemeError(f"rule {number} ({value['match']}): {error.message}") from None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object, in which a key written twice is an error and not a silent choice."""
    if len(dict(pairs)) < len(pairs):
        raise SchemeError(f"a key is written twice among {', '.join(key for key, _ in pairs)}")
    return dict(pairs)
