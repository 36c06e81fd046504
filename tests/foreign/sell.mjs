// Sells one resource with the unmodified @x402/express package, settling through the facilitator that is named.
//
// Usage: sell.mjs PORT FACILITATOR PAY_TO ASSET NAME VERSION AMOUNT MARKER

import express from "express";
import { HTTPFacilitatorClient } from "@x402/core/server";
import { ExactEvmScheme } from "@x402/evm/exact/server";
import { paymentMiddleware, x402ResourceServer } from "@x402/express";

const [port, facilitator, payTo, asset, name, version, amount, marker] = process.argv.slice(2);
const network = "eip155:31337";
const server = new x402ResourceServer(new HTTPFacilitatorClient({ url: facilitator }));
server.register(network, new ExactEvmScheme());
const price = { asset, amount, extra: { name, version } };
const accepts = [{ scheme: "exact", network, payTo, price, maxTimeoutSeconds: 60 }];

const app = express();
app.use(paymentMiddleware({ "GET /sold": { accepts, description: "sold", mimeType: "application/json" } }, server));
app.get("/sold", (_, response) => response.json({ content: marker }));
app.listen(Number(port), "127.0.0.1");

// Whoever started this, perhaps through a launcher that is killed alone, holds the other end of standard input.
process.stdin.on("end", () => process.exit()).resume();
