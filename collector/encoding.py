"""Content-Encoding: gzip and zstd, undone without ever holding much more than the limit."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final, Protocol

import zstandard

from milepost.errors import MalformedBody, TooLarge, UnsupportedFormat

_GZIP: Final = 16 + zlib.MAX_WBITS
_ZSTD_WINDOW: Final = 8 * 1024 * 1024  # what RFC 9659 allows over HTTP
_MAX_MEMBERS: Final = 1000
"""Gzip members or zstd frames in one body; each costs a new decompressor, however little is in it."""
_PIECE: Final = 512
"""Compressed bytes fed at a time. Zstandard packs 128 KiB into 4 bytes, so this bounds the overshoot to 16 MiB."""


class _Stream(Protocol):
    """One gzip member or zstd frame being undone."""

    @property
    def eof(self) -> bool: ...

    @property
    def unused_data(self) -> bytes: ...

    def decompress(self, data: bytes, /) -> bytes: ...


@dataclass(frozen=True, slots=True)
class _Codec:
    open: Callable[[], _Stream]
    errors: tuple[type[Exception], ...]


_codecs: Final = {
    "gzip": _Codec(lambda: zlib.decompressobj(_GZIP), (zlib.error,)),
    "zstd": _Codec(
        lambda: zstandard.ZstdDecompressor(max_window_size=_ZSTD_WINDOW).decompressobj(), (zstandard.ZstdError,)
    ),
}
_codecs["x-gzip"] = _codecs["gzip"]
ENCODINGS: Final = ("gzip", "zstd", "identity")


def known(encoding: str) -> str | None:
    """The encoding in its plain spelling, None when there is nothing to undo. Raises UnsupportedFormat."""
    name = encoding.strip().lower()
    if name in ("", "identity"):
        return None
    if name not in _codecs:
        raise UnsupportedFormat(f'Content-Encoding "{encoding}" is not known; send one of {", ".join(ENCODINGS)}')
    return name


def decompress(body: bytes, encoding: str, max_bytes: int) -> bytes:
    """The body undone, all its members or frames. `encoding` comes from `known`.

    Raises TooLarge when it would be longer than `max_bytes`, MalformedBody when it is broken or cut off.
    """
    codec = _codecs[encoding]
    parts: list[bytes] = []
    length = 0
    try:
        for part in _parts(body, codec):
            length += len(part)
            if length > max_bytes:
                raise TooLarge(f"the body has more than {max_bytes} bytes once decompressed")
            parts.append(part)
    except codec.errors as error:
        raise MalformedBody(f"the body is not {encoding}: {error}") from error
    return b"".join(parts)


def _parts(body: bytes, codec: _Codec) -> Iterator[bytes]:
    stream, members = codec.open(), 1
    rest = memoryview(body)
    while rest:
        if stream.eof:
            stream, members = codec.open(), members + 1
        if members > _MAX_MEMBERS:
            raise MalformedBody(f"the compressed body has more than {_MAX_MEMBERS} parts")
        piece, rest = rest[:_PIECE], rest[_PIECE:]
        yield stream.decompress(bytes(piece))
        if stream.eof and stream.unused_data:
            back = len(stream.unused_data)
            rest = memoryview(body)[len(body) - len(rest) - back :]
    if not stream.eof:
        raise MalformedBody("the compressed body is cut off")
