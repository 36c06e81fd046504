//! Why a mandate is refused. The fine codes are ours; each stands for one of AP2's four (v0.2, "Error codes").

use mandates::rejection::Code;

const TOKEN: &str = "Present the token exactly as it was issued; do not re-encode, trim or rebuild it.";
const ISSUER: &str = "Have the mandate issued again by software that follows AP2 v0.2 and RFC 9901.";
const VERIFIER: &str = "Have the leaf closed again for what this verifier expects.";
const KEYS: &str = "Check that the verifier trusts the issuer's present keys, and that the right key signed.";
const TRUST: &str = "Where the issuer is to be trusted for this, say so in the verifier's trust file.";
const CERTIFICATE: &str =
    "Have the issuer present certificates whose path RFC 5280 accepts, in order, the signing one first.";
const CLOCK: &str = "Check the clocks; where they are right, issue or close it again.";
const SCOPE: &str = "Stay inside what the person signed, or ask for a mandate that allows this.";
const CART: &str = "Get the checkout signed by its merchant again and close the mandate over that one.";
const NARROW: &str = "Restate what the parent says, or something narrower.";
const STATE: &str = "Ask for a new mandate, or wait until the constraint allows it.";

super::abouts! { Code,
    TokenTooLarge => "The token is longer than what is read.",
        ISSUER;
    TokenNotAscii => "The token has characters that no token has.",
        TOKEN;
    TooManySegments => "The chain has more links than are read.",
        "Delegate fewer times.";
    TooManyDisclosures => "The token discloses more values than are read.",
        "Disclose fewer values.";
    FinalTildeMissing => "A segment does not end with `~`.",
        TOKEN;
    EmptyDisclosure => "There is nothing between two `~`.",
        TOKEN;
    MalformedJwt => "A part is no JWT of three base64url parts.",
        TOKEN;
    MalformedSignature => "A signature is no base64url text.",
        TOKEN;
    MalformedDisclosure => "A disclosure is no array as RFC 9901 has it.",
        TOKEN;
    MalformedJson => "A part is not JSON.",
        ISSUER;
    DuplicateJsonKey => "An object has a member twice, so that readers would differ about it.",
        ISSUER;
    TooDeep => "JSON is nested deeper than what is read.",
        ISSUER;
    AlgNotAllowed => "The token is signed with another algorithm than ES256.",
        ISSUER;
    HeaderNotAllowed => "The header has a member that would change how it is read.",
        ISSUER;
    TypWrong => "The token is of another type than its place asks for.",
        ISSUER;
    UnknownKid => "No trusted key has this id.",
        KEYS;
    DidInvalid => "A DID or its document is not as its method has it.",
        "Use did:key or did:jwk with a P-256 key, or did:web whose document lists the key under assertionMethod.";
    RootKeysUnavailable =>
        "The keys of a trusted root are published elsewhere and cannot be fetched now, and no other root has this id.",
        "Try again; the log of the verifier says what its fetch met.";
    RootIssuerMismatch => "The root's key is trusted for another `iss`.",
        TRUST;
    RootOutOfScope => "The root is trusted, and for other mandates than this.",
        TRUST;
    X5cMalformed => "The certificate chain is no array of X.509 certificates in base64, or longer than what is read.",
        CERTIFICATE;
    X5cNoAnchor => "The root brings certificates, and the verifier has no anchor that they could end at.",
        TRUST;
    X5cUntrusted => "The certificates end at none of the verifier's anchors.",
        TRUST;
    X5cOrder => "The certificates are not each issued by the next.",
        CERTIFICATE;
    X5cExpired => "A certificate of the path, or its anchor, has expired.",
        CERTIFICATE;
    X5cNotYetValid => "A certificate of the path, or its anchor, is not good yet.",
        CLOCK;
    X5cLeafIsCa => "The mandate is signed with a CA's own certificate.",
        CERTIFICATE;
    X5cIssuerNotCa => "A certificate of the path was issued by somebody who is no CA.",
        CERTIFICATE;
    X5cPathTooLong => "More CAs stand below a CA of the path than it allows.",
        CERTIFICATE;
    X5cKeyUsage => "Key usage of a certificate does not allow what its key did.",
        CERTIFICATE;
    X5cNameConstraint => "A name lies outside of what a CA above it may name.",
        CERTIFICATE;
    X5cCriticalExtension => "A certificate has a critical extension that is not understood here.",
        CERTIFICATE;
    X5cAlgorithm => "A certificate is signed with an algorithm that is not taken, or that is not its issuer's.",
        CERTIFICATE;
    X5cSignatureInvalid => "A certificate of the path is not signed by the one above it.",
        CERTIFICATE;
    SignatureLength => "An ES256 signature has 64 bytes, this one has not.",
        TOKEN;
    SignatureInvalid => "A signature does not fit the key and the text.",
        KEYS;
    KeyNotP256 => "A key is not on the curve P-256.",
        "Use P-256 keys, as AP2 does.";
    KeyInvalid => "A key is no point of its curve, or is written wrongly.",
        "Send the JWK as its owner published it.";
    KeyPrivate => "A private key stands where a public one belongs.",
        "Treat that key as lost, and use another.";
    KeySetInvalid => "The key set cannot be read, or names a key twice.",
        "Send a JWK set (RFC 7517).";
    CnfMissing => "An open mandate does not say who may use it.",
        ISSUER;
    CnfMisplaced => "The holder's key stands where it binds nothing.",
        ISSUER;
    LeafHasCnf => "A closed mandate names a next holder; it can have none.",
        ISSUER;
    SdAlgUnsupported => "The disclosures are hashed with an unknown algorithm.",
        ISSUER;
    DuplicateDisclosure => "The same disclosure came twice.",
        TOKEN;
    DigestReused => "One digest stands in two places.",
        ISSUER;
    DigestMalformed => "A digest is no base64url text of its length.",
        ISSUER;
    DisclosureWrongKind => "A disclosure for a member stands for a list element, or the other way round.",
        TOKEN;
    ReservedClaimName => "A disclosure has a name that is reserved.",
        ISSUER;
    ClaimOverwritten => "A disclosure would overwrite a claim that is there.",
        ISSUER;
    UnreferencedDisclosure => "A disclosure belongs to no digest of the token.",
        TOKEN;
    DelegatePayloadCount => "A link carries another number of mandates than one.",
        ISSUER;
    RootAmbiguous => "The root discloses several mandates, and it is not clear which one counts.",
        "Disclose one of them.";
    BindingCount => "A link is bound to the one before it not exactly once.",
        ISSUER;
    SdHashMismatch => "A link was signed over another presentation than the one before it.",
        TOKEN;
    IssuerJwtHashMismatch => "A link was signed over another token than the one before it.",
        TOKEN;
    ClosedNeedsSdHash => "A closed mandate must be bound to exactly what is disclosed.",
        ISSUER;
    IatMissing => "It is not said when the token was signed.",
        ISSUER;
    AudMissing => "It is not said for whom the mandate was closed.",
        VERIFIER;
    NonceMissing => "It is not said for which presentation the mandate was closed.",
        VERIFIER;
    AudMismatch => "The mandate was closed for another verifier.",
        VERIFIER;
    NonceMismatch => "The mandate was closed for another presentation.",
        VERIFIER;
    Replayed => "This presentation was seen before.",
        "Close the mandate again with a fresh nonce.";
    Revoked => "The mandate was revoked.",
        "Ask the person for a new mandate.";
    TimeClaimType => "A time is no number of seconds.",
        ISSUER;
    Expired => "The mandate's time is over.",
        "Ask the person for a new mandate.";
    NotYetValid => "The mandate's time has not come.",
        CLOCK;
    IssuedInFuture => "The token says that it was signed later than now.",
        CLOCK;
    LeafStale => "The mandate was closed too long ago.",
        "Close it again right before it is presented.";
    ReceiptReferenceUnknown => "The receipt is about something else.",
        "Ask for the receipt of this very purchase.";
    VctUnknown => "The mandate is of a kind that is not known.",
        ISSUER;
    FamilyMixed => "The chain goes from payment mandates to checkout mandates, or back.",
        ISSUER;
    FamilyUnexpected => "A mandate of the other family was expected.",
        "Present the payment, or the checkout, that is asked for.";
    LeafNotClosed => "The last mandate is still open, so it authorizes nothing yet.",
        VERIFIER;
    NonleafNotOpen => "A closed mandate has another one after it.",
        ISSUER;
    Schema => "The mandate lacks what its schema demands, or has it in another shape.",
        ISSUER;
    PresetClaimChanged => "The closed mandate changes what the open one had fixed.",
        SCOPE;
    CurrencyMismatch => "The payment is in another currency than the mandate.",
        SCOPE;
    AmountBelowMin => "The payment is smaller than the mandate allows.",
        SCOPE;
    AmountAboveMax => "The payment is larger than the mandate allows.",
        SCOPE;
    PayeeNotAllowed => "The mandate does not allow this payee: id, name and website must all be the same.",
        SCOPE;
    InstrumentNotAllowed => "The mandate does not allow this way to pay.",
        SCOPE;
    PispNotAllowed => "The mandate does not allow this initiator of payments.",
        SCOPE;
    BudgetExceeded => "The sum of the payments would exceed the mandate's budget.",
        SCOPE;
    BudgetCurrencyMismatch => "Budget and payment are in different currencies.",
        SCOPE;
    RecurrenceExhausted => "All payments that the mandate allows are made.",
        STATE;
    RecurrenceTooSoon => "The next payment may not be made yet.",
        STATE;
    ExecutionTooEarly => "The payment would be made before the day that the mandate names.",
        STATE;
    ExecutionTooLate => "The payment would be made after the day that the mandate names.",
        STATE;
    ReferenceMismatch => "The payment has another reference than the mandate demands.",
        SCOPE;
    MerchantNotAllowed => "The mandate does not allow this merchant.",
        SCOPE;
    MerchantMissing => "The checkout does not say whose it is, and the mandate asks.",
        CART;
    LineItemsNotSatisfied => "What is in the cart cannot be matched with what the mandate allows to buy.",
        SCOPE;
    CheckoutJwtMalformed => "The checkout is no JWT that its merchant signed.",
        CART;
    CheckoutHashMismatch => "The mandate was closed over another checkout.",
        CART;
    CheckoutNotExpected => "A checkout came that nobody expects here.",
        VERIFIER;
    CheckoutSignatureInvalid => "The checkout is not signed by its merchant: it may have been altered.",
        CART;
    CheckoutExpired => "The merchant's offer is over.",
        CART;
    MerchantKeyUnknown => "No key of this merchant is known.",
        "Give the merchant's key set, or put its keys on record.";
    TransactionIdMismatch => "The mandate was closed over another purchase.",
        VERIFIER;
    MandateAlreadyUsed => "The closed mandate is for one use, and it was used.",
        VERIFIER;
    PaymentNotCheckoutTotal => "The payment is for another amount than the checkout's total.",
        CART;
    PaymentNotCheckoutCurrency => "The payment is in another currency than the checkout.",
        CART;
    PaymentNotCheckoutMerchant => "The payment goes to somebody else than the checkout's merchant.",
        CART;
    ReceiptFieldMissing => "The receipt lacks what its status demands.",
        ISSUER;
    ReceiptFieldForbidden => "The receipt has what its status forbids.",
        ISSUER;
    ChildWidensFamily => "What is handed on is of another type than the mandate that it comes from.",
        NARROW;
    ChildWidensAmountRange => "The child allows amounts that its parent does not, or says nothing of them.",
        NARROW;
    ChildWidensPayees => "The child allows payees that its parent does not, or says nothing of them.",
        NARROW;
    ChildWidensInstruments =>
        "The child allows payment instruments that its parent does not, or says nothing of them.",
        NARROW;
    ChildWidensPisps => "The child allows payment initiators that its parent does not, or says nothing of them.",
        NARROW;
    ChildWidensBudget => "The child's budget is larger than its parent's, in another currency, or not there.",
        NARROW;
    ChildWidensRecurrence => "The child may pay more often than its parent.",
        NARROW;
    ChildWidensExecutionDate => "The child may pay at times at which its parent may not.",
        NARROW;
    ChildWidensReference => "The child is for another open checkout than its parent.",
        NARROW;
    ChildWidensMerchants => "The child allows merchants that its parent does not, or says nothing of them.",
        NARROW;
    ChildWidensLineItems => "The child allows carts that its parent does not, or that are not seen to be within it.",
        NARROW;
    ChildWidensPreset => "The child leaves open or changes what its parent presets.",
        NARROW;
    ChildWidensExpiry => "The child lives longer than its parent.",
        NARROW;
    ChildWidensStart => "The child begins before its parent.",
        NARROW;
    DelegationTooDeep => "The mandate has been handed on as often as it may.",
        "Delegate from a mandate that is nearer to the person.";
    DelegationCycle => "The mandate would come back to somebody who holds one of its chain.",
        "Delegate to an agent that has no part in the chain.";
    DelegationChanged => "What a wallet signed is not what it was asked to sign.",
        "Ask again; where the answer stays so, do not trust that wallet.";
    CredentialMismatch => "The credential is of a type that was not asked for, or withholds a claim that was.",
        "Answer with a credential of `vct_values`, and let the wallet show what the request lists.";
    StatusUnreadable => "A status list, or the place in it, says nothing that can be relied upon.",
        "Fetch the list anew; where it stays so, ask its issuer.";
    StatusElsewhere => "The status list is the one of another address than the mandate names.",
        "Fetch it from the address in `status.status_list.uri`.";
    StatusUnavailable =>
        "The credential says that its status is published, and the list cannot be had now: whether it stands is not known.",
        "Try again; the message says what the fetch met.";
    StatusListInvalid => "The status list that the credential names is none to rely upon.",
        "Try again once its issuer publishes a good one; the message says what is wrong with it.";
    CredentialRevoked => "The issuer of the credential says that it does not stand any more.",
        "Ask for a new mandate.";
    CredentialSuspended => "The issuer of the credential says that it is suspended.",
        "Wait until its issuer resumes it.";
    ConstraintWithheld => "A constraint of the mandate was not disclosed, so it cannot be checked.",
        "Disclose every constraint.";
    ConstraintWithoutType => "A constraint does not say what it constrains.",
        ISSUER;
    UnknownConstraint => "The mandate has a constraint that is not known here. What cannot be checked is refused.",
        "Let the person decide, or use constraints of AP2 v0.2.";
    ConstraintWrongFamily => "A constraint for checkouts stands in a payment mandate, or the other way round.",
        ISSUER;
    CurrencyUnknown => "The currency is not in ISO 4217.",
        "Use its three letters, in capitals.";
    RecurrenceNeedsBudget => "A recurring mandate needs a budget to be bounded by.",
        ISSUER;
    OpenCheckoutHashUnknown => "The mandate refers to an open checkout mandate that the verifier was not shown.",
        "Present that one too.";
    NumberNotCanonical => "A number has more digits than canonical JSON (RFC 8785) keeps.",
        "Write amounts in at most 15 significant digits.";
    ClaimMissing => "A merchant's authorization lacks one of its claims.",
        ISSUER;
    KeyBindingMissing => "The credential came without the JWT by which its holder presents it.",
        VERIFIER;
    KeyBindingStale => "The credential was presented too long ago.",
        VERIFIER;
    CredentialTypeWrong => "The person's credential is of another type than this verifier takes.",
        "Present a credential of a type that authorises payments.";
    MerchantAuthorizationMissing => "The cart is not signed by its merchant.",
        CART;
    MerchantAuthorizationTooLong => "The merchant signed the cart for longer than is taken, or for no time at all.",
        CART;
    UserAuthorizationMissing => "Nobody authorised the payment.",
        "Let the person sign it.";
    TransactionDataMismatch => "The person signed another cart or another payment.",
        "Let the person sign this cart and this payment, in that order.";
    UnsignedMember => "Something stands beside what is signed.",
        TOKEN;
    IntentExpired => "The intent has expired.",
        "Ask the person again.";
    CartExpired => "The cart has expired.",
        CART;
    CartHashMismatch => "The merchant signed another cart than the one that came.",
        CART;
    CartConfirmationRequired => "The person signed nothing, so the cart is theirs to confirm.",
        "Have user_cart_confirmation_required true, or let the person sign the intent.";
    PaymentNotCart => "The payment says something else than the cart that it pays.",
        CART;
    VcMalformed => "The credential is none of the W3C data model 2.0.",
        ISSUER;
    IssuerUnknown => "The verifier knows no keys of this issuer.",
        KEYS;
    VcStatusNotBuilt => "The credential has a status that this release cannot look up.",
        "Have it issued without a status, and for a short time.";
}
