"""What of a source's events is not to be stored: fields that are dropped, masked or hashed before anything is kept.

A path names members from the top of the event, separated by dots; `*` stands for any one name, and lists are walked
through: data.attributes.phone, data.items.*.email.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Final, Literal

from msgspec import Meta, Struct

from milepost.errors import CatalogError

Path = Annotated[str, Meta(min_length=1, max_length=256, pattern=r"^[^.]+(\.[^.]+)*$")]
Act = Literal["drop", "mask", "hash"]


class Privacy(Struct, frozen=True, forbid_unknown_fields=True):
    """Paths of fields that are left out, blotted out, or replaced by a keyed hash, so that equal values stay equal.

    `drop_unknown` leaves out what Milepost doesn't read, of the event and of its data.
    """

    drop: list[Path] = []
    mask: list[Path] = []
    hash: list[Path] = []
    drop_unknown: bool = False

    def rules(self) -> Iterator[tuple[tuple[str, ...], Act]]:
        """(path, what to do), for each path."""
        acts: tuple[tuple[Act, list[Path]], ...] = (("drop", self.drop), ("mask", self.mask), ("hash", self.hash))
        for act, paths in acts:
            yield from ((tuple(path.split(".")), act) for path in paths)


_ENVELOPE: Final = frozenset({"specversion", "id", "source", "type", "time", "*"})
_STRUCTURE: Final = frozenset({"links", "outcome", "*"})
_KEYS: Final = ("data", "keys")


def check(privacy: Privacy, where: str) -> None:
    """Refuse what would leave no event, or tie strangers together. Raises CatalogError."""
    acts: dict[tuple[str, ...], Act] = {}
    for path, act in privacy.rules():
        place = f"{where}: privacy: {act}: {'.'.join(path)}"
        if path[0] in _ENVELOPE or path == ("data",) or (path[:2] == ("data", "keys") and len(path) != 3):
            raise CatalogError(f"{place}: an event needs this; name a member of its data")
        if path[0] == "data" and path[1] in _STRUCTURE:
            raise CatalogError(f"{place}: this can't be left out; keys in links follow the rule of data.keys.TYPE")
        if act != "hash" and (path[:2] == _KEYS or path == ("correlationid",)):
            raise CatalogError(f"{place}: what ties events together can only be hashed")
        if acts.setdefault(path, act) != act:
            raise CatalogError(f"{place}: named under {acts[path]} too")
