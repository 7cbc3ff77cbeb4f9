"""The parts of one kind: those that segpipe ships, and those that installed packages register by entry points."""

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from functools import lru_cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from segpipe.errors import ConfigError
from segpipe.spelling import nearest

Builder = Callable[..., Any]
Trial = Callable[[Mapping[str, Any], Mapping[str, Any]], list[str]]


@dataclass(frozen=True, eq=False)
class Registry(Mapping[str, Any]):
    """Name → part; a plug-in is imported when it is looked up, so that a broken one harms nobody else.

    Args:
        section: What the part is called in the configuration and in messages, e.g. `network`.
        shipped: segpipe's own parts; no plug-in can take their names.
        group: The entry points' group, e.g. `segpipe.networks`.
        given: Arguments that segpipe hands to a builder that takes them; the configuration gives the others.
        optional: Those of `given` that a builder may ignore; they are handed only where its signature names them, since
            what takes any `**` would not expect them.
        trial: Tries a part before any work: takes its section and the whole configuration, in which the sections before
            it are checked already; returns mistakes, each the rest of a line that begins with the section's path.
    """

    section: str
    shipped: Mapping[str, Any]
    _: KW_ONLY
    group: str
    given: Sequence[str] = ()
    optional: Sequence[str] = ()
    trial: Trial | None = None

    def __getitem__(self, name: str) -> Any:
        """What a name stands for: the builder of a part, or a data source.

        Raises:
            KeyError: for a name that nobody registers.
            ConfigError: when the plug-in cannot be imported, or when two packages register the name.
        """
        if name in self.shipped:
            return self.shipped[name]
        return self._load([plug_in for plug_in in self._plug_ins() if plug_in.name == name], name)

    def __contains__(self, name: object) -> bool:
        return name in list(self)

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys([*self.shipped, *(plug_in.name for plug_in in self._plug_ins())]))

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def check_name(self, spec: Mapping[str, Any]) -> str:
        """Returns `spec["name"]`.

        Raises:
            ConfigError: when it is not known.
        """
        name = str(spec.get("name"))
        if name not in self:
            near = nearest(name, self)
            raise ConfigError(
                f"unknown {self.section}",
                facts={"found": name, "known": ", ".join(self)},
                hint=f"{self.section}={near}" if near else None,
            )
        return name

    def _plug_ins(self) -> list[EntryPoint]:
        return list(_installed(tuple(sys.path)).select(group=self.group))

    def _load(self, found: list[EntryPoint], name: str) -> Any:
        if not found:
            raise KeyError(name)
        packages = ", ".join(sorted({plug_in.dist.name for plug_in in found if plug_in.dist}))
        where = {"package": packages, self.group: f"{name} = {found[0].value}"}
        if len({plug_in.value for plug_in in found}) > 1:
            raise ConfigError(
                f"the name of a {self.section} must be registered by one package",
                facts=where,
                hint=f"remove one of them, or write {self.section}._target_=PACKAGE.MODULE.NAME",
            )
        try:
            return found[0].load()
        except Exception as error:  # whatever a foreign module raises while it is imported
            raise ConfigError(
                f"the {self.section} of a plug-in cannot be imported",
                facts={**where, "found": f"{type(error).__name__}: {error}"},
                hint="mend or remove the package; all other parts work without it",
            ) from error


@lru_cache(maxsize=1)
def _installed(path: tuple[str, ...]) -> Any:
    """The entry points of all packages on Python's path; kept, since a file of each package is read for them."""
    return entry_points()
