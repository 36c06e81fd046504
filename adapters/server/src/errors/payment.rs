//! What makes an x402 payment unacceptable. The codes are those of the official SDKs.

use x402::reason::Reason;

super::abouts! { Reason,
    InvalidX402Version =>
        "This version of x402 is not spoken here.",
        "Use version 2, or 1.";
    InvalidPayload =>
        "The payment cannot be read as what the scheme asks for.",
        "Send the payload of x402 v2, scheme exact, with an EIP-3009 authorization.";
    InvalidPaymentRequirements =>
        "The terms of the payment cannot be read: amounts are decimal text in atomic units, addresses are whole.",
        "Send the requirements as the 402 had them.";
    UnsupportedScheme =>
        "This payment scheme is not spoken here.",
        "Ask /supported and use one that it names.";
    InvalidNetwork =>
        "This network is not served here.",
        "Ask /supported and use one that it names.";
    UnsupportedPayloadType =>
        "The payload is of another kind than the terms ask for, or of one that is not built.",
        "Sign what `extra.assetTransferMethod` asks for: an EIP-3009 authorization, or a permit of Permit2.";
    AcceptedRequirementsMismatch =>
        "What the payer accepted is not what the seller asks for.",
        "Take an entry of the 402's `accepts` without changing it.";
    ExtensionEchoMismatch =>
        "The payment echoes an extension otherwise than the seller declared it.",
        "Echo the declared `info` as it is, with additions where the extension allows them; or leave it out.";
    PaymentIdentifierInvalid =>
        "The payment identifier is none.",
        "Send 16 to 128 letters, digits, hyphens and underscores in `extensions.payment-identifier.info.id`.";
    PaymentIdentifierRequired =>
        "The seller takes no payment without a payment identifier.",
        "Echo the declared extension with an `id` of your own in its `info`.";
    PaymentIdentifierConflict =>
        "The payment identifier stands for another purchase of the same payer already.",
        "Use a new one for a new purchase; send the same payment again to get its answer.";
    SignInHeader =>
        "The header SIGN-IN-WITH-X is not base64 of what signing in takes.",
        "Send the declared `info` with `address`, `chainId`, `type` and `signature`; or pay.";
    SignInDomain =>
        "The signed text is for another service.",
        "Sign what this 402 declares under `sign-in-with-x`; or pay.";
    SignInUri =>
        "The signed text is for another resource.",
        "Sign what the 402 of this very resource declares; or pay.";
    SignInChain =>
        "The signed text is of a chain, or of a kind of account, on which this cannot be paid.",
        "Sign for a chain that the 402 names, with an EVM account; or pay.";
    SignInText =>
        "The signed text is not the one that was asked for.",
        "Sign what the 402 declares, and nothing beside it; or pay.";
    SignInIssuedAt =>
        "The signed text says when it was made in another way than it was asked for.",
        "Leave `issuedAt` as the 402 has it; or pay.";
    SignInEarly =>
        "The signed text is of a time to come.",
        "Ask for a new 402 and sign that; or pay.";
    SignInExpired =>
        "The signed text is too old.",
        "Ask for a new 402 and sign that; or pay.";
    SignInNonce =>
        "The nonce was not given out here for this, or it was answered: each is answered once.",
        "Ask for a new 402 and sign that; or pay.";
    SignInSignature =>
        "The text is not signed by the address that it names.",
        "Sign it with the account that paid; or pay.";
    SignInUnpaid =>
        "The address has not paid for this, or not lately enough, or its payment is not settled.",
        "Pay for it.";
    ExactScheme =>
        "The payload is for another scheme than the terms.",
        "Use the scheme that the terms name.";
    NetworkMismatch =>
        "Payload and terms name different networks.",
        "Use the network that the terms name.";
    MissingDomain =>
        "The terms lack the token's EIP-712 name or version.",
        "Sellers put `name` and `version` into `extra`.";
    RecipientMismatch =>
        "The authorization pays another address than the terms name.",
        "Sign for `payTo`.";
    AuthorizationValue =>
        "The signed value is no amount.",
        "Sign decimal atomic units.";
    ValueMismatch =>
        "The authorization is for another amount than is asked.",
        "Sign for exactly `amount`.";
    ValidBefore =>
        "The authorization is over, or ends too soon to be mined.",
        "Sign a new one with more time; check the clock.";
    ValidAfter =>
        "The authorization is not valid yet.",
        "Wait, or check the clock.";
    SignatureFormat =>
        "The signature cannot be read.",
        "Send 65 bytes as hexadecimal text.";
    Signature =>
        "The signature is not the payer's over exactly these terms.",
        "Check the token's name, version, chain and address in the signed domain.";
    UndeployedWallet =>
        "The payer is a smart wallet that is not on the chain yet (ERC-6492). Such wallets are not accepted here.",
        "Deploy the wallet first, or pay from an account with a key.";
    FactoryNotAllowed =>
        "The payer is a smart wallet that is not on the chain yet, and its factory is none that this service calls for strangers.",
        "Deploy the wallet first, or have the operator add the factory to `wallet_factories`.";
    WalletDeploymentFailed =>
        "The factory that came with the signature (ERC-6492) does not make the wallet that is to pay.",
        "Check the factory, its calldata and the wallet's address.";
    AssetUnknown =>
        "The token is in no table that this service trusts, so its decimals are not known.",
        "Pay in a token of /supported, or have the operator add it.";
    AssetNotDeployed =>
        "There is no contract at the token's address.",
        "Check the address and the network.";
    TokenNameMismatch =>
        "The token has another EIP-712 name.",
        "Use the name that the token itself tells.";
    TokenVersionMismatch =>
        "The token has another EIP-712 version.",
        "Use the version that the token itself tells.";
    Eip3009NotSupported =>
        "The token does not take signed transfers.",
        "Pay in another token.";
    NonceAlreadyUsed =>
        "The authorization was used or canceled on the chain already.",
        "Look at the named transaction; do not sign a second payment before that is clear.";
    Permit2Spender =>
        "The permit names another spender than the proxy of the scheme.",
        "Sign for the proxy of x402 that the scheme names.";
    Permit2RecipientMismatch =>
        "The witness of the permit pays another address than the terms name.",
        "Sign for `payTo`.";
    Permit2DeadlineExpired =>
        "The permit is over, ends too soon to be mined, or lives longer than the terms allow.",
        "Sign a new one within `maxTimeoutSeconds`; check the clock.";
    Permit2NotYetValid =>
        "The permit is not valid yet.",
        "Wait, or check the clock.";
    Permit2AmountMismatch =>
        "The permit is for another amount than is asked.",
        "Sign for exactly `amount`.";
    Permit2TokenMismatch =>
        "The permit is for another token than is asked.",
        "Sign for `asset`.";
    Permit2Signature =>
        "The signature is not the payer's over exactly this permit.",
        "Check the chain, the spender and the witness in what was signed.";
    Permit2AllowanceRequired =>
        "Permit2 may not take the payer's tokens: the allowance is less than the amount.",
        "Approve Permit2 for the token, or send an EIP-2612 permit (`eip2612GasSponsoring`) or a signed approval along (`erc20ApprovalGasSponsoring`).";
    Permit2SimulationFailed =>
        "Tried against the chain, the settlement reverts.",
        "Read the message; sign a new permit if it says so.";
    Permit2InsufficientBalance =>
        "The payer holds less than the amount, counting what it signed and what is not settled yet.",
        "Fill the wallet, or wait for what is under way.";
    Permit2ProxyNotDeployed =>
        "Permit2 or the proxy of the scheme is not on this chain.",
        "Pay by EIP-3009, or on another chain.";
    Permit2NonceUsed =>
        "The permit was used or cancelled already, or was charged nothing.",
        "Look at the named transaction; do not sign a second payment before that is clear.";
    Eip2612Format =>
        "The permit for Permit2 that came along cannot be read.",
        "Send the fields of `eip2612GasSponsoring` as its specification has them.";
    Eip2612From =>
        "The permit that came along is of another owner than who pays.",
        "Sign it as the payer.";
    Eip2612Asset =>
        "The permit that came along is of another token than is paid in.",
        "Sign it for `asset`.";
    Eip2612Spender =>
        "The permit that came along is for another spender than Permit2.",
        "Sign it for Permit2.";
    Eip2612Deadline =>
        "The permit that came along is over, or ends too soon to be mined.",
        "Sign a new one.";
    Eip2612Amount =>
        "The permit that came along is of another amount than the payment.",
        "Sign it for exactly the amount; the proxies take no other.";
    ApprovalFormat =>
        "The approval of Permit2 that came along cannot be read.",
        "Send the fields of `erc20ApprovalGasSponsoring` as its specification has them.";
    ApprovalFrom =>
        "The approval that came along is of another owner than who pays.",
        "Sign it as the payer.";
    ApprovalAsset =>
        "The approval that came along is of another token than is paid in.",
        "Sign it for `asset`.";
    ApprovalSpender =>
        "The approval that came along is for another spender than Permit2.",
        "Sign it for Permit2.";
    ApprovalTarget =>
        "The transaction that came along calls another contract than the token.",
        "Call `asset`.";
    ApprovalSelector =>
        "The transaction that came along calls another function than `approve(address,uint256)`.",
        "Sign a plain approval.";
    ApprovalCallSpender =>
        "The transaction that came along approves another spender than Permit2.",
        "Approve Permit2.";
    ApprovalCalldata =>
        "The transaction that came along approves another amount than it says, less than is paid, or says more than an approval.",
        "Sign `approve(Permit2, amount)` and nothing behind it, for at least what is paid.";
    ApprovalSigner =>
        "The transaction that came along is signed by another account than who pays.",
        "Sign it as the payer.";
    ApprovalSignature =>
        "The transaction that came along has no signature of an account.",
        "Sign it with the payer's key.";
    ApprovalUnreadable =>
        "What came along is no plain transaction of EIP-1559 for this chain: it has another form, ether or an access list.",
        "Sign a transaction of type 2 without value and without access list, for the chain that is paid on.";
    ApprovalFailed =>
        "The chain does not take the approval that came along: its nonce, its fee or the token is in the way.",
        "Sign a new one with the payer's next nonce and a fee of today.";
    ApprovalBroadcast =>
        "The node does not take the approval that came along.",
        "Read the message; sign a new one if it says so.";
    ApprovalGas =>
        "The payer cannot pay for its approval, and does not get the gas for it.",
        "Fill the payer's account, or sign with a lower fee; the facilitator gives only so much, so often.";
    UptoScheme =>
        "The payload is for another scheme than the terms.",
        "Use the scheme that the terms name.";
    UptoNetworkMismatch =>
        "Payload and terms name different networks.",
        "Use the network that the terms name.";
    UptoExceedsAmount =>
        "More is charged than was permitted.",
        "Charge at most what the payer signed.";
    UptoFacilitator =>
        "The permit names another facilitator than this one, or none: only the one that it names can settle it.",
        "Take `facilitatorAddress` from /supported into the terms.";
    InsufficientBalance =>
        "The payer holds less than the amount, counting what it signed and what is not settled yet.",
        "Fill the wallet, or wait for what is under way.";
    SimulationFailed =>
        "Tried on the chain's present state, the transfer would fail.",
        "Look at the message; then try again, or sign anew.";
    BatchScheme => "This is no payment through a channel.", "Pay by an offer of scheme `batch-settlement`.";
    BatchNetworkMismatch => "The channel is on another chain.", "Use the chain of the offer.";
    BatchMissingDomain => "The offer leaves out the token's EIP-712 name or version.", "State both under `extra`.";
    BatchPayloadType => "Messages of this type are not taken here.",
        "Verify deposits, vouchers and refunds; settle deposits, claims, sweeps and completed refunds.";
    BatchDepositPayload => "A part of the deposit is missing or cannot be read.",
        "Send channel, voucher and deposit as the scheme has them.";
    BatchVoucherPayload => "A part of the voucher is missing or cannot be read.",
        "Send channel and voucher as the scheme has them.";
    BatchRefundPayload => "A part of the refund is missing or cannot be read.",
        "Send channel and voucher, and whoever is paid the rest.";
    BatchClaimPayload => "A part of the claim is missing or cannot be read, or it claims more than its vouchers say.",
        "Send 1 to 100 vouchers, each with a total within it.";
    BatchSettlePayload => "A sweep has a receiver and a token.", "Send both as addresses.";
    BatchErc3009Required => "A deposit is moved by EIP-3009 here, and by nothing else.",
        "Sign `receiveWithAuthorization` to the collector.";
    BatchChannelIdInvalid => "The channel's name is none.", "Send `0x` and 64 hexadecimal digits.";
    BatchChannelIdMismatch => "These parameters are another channel.",
        "Name the channel by the hash of its own parameters on this chain.";
    BatchReceiverMismatch => "The channel pays somebody else.", "Open one to the `payTo` of the offer.";
    BatchReceiverAuthorizerMismatch => "Somebody else authorizes claims of this channel, or the offer names nobody.",
        "Use the `extra.receiverAuthorizer` of the offer.";
    BatchTokenMismatch => "The channel holds another token.", "Open one for the asset of the offer.";
    BatchWithdrawDelayMismatch => "The payer could withdraw after another time, or the offer names none.",
        "Use the `extra.withdrawDelay` of the offer.";
    BatchWithdrawDelayOutOfRange => "The escrow takes no such delay.", "Use 900 to 2,592,000 seconds.";
    BatchVoucherSignature => "The voucher is not signed by whoever the channel names.",
        "Sign it with the payer authorizer's key.";
    BatchReceiveSignature => "The deposit is not signed by its payer.",
        "Sign exactly what is sent, in the token's domain.";
    BatchValidBefore => "The deposit's time is over, or too far away.",
        "Sign one that ends within `maxTimeoutSeconds`.";
    BatchValidAfter => "The deposit's time has not come.", "Present it later.";
    BatchFactoryNotAllowed => "The payer's wallet is not there, and its factory is not called here.",
        "Deploy the wallet first.";
    BatchWalletDeployment => "The payer's wallet is not there, and its factory does not make it.",
        "Deploy the wallet first.";
    BatchChannelNotFound => "The channel has no money.", "Deposit into it first.";
    BatchExceedsBalance => "The voucher is over more than the channel has.", "Deposit more, or sign for less.";
    BatchBelowClaimed => "That much is claimed from the channel already.", "Sign for more than what is claimed.";
    BatchInsufficientBalance => "The payer does not have that much.", "Fund the payer, or deposit less.";
    BatchAuthorizerNotConfigured => "Claims and refunds are signed for nobody here.",
        "Send the signature of the receiver's authorizer.";
    BatchDepositSimulation => "The deposit would fail now, or was made already.",
        "Read the message; look for the deposit on the chain before another is signed.";
    BatchClaimSimulation => "The escrow would refuse this claim now.",
        "Check vouchers, balances and the authorizer's signature.";
    BatchSettleSimulation => "The escrow would refuse this sweep now.",
        "Look whether the token can move to the receiver.";
    BatchRefundSimulation => "The escrow would refuse this refund now.",
        "Sign with the channel's refund nonce of now, and the amount that is sent.";
    BatchDepositFailed => "The deposit is in a block and failed.", "Sign another one.";
    BatchClaimFailed => "The claim is in a block and claimed nothing.", "Look at the channel's state, and claim again.";
    BatchSettleFailed => "The sweep is in a block and moved nothing.", "Look what is due, and sweep again.";
    BatchRefundFailed => "The refund is in a block and gave nothing back.",
        "Look at the channel's state, and sign another one.";
    BatchNothingToSettle => "Everything that was claimed has been swept.", "Claim vouchers first.";
    BatchRefundAmount => "A refund is of more than zero, in digits.",
        "State the amount in atomic units, or leave it out.";
    BatchRefundNoBalance => "Nothing is left in the channel to give back.", "Nothing needs to be done.";
    CaptureScheme => "The payment is of another scheme.", "Sign a payment of scheme `auth-capture`.";
    CaptureNetworkMismatch => "The payment is for another network.", "Sign for the network of the offer.";
    CaptureExtra =>
        "The offer says too little of what may become of the money, or names an escrow that is not called here.",
        "Complete `extra`, and name the escrow of version 1.0.";
    CapturePaymentFlow => "There is no such flow of a payment.",
        "Leave `extra.paymentFlow` out, or say `escrow` or `authorization`.";
    CaptureMissingAuthorizer => "The offer names nobody who could sign charges.",
        "Name a `receiverAuthorizer` in the offer.";
    CaptureOperatorType => "No contract is called as an operator here.",
        "Leave `extra.operatorType` out, or say `delegated`.";
    CapturePolicy => "No policy contract is taken here.", "Leave `extra.policy` out.";
    CaptureTransferMethod => "The token is moved by EIP-3009 here, and by nothing else.",
        "Leave `extra.assetTransferMethod` out, or say `eip3009`.";
    CapturePayloadFormat => "The payload is not what this scheme takes.", "Send what the message names.";
    CapturePayloadMethod => "The payload is signed for another way of moving the token.",
        "Sign an authorization of EIP-3009.";
    CapturePayloadType => "Nothing of that name can be done with a payment.",
        "Send `capture` or `void` as `payload.type`.";
    CaptureOperatorNotAdmitted => "Somebody else could capture this payment, so nobody here can.",
        "Use the `extra.captureAuthorizer` of `/supported`.";
    CaptureOperatorMismatch => "The payment has another operator than its terms.", "Send the payment's own terms.";
    CaptureNotRelayed => "The payment names nobody who could ask for captures of it.",
        "Name a `receiverAuthorizer` in the offer.";
    CaptureSaltBinding => "The payment was not signed for this receiver authorizer.",
        "Send the `saltNonce` of the payment, and its own terms.";
    CaptureAuthorizerSignature => "The receiver's authorizer did not sign this.",
        "Sign exactly what is sent, for its operator.";
    CaptureVoidSignature => "The receiver's authorizer did not sign that the rest goes back.",
        "Sign the void of this payment, or leave it out.";
    CaptureNothingToVoid => "The capture takes all that is held, so nothing is left to void.",
        "Leave `voidAuthorizerSignature` out.";
    CaptureUnsignedRequest => "Captures and voids are signed for nobody here.",
        "Send the signature of the receiver's authorizer.";
    CaptureUnexpectedState => "The escrow has not what the signature expects.",
        "Read what is held and captured, and sign again.";
    CaptureRefundFunding => "A refund would be paid by the facilitator, and is not.",
        "Pay the payer back by a transfer of your own.";
    CaptureDeadlineExpired => "It is too late to capture.",
        "Nothing can be captured; the payer can take the money back.";
    CaptureDeadlineOrdering => "The deadlines are not in their order.",
        "Let the payment end before `captureDeadline`, and that not after `refundDeadline`.";
    CaptureAuthorizationExpired => "The payment's time is over.", "Sign another one.";
    CaptureNotYetValid => "The payment's time has not come.", "Present it later.";
    CaptureSignature => "The payment is not signed by its payer.", "Sign exactly what is sent, in the token's domain.";
    CaptureFactoryNotAllowed => "The payer's wallet is not there, and its factory is not called here.",
        "Deploy the wallet first.";
    CaptureAmountMismatch => "The amount is not the one that is asked for, or is none.",
        "Sign for the amount of the offer; capture more than zero.";
    CaptureAmountOverflow => "The escrow counts to 2^120 - 1.", "Ask for less.";
    CaptureCollectorMismatch => "The payment is signed to somebody else than the escrow's collector.",
        "Sign to the collector of the escrow that the offer names.";
    CaptureNonceMismatch => "The payment is signed for other terms.",
        "Derive the nonce from the terms of the offer and the salt that is sent.";
    CaptureInsufficientBalance => "The payer does not have that much.", "Fund the payer.";
    CaptureSimulation => "The escrow would refuse this now.", "Read the message.";
    CaptureAlreadyCollected => "The payment was taken already.", "Look for it on the chain before another is signed.";
    CaptureCollector => "The escrow does not take this collector.", "Report it: the collector is ours to name.";
    CaptureCollectionFailed => "The token moved another amount than it was told to.", "Do not ask for this token.";
    CaptureInsufficient => "Less is held than is to be captured.", "Capture what is held.";
    CaptureZeroAuthorization => "Nothing is held of this payment.", "Nothing needs to be done, or authorize it first.";
    CaptureFeeBps => "A fee is at most the whole.", "Use at most 10,000 basis points.";
    CaptureFeeBpsRange => "The least fee is above the most.", "Let `minFeeBps` be at most `maxFeeBps`.";
    CaptureFeeRange => "The payer did not agree to this fee.", "Take a fee between `minFeeBps` and `maxFeeBps`.";
    CaptureZeroFeeReceiver => "The fee is for nobody.", "Name who gets the fee, or take none.";
    CaptureFeeReceiver => "The payer agreed to another receiver of the fee.", "Name the `feeRecipient` of the offer.";
    CaptureReverted => "The transaction is in a block and did not do what it was for.",
        "Look at the payment's state, and ask again.";
    BatchCumulativeMismatch =>
        "The voucher is not over what was charged in the channel so far and one price.",
        "Look at `channelState` and `voucherState` in the 402, check your own signature there, and sign from that on.";
    BatchChannelBusy =>
        "Another payment or a refund of this channel is under way.",
        "Wait until it has been answered, then present this one again.";
    TransactionFailed =>
        "The settlement was mined and moved no money.",
        "Present the payment again while it is valid, or sign a new one.";
    TransferEventMismatch =>
        "The transaction did not make the transfer that was signed for.",
        "Do not deliver; have the token looked at.";
    InvalidTransactionState =>
        "The chain says of the transaction what cannot be.",
        "Try again later.";
    SettlementPending =>
        "The settlement was sent and is not seen in a block yet.",
        "Ask again with the same payment. Never pay a second time.";
    UnexpectedVerifyError =>
        "The payment could not be looked at just now.",
        "Try again with the same payment.";
    UnexpectedSettleError =>
        "It is not known what became of the settlement, or it was given up before anything was sent.",
        "Ask again with the same payment. Never pay a second time.";
}
