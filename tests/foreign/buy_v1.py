"""Buys a URL over x402 version 1 with the unmodified x402 package, which speaks it where nothing newer is offered.

The header of version 2 is taken out of every answer on its way, so that the body is all that the package sees.

Usage: buy_v1.py URL PRIVATE_KEY TIMES NETWORK. Prints one JSON object a purchase.
"""

import asyncio
import json
import sys

import httpx
from eth_account import Account
from x402 import x402Client
from x402.http.clients.httpx import x402AsyncTransport
from x402.mechanisms.evm.exact.register import register_exact_evm_client
from x402.mechanisms.evm.signers import EthAccountSigner


class WithoutTheNewer(httpx.AsyncHTTPTransport):
    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        response = await super().handle_async_request(request)
        response.headers.pop("payment-required", None)
        return response


async def main(url: str, key: str, times: int) -> None:
    client = x402Client()
    # The package pays only its default tokens unless told otherwise; a devnet's token is none of them.
    client.set_spend_controls(False)
    register_exact_evm_client(client, EthAccountSigner(Account.from_key(key)))
    async with httpx.AsyncClient(transport=x402AsyncTransport(client, WithoutTheNewer())) as http:
        for _ in range(times):
            response = await http.get(url)
            print(
                json.dumps(
                    {
                        "status": response.status_code,
                        "body": response.text,
                        "payment_response": response.headers.get("x-payment-response"),
                        "newer": response.headers.get("payment-response"),
                    }
                )
            )


asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3])))
