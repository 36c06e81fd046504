// Sells by scheme batch-settlement with the unmodified @x402/express package, settling through the facilitator that is named:
// one thing at a fixed price and one that is charged a part. POST /claim claims what is signed, POST /sweep moves it.
//
// Usage: sell_channels.mjs PORT FACILITATOR PAY_TO ASSET NAME VERSION AMOUNT MARKER PART AUTHORIZER_KEY

import express from "express";
import { HTTPFacilitatorClient } from "@x402/core/server";
import { BatchSettlementEvmScheme } from "@x402/evm/batch-settlement/server";
import { paymentMiddleware, setSettlementOverrides, x402ResourceServer } from "@x402/express";
import { privateKeyToAccount } from "viem/accounts";

const [port, url, payTo, asset, name, version, amount, marker, part, key] = process.argv.slice(2);
const network = "eip155:31337";
const facilitator = new HTTPFacilitatorClient({ url });
const scheme = new BatchSettlementEvmScheme(payTo, { receiverAuthorizerSigner: privateKeyToAccount(key) });
const server = new x402ResourceServer(facilitator);
server.register(network, scheme);
const price = { asset, amount, extra: { name, version } };
const sold = { accepts: [{ scheme: "batch-settlement", network, payTo, price, maxTimeoutSeconds: 60 }], description: "sold" };
const manager = scheme.createChannelManager(facilitator, network, asset);

const app = express();
app.use(paymentMiddleware({ "GET /sold": sold, "GET /part": sold }, server));
app.get("/sold", (_, response) => response.json({ content: marker }));
app.get("/part", (_, response) => {
  setSettlementOverrides(response, { amount: part });
  response.json({ content: marker });
});
const does = (work) => (_, response) => work().then((done) => response.json(done), (error) => response.status(500).json({ error: String(error) }));
app.post("/claim", does(() => manager.claim()));
app.post("/sweep", does(() => manager.settle()));
app.listen(Number(port), "127.0.0.1");

// Whoever started this, perhaps through a launcher that is killed alone, holds the other end of standard input.
process.stdin.on("end", () => process.exit()).resume();
