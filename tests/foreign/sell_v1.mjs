// Sells one resource over x402 version 1 with the unmodified x402-express package, settling through the facilitator that
// is named.
//
// Usage: sell_v1.mjs PORT FACILITATOR PAY_TO ASSET NAME VERSION AMOUNT MARKER NETWORK

import express from "express";
import { paymentMiddleware } from "x402-express";

const [port, facilitator, payTo, address, name, version, amount, marker, network] = process.argv.slice(2);
const price = { amount, asset: { address, decimals: 6, eip712: { name, version } } };
const config = { description: "sold", mimeType: "application/json", maxTimeoutSeconds: 60 };

const app = express();
app.use(paymentMiddleware(payTo, { "GET /sold": { price, network, config } }, { url: facilitator }));
app.get("/sold", (_, response) => response.json({ content: marker }));
app.listen(Number(port), "127.0.0.1");

// Whoever started this, perhaps through a launcher that is killed alone, holds the other end of standard input.
process.stdin.on("end", () => process.exit()).resume();
