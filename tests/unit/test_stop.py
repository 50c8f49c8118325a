"""Signals come at any moment, several at once, also while the process looks at whether one came."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time

from milepost.wiring.loops import Stop

SCRIPT = """
import os, threading, time
from milepost.wiring.loops import Stop

stop = Stop().listen()
waiting = threading.Thread(target=lambda: [stop.wait(0.0001) for _ in range(200_000)], daemon=True)
waiting.start()
print("ready", flush=True)
end = time.monotonic() + 1.5
while time.monotonic() < end:
    stop.wait(0.0001)
os._exit(0 if stop else 1)  # signals still come, and a process that tidies up has let go of its handlers
"""


def test_many_signals_at_any_moment_stop_and_never_hang() -> None:
    with subprocess.Popen([sys.executable, "-c", SCRIPT], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        deadline = time.monotonic() + 20
        while process.poll() is None:
            process.send_signal(signal.SIGTERM)
            process.send_signal(signal.SIGINT)
            time.sleep(0.0005)
            if time.monotonic() > deadline:
                process.kill()
                raise AssertionError("it hangs")
        assert process.returncode == 0


def test_who_waits_is_woken() -> None:
    stop = Stop()
    assert not stop
    assert not stop.wait(0.01)
    woken = threading.Event()

    def wait() -> None:
        if stop.wait(60):
            woken.set()

    waiting = [threading.Thread(target=wait) for _ in range(3)]
    for thread in waiting:
        thread.start()
    stop.set()
    stop.set()
    for thread in waiting:
        thread.join(10)
        assert not thread.is_alive()
    assert woken.is_set()
    assert stop
    assert stop.wait(60)
