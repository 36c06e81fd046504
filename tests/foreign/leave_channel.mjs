// Asks the escrow for money of a channel, as its payer may without anybody's leave: what nobody claims in time is its own again.
//
// Usage: leave_channel.mjs RPC_URL PRIVATE_KEY ESCROW CHANNEL_CONFIG_JSON AMOUNT

import { createWalletClient, createPublicClient, defineChain, http, parseAbi } from "viem";
import { privateKeyToAccount } from "viem/accounts";

const [url, key, address, config, amount] = process.argv.slice(2);
const currency = { name: "Ether", symbol: "ETH", decimals: 18 };
const chain = defineChain({ id: 31337, name: "devnet", nativeCurrency: currency, rpcUrls: { default: { http: [url] } } });
const abi = parseAbi([
  "struct ChannelConfig { address payer; address payerAuthorizer; address receiver; address receiverAuthorizer; address token; uint40 withdrawDelay; bytes32 salt; }",
  "function initiateWithdraw(ChannelConfig config, uint128 amount) external",
]);
const wallet = createWalletClient({ account: privateKeyToAccount(key), chain, transport: http(url) });
const args = [JSON.parse(config), BigInt(amount)];
const hash = await wallet.writeContract({ address, abi, functionName: "initiateWithdraw", args, gas: 300000n });
const receipt = await createPublicClient({ chain, transport: http(url) }).waitForTransactionReceipt({ hash });
if (receipt.status !== "success") throw new Error(`${hash} reverted`);
console.log(hash);
