// Sells one resource with the unmodified @x402/express and @x402/extensions packages, and signs offers and receipts with the
// account that is paid.
//
// Usage: sell_with_receipts.mjs PORT FACILITATOR PRIVATE_KEY ASSET NAME VERSION AMOUNT MARKER

import express from "express";
import { HTTPFacilitatorClient } from "@x402/core/server";
import { ExactEvmScheme } from "@x402/evm/exact/server";
import { paymentMiddleware, x402ResourceServer } from "@x402/express";
import {
  createEIP712OfferReceiptIssuer,
  createOfferReceiptExtension,
  declareOfferReceiptExtension,
} from "@x402/extensions/offer-receipt";
import { privateKeyToAccount } from "viem/accounts";

const [port, facilitator, key, asset, name, version, amount, marker] = process.argv.slice(2);
const network = "eip155:31337";
const account = privateKeyToAccount(key);
const server = new x402ResourceServer(new HTTPFacilitatorClient({ url: facilitator }));
server.register(network, new ExactEvmScheme());
const kid = `did:pkh:eip155:31337:${account.address}#key-1`;
const issuer = createEIP712OfferReceiptIssuer(kid, (typed) => account.signTypedData(typed));
server.registerExtension(createOfferReceiptExtension(issuer));
const price = { asset, amount, extra: { name, version } };
const accepts = [{ scheme: "exact", network, payTo: account.address, price, maxTimeoutSeconds: 60 }];
const extensions = declareOfferReceiptExtension({ includeTxHash: true });

const app = express();
app.use(paymentMiddleware({ "GET /sold": { accepts, description: "sold", extensions } }, server));
app.get("/sold", (_, response) => response.json({ content: marker }));
app.listen(Number(port), "127.0.0.1");

// Whoever started this, perhaps through a launcher that is killed alone, holds the other end of standard input.
process.stdin.on("end", () => process.exit()).resume();
