"""What a frozen process left open is ended; who works, or holds nothing that others wait for, is left alone."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import pytest
import sqlalchemy as sa

from milepost.db import frozen
from milepost.db.engine import make_engine
from milepost.errors import Transient
from tests.served import wait_until

AT_ONCE = timedelta(0)


@contextmanager
def amid_a_transaction(url: str, application: str) -> Iterator[sa.Connection]:
    engine = make_engine(url, application_name=application)
    try:
        with engine.connect() as connection:
            connection.execute(sa.text("SELECT 1"))
            yield connection
    finally:
        engine.dispose()


@pytest.mark.parametrize("application", ["milepost record", "milepost assemble"])
def test_the_transaction_of_a_frozen_process_is_ended(database: str, engine: sa.Engine, application: str) -> None:
    with amid_a_transaction(database, application) as connection:
        assert frozen.end(engine) == 0
        wait_until(lambda: frozen.end(engine, after=AT_ONCE) == 1)
        with pytest.raises(Transient):
            connection.execute(sa.text("SELECT 1"))


def test_others_may_think_for_as_long_as_they_like(database: str, engine: sa.Engine) -> None:
    with amid_a_transaction(database, "milepost web") as connection:
        assert frozen.end(engine, after=AT_ONCE) == 0
        connection.execute(sa.text("SELECT 1"))
