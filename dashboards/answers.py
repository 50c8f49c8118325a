"""What the routes of the API share: parameters and answers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Final

import msgspec
from fastapi import Path, Query, Request, Response
from pydantic import StringConstraints

from dashboards.queries.paging import MAX_LIMIT, Page
from dashboards.session import Person

Limit = Annotated[int, Query(ge=1, le=MAX_LIMIT, description="How many to answer at most")]
Cursor = Annotated[str | None, Query(max_length=500, description="next_cursor of the page before")]
BIGGEST: Final = 2**63 - 1
Number = Annotated[int, Path(ge=1, le=BIGGEST)]
Text = Annotated[str | None, Query(max_length=256)]
MAX_REASON: Final = 500
Why = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=MAX_REASON)]
"""Why somebody acts; not blank."""
Who = Callable[[Request], Person]


def answer(value: Any, status: int = 200) -> Response:
    return Response(msgspec.json.encode(value), status, media_type="application/json")


def answer_page(page: Page[Any], shape: Callable[[Any], dict[str, Any]]) -> Response:
    return answer({"items": [shape(item) for item in page.items], "next_cursor": page.next_cursor})
