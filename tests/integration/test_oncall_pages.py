"""Who is on call: over HTTP and on pages, by whom it may be changed."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa

from alerting import pipeline
from alerting.desk import calendars_of
from dashboards.pages.oncall import read
from milepost.catalog import loader
from milepost.db.engine import make_engine
from milepost.db.tables import audit
from milepost.errors import MalformedBody
from tests.dashboard import Dashboard, dashboard
from tests.databases import Databases
from tests.integration.test_alerting_pipeline import Alerting, breach
from tests.integration.test_pages import show, texts
from tests.integration.test_who_hears import NOON, ROUTES

CATALOG = loader.load({**loader.default_texts(), "routes.yaml": ROUTES.format(url="http://127.0.0.1:1")})
HOUR = timedelta(hours=1)


@pytest.fixture(scope="module")
def pages(databases: Databases) -> Iterator[Dashboard]:
    with databases.fresh() as url, dashboard(url, catalog=CATALOG, clock=lambda: NOON) as running:
        yield running


def drawn(pages: Dashboard, address: str, who: str = "Otto") -> str:
    """The texts of a page's body."""
    with pages.session(who) as client:
        return " | ".join(texts(show(client, address)["body"]))


def test_who_is_on_call_and_who_stands_in(pages: Dashboard) -> None:
    (before,) = pages.get("/v1/oncall", days="7").json()["items"]
    assert (before["now"]["person"], before["next"]["person"], before["overrides"]) == ("ann", "bert", [])
    asked = {"rotation": "duty", "person": "bert", "until": (NOON + HOUR).isoformat(), "reason": "Ann is ill"}
    with pages.session("Vera") as viewer:
        refused = viewer.post("/v1/oncall/overrides", json=asked, headers={"origin": "https://milepost.example"})
        assert refused.status_code == 403
    with pages.session("Otto") as operator:
        operator.headers["origin"] = "https://milepost.example"
        made = operator.post("/v1/oncall/overrides", json=asked)
        assert made.status_code == 201, made.text
        number = made.json()["id"]
        (now,) = pages.get("/v1/oncall").json()["items"]
        assert (now["now"]["person"], now["now"]["instead_of"], now["now"]["override"]) == ("bert", "ann", number)
        assert operator.post(f"/v1/oncall/overrides/{number}/end").status_code == 204
        assert operator.post(f"/v1/oncall/overrides/{number}/end").status_code == 409
        assert operator.post("/v1/oncall/overrides", json={**asked, "person": "dora"}).status_code == 404
        late = {**asked, "until": (NOON - HOUR).isoformat()}
        assert operator.post("/v1/oncall/overrides", json=late).status_code == 409
    with pages.engine.connect() as connection:
        done = list(connection.scalars(sa.select(audit.c.action).where(audit.c.actor == "Otto")))
    assert done[-2:] == ["oncall.overridden", "oncall.override_ended"]


def test_the_form_reads_wall_times_of_the_reader() -> None:
    typed = {"rotation": "duty", "person": "bert", "since": "2026-12-24 18:00:00", "hours": "12", "reason": " swap "}
    asked = read(typed, "Europe/Berlin", NOON)
    assert (asked.since, asked.until) == (
        datetime(2026, 12, 24, 17, tzinfo=UTC),
        datetime(2026, 12, 25, 5, tzinfo=UTC),
    )
    assert read({**typed, "since": ""}, None, NOON).since == NOON
    for wrong in ({"person": ""}, {"reason": " "}, {"hours": "5"}, {"since": "soon"}):
        with pytest.raises(MalformedBody):
            read({**typed, **wrong}, None, NOON)


def test_an_alert_tells_whom_it_reached_and_whom_it_calls_next(pages: Dashboard) -> None:
    engine = make_engine(pages.engine.url.render_as_string(hide_password=False), application_name="test")
    alerting = Alerting(engine)
    alerting.now = NOON
    alerting.send(breach(1, severity="critical"))
    pipeline.step(
        engine, CATALOG.routing, calendars=calendars_of(CATALOG), now=NOON, public_url="https://milepost.example"
    )
    alert = pages.get("/v1/alerts/1").json()
    assert {"routed", "opened"} <= {change["what"] for change in alert["changes"]}
    engine.dispose()
    shown = drawn(pages, "/alerts/1")
    for said in ("was told", "duty-hook → ann, chat (route urgent, days); on call: ann (duty)", "Calls next"):
        assert said in shown


def test_the_page_shows_the_turns_and_a_form_to_those_who_may(pages: Dashboard) -> None:
    able, looks = drawn(pages, "/oncall"), drawn(pages, "/oncall", "Vera")
    assert "Put on call" in able
    assert "Put on call" not in looks
    for said in ("Mondays at 08:00 (Europe/Berlin)", "the turns to come", "bert"):
        assert said in looks
