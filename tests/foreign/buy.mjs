// Buys a URL some times with the unmodified @x402/fetch package; a JSON line a purchase.
//
// Usage: buy.mjs URL PRIVATE_KEY TIMES

import { registerExactEvmScheme } from "@x402/evm/exact/client";
import { wrapFetchWithPayment, x402Client } from "@x402/fetch";
import { privateKeyToAccount } from "viem/accounts";

const [url, key, times] = process.argv.slice(2);
const client = new x402Client();
// Our devnet is not among the networks whose spending the client bounds by itself.
client.setSpendControls?.(false);
registerExactEvmScheme(client, { signer: privateKeyToAccount(key) });
const paying = wrapFetchWithPayment(fetch, client);
for (let time = 0; time < Number(times); time += 1) {
  const response = await paying(url);
  const [status, body] = [response.status, await response.text()];
  console.log(JSON.stringify({ status, body, payment_response: response.headers.get("payment-response") }));
}
