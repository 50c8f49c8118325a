"""Receive Milepost's webhooks, verify their signature, print what they say. Python's standard library only.

    HOOK_SECRET=whsec_… python receive_alerts.py --port 9000 --count 1

A receiver of your own does the same three things: verify, note the webhook-id (the same one may come twice), answer
2xx soon.
"""

import argparse
import base64
import hashlib
import hmac
import json
import os
import time
from http.server import BaseHTTPRequestHandler, HTTPServer

TOLERANCE = 300  # seconds; an older signature may be a replay


def verified(secret: str, headers, body: bytes) -> bool:
    """Standard Webhooks: HMAC-SHA256 over `{id}.{timestamp}.{body}`; one good signature of several is enough."""
    message_id, timestamp = headers["webhook-id"], headers["webhook-timestamp"]
    if not message_id or not timestamp or abs(time.time() - int(timestamp)) > TOLERANCE:
        return False
    key = base64.b64decode(secret.removeprefix("whsec_"))
    digest = hmac.digest(key, f"{message_id}.{timestamp}.".encode() + body, hashlib.sha256)
    expected = "v1," + base64.b64encode(digest).decode()
    return any(hmac.compare_digest(expected, one) for one in (headers["webhook-signature"] or "").split())


class Receiver(BaseHTTPRequestHandler):
    seen: set[str] = set()

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        good = verified(os.environ["HOOK_SECRET"], self.headers, body)
        self.send_response(204 if good else 401)
        self.end_headers()
        if good and self.headers["webhook-id"] not in self.seen:
            self.seen.add(self.headers["webhook-id"])
            told = json.loads(body)
            print(told["type"], "|", told["data"]["headline"], "|", told["data"]["alert"]["summary"], flush=True)

    def log_message(self, *_: object) -> None:
        """Say nothing of each request."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--port", type=int, default=9000)
    parser.add_argument("--count", type=int, help="end after so many messages (default: never)")
    options = parser.parse_args()
    server = HTTPServer(("127.0.0.1", options.port), Receiver)
    while options.count is None or len(Receiver.seen) < options.count:
        server.handle_request()


if __name__ == "__main__":
    main()
