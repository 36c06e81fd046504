// Fetches URLs with Node's own fetch, knowing nothing of x402. NODE_USE_ENV_PROXY of Node 22.21 and 24.5 does what the
// first two lines do.
//
// Usage: proxied.mjs URL…. Prints one JSON object a fetch.

import { EnvHttpProxyAgent, setGlobalDispatcher } from "undici";
setGlobalDispatcher(new EnvHttpProxyAgent());

for (const url of process.argv.slice(2)) {
  const response = await fetch(url, { headers: { "Purser-Purchase": `node ${url}` } });
  const header = (name) => response.headers.get(name);
  console.log(
    JSON.stringify({
      status: response.status,
      body: await response.text(),
      receipt: header("payment-response") ?? header("x-payment-response"),
      payment: header("purser-payment"),
    }),
  );
}
