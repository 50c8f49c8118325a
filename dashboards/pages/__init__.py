"""The pages. Each is a frame that stays and a body that is rendered anew as data comes."""

from __future__ import annotations

from typing import Final

from dashboards.pages.alerts import Alert, Alerts
from dashboards.pages.anomalies import Anomalies, Anomaly
from dashboards.pages.decisions import Decide, Decided, Decisions
from dashboards.pages.exceptions import Exceptions
from dashboards.pages.journey import Journey
from dashboards.pages.journeys import Journeys
from dashboards.pages.objectives import Objective, Objectives
from dashboards.pages.oncall import OnCall
from dashboards.pages.overview import Overview
from dashboards.pages.quarantine import Quarantine, Quarantined, QuarantineGroup
from dashboards.pages.reconciliation import Reconciled, Reconciliations
from dashboards.pages.silence_new import New
from dashboards.pages.silences import One, OneWindow, Silences
from dashboards.pages.sources import Sources
from dashboards.view import Page

PAGES: Final[tuple[Page, ...]] = (
    Overview(), Journeys(), Journey(), Alerts(), Alert(), Exceptions(), Anomalies(), Anomaly(), Sources(), Quarantine(),
    QuarantineGroup(), Quarantined(), Decisions(), Decide(), Decided(), Reconciliations(), Reconciled(),
    Silences(), New(), One(), OneWindow(),
    Objectives(), Objective(), OnCall(),
)  # fmt: skip
