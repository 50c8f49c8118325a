"""The acknowledgement ladder: EDI text through the reader, the recorder and the assembler to the document's journey."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
import sqlalchemy as sa

from milepost.catalog import loader
from milepost.db.tables import journeys, objects, quarantine
from tests.chain import Chain
from tests.conformance.edi_samples import ACME, EDI, ORDER, ORDERS, THEY, US, WE, edifact, events, x12

CATALOG = msgspec.structs.replace(loader.load(loader.default_texts()), edi=EDI)


class Ladder:
    """A chain that is fed with interchanges."""

    def __init__(self, engine: sa.Engine) -> None:
        self._chain = Chain(engine, catalog=CATALOG)

    def takes(self, text: str) -> Ladder:
        self._chain.send(*events(text))
        self._chain.settle()
        return self

    def states(self, model: str = "edi_document") -> dict[str, tuple[str, str]]:
        """{root's key: (state, stage)}."""
        query = (
            sa.select(objects.c.key, journeys.c.state, journeys.c.stage)
            .join(objects, objects.c.object_id == journeys.c.root_id)
            .where(journeys.c.model == model)
        )
        with self._chain.engine.connect() as connection:
            rows: Any = connection.execute(query).all()
        return {key: (state, stage) for key, state, stage in rows}


@pytest.fixture
def ladder(engine: sa.Engine) -> Ladder:
    return Ladder(engine)


def contrl(control: str, action: str, *more: str) -> str:
    return edifact(THEY, WE, control, ("CONTRL", f"UCI+5+{WE}:14+{THEY}:14+{action}", *more))


def test_sent_checked_answered(ladder: Ladder) -> None:
    ladder.takes(edifact(WE, THEY, "5", ORDERS))
    assert ladder.states() == {"out/5/1": ("open", "sent")}
    ladder.takes(contrl("20", "8"))
    assert ladder.states() == {"out/5/1": ("open", "arrived")}, "received is not accepted"
    ladder.takes(contrl("21", "7"))
    assert ladder.states() == {"out/5/1": ("open", "accepted")}, "an order awaits its answer"
    ladder.takes(edifact(THEY, WE, "22", ("ORDRSP", "BGM+231+R1+29", "RFF+ON:4500012345")))
    assert ladder.states() == {"out/5/1": ("completed", "answered"), "in/22/1": ("completed", "received")}
    assert ladder.states("purchase_order") == {"4500012345": ("open", "confirmed")}


def test_what_awaits_no_answer_is_complete_when_it_is_accepted(ladder: Ladder) -> None:
    ladder.takes(x12(US, ACME, 9, "IN", ("810", "BIG*20261121*INV-1*20261120*PO1", "TDS*100")))
    ladder.takes(x12(ACME, US, 20, "FA", ("997", "AK1*IN*9", "AK9*A*1*1*1")))
    assert ladder.states() == {"out/IN/9/1": ("completed", "accepted")}


def test_a_rejected_document_stays_open_until_it_is_answered_after_all(ladder: Ladder) -> None:
    ladder.takes(x12(US, ACME, 5, "PO", ORDER))
    ladder.takes(x12(ACME, US, 20, "FA", ("997", "AK1*PO*5", "AK2*850*0001", "AK5*R*5", "AK9*R*1*1*0")))
    assert ladder.states() == {"out/PO/5/1": ("open", "rejected")}
    ladder.takes(x12(US, ACME, 6, "PO", ORDER))
    ladder.takes(x12(ACME, US, 21, "PR", ("855", "BAK*00*AD*4500012345*20261120")))
    assert {state for state, _ in ladder.states().values()} == {"completed"}


def test_a_rejected_group_and_a_rejection_within_an_accepted_interchange(ladder: Ladder) -> None:
    invoice = ("810", "BIG*20261121*INV-1*20261120*PO1", "TDS*100")
    ladder.takes(x12(US, ACME, 9, "IN", invoice, invoice))
    ladder.takes(x12(ACME, US, 20, "FA", ("997", "AK1*IN*9", "AK9*R*2*2*0")))
    assert ladder.states() == {"out/IN/9/1": ("open", "rejected"), "out/IN/9/2": ("open", "rejected")}
    bill = ("INVOIC", "BGM+380+INV-2+9")
    ladder.takes(edifact(WE, THEY, "5", bill, bill))
    ladder.takes(contrl("21", "7", "UCM+2+INVOIC:D:96A:UN+4+12"))
    assert ladder.states()["out/5/1"] == ("completed", "accepted")
    assert ladder.states()["out/5/2"] == ("open", "rejected")


def test_a_control_number_that_is_used_again_is_a_conflict_and_a_repeat_is_none(
    ladder: Ladder, engine: sa.Engine
) -> None:
    invoice = ("810", "BIG*20261121*INV-1*20261120*PO1", "TDS*100")
    ladder.takes(x12(US, ACME, 9, "IN", invoice)).takes(x12(US, ACME, 9, "IN", invoice))
    ladder.takes(x12(US, ACME, 9, "IN", (*invoice, "CAD*T")))
    with engine.connect() as connection:
        held = connection.execute(sa.select(quarantine.c.kind, quarantine.c.event_id)).all()
    assert [tuple(row) for row in held] == [("conflict", "ZZ:MILEPOST>01:123456789/9/9/810/1/1")]


def test_a_document_belongs_to_the_journey_of_its_order(ladder: Ladder, engine: sa.Engine) -> None:
    ladder.takes(x12(ACME, US, 17, "PO", ORDER))
    ladder.takes(x12(US, ACME, 7, "PR", ("855", "BAK*00*AD*4500012345*20261120****S00024")))
    assert ladder.states("order") == {"S00024": ("open", "confirmed")}
    with engine.connect() as connection:
        found = connection.execute(
            sa.text(
                "SELECT o.key FROM derived.members m JOIN derived.journeys j USING (journey_id)"
                " JOIN input.objects o ON o.object_id = m.object_id"
                " JOIN input.objects r ON r.object_id = j.root_id WHERE r.key = 'S00024' AND o.type = 'document'"
            )
        ).scalars()
        assert set(found) == {"in/PO/17/1", "out/PR/7/1"}
