// Buys from a channel with the unmodified @x402/fetch package; a JSON line a step. A step is a path that is bought, a path of
// the seller's that is posted to (`POST /claim`), or `refund`: all that is left comes back, of the channel of `/sold` or of the
// path that follows.
//
// Usage: buy_channels.mjs PRIVATE_KEY BASE STEP...

import { BatchSettlementEvmScheme } from "@x402/evm/batch-settlement/client";
import { wrapFetchWithPayment, x402Client } from "@x402/fetch";
import { privateKeyToAccount } from "viem/accounts";

const [key, base, ...steps] = process.argv.slice(2);
const network = "eip155:31337";
const client = new x402Client();
// Our devnet is not among the networks whose spending the client bounds by itself.
client.setSpendControls?.(false);
const scheme = new BatchSettlementEvmScheme(privateKeyToAccount(key));
client.register(network, scheme);
const paying = wrapFetchWithPayment(fetch, client);
for (const step of steps) {
  if (step.startsWith("refund")) {
    const path = step.split(" ")[1] ?? "/sold";
    console.log(JSON.stringify({ step, refund: await scheme.refund(base + path) }));
    continue;
  }
  const [method, path] = step.includes(" ") ? step.split(" ") : ["GET", step];
  const response = method === "GET" ? await paying(base + path) : await fetch(base + path, { method });
  const [status, body] = [response.status, await response.text()];
  console.log(JSON.stringify({ step, status, body, payment_response: response.headers.get("payment-response") }));
}
