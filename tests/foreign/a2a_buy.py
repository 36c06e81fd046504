"""Buys from an agent over A2A, with Google's SDK as the client and x402's client as the wallet.

a2a_buy.py ORIGIN VERSION SKILL PRIVATE_KEY: prints one JSON line: the task at each step, as the SDK read it.
VERSION is 1.0 or 0.3, whichever of the card's interfaces is taken.
"""

import asyncio
import json
import sys
import uuid

import httpx
from a2a.client import A2ACardResolver, ClientConfig, ClientFactory
from a2a.client.client import ClientCallContext
from a2a.client.service_parameters import ServiceParametersFactory, with_a2a_extensions
from a2a.types.a2a_pb2 import CancelTaskRequest, GetTaskRequest, Message, Part, Role, SendMessageRequest
from eth_account import Account
from google.protobuf.json_format import MessageToDict, ParseDict
from x402 import x402Client
from x402.mechanisms.evm.exact.register import register_exact_evm_client
from x402.mechanisms.evm.signers import EthAccountSigner
from x402.schemas import PaymentRequired

X402 = "https://github.com/google-agentic-commerce/a2a-x402/blob/main/spec/v0.2"


def message(text: str, task: str = "", **metadata) -> SendMessageRequest:
    said = Message(message_id=str(uuid.uuid4()), task_id=task, role=Role.ROLE_USER, parts=[Part(text=text)])
    ParseDict(metadata, said.metadata)
    return SendMessageRequest(message=said)


async def main(origin: str, version: str, skill: str, key: str) -> None:
    payer = x402Client()
    # The package pays only its default tokens unless told otherwise; a devnet's token is none of them.
    payer.set_spend_controls(False)
    register_exact_evm_client(payer, EthAccountSigner(Account.from_key(key)))
    context = ClientCallContext(service_parameters=ServiceParametersFactory.create([with_a2a_extensions([X402])]))
    async with httpx.AsyncClient(timeout=30) as http:
        card = await A2ACardResolver(http, origin).get_agent_card()
        kept = [one for one in card.supported_interfaces if one.protocol_version == version]
        del card.supported_interfaces[:]
        card.supported_interfaces.extend(kept)
        client = ClientFactory(ClientConfig(streaming=False, httpx_client=http)).create(card)

        async def send(request: SendMessageRequest) -> dict:
            async for event in client.send_message(request, context=context):
                return MessageToDict(event.task)
            raise RuntimeError("no answer")

        asked = await send(message(skill))
        demand = asked["status"]["message"]["metadata"]["x402.payment.required"]
        payment = await payer.create_payment_payload(PaymentRequired.model_validate(demand))
        payload = payment.model_dump(by_alias=True, exclude_none=True, mode="json")
        said = {"x402.payment.status": "payment-submitted", "x402.payment.payload": payload}
        paid = await send(message("Here is the payment.", asked["id"], **said))
        again = await send(message("Here is the payment.", asked["id"], **said))
        seen = MessageToDict(await client.get_task(GetTaskRequest(id=asked["id"]), context=context))
        try:
            await client.cancel_task(CancelTaskRequest(id=asked["id"]), context=context)
            canceled = None
        except Exception as error:  # the SDK has a class for each of the protocol's errors
            canceled = type(error).__name__
        steps = {"skills": [one.id for one in card.skills], "asked": asked, "paid": paid, "again": again, "seen": seen}
        print(json.dumps({**steps, "canceled": canceled}))


asyncio.run(main(*sys.argv[1:5]))
