"""What the guides have for Odoo's own Python, run in the shell of the real Odoo."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docs.pages import DOCS, ROOT, blocks
from tests.served import collector

pytestmark = pytest.mark.odoo
SERVICES = ROOT / "tests" / "integration" / "services"
SHELL = """
source lib.sh
inside odoo odoo shell -d "$ODOO_DB" --db_host 127.0.0.1 --db_port "$PG_PORT" --db_user odoo --data-dir /var/lib/odoo \\
    --addons-path "$ODOO_ADDONS" --no-http --log-level error
"""


def odoo_shell(script: str) -> str:
    """What the script prints that `odoo shell` reads."""
    done = subprocess.run(
        ["bash", "-euc", SHELL], cwd=SERVICES, input=f"exec({script!r})\n", capture_output=True, text=True, timeout=120,
        check=False,
    )  # fmt: skip
    assert "Traceback" not in done.stderr, done.stderr
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_user_for_milepost_is_made() -> None:
    (block,) = blocks(DOCS / "how-to" / "connect-odoo.md", "python")
    assert "env.cr.commit()" in block.text
    script = block.text.replace("env.cr.commit()", "env.cr.flush()").replace('"milepost"', '"milepost-of-the-guide"')
    look = (
        "made = env['res.users'].search([('login', '=', 'milepost-of-the-guide')])\nprint('made', made.mapped('name'))"
    )
    assert "made ['Milepost']" in odoo_shell(f"{script}\n{look}\nenv.cr.rollback()")


@pytest.fixture
def client_folder() -> Iterator[Path]:
    """The client where Odoo finds it."""
    root = Path(os.environ.get("MILEPOST_SERVICES", "~/.cache/milepost-services")).expanduser() / "root"
    folder = root / "tmp" / f"milepost-client-{os.getpid()}"
    shutil.copytree(ROOT / "milepost" / "client", folder / "milepost_client")
    yield folder
    shutil.rmtree(folder)


def test_an_add_on_tells_what_is_committed_only(database: str, client_folder: Path) -> None:
    (block,) = blocks(DOCS / "how-to" / "send-from-python.md", "python odoo")
    with collector(database) as served:
        script = f"""
import sys
sys.path.insert(0, "/tmp/{client_folder.name}")
from milepost_client import Client
milepost = Client({served.url!r}, {served.keys["north"]!r})
{block.text}
order, other = env["sale.order"].search([("name", "!=", False)], limit=2)
tell_confirmed(order)
env.cr.rollback()
tell_confirmed(other)
env.cr.commit()
assert milepost.flush(30)
print("told", other.name, milepost.stats().sent)
"""
        said = odoo_shell(script)
        (event,) = [json.loads(entry.body) for entry in served.taken()]
    assert event["type"] == "order.confirmed"
    assert f"told {event['data']['keys']['order']} 1" in said
