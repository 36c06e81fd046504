// Signs a payment of scheme auth-capture with the unmodified @x402/evm package; prints what the client makes as JSON.
//
// Usage: hold.mjs PRIVATE_KEY REQUIREMENTS

import { AuthCaptureEvmScheme } from "@x402/evm/auth-capture/client";
import { privateKeyToAccount } from "viem/accounts";

const [key, requirements] = process.argv.slice(2);
const scheme = new AuthCaptureEvmScheme(privateKeyToAccount(key));
console.log(JSON.stringify(await scheme.createPaymentPayload(2, JSON.parse(requirements))));
