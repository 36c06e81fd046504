//! What the book refuses.

use ledger::rejection::RejectionCode;

super::abouts! { RejectionCode,
    AmountExceedsBudget =>
        "The payment is larger than what is left of the mandate's budget, or of a budget above it: what is held \
            for payments under way counts as spent.",
        "Pay less, wait until a held payment is released, or ask the person for a mandate with more.";
    AmountExceedsPaymentLimit =>
        "The mandate limits each single payment, and this one is larger.",
        "Buy something cheaper, or ask for a mandate with a higher limit a payment.";
    OccurrencesExhausted =>
        "The mandate allows a number of payments, and all of them are used or held.",
        "Wait until one that is under way is released, or ask for another mandate.";
    AmountExceedsPeriod =>
        "The mandate, or a budget above it, allows so much a period or to each payee, and this payment would pass it. What \
            is held for payments under way counts as spent, in the period in which it was reserved.",
        "Pay less, or try again with a new key when the period that the refusal names begins anew.";
    PaymentsExceedPeriod =>
        "The mandate, or a budget above it, allows a number of payments a period or to each payee, and all are made or held.",
        "Try again with a new key when the period that the refusal names begins anew.";
    CartExhausted =>
        "The same signed cart was bought, or tried to be bought, as often as one cart may be; each try that came to nothing counts.",
        "Get the checkout signed by its merchant again.";
    OutsideHours =>
        "The mandate, or a budget above it, allows payments at certain hours only.",
        "Try again with a new key within the hours that the refusal names.";
    RecurrenceTooSoon =>
        "The mandate, or a budget above it, is used once a period, and its last use is nearer than that. What is held for a \
            payment under way is a use.",
        "Try again with a new key when the next use is due, as the refusal says, or wait until the payment under way is released.";
    ChannelBusy =>
        "Out of a channel one payment at a time is made, and the last one has no answer yet.",
        "Send the payment that is named again with its own key: its payee then says what it charged. Or ask for the channel's rest.";
    NotCovered =>
        "What was not charged of a voucher stays spent as long as the voucher is good for it.",
        "Wait: the next payment out of the channel, or the end of the channel, gives it back.";
    LimitInvalid =>
        "A limit says something that cannot be meant: no figure, a month's day 32, a rolling period of a second.",
        "Correct the limit as the refusal says.";
    RefundExceedsPayment =>
        "More was given back than was paid, or than is left after earlier refunds.",
        "Look at the transaction: it may be the refund of several payments, or no refund at all.";
    RefundExceedsSale =>
        "More was sent back than the sale was paid with, or than is left of it after earlier refunds.",
        "Name a transaction that gives back at most what is left; what was sent beyond it is no refund of this sale.";
    RefundClaimed =>
        "The transfer is the refund of another payment already; one transfer is one refund.",
        "Name the transaction in which this payment was refunded.";
    NotFenced =>
        "Payments that a book does not know are taken in while its fence is closed.",
        "Use `purser restore`; nothing of this is for a running service.";
    MandateExpired =>
        "The mandate's time is over.",
        "Ask the person for a new mandate.";
    MandateRevoked =>
        "The mandate, or a budget above it, was revoked. That is final.",
        "Ask the person for a new mandate.";
    MandateSuspended =>
        "The mandate, or a budget above it, is suspended.",
        "Wait until whoever suspended it resumes it; nothing is lost.";
    MandateUnknown =>
        "There is no mandate of this id in the caller's book.",
        "Use the id that the approval gave.";
    MandateExists =>
        "A mandate of this id is open already, with other terms.",
        "Use the one that is open, or issue a new one.";
    AssetMismatch =>
        "The amount is in another currency or token than the budget.",
        "Give the amount in the budget's currency; crossing needs a recorded rate.";
    CapExceedsParent =>
        "A mandate may not allow more than the budget above it.",
        "Ask for less, or have the cap above raised first.";
    PathTooDeep =>
        "Budgets may lie under each other to a stated depth only.",
        "Delegate fewer times.";
    IdempotencyKeyReused =>
        "The same idempotency key came with another request. One key is one purchase.",
        "Use a fresh key for another purchase, and the same request for the same key.";
    SpendReleased =>
        "The payment of this key ended without money moving, and a key is never used twice.",
        "If the purchase is still wanted, use a new key and name the old spend in `again_after`.";
    PurchaseUnresolved =>
        "The same thing is being bought under the same mandate already, and it is not known yet how that ends.",
        "Wait for that payment; if a second one is really meant, name the first in `again_after`.";
    AgainAfterMismatch =>
        "`again_after` names another spend than the one that is under way.",
        "Name the spend that the refusal shows.";
    AgainAfterElsewhere =>
        "`again_after` names a spend that bought something else, or under another mandate.",
        "Leave it out, or name the spend of this very purchase.";
    AgainAfterUsed =>
        "Another purchase was made to follow the spend that `again_after` names.",
        "If a further one is really meant, name the spend that the refusal shows.";
    Stopped =>
        "A human stopped the tenant, the person, the agent, the mandate, the payee, the agent's build or the issuer of the token that this concerns.",
        "Ask whoever stopped it; they lift it with DELETE /v1/kill/{id}.";
    NotYoursToLift =>
        "An operator stopped this, and only an operator lets it go on.",
        "Ask an operator.";
    AuthorizationClaimed =>
        "Another payment has this very authorization (network, token, payer, nonce).",
        "Nothing needs to be done: the first one goes on. A new purchase needs a new key.";
    OrderHasPayment =>
        "What is ordered is sold once, and another payment has this order.",
        "Nothing needs to be done: this payment was not taken. Look at the order, or order anew.";
    SignInAnswered =>
        "Each text that is signed to sign in is answered once, by whichever process.",
        "Ask again without it: the 402 has a new one.";
    MandateConsumed =>
        "A closed mandate is for one use, and it was used.",
        "Close the open mandate again, over the new purchase.";
    SpendUnknown =>
        "There is no payment of this id in the caller's book.",
        "Use the id that the payment's answer gave.";
    SpendStateWrong =>
        "The payment is in a state in which this is not possible: what is signed cannot be voided, what is over \
            stays over.",
        "Look at the payment; what may have gone out stays held until the chain proves it either way.";
    NotProved =>
        "Money is released only when the chain proves that the payment can never be taken, and it does not yet.",
        "Wait until a finalized block is past the payment's last moment; the service looks by itself.";
    NotFinal =>
        "The block is so young that the chain may still take it back.",
        "Ask again when it is final.";
    SettlementYoung =>
        "The payment is settled in a block that the chain may still take back; until it is final no refund of it is posted.",
        "Ask again when the block is final.";
    SettlementFinal =>
        "The payment is settled in a final block: nothing takes it back.",
        "Look at the node that says otherwise.";
    NotReorganised =>
        "What was said to be taken back is not what was booked, or still stands.",
        "Nothing is to be done: the service looks again by itself.";
    SettlementMismatch =>
        "The chain shows another amount, recipient or token than was signed for.",
        "Have an operator look at the payment; it is not counted as paid.";
    OnlyAUserDecides =>
        "Only a person decides about approvals; no agent, merchant or operator does.",
        "Decide with the user's own credential.";
    NotYourDecision =>
        "The question was put to somebody else.",
        "Let the person decide who was asked.";
    DecisionUnknown =>
        "There is no question of this id in the caller's book.",
        "Use the id that asking gave.";
    DecisionExists =>
        "The same question was put before, about something else.",
        "Ask again; a new question gets a new id.";
    DecisionStateWrong =>
        "The question is answered, used or over already.",
        "Ask again where it is still wanted.";
    DecisionSubjectWrong =>
        "The answer is about another document than the one that was asked about.",
        "Read the approval again and answer with the digest that it shows now.";
    DecisionExpired =>
        "Nobody answered in time.",
        "Ask again.";
    ApprovalRequired =>
        "A mandate opens on an approval that was given and not used yet.",
        "Ask the person; each approval opens one mandate.";
    SettlementUnknown =>
        "Nobody presented this authorization here.",
        "Present the payment first.";
    SettlementStateWrong =>
        "The settlement is in a state in which this is not possible.",
        "Ask for its state; what was sent is followed to its end by itself.";
    PaymentUsedForOtherResource =>
        "This payment was presented for another request before. One payment buys one thing.",
        "Pay for this request with a payment of its own.";
    PayerOverdrawn =>
        "The payer has signed for more than they have: what else of theirs is claimed and not settled counts as well.",
        "Wait until the other payments are settled, or put more into the account.";
    PayerPaymentsOpen =>
        "The payer has too many payments under way with this seller.",
        "Present the same payment again when some of them are settled.";
    ExposureExceeded =>
        "The seller gives only so much before it is paid, and this would be more.",
        "Present the same payment again when earlier ones are settled.";
    PayerBlocked =>
        "Something was given to this payer before it was paid, and the payment never came.",
        "Settle what is owed with the seller; an operator looks with `purser receivables`.";
    AmountZero =>
        "An amount of nothing is no payment.",
        "Give an amount above zero.";
    AmountOverflow =>
        "The sum leaves the range in which money is counted (128 bits).",
        "Give a smaller amount.";
    OwnerMismatch =>
        "The mandate is another agent's.",
        "Use a mandate that was given to this agent.";
    HoldExpired =>
        "The money was held for a time and not used; the hold lapsed.",
        "Start the purchase again, with a new key.";
    NotExpired =>
        "The hold has not lapsed yet.",
        "Wait until the stated time.";
    StateChangeRefused =>
        "The mandate cannot go from its state to the asked one: what is revoked stays revoked.",
        "Look at its state first.";
    PayeeChanged =>
        "This shop was first paid at another address and now names a new one, which is what an attacker would do.",
        "Ask the shop on another way; then put the new address on record as a payee.";
    MayBeOut =>
        "The book was restored from a backup, and a mandate that it knows as reserved may have been given to its verifier since.",
        "It stays held. Its verifier's receipt posts it.";
    RailMismatch =>
        "The payment goes over another rail: one is settled by what a chain shows, the other by the receipt of whoever its \
            mandate was closed for.",
        "For a payment that was closed for a verifier send its receipt; for one on a chain its transaction.";
}
