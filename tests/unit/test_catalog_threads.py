"""Threads that start at once all read the catalog: the scheduler's do."""

from __future__ import annotations

import subprocess
import sys

# Each child is a process that has not read a catalog yet, which is when it matters.
SCRIPT = """
import os, sys, threading
from milepost.catalog import loader

def read_at_once():
    sys.setswitchinterval(1e-6)
    texts = dict(loader.default_texts(), **{"journeys.yaml": SMALL, "slas.yaml": "", "calendars.yaml": ""})
    start = threading.Barrier(6)
    def read():
        start.wait()
        loader.load(texts)
    threads = [threading.Thread(target=read) for _ in range(6)]
    for thread in threads: thread.start()
    for thread in threads: thread.join()
    os._exit(0)

SMALL = "models: {order: {roots: [order], milestones: [{name: received, events: [order.received]}]}}"
crashed = 0
for _ in range(40):
    child = os.fork()
    if not child:
        read_at_once()
    crashed += os.waitpid(child, 0)[1] != 0
sys.exit(crashed)
"""


def test_threads_may_read_the_first_catalog_at_once() -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, f"{done.returncode} of 40 crashed: {done.stderr}"
