"""Sells one resource with the unmodified x402 package and FastAPI, settling through the facilitator that is named.

Usage: sell.py PORT FACILITATOR PAY_TO ASSET NAME VERSION AMOUNT MARKER
"""

import sys

import uvicorn
from fastapi import FastAPI
from x402 import x402ResourceServer
from x402.http import FacilitatorConfig, HTTPFacilitatorClient, PaymentOption
from x402.http.middleware.fastapi import PaymentMiddlewareASGI
from x402.http.types import RouteConfig
from x402.mechanisms.evm.exact.register import register_exact_evm_server
from x402.schemas import AssetAmount

port, facilitator, pay_to, asset, name, version, amount, marker = sys.argv[1:9]

server = x402ResourceServer(HTTPFacilitatorClient(FacilitatorConfig(url=facilitator)))
register_exact_evm_server(server, networks="eip155:31337")
price = AssetAmount(asset=asset, amount=amount, extra={"name": name, "version": version})
option = PaymentOption(scheme="exact", network="eip155:31337", pay_to=pay_to, price=price, max_timeout_seconds=60)

app = FastAPI()
app.add_middleware(PaymentMiddlewareASGI, routes={"GET /sold": RouteConfig(accepts=[option])}, server=server)


@app.get("/sold")
async def sold() -> dict:
    return {"content": marker}


uvicorn.run(app, host="127.0.0.1", port=int(port), log_level="error")
