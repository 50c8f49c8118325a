"""A folder that is watched for files of a source."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Annotated, Literal

from msgspec import Meta, Struct

from milepost.catalog.mapping import MappingSpec
from milepost.errors import CatalogError


class FolderSpec(Struct, frozen=True, forbid_unknown_fields=True):
    """Where the files of a source appear, below MILEPOST_FOLDERS, and how they are read.

    `mapping`: of rows (csv: one with a table) or lines (ndjson: without it each line is an event). `settle`: seconds
    for which a file must not have changed before it is read.
    """

    path: Annotated[str, Meta(min_length=1, max_length=500)]
    format: Literal["csv", "ndjson", "edi"]
    pattern: Annotated[str, Meta(min_length=1, max_length=200)] = "*"
    mapping: Annotated[str, Meta(min_length=1, max_length=64)] | None = None
    settle: Annotated[float, Meta(ge=0, le=86400)] = 10.0


def check(folder: FolderSpec, mappings: dict[str, MappingSpec], where: str) -> None:
    """The path stays below the root, and the mapping is one for this format. Raises CatalogError."""
    path = PurePosixPath(folder.path)
    if path.is_absolute() or ".." in path.parts or "\x00" in folder.path:
        raise CatalogError(f"{where}: path: {folder.path} must be a path below MILEPOST_FOLDERS, without ..")
    if "/" in folder.pattern:
        raise CatalogError(f"{where}: pattern: it is for names of files; folders go into path")
    _check_mapping(folder, mappings, where)


def _check_mapping(folder: FolderSpec, mappings: dict[str, MappingSpec], where: str) -> None:
    if folder.format == "edi":
        if folder.mapping is not None:
            raise CatalogError(f"{where}: mapping: EDI documents are read without one")
        return
    if folder.mapping is None:
        if folder.format == "csv":
            raise CatalogError(f"{where}: a folder of format csv needs mapping")
        return
    spec = mappings.get(folder.mapping)
    if spec is None:
        raise CatalogError(f"{where}: mapping: there is no mapping {folder.mapping}")
    if (spec.table is not None) != (folder.format == "csv"):
        needed = "needs one with a table" if folder.format == "csv" else "takes one without a table"
        raise CatalogError(f"{where}: mapping: format {folder.format} {needed}")
