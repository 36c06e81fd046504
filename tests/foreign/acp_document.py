"""An OpenAPI document of ACP 2026-04-17, made fit to fuzz a shop by: `acp_document.py DOCUMENT OUT`, and the names that
are there on standard input, `{"products": [...], "currency": ..., "merchants": [...], "until": ...}`.

Two kinds of changes, each with its reason:

mended     what the document leaves out and the JSON Schema of the same commit, or its own sibling operations, have
narrowed   what no schema can say: which products, merchants and currency there are, and what is in the future
"""

import json
import sys

import yaml

document = yaml.safe_load(open(sys.argv[1]))
there = json.load(sys.stdin)
schemas, paths = document["components"]["schemas"], document["paths"]

# mended: schema.agentic_checkout.json and schema.delegate_payment.json have it, the closed objects here do not.
schemas["Error"]["properties"]["supported_versions"] = {"type": "array", "items": {"type": "string"}}

refused = {
    "description": "Client error",
    "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}},
}
if "/checkout_sessions" in paths:
    # mended: every other operation has 4XX; these two can be without a token, a version, a session as well.
    session = "/checkout_sessions/{checkout_session_id}"
    paths[session]["get"]["responses"]["4XX"] = refused
    paths[f"{session}/cancel"]["post"]["responses"]["4XX"] = refused
    # mended: the inline examples are of 2025-09-29, with `items` and `provider`, and not valid by the schema beside them.
    for operation in (item[method] for item in paths.values() for method in ("get", "post") if method in item):
        operation.get("requestBody", {}).get("content", {}).get("application/json", {}).pop("examples", None)
    schemas["PaymentData"].pop("example")
    # narrowed: what is for sale, and for what money.
    schemas["Item"]["properties"]["id"]["enum"] = there["products"]
    schemas["CheckoutSessionCreateRequest"]["properties"]["currency"]["enum"] = [there["currency"]]
    # narrowed: one way for the whole cart, and no purchase orders: the shop refuses both, with their reasons.
    schemas["CheckoutSessionUpdateRequest"]["properties"]["selected_fulfillment_options"]["maxItems"] = 1
    schemas["PaymentData"]["required"] = ["handler_id", "instrument"]
else:
    # narrowed: who can be paid, and until when. The examples are of 2025 and 2026.
    for name in ("Allowance", "DelegatePaymentRequest"):
        schemas[name].pop("example")
    paths["/agentic_commerce/delegate_payment"]["post"]["requestBody"]["content"]["application/json"].pop("examples")
    allowance = schemas["Allowance"]["properties"]
    allowance["merchant_id"] = {"type": "string", "enum": there["merchants"]}
    allowance["expires_at"] = {"type": "string", "format": "date-time", "enum": [there["until"]]}

json.dump(document, open(sys.argv[2], "w"), default=str)
