// Signs an offer in the form eip712 with the unmodified @x402/extensions package; prints the signature.
//
// Usage: sign_offer.mjs PRIVATE_KEY PAYLOAD

import { signOfferEIP712 } from "@x402/extensions/offer-receipt";
import { privateKeyToAccount } from "viem/accounts";

const [key, payload] = process.argv.slice(2);
const account = privateKeyToAccount(key);
console.log(await signOfferEIP712(JSON.parse(payload), (typed) => account.signTypedData(typed)));
