"""Fetches URLs with requests and httpx, knowing nothing of x402: what the environment says is all there is.

Usage: proxied.py URL…. Prints one JSON object a fetch.
"""

import json
import sys

import httpx
import requests

for url in sys.argv[1:]:
    for name, get in [("requests", requests.get), ("httpx", httpx.get)]:
        # Bought once for each library.
        response = get(url, headers={"Purser-Purchase": f"{name} {url}"}, timeout=60)
        print(
            json.dumps(
                {
                    "status": response.status_code,
                    "body": response.text,
                    "receipt": response.headers.get("payment-response") or response.headers.get("x-payment-response"),
                    "payment": response.headers.get("purser-payment"),
                }
            )
        )
