// Sells one resource with the unmodified @x402/express and @x402/extensions packages; whoever paid comes back by signing in.
//
// Usage: sell_to_those_who_paid.mjs PORT FACILITATOR PAY_TO ASSET NAME VERSION AMOUNT MARKER [STATEMENT]

import express from "express";
import { HTTPFacilitatorClient } from "@x402/core/server";
import { ExactEvmScheme } from "@x402/evm/exact/server";
import { paymentMiddleware, x402ResourceServer } from "@x402/express";
import {
  InMemorySIWxStorage,
  createSIWxResourceServerExtension,
  declareSIWxExtension,
} from "@x402/extensions/sign-in-with-x";

const [port, facilitator, payTo, asset, name, version, amount, marker, statement] = process.argv.slice(2);
const network = "eip155:31337";
const server = new x402ResourceServer(new HTTPFacilitatorClient({ url: facilitator }));
server.register(network, new ExactEvmScheme());
const origin = `http://127.0.0.1:${port}`;
server.registerExtension(createSIWxResourceServerExtension({ storage: new InMemorySIWxStorage(), origin }));
const price = { asset, amount, extra: { name, version } };
const accepts = [{ scheme: "exact", network, payTo, price, maxTimeoutSeconds: 60 }];
const extensions = declareSIWxExtension({ statement });

const app = express();
app.use(paymentMiddleware({ "GET /sold": { accepts, description: "sold", extensions } }, server));
app.get("/sold", (_, response) => response.json({ content: marker }));
app.listen(Number(port), "127.0.0.1");

// Whoever started this, perhaps through a launcher that is killed alone, holds the other end of standard input.
process.stdin.on("end", () => process.exit()).resume();
