// Sells by Permit2 with the unmodified @x402/express package: one thing at a fixed price (scheme exact), one that is
// charged a part of what was permitted, and one that is charged nothing (scheme upto).
//
// Usage: sell_permit2.mjs PORT FACILITATOR PAY_TO ASSET NAME VERSION AMOUNT MARKER PART [EXTENSION], where EXTENSION is how the
// payer may give Permit2 its allowance: eip2612GasSponsoring or erc20ApprovalGasSponsoring. With "none" for PART only the first is
// sold.

import express from "express";
import { HTTPFacilitatorClient } from "@x402/core/server";
import { declareEip2612GasSponsoringExtension, declareErc20ApprovalGasSponsoringExtension } from "@x402/extensions";
import { ExactEvmScheme } from "@x402/evm/exact/server";
import { UptoEvmScheme } from "@x402/evm/upto/server";
import { paymentMiddleware, setSettlementOverrides, x402ResourceServer } from "@x402/express";

const [port, facilitator, payTo, asset, name, version, amount, marker, part, extension] = process.argv.slice(2);
const network = "eip155:31337";
const server = new x402ResourceServer(new HTTPFacilitatorClient({ url: facilitator }));
server.register(network, new ExactEvmScheme());
server.register(network, new UptoEvmScheme());
const price = { asset, amount, extra: { name, version, assetTransferMethod: "permit2" } };
const known = [declareEip2612GasSponsoringExtension(), declareErc20ApprovalGasSponsoringExtension()];
const extensions = known.find((declared) => extension in declared) ?? {};
const accepts = (scheme) => [{ scheme, network, payTo, price, maxTimeoutSeconds: 60 }];
const sold = (scheme) => ({ accepts: accepts(scheme), description: "sold", extensions });

const app = express();
const upto = part === "none" ? {} : { "GET /part": sold("upto"), "GET /nothing": sold("upto") };
const routes = { "GET /sold": sold("exact"), ...upto };
app.use(paymentMiddleware(routes, server));
app.get("/sold", (_, response) => response.json({ content: marker }));
for (const [path, charged] of [["/part", part], ["/nothing", "0"]]) {
  app.get(path, (_, response) => {
    setSettlementOverrides(response, { amount: charged });
    response.json({ content: marker });
  });
}
app.listen(Number(port), "127.0.0.1");

// Whoever started this, perhaps through a launcher that is killed alone, holds the other end of standard input.
process.stdin.on("end", () => process.exit()).resume();
