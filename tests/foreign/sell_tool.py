"""Sells one tool over MCP with the unmodified x402 and mcp packages, settling through the facilitator that is named.

Usage: sell_tool.py PORT FACILITATOR PAY_TO ASSET NAME VERSION AMOUNT MARKER
"""

import sys

from mcp.server.fastmcp import FastMCP
from x402 import x402ResourceServer
from x402.http import FacilitatorConfig, HTTPFacilitatorClient
from x402.mcp import create_payment_wrapper
from x402.mechanisms.evm.exact.register import register_exact_evm_server
from x402.schemas import PaymentRequirements

port, facilitator, pay_to, asset, name, version, amount, marker = sys.argv[1:9]

server = x402ResourceServer(HTTPFacilitatorClient(FacilitatorConfig(url=facilitator)))
register_exact_evm_server(server, networks="eip155:31337")
server.initialize()
price = PaymentRequirements(
    scheme="exact",
    network="eip155:31337",
    asset=asset,
    amount=amount,
    pay_to=pay_to,
    max_timeout_seconds=60,
    extra={"name": name, "version": version},
)
shop = FastMCP("shop", host="127.0.0.1", port=int(port), log_level="ERROR")


@shop.tool()
@create_payment_wrapper(server, accepts=[price])
async def sold(word: str) -> str:
    return f"{marker} {word}"


@shop.tool()
async def given(word: str) -> str:
    return f"for nothing: {word}"


shop.run(transport="streamable-http")
