"""The facilitator of the unmodified x402 package over HTTP, as its examples have it.

Usage: facilitate.py PORT RPC_URL PRIVATE_KEY NETWORK
"""

import sys

import uvicorn
from fastapi import FastAPI
from x402 import x402FacilitatorSync
from x402.mechanisms.evm import FacilitatorWeb3Signer
from x402.mechanisms.evm.batch_settlement.facilitator.scheme import BatchSettlementEvmFacilitator
from x402.mechanisms.evm.exact.register import register_exact_evm_facilitator
from x402.schemas.helpers import parse_payment_payload, parse_payment_requirements

port, rpc_url, key, network = sys.argv[1:5]

facilitator = x402FacilitatorSync()
signer = FacilitatorWeb3Signer(private_key=key, rpc_url=rpc_url)
register_exact_evm_facilitator(facilitator, signer, networks=network)
# Whoever is paid signs its claims and refunds itself.
facilitator.register([network], BatchSettlementEvmFacilitator(signer))
app = FastAPI()


def said(model) -> dict:
    return model.model_dump(by_alias=True, exclude_none=True)


def asked(body: dict) -> tuple:
    payload = parse_payment_payload(body["paymentPayload"])
    return payload, parse_payment_requirements(payload.x402_version, body["paymentRequirements"])


@app.post("/verify")
def verify(body: dict) -> dict:
    return said(facilitator.verify(*asked(body)))


@app.post("/settle")
def settle(body: dict) -> dict:
    return said(facilitator.settle(*asked(body)))


@app.get("/supported")
def supported() -> dict:
    return said(facilitator.get_supported())


uvicorn.run(app, host="127.0.0.1", port=int(port), log_level="error")
