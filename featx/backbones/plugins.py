"""Sources of networks that other packages add, by entry points of the group ``featx.backbones``.

The name of the entry point is what the names of its networks begin with, so that a package is
imported only where one of its networks is asked for, and a broken one breaks no other name.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

from torch import nn

from featx.backbones.names import PLUGINS
from featx.backbones.sources import BackboneCard, Source, WeightsEntry
from featx.backbones.words import Words
from featx.engines.engine import Network
from featx.errors import BackboneError, FeatxError, one_line
from featx.recipe import Preprocessing

__all__ = ["Plugin", "find_plugins"]


class Plugin(Source):
    """A source of another package, whose errors name that package.

    Parameters
    ----------
    entry_point : EntryPoint
        Of a class that is a `Source`, or of anything that gives one when it is called.
    """

    def __init__(self, entry_point: EntryPoint) -> None:
        self._entry_point = entry_point
        self._source: Source | None = None
        self.prefix = f"{entry_point.name}/"

    def __repr__(self) -> str:
        return f"Plugin({self._entry_point.name!r}, {self.package!r})"

    @property
    def package(self) -> str:
        """Name and version of the package."""
        found = self._entry_point.dist
        return "an unknown package" if found is None else f"{found.name} {found.version}"

    @property
    def is_open(self) -> bool:  # type: ignore[override]
        """Whether it has more networks than it can list."""
        return self._load().is_open

    def names(self) -> list[str]:
        """Return the names, each with the prefix."""
        names = list(self._ask("names"))
        wrong = next((n for n in names if not str(n).startswith(self.prefix)), None)
        if wrong is not None:
            raise self._error(f"has a network {wrong!r}, expected names with {self.prefix!r}")
        return sorted(names)

    def has(self, name: str) -> bool:
        """Tell whether there is a network of a name."""
        return bool(self._ask("has", name))

    def card(self, name: str, path: Path | None = None) -> BackboneCard:
        """Return what is known of one network; as `Source.card`."""
        if not self.is_open and not self.has(name):
            raise BackboneError(
                f"backbone: got {name!r}, expected one of {', '.join(self.names()) or 'none'} "
                f"(package {self.package})"
            )
        card = self._ask("card", name, path)
        if not isinstance(card, BackboneCard):
            raise self._error(f"gives a card that is a {type(card).__name__}")
        return card

    def load(
        self,
        card: BackboneCard,
        entry: WeightsEntry | None,
        path: Path | None,
        *,
        px: int | None,
        any_size: bool,
    ) -> tuple[nn.Module, str | None, str]:
        """Build a network with its weights; as `Source.load`."""
        found = self._ask("load", card, entry, path, px=px, any_size=any_size)
        if not (isinstance(found, tuple) and len(found) == 3 and isinstance(found[0], nn.Module)):
            raise self._error(
                f"loads {card.name!r} as {found!r:.100}, not module, head and origin"
            )
        module, head, origin = found
        return module, head, origin

    def published(self, card: BackboneCard) -> Mapping[str, WeightsEntry]:
        """Return published weights by the names of their files; as `Source.published`."""
        found: Mapping[str, WeightsEntry] = self._ask("published", card)
        return found

    def guess(self, card: BackboneCard, path: Path) -> tuple[Preprocessing, str]:
        """Return what goes with a file that is not published; as `Source.guess`."""
        preprocessing, reason = self._ask("guess", card, path)
        return preprocessing, reason

    def words(self, network: Network) -> Words:
        """Return what turns words into vectors; as `Source.words`."""
        found: Words = self._ask("words", network)
        return found

    def _load(self) -> Source:
        if self._source is None:
            try:
                made = self._entry_point.load()()
            except Exception as err:
                raise self._error(f"cannot be loaded ({_describe(err)})") from err
            if not isinstance(made, Source):
                raise self._error(
                    f"gives a {type(made).__name__}, expected a featx.backbones.Source"
                )
            self._source = made
        return self._source

    def _ask(self, method: str, *args: Any, **options: Any) -> Any:
        source = self._load()
        try:
            return getattr(source, method)(*args, **options)
        except FeatxError:
            raise
        except Exception as err:
            raise self._error(f"fails in {method} ({_describe(err)})") from err

    def _error(self, what: str) -> BackboneError:
        return BackboneError(
            f"backbones that begin with {self.prefix!r}: the plug-in of package {self.package} "
            f"{what}; mend, upgrade or uninstall that package"
        )


def find_plugins() -> list[Plugin]:
    """Return the sources that installed packages add, by name; imports none of them."""
    found: dict[str, Plugin] = {}
    for entry_point in sorted(entry_points(group=PLUGINS), key=lambda each: each.name):
        plugin = Plugin(entry_point)
        if entry_point.name in found:
            others = f"{found[entry_point.name].package} and {plugin.package}"
            found[entry_point.name] = Clash(entry_point, others)
        else:
            found[entry_point.name] = plugin
    return list(found.values())


class Clash(Plugin):
    """A name that two packages have: which of them is meant, nobody can tell."""

    def __init__(self, entry_point: EntryPoint, packages: str) -> None:
        super().__init__(entry_point)
        self._packages = packages

    @property
    def package(self) -> str:
        """Names and versions of both packages."""
        return self._packages

    def _load(self) -> Source:
        raise BackboneError(
            f"backbones that begin with {self.prefix!r}: packages {self.package} both have this "
            "name, expected one; uninstall the other"
        )


def _describe(err: BaseException) -> str:
    return f"{type(err).__name__}: {one_line(err)}"
