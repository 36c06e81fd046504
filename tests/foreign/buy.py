"""Buys a URL with the unmodified x402 package: what any Python agent would write.

Usage: buy.py URL PRIVATE_KEY TIMES. Prints one JSON object a purchase.
"""

import asyncio
import json
import sys

from eth_account import Account
from x402 import x402Client
from x402.http.clients.httpx import wrapHttpxWithPayment
from x402.mechanisms.evm.exact.register import register_exact_evm_client
from x402.mechanisms.evm.signers import EthAccountSigner


async def main(url: str, key: str, times: int) -> None:
    client = x402Client()
    # The package pays only its default tokens unless told otherwise; a devnet's token is none of them.
    client.set_spend_controls(False)
    register_exact_evm_client(client, EthAccountSigner(Account.from_key(key)))
    async with wrapHttpxWithPayment(client) as http:
        for _ in range(times):
            response = await http.get(url)
            print(
                json.dumps(
                    {
                        "status": response.status_code,
                        "body": response.text,
                        "payment_response": response.headers.get("payment-response"),
                    }
                )
            )


asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3])))
