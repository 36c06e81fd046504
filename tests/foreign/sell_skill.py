"""Sells one skill over A2A with Google's SDK as the agent and x402's resource server as its till.

Usage: sell_skill.py PORT FACILITATOR PAY_TO ASSET NAME VERSION AMOUNT MARKER DIALECT
DIALECT is 1.0 or 0.3: the one version that the agent's card lists.
"""

import asyncio
import sys

import uvicorn
from a2a.server.agent_execution import AgentExecutor
from a2a.server.request_handlers import DefaultRequestHandler
from a2a.server.routes import create_agent_card_routes, create_jsonrpc_routes
from a2a.server.tasks import InMemoryTaskStore, TaskUpdater
from a2a.types.a2a_pb2 import AgentCapabilities, AgentCard, AgentExtension, AgentInterface, AgentSkill, Part, Task
from google.protobuf.json_format import MessageToDict, ParseDict
from starlette.applications import Starlette
from x402 import x402ResourceServer
from x402.http import FacilitatorConfig, HTTPFacilitatorClient
from x402.mechanisms.evm.exact.register import register_exact_evm_server
from x402.schemas import PaymentPayload, PaymentRequirements, ResourceInfo

port, facilitator, pay_to, asset, name, version, amount, marker, dialect = sys.argv[1:10]
X402 = "https://github.com/google-agentic-commerce/a2a-x402/blob/main/spec/v0.2"
URL = f"http://127.0.0.1:{port}/"

till = x402ResourceServer(HTTPFacilitatorClient(FacilitatorConfig(url=facilitator)))
register_exact_evm_server(till, networks="eip155:31337")
till.initialize()
price = PaymentRequirements(
    scheme="exact",
    network="eip155:31337",
    asset=asset,
    amount=amount,
    pay_to=pay_to,
    max_timeout_seconds=60,
    extra={"name": name, "version": version},
)


def dumped(model) -> dict:
    return model.model_dump(by_alias=True, exclude_none=True, mode="json")


def whole(value):
    """Protocol buffers keep numbers as doubles; a payload has whole ones."""
    if isinstance(value, dict):
        return {name: whole(member) for name, member in value.items()}
    if isinstance(value, list):
        return [whole(member) for member in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


class Seller(AgentExecutor):
    async def execute(self, context, event_queue) -> None:
        updater = TaskUpdater(event_queue, context.task_id, context.context_id)
        said = MessageToDict(context.message.metadata) if context.message else {}

        def message(text: str, **metadata):
            told = updater.new_agent_message([Part(text=text)])
            ParseDict(metadata, told.metadata)
            return told

        if context.current_task is None:
            task = Task(id=context.task_id, context_id=context.context_id)
            task.status.state = 1
            await event_queue.enqueue_event(task)
        if context.get_user_input() == "given":
            await updater.complete(message("for nothing"))
            return
        if said.get("x402.payment.status") != "payment-submitted":
            resource = ResourceInfo(url=f"{URL}#sold", description="sold")
            required = await till.create_payment_required_response([price], resource, None, None)
            asked = {"x402.payment.status": "payment-required", "x402.payment.required": dumped(required)}
            await updater.requires_input(message("Please pay.", **asked))
            return
        payload = PaymentPayload.model_validate(whole(said["x402.payment.payload"]))
        verified = await till.verify_payment(payload, price)
        if not verified.is_valid:
            failed = {"x402.payment.status": "payment-failed", "x402.payment.error": str(verified.invalid_reason)}
            await updater.failed(message("The payment is not valid.", **failed))
            return
        await updater.start_work()
        settled = await till.settle_payment(payload, price)
        status = "payment-completed" if settled.success else "payment-failed"
        done = {"x402.payment.status": status, "x402.payment.receipts": [dumped(settled)]}
        if settled.success:
            await updater.add_artifact([Part(text=marker)], name="sold")
            await updater.complete(message("Here it is.", **done))
        else:
            await updater.failed(message("The payment did not settle.", **done))

    async def cancel(self, context, event_queue) -> None:
        raise NotImplementedError


card = AgentCard(
    name="shop",
    description="Sells one skill.",
    version="1",
    supported_interfaces=[AgentInterface(url=URL, protocol_binding="JSONRPC", protocol_version=dialect)],
    capabilities=AgentCapabilities(extensions=[AgentExtension(uri=X402, description="paid")]),
    default_input_modes=["text/plain"],
    default_output_modes=["text/plain"],
    skills=[AgentSkill(id="sold", name="sold", description="sold", tags=["sold"])],
)
handler = DefaultRequestHandler(agent_executor=Seller(), task_store=InMemoryTaskStore(), agent_card=card)
routes = create_agent_card_routes(card) + create_jsonrpc_routes(handler, "/", enable_v0_3_compat=True)


async def main() -> None:
    config = uvicorn.Config(Starlette(routes=routes), host="127.0.0.1", port=int(port), log_level="error")
    await uvicorn.Server(config).serve()


asyncio.run(main())
