// Buys URLs with the unmodified @x402/fetch package, by schemes exact and upto; a JSON line a purchase.
//
// Usage: buy_permit2.mjs PRIVATE_KEY URL...; with RPC_URL in the environment it gives Permit2 its allowance as the seller says.

import { registerExactEvmScheme } from "@x402/evm/exact/client";
import { UptoEvmScheme } from "@x402/evm/upto/client";
import { wrapFetchWithPayment, x402Client } from "@x402/fetch";
import { privateKeyToAccount } from "viem/accounts";

const [key, ...urls] = process.argv.slice(2);
const signer = privateKeyToAccount(key);
const client = new x402Client();
// Our devnet is not among the networks whose spending the client bounds by itself.
client.setSpendControls?.(false);
const schemeOptions = process.env.RPC_URL ? { rpcUrl: process.env.RPC_URL } : undefined;
registerExactEvmScheme(client, { signer, schemeOptions });
client.register("eip155:*", new UptoEvmScheme(signer, schemeOptions));
const paying = wrapFetchWithPayment(fetch, client);
for (const url of urls) {
  const response = await paying(url);
  const [status, body] = [response.status, await response.text()];
  console.log(JSON.stringify({ status, body, payment_response: response.headers.get("payment-response") }));
}
