"""A service that knows nothing of x402 and sells through the paywall before it: it checks who says that something was
paid (RFC 9421, hmac-sha256), with the standard library alone, and says what it saw.

Usage: upstream.py KEY_IN_HEX; prints its port. Asked for /count, it says how often it was asked for anything else.
"""

import base64
import hashlib
import hmac
import json
import re
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

KEY = bytes.fromhex(sys.argv[1])
seen = 0


def is_signed(request, body):
    """Whether the one signature called `purser` is good, fresh, and over all that we rely on."""
    found = re.fullmatch(r'purser=(\(([^()]*)\);created=(\d+);.*alg="hmac-sha256")', request.headers.get("signature-input", ""))
    if not found or abs(time.time() - int(found.group(3))) > 60:
        return False
    parts = urlsplit(request.path)
    derived = {"@method": request.command, "@path": parts.path, "@query": "?" + parts.query}
    names = [name.strip('"') for name in found.group(2).split()]
    needed = {*derived, "purser-payment-id", "purser-payment-payer", "purser-payment-amount", "content-digest"}
    if not needed <= set(names):
        return False
    lines = [f'"{name}": {derived.get(name) or request.headers[name]}' for name in names]
    base = "\n".join([*lines, f'"@signature-params": {found.group(1)}'])
    made = "purser=:" + base64.b64encode(hmac.digest(KEY, base.encode(), "sha256")).decode() + ":"
    digest = "sha-256=:" + base64.b64encode(hashlib.sha256(body).digest()).decode() + ":"
    return hmac.compare_digest(made, request.headers["signature"]) and digest == request.headers["content-digest"]


class Upstream(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self):
        global seen
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        if self.path == "/count":
            return self.say(200, {"seen": seen})
        seen += 1
        if not is_signed(self, body):
            return self.say(401, {"error": "nobody that we know says that this was paid"})
        if self.path.startswith("/v2/fail"):
            return self.say(500, {"error": "no"})
        if self.path.startswith("/v2/cut"):
            self.send_response(200)
            self.send_header("content-length", "1000")
            self.end_headers()
            self.wfile.write(b"half")
            self.close_connection = True
            return None
        if self.path.startswith("/v2/slow"):
            time.sleep(4)
        headers = {name.lower(): value for name, value in self.headers.items()}
        return self.say(200, {"path": self.path, "method": self.command, "body": body.decode(), "headers": headers})

    do_GET = do_POST = do_PUT = answer

    def say(self, status, value):
        text = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(text)))
        self.send_header("connection", "keep-alive, x-hop")
        self.send_header("x-hop", "between two")
        self.send_header("payment-response", "forged")
        self.send_header("purser-payment-id", "forged")
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_):
        pass


server = ThreadingHTTPServer(("127.0.0.1", 0), Upstream)
print(server.server_port, flush=True)
server.serve_forever()
