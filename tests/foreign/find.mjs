// Asks a facilitator what is sold, with the unmodified @x402/extensions package; a JSON line.
//
// Usage: find.mjs FACILITATOR QUERY

import { HTTPFacilitatorClient } from "@x402/core/server";
import { validateDiscoveryExtension, withBazaar } from "@x402/extensions/bazaar";

const [url, query] = process.argv.slice(2);
const { bazaar } = withBazaar(new HTTPFacilitatorClient({ url })).extensions;
const listed = await bazaar.listResources({ type: "http", extensions: "bazaar", limit: 1, offset: 0 });
const found = await bazaar.search({ query, limit: 1 });
const next = found.pagination?.cursor ? await bazaar.search({ query, limit: 1, cursor: found.pagination.cursor }) : null;
const valid = listed.items.map((item) => validateDiscoveryExtension(item.extensions.bazaar).valid);
console.log(JSON.stringify({ listed, found, next, valid }));
