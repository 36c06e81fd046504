//! Codes of the vault: allowances, tokens, processors.

/// Code, cause, mend.
pub(super) const VAULT: &[(&str, &str, &str)] = &[
    ("missing_api_version", "The header API-Version is missing.", "Send API-Version: 2026-04-17."),
    (
        "unsupported_api_version",
        "The header API-Version names a version that is not spoken here.",
        "Take one of supported_versions.",
    ),
    (
        "idempotency_key_required",
        "A POST came without an Idempotency-Key, with several, or with one that is too long.",
        "Send one of 1 to 255 characters, the same for the same request.",
    ),
    (
        "idempotency_in_flight",
        "A request with the same key is being processed.",
        "Send the same again after Retry-After.",
    ),
    (
        "token_in_progress",
        "Another request about the same vault token is being processed: a capture, a refund, a void, a card that is handed out.",
        "Ask again in a second; what the other one came to is said then.",
    ),
    (
        "invalid_card",
        "No card can be like the payment method.",
        "Correct the member that is named; the value is not repeated.",
    ),
    (
        "card_number_misplaced",
        "The card's number stands outside of payment_method.number or credential.number.",
        "Leave it out there: everything else may be shown, kept and given back.",
    ),
    ("risk_blocked", "A risk signal says that the payment is blocked.", "Do not pay with this card."),
    ("allowance_expired", "The allowance ends at or before now.", "Allow until a later moment."),
    (
        "mandate_missing",
        "Neither the request nor the access token names the mandate that the allowance is to be within.",
        "Name it in metadata.mandate.",
    ),
    (
        "merchant_unknown",
        "No payee on record goes by this merchant_id.",
        "The operator adds it under acp of a payee, with the merchant that redeems its tokens.",
    ),
    (
        "binding_identity_missing",
        "An agent leaves a card for a merchant, and the binding does not say for which.",
        "Name it in binding.identity.access_token.",
    ),
    (
        "binding_mismatch",
        "The token is bound to another participant.",
        "Name the merchant that the agent named, or leave binding.identity out.",
    ),
    (
        "allowance_missing",
        "Nothing says how much the merchant may take: no allowance came, and the checkout is none that this service's shop has.",
        "Send allowance with max_amount and currency.",
    ),
    (
        "cards_not_received",
        "This merchant is handed no cards.",
        "Capture at /v1/vault/capture, or let the operator set acp.receives_cards of the payee.",
    ),
    (
        "token_unknown",
        "There is no such token, or it is somebody else's.",
        "A merchant asks about tokens for itself, an agent about those that it asked for.",
    ),
    (
        "checkout_session_mismatch",
        "The token was given for another checkout session.",
        "Redeem it for the session that the agent named.",
    ),
    ("currency_mismatch", "The token is for another currency.", "Ask in the currency of the allowance."),
    (
        "amount_exceeds_allowance",
        "More was asked for than the agent allowed.",
        "Ask for max_amount at most, or let the agent get another token.",
    ),
    (
        "token_used",
        "The token was redeemed, or is being redeemed, under another key.",
        "A token is good for one capture. Repeat a request under its own key.",
    ),
    ("attempts_exhausted", "The token was tried too often.", "Let the agent get another token, with another card."),
    ("token_state", "The token was voided or has expired.", "Let the agent get another one."),
    (
        "payment_declined",
        "The processor took nothing, for the reason in decline_code. The token is as it was.",
        "Try again under a new key while the token lives, or let the agent get one with another card.",
    ),
    (
        "refund_declined",
        "The processor gives nothing back: more than was captured, or what it does not know.",
        "Ask for at most what is left of the capture.",
    ),
    (
        "notice_unsigned",
        "A notice has no signature of the tenant's processor, or an old one.",
        "The processor signs with the secret that both have.",
    ),
    (
        "notice_contradicts",
        "The processor says something else than it said before, or answers an attempt that is not under way.",
        "An operator asks the processor; its settlement file says what was settled.",
    ),
    (
        "order_status",
        "An order was to become what one of its status does not become.",
        "Look at the order: confirmed, processing, shipped, completed is the way; canceled ends it where all was given back.",
    ),
    (
        "order_not_refunded",
        "An order was to be cancelled of which not all of the money was given back.",
        "Refund the rest of it first, as an adjustment of the order.",
    ),
    (
        "adjustment_invalid",
        "An adjustment of an order cannot be made: it is more than what is left, another one came under its key, or the \
         order was not paid by a vault token of this service.",
        "Take another amount or a key of its own; what mandates paid is given back where it was taken.",
    ),
    (
        "order_event_unsigned",
        "A message about an order has no Merchant-Signature of this body and of the last five minutes.",
        "Sign each message, when it is sent, under the secret that both have.",
    ),
    (
        "order_event_unreadable",
        "A message about an order is not what ACP has it be.",
        "Send `type` and the whole order as `data`.",
    ),
    (
        "order_event_unknown",
        "A message is about a checkout session that nothing was paid for here.",
        "Tell each platform of the orders of its own agents.",
    ),
    (
        "order_events_exhausted",
        "As much as is kept was told of one checkout session.",
        "An operator looks at what the shop tells.",
    ),
];
