"""What the routes of the API share: parameters and answers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Final

import msgspec
from fastapi import Path, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import StringConstraints

from dashboards.queries.paging import MAX_LIMIT, Page
from dashboards.session import Person
from milepost.catalog.schema import Catalog
from milepost.decisions.audit import MAX_REASON

Limit = Annotated[int, Query(ge=1, le=MAX_LIMIT, description="How many to answer at most")]
Cursor = Annotated[str | None, Query(max_length=500, description="next_cursor of the page before")]
BIGGEST: Final = 2**63 - 1
Number = Annotated[int, Path(ge=1, le=BIGGEST)]
Text = Annotated[str | None, Query(max_length=256)]
Why = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=MAX_REASON)]
"""Why somebody acts; not blank."""
Who = Callable[[Request], Person]


def answer(value: Any, status: int = 200) -> Response:
    return Response(msgspec.json.encode(value), status, media_type="application/json")


def answer_page(page: Page[Any], shape: Callable[[Any], dict[str, Any]]) -> Response:
    return answer({"items": [shape(item) for item in page.items], "next_cursor": page.next_cursor})


def refused(name: str, why: str) -> RequestValidationError:
    """For a parameter of the address that can't be used: answered 422."""
    return RequestValidationError([{"loc": ("query", name), "msg": why}])


def check_journeys(catalog: Catalog, kind: str | None, stage: str | None = None) -> None:
    """Raises RequestValidationError for a model or milestone that the catalog doesn't have."""
    if kind is not None and kind not in catalog.models:
        raise refused("kind", f"there is no model {kind}, but {', '.join(catalog.models)}")
    stages = {one.name for model in catalog.models.values() for one in model.milestones}
    if stage not in (None, "none", *stages):
        raise refused("stage", f"no model has a milestone {stage}")
