// Verifies signed offers and a signed receipt with the unmodified @x402/extensions package; a JSON line.
//
// Usage: read_offer.mjs PAYMENT_REQUIRED PAYMENT_RESPONSE

import {
  decodeSignedOffers,
  extractOffersFromPaymentRequired,
  extractReceiptFromResponse,
  findAcceptsObjectFromSignedOffer,
  verifyOfferSignatureJWS,
  verifyReceiptMatchesOffer,
  verifyReceiptSignatureJWS,
} from "@x402/extensions/offer-receipt";

const [demanded, settled] = process.argv.slice(2);
const required = JSON.parse(Buffer.from(demanded, "base64").toString());
const offers = extractOffersFromPaymentRequired(required);
const verified = [];
// The key is looked for where `kid` says: in the did:web document of the service.
for (const offer of offers) verified.push(await verifyOfferSignatureJWS(offer));
const [decoded] = decodeSignedOffers(offers);
const receipt = extractReceiptFromResponse({ headers: new Headers({ "payment-response": settled }) });
const receipt_payload = await verifyReceiptSignatureJWS(receipt);
console.log(
  JSON.stringify({
    offers: verified,
    accepts: findAcceptsObjectFromSignedOffer(decoded, required.accepts) ?? null,
    receipt: receipt_payload,
    matches: verifyReceiptMatchesOffer(receipt, decoded, [receipt_payload.payer]),
  }),
);
