// Buys URLs by scheme auth-capture with the unmodified @x402/fetch package; a JSON line a purchase.
//
// Usage: buy_holds.mjs PRIVATE_KEY URL...

import { AuthCaptureEvmScheme } from "@x402/evm/auth-capture/client";
import { wrapFetchWithPayment, x402Client } from "@x402/fetch";
import { privateKeyToAccount } from "viem/accounts";

const [key, ...urls] = process.argv.slice(2);
const client = new x402Client();
// Our devnet is not among the networks whose spending the client bounds by itself.
client.setSpendControls?.(false);
client.register("eip155:31337", new AuthCaptureEvmScheme(privateKeyToAccount(key)));
const paying = wrapFetchWithPayment(fetch, client);
for (const url of urls) {
  const response = await paying(url);
  console.log(JSON.stringify({ status: response.status, body: await response.text() }));
}
