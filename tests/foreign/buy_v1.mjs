// Buys a URL some times over x402 version 1 with the unmodified x402-fetch package; a JSON line a purchase.
//
// Usage: buy_v1.mjs URL PRIVATE_KEY TIMES NETWORK

import { createSigner, wrapFetchWithPayment } from "x402-fetch";

const [url, key, times, network] = process.argv.slice(2);
const paying = wrapFetchWithPayment(fetch, await createSigner(network, key));
for (let time = 0; time < Number(times); time += 1) {
  const response = await paying(url);
  const [status, body] = [response.status, await response.text()];
  const receipt = response.headers.get("x-payment-response");
  console.log(JSON.stringify({ status, body, payment_response: receipt, newer: response.headers.get("payment-response") }));
}
