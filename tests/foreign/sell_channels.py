"""Sells by scheme batch-settlement with the unmodified x402 package and FastAPI, settling through the facilitator that is named:
one thing at a fixed price and one that is charged a part.

Usage: sell_channels.py PORT FACILITATOR PAY_TO ASSET NAME VERSION AMOUNT MARKER PART AUTHORIZER_KEY
"""

import sys

import uvicorn
from fastapi import FastAPI, Response
from x402 import x402ResourceServer
from x402.http import FacilitatorConfig, HTTPFacilitatorClient, PaymentOption
from x402.http.middleware.fastapi import PaymentMiddlewareASGI
from x402.http.types import RouteConfig
from x402.mechanisms.evm.batch_settlement.authorizer_signer import LocalAuthorizerSigner
from x402.mechanisms.evm.batch_settlement.server.scheme import (
    BatchSettlementEvmScheme,
    BatchSettlementEvmSchemeServerConfig,
)
from x402.schemas import AssetAmount

port, facilitator, pay_to, asset, name, version, amount, marker, part, key = sys.argv[1:11]

server = x402ResourceServer(HTTPFacilitatorClient(FacilitatorConfig(url=facilitator)))
settings = BatchSettlementEvmSchemeServerConfig(receiver_authorizer_signer=LocalAuthorizerSigner(key))
server.register("eip155:31337", BatchSettlementEvmScheme(pay_to, settings))
price = AssetAmount(asset=asset, amount=amount, extra={"name": name, "version": version})
option = PaymentOption(
    scheme="batch-settlement", network="eip155:31337", pay_to=pay_to, price=price, max_timeout_seconds=60
)
sold_for = RouteConfig(accepts=[option])

app = FastAPI()
routes = {"GET /sold": sold_for, "GET /part": sold_for}
app.add_middleware(PaymentMiddlewareASGI, routes=routes, server=server)


@app.get("/sold")
async def whole() -> dict:
    return {"content": marker}


@app.get("/part")
async def a_part(response: Response) -> dict:
    response.headers["Settlement-Overrides"] = f'{{"amount": "{part}"}}'
    return {"content": marker}


uvicorn.run(app, host="127.0.0.1", port=int(port), log_level="error")
