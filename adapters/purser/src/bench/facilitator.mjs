// The official facilitator of x402 in TypeScript, over HTTP, as its example has it: prints the port it listens at.
//
// Arguments: PORT RPC_URL PRIVATE_KEY NETWORK; port 0 for any

import express from "express";
import { x402Facilitator } from "@x402/core/facilitator";
import { toFacilitatorEvmSigner } from "@x402/evm";
import { BatchSettlementEvmScheme } from "@x402/evm/batch-settlement/facilitator";
import { registerExactEvmScheme } from "@x402/evm/exact/facilitator";
import { createWalletClient, defineChain, http, nonceManager, publicActions } from "viem";
import { privateKeyToAccount } from "viem/accounts";

const [port, rpc, key, network] = process.argv.slice(-4);
const chain = defineChain({
  id: Number(network.split(":")[1]),
  name: "bench",
  nativeCurrency: { name: "Ether", symbol: "ETH", decimals: 18 },
  rpcUrls: { default: { http: [rpc] } },
  contracts: { multicall3: { address: "0xcA11bde05977b3631167028862bE2a173976CA11" } },
});
// Several settlements at once need viem to count nonces, and a chain that mines at once a short wait between two looks.
const account = privateKeyToAccount(key, { nonceManager });
const client = createWalletClient({ account, chain, transport: http(rpc), pollingInterval: 20 }).extend(publicActions);
const signer = toFacilitatorEvmSigner({
  address: account.address,
  getCode: (args) => client.getCode(args),
  readContract: (args) => client.readContract({ ...args, args: args.args ?? [] }),
  verifyTypedData: (args) => client.verifyTypedData(args),
  writeContract: (args) => client.writeContract({ ...args, args: args.args ?? [] }),
  sendTransaction: (args) => client.sendTransaction(args),
  waitForTransactionReceipt: (args) => client.waitForTransactionReceipt(args),
});
const facilitator = new x402Facilitator();
registerExactEvmScheme(facilitator, { signer, networks: network });
// Whoever is paid signs its claims and refunds itself.
facilitator.register(network, new BatchSettlementEvmScheme(signer));

const app = express().use(express.json());
for (const path of ["verify", "settle"]) {
  app.post(`/${path}`, async (request, response) => {
    const { paymentPayload, paymentRequirements } = request.body;
    try {
      response.json(await facilitator[path](paymentPayload, paymentRequirements));
    } catch (error) {
      response.status(500).json({ error: String(error) });
    }
  });
}
app.get("/supported", (_, response) => response.json(facilitator.getSupported()));
const server = app.listen(Number(port), "127.0.0.1", () => console.log(server.address().port));

// Whoever started this holds the other end of standard input.
process.stdin.on("end", () => process.exit()).resume();
