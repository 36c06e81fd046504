"""Buys a priced tool over MCP with the unmodified x402 and mcp packages.

Usage: mcp_pay.py URL TOOL PRIVATE_KEY TIMES. Prints one JSON object a purchase.
"""

import asyncio
import json
import sys

from eth_account import Account
from mcp import ClientSession
from mcp.client.streamable_http import streamablehttp_client
from x402 import x402Client
from x402.mcp import x402MCPSession
from x402.mechanisms.evm.exact.register import register_exact_evm_client
from x402.mechanisms.evm.signers import EthAccountSigner


async def main(url: str, tool: str, key: str, times: int) -> None:
    payer = x402Client()
    # The package pays only its default tokens unless told otherwise; a devnet's token is none of them.
    payer.set_spend_controls(False)
    register_exact_evm_client(payer, EthAccountSigner(Account.from_key(key)))
    async with streamablehttp_client(url) as (read, write, _), ClientSession(read, write) as session:
        client = x402MCPSession(session, payer)
        await client.initialize()
        for _ in range(times):
            result = await client.call_tool(tool, {})
            receipt = result.payment_response
            print(
                json.dumps(
                    {
                        "is_error": bool(result.is_error),
                        "paid": result.payment_made,
                        "text": result.content[0].text if result.content else None,
                        "success": bool(receipt and receipt.success),
                        "transaction": receipt.transaction if receipt else None,
                    }
                )
            )


asyncio.run(main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])))
