//! Signatures under what is offered and under what was paid (x402 `offer-receipt`): as a seller we make them with the
//! tenant's key for receipts, as a wallet we look at them before anything is held.

use ledger::id::TenantId;
use mandates::canonical::canonical_object;
use mandates::did::Did;
use mandates::json::Object;
use mandates::jws::{Jws, Unsigned};
use mandates::keys::PublicKey;
use serde_json::{Map, Value, json};
use x402::offer_receipt::{self, Artifact};
use x402::select::Offer;
use x402::wire::{PaymentRequirements, SettleResponse};

use crate::Engine;
use crate::error::EngineError;
use crate::tenant::{Payee, Tenant};

/// The DID of a service at this address: its document lists what its sellers sign with.
pub fn did_web(public_url: &str) -> Option<String> {
    let url = url::Url::parse(public_url).ok()?;
    let host = url.host_str()?;
    Some(match url.port() {
        Some(port) => format!("did:web:{host}%3A{port}"),
        None => format!("did:web:{host}"),
    })
}

/// The document of [`did_web`]: every key that a seller of this service signs offers and receipts with.
pub fn did_document(did: &str, tenants: &[std::sync::Arc<Tenant>]) -> Value {
    let keys = tenants.iter().filter(|tenant| tenant.seller.is_some()).flat_map(|tenant| tenant.receipt_keys.iter());
    let methods: Vec<Value> = keys
        .map(|key| {
            let id = format!("{did}#{}", key.thumbprint());
            json!({ "id": id, "type": "JsonWebKey2020", "controller": did, "publicKeyJwk": key.to_jwk() })
        })
        .collect();
    let named: Vec<Value> = methods.iter().map(|method| method["id"].clone()).collect();
    json!({
        "@context": ["https://www.w3.org/ns/did/v1", "https://w3id.org/security/suites/jws-2020/v1"],
        "id": did,
        "verificationMethod": methods,
        "assertionMethod": named,
    })
}

impl Engine {
    /// The offer under the seller's signature. It stands as long as a payment for it may live.
    pub async fn sign_offer(
        &self,
        tenant: &TenantId,
        did: &str,
        resource_url: &str,
        offer: &PaymentRequirements,
    ) -> Result<String, EngineError> {
        let until = self.now_seconds().saturating_add(offer.max_timeout_seconds);
        self.attest(tenant, did, &offer_receipt::offer_payload(resource_url, offer, until)).await
    }

    /// That this was paid, under the seller's signature.
    pub async fn sign_sale(
        &self,
        tenant: &TenantId,
        did: &str,
        resource_url: &str,
        settled: &SettleResponse,
    ) -> Result<String, EngineError> {
        let payer = settled.payer.as_deref().unwrap_or_default();
        let (network, transaction, now) = (&settled.network, &settled.transaction, self.now_seconds());
        self.attest(tenant, did, &offer_receipt::receipt_payload(resource_url, network, payer, transaction, now)).await
    }

    async fn attest(&self, tenant: &TenantId, did: &str, payload: &Map<String, Value>) -> Result<String, EngineError> {
        let tenant = self.tenant(tenant)?;
        let key = tenant.receipts.public();
        let header = Object::from_iter([
            ("alg".to_owned(), "ES256".into()),
            ("jwk".to_owned(), Value::Object(key.to_jwk())),
            ("kid".to_owned(), format!("{did}#{}", key.thumbprint()).into()),
        ]);
        let payload = canonical_object(payload).map_err(|error| EngineError::Broken(error.to_string()))?;
        Ok(tenant.receipts.sign(Unsigned::over(&header, payload.as_bytes())).await?)
    }
}

/// What is known of a signature under an offer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Vouched {
    /// By a key that the registry has for who is paid, or by the account that is paid.
    ByPayee,
    /// By the key that it brings along: whose that is, nobody here says.
    ByItself,
    /// In a form, or under a key, that is not read here.
    NotLookedAt,
}

impl Vouched {
    const fn as_str(self) -> &'static str {
        match self {
            Self::ByPayee => "by_payee",
            Self::ByItself => "by_itself",
            Self::NotLookedAt => "not_looked_at",
        }
    }
}

/// Looks at the signature under the offer that is paid, where the 402 has one. One that is there and does not verify, or
/// that has run out, is refused: somebody else put it there. Gives the check as the evidence has it.
pub(crate) fn check_offer(
    extensions: Option<&Map<String, Value>>,
    offer: &Offer,
    payee: Option<&Payee>,
    now: u64,
) -> Result<Option<String>, EngineError> {
    for artifact in offer_receipt::offers(extensions) {
        let read = match &artifact {
            Artifact::Jws(jws) => Jws::parse(jws).ok().map(|jws| jws.payload),
            Artifact::Eip712 { payload, .. } => Some((*payload).clone()),
        };
        let (url, terms) = (offer.resource_url(), offer.requirements());
        let Some(payload) = read.filter(|payload| offer_receipt::is_offer_of(payload, url, terms)) else { continue };
        if let Some(until) = offer_receipt::valid_until(&payload).filter(|until| *until < now) {
            return Err(refused(format!("one that stands at {now}"), format!("one that stood until {until}")));
        }
        let vouched = match artifact {
            Artifact::Jws(jws) => vouched_by_key(jws, payee)?,
            Artifact::Eip712 { payload, signature } => match offer_receipt::offer_signer(payload, signature) {
                None => return Err(refused("a signature of 65 bytes".into(), signature.to_owned())),
                Some(signer) if signer == offer.pay_to() => Vouched::ByPayee,
                Some(_) => Vouched::ByItself,
            },
        };
        return Ok(Some(json!({ "check": "offer_signature", "vouched": vouched.as_str() }).to_string()));
    }
    Ok(None)
}

fn vouched_by_key(text: &str, payee: Option<&Payee>) -> Result<Vouched, EngineError> {
    let said = |error: mandates::rejection::Rejection| refused("a signature of its key".into(), error.to_string());
    let jws = Jws::parse(text).map_err(said)?;
    if jws.check_header().is_err() {
        return Ok(Vouched::NotLookedAt);
    }
    let on_record = payee.into_iter().flat_map(|payee| &payee.keys);
    if on_record.into_iter().any(|key| jws.verify(key).is_ok()) {
        return Ok(Vouched::ByPayee);
    }
    let Some(key) = own_key(&jws)? else { return Ok(Vouched::NotLookedAt) };
    jws.verify(&key).map_err(said)?;
    Ok(Vouched::ByItself)
}

/// The key that an artifact brings along: in its header, or in a `kid` that is its own document. Two must be one.
fn own_key(jws: &Jws<'_>) -> Result<Option<PublicKey>, EngineError> {
    let brought = jws.header.get("jwk").and_then(Value::as_object).and_then(|jwk| PublicKey::from_jwk(jwk).ok());
    let did = jws.kid().and_then(|kid| kid.split('#').next()).and_then(|did| Did::parse(did).ok());
    let named = did.and_then(|did| did.own_keys().ok().flatten()).and_then(|keys| keys.iter().next().cloned());
    match (brought, named) {
        (Some(brought), Some(named)) if brought.thumbprint() != named.thumbprint() => {
            Err(refused(format!("the key {} of its kid", named.thumbprint()), brought.thumbprint()))
        }
        (brought, named) => Ok(brought.or(named)),
    }
}

fn refused(expected: String, found: String) -> EngineError {
    EngineError::OfferSignature { expected, found }
}
