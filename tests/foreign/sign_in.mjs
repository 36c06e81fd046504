// Signs in to a URL with the unmodified @x402/extensions package, as the account that paid; a JSON line.
//
// Usage: sign_in.mjs URL PRIVATE_KEY

import { wrapFetchWithSIWx } from "@x402/extensions/sign-in-with-x";
import { privateKeyToAccount } from "viem/accounts";

const [url, key] = process.argv.slice(2);
const response = await wrapFetchWithSIWx(fetch, privateKeyToAccount(key))(url);
const [status, body] = [response.status, await response.text()];
console.log(JSON.stringify({ status, body, payment_response: response.headers.get("payment-response") }));
