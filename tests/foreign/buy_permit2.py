"""Buys URLs with the unmodified x402 package, by schemes exact and upto; a JSON line a purchase.

Usage: buy_permit2.py PRIVATE_KEY URL...; with RPC_URL in the environment it gives Permit2 its allowance as the seller says.
"""

import asyncio
import json
import os
import sys

from eth_account import Account
from x402 import x402Client
from x402.http.clients.httpx import wrapHttpxWithPayment
from x402.mechanisms.evm.exact.register import register_exact_evm_client
from x402.mechanisms.evm.signers import EthAccountSigner, EthAccountSignerWithRPC
from x402.mechanisms.evm.upto.client import UptoEvmScheme


async def main(key: str, urls: list[str]) -> None:
    account, rpc = Account.from_key(key), os.environ.get("RPC_URL")
    signer = EthAccountSignerWithRPC(account, rpc) if rpc else EthAccountSigner(account)
    client = x402Client()
    # The package pays only its default tokens unless told otherwise; a devnet's token is none of them.
    client.set_spend_controls(False)
    register_exact_evm_client(client, signer)
    client.register("eip155:*", UptoEvmScheme(signer))
    # A machine with much to do may take longer than the five seconds that httpx gives.
    async with wrapHttpxWithPayment(client, timeout=60) as http:
        for url in urls:
            response = await http.get(url)
            paid = response.headers.get("payment-response")
            print(json.dumps({"status": response.status_code, "body": response.text, "payment_response": paid}))


asyncio.run(main(sys.argv[1], sys.argv[2:]))
