"""Buys from a channel with the unmodified x402 package, one JSON object a step. A step is a path that is bought, or `refund PATH`:
all that is left in the channel of that path comes back.

Usage: buy_channels.py PRIVATE_KEY BASE STEP...
"""

import asyncio
import json
import sys

import httpx
from eth_account import Account
from x402 import x402Client
from x402.http.clients.httpx import wrapHttpxWithPayment
from x402.mechanisms.evm.batch_settlement.client.refund import RefundOptions
from x402.mechanisms.evm.batch_settlement.client.scheme import BatchSettlementEvmScheme
from x402.mechanisms.evm.signers import EthAccountSigner


class Answer:
    def __init__(self, response: httpx.Response) -> None:
        self.status, self.headers = response.status_code, response.headers

    def header(self, name: str) -> str | None:
        return self.headers.get(name)


def patient(url: str, headers: dict[str, str]) -> Answer:
    """The package's own gives up after five seconds, which a busy machine takes."""
    return Answer(httpx.get(url, headers=headers, timeout=60))


async def main(key: str, base: str, steps: list[str]) -> None:
    client = x402Client()
    # The package pays only its default tokens unless told otherwise; a devnet's token is none of them.
    client.set_spend_controls(False)
    scheme = BatchSettlementEvmScheme(EthAccountSigner(Account.from_key(key)))
    client.register("eip155:31337", scheme)
    async with wrapHttpxWithPayment(client) as http:
        for step in steps:
            if step.startswith("refund "):
                back = await asyncio.to_thread(scheme.refund, base + step.split(" ")[1], RefundOptions(fetch=patient))
                print(json.dumps({"step": step, "refund": json.loads(back.model_dump_json(by_alias=True))}))
                continue
            response = await http.get(base + step, timeout=60)
            print(
                json.dumps(
                    {
                        "step": step,
                        "status": response.status_code,
                        "body": response.text,
                        "payment_response": response.headers.get("payment-response"),
                    }
                )
            )


asyncio.run(main(sys.argv[1], sys.argv[2], sys.argv[3:]))
