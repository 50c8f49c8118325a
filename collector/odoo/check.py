"""What of an Odoo this user can read, what is missing, and the mend: for people who connect one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from collector.odoo.client import Client
from collector.odoo.exchanges import EXCHANGES
from collector.odoo.snapshots import MODELS
from milepost.errors import NotAllowed, NotFound

Verdict = Literal["ok", "not there", "no right"]
_HISTORY: Final = ("mail.tracking.value", "ir.model.fields")
_HISTORY_MEND: Final = "two lines of access rights for a group of your own: docs/how-to/connect-odoo.md, step 1"
_REFERRED: Final = {
    "mail.message": ("mail", "Internal User", ["model", "res_id", "date"]),
    "res.partner": ("base", "Internal User", ["commercial_partner_id"]),
    "stock.picking.type": ("stock", "Inventory: User", ["warehouse_id"]),
    "stock.warehouse": ("stock", "Inventory: User", ["pack_type_id"]),
    "stock.move": ("stock", "Inventory: User", ["picking_id", "move_dest_ids"]),
}
_MODULES: Final = {
    "queue.job": ("queue_job", "Job Queue: Manager"),
    "edi.exchange.record": ("edi_oca", "EDI: User"),
    "account.edi.document": ("account_edi", "Invoicing: Read-only"),
}


@dataclass(frozen=True, slots=True)
class Finding:
    """The verdict on one model. `said` is Odoo's own word, `mend` what to do; `optional`: most have it not."""

    model: str
    verdict: Verdict
    records: int = 0
    said: str = ""
    mend: str = ""
    optional: bool = False

    @property
    def wrong(self) -> bool:
        """Whether somebody should do something: a module that isn't installed is a choice."""
        return self.verdict == "no right"


def findings(client: Client) -> Iterator[Finding]:
    """One for each model, 3 calls each. Raises what keeps everything from being read: no connection, no log-in."""
    for model in _HISTORY:
        yield _look(client, model, ["create_date"], "mail", _HISTORY_MEND)
    for name, read in MODELS.items():
        yield _look(client, name, read.fields, read.module, _give(read.right), read.domain)
    for name, (module, right, fields) in _REFERRED.items():
        yield _look(client, name, fields, module, _give(right))
    for name, exchange in EXCHANGES.items():
        module, right = _MODULES[name]
        yield _look(client, name, exchange.fields, module, _give(right), optional=True)


def _give(right: str) -> str:
    return f"give the user the right {right}"


def _look(
    client: Client,
    model: str,
    fields: Sequence[str],
    module: str,
    mend: str,
    domain: Sequence[object] = (),
    optional: bool = False,
) -> Finding:
    try:
        there = client.fields_of(model)
        client.search_read(model, domain, [name for name in fields if name in there], limit=1)
        return Finding(model, "ok", client.count(model, domain), optional=optional)
    except NotFound as error:
        install = f"comes with the module {module}; without it nothing of this is told"
        return Finding(model, "not there", said=str(error), mend=install, optional=optional)
    except NotAllowed as error:
        return Finding(model, "no right", said=str(error), mend=mend, optional=optional)
