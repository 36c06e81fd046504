"""Lets Permit2 take an account's tokens: what a payer does once. Prints the transaction's hash.

Usage: approve.py RPC_URL PRIVATE_KEY TOKEN AMOUNT
"""

import json
import sys
import urllib.request

from eth_account import Account

url, key, token, amount = sys.argv[1:]
PERMIT2 = "000000000022D473030F116dDEE9F6B43aC78BA3"


def rpc(method, *params):
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).encode()
    request = urllib.request.Request(url, body, {"content-type": "application/json"})
    answer = json.load(urllib.request.urlopen(request))
    if "error" in answer:
        sys.exit(f"{method}: {answer['error']}")
    return answer["result"]


account = Account.from_key(key)
transaction = {
    "chainId": int(rpc("eth_chainId"), 16),
    "nonce": int(rpc("eth_getTransactionCount", account.address, "pending"), 16),
    "to": token,
    "value": 0,
    "gas": 100_000,
    "maxFeePerGas": 10_000_000_000,
    "maxPriorityFeePerGas": 1_000_000_000,
    # approve(address,uint256)
    "data": "0x095ea7b3" + PERMIT2.rjust(64, "0") + format(int(amount), "064x"),
}
print(rpc("eth_sendRawTransaction", "0x" + account.sign_transaction(transaction).raw_transaction.hex()))
