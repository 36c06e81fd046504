"""What an account whose key is given says to a token: `transfer` (a shop that refunds) or `approve` (a payer that lets
Permit2 take its tokens); or whatever stands in DATA, to any contract. Prints the transaction's hash.

Usage: transfer.py RPC_URL PRIVATE_KEY TOKEN TO AMOUNT [approve]
       transfer.py RPC_URL PRIVATE_KEY CONTRACT DATA
"""

import json
import sys
import urllib.request

from eth_account import Account

url, key, contract = sys.argv[1:4]


def data(arguments):
    if len(arguments) == 1:
        return arguments[0]
    to, amount, *name = arguments
    selector = {"transfer": "0xa9059cbb", "approve": "0x095ea7b3"}[name[0] if name else "transfer"]
    return selector + to.removeprefix("0x").lower().rjust(64, "0") + format(int(amount), "064x")


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
    "to": contract,
    "value": 0,
    "gas": 300_000,
    "maxFeePerGas": 10_000_000_000,
    "maxPriorityFeePerGas": 1_000_000_000,
    "data": data(sys.argv[4:]),
}
print(rpc("eth_sendRawTransaction", "0x" + account.sign_transaction(transaction).raw_transaction.hex()))
