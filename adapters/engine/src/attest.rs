//! Signatures under what is offered and under what was paid (x402 `offer-receipt`): as a seller we make them with the
//! tenant's key for receipts, as a wallet we look at them before anything is held.

pub(crate) mod receipt;

use ledger::id::TenantId;
use mandates::canonical::canonical_object;
use mandates::did::Did;
use mandates::json::{Json, Object};
use mandates::jws::{Jws, Unsigned};
use mandates::keys::{KeySet, PublicKey};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use x402::offer_receipt::{self, Artifact};
use x402::select::Offer;
use x402::wire::{PaymentRequirements, SettleResponse};

use crate::Engine;
use crate::error::EngineError;
use crate::ports::Relayed;
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

/// The DID of a signed offer's `kid`, where its document is that of the resource's own host: of any other it says nothing. One
/// below a path is whoever's has the path.
fn did_of_host(kid: &str, resource_url: &str) -> Option<Did> {
    let did = Did::parse(kid.split('#').next()?).ok()?;
    let (document, resource) = (url::Url::parse(did.address()?).ok()?, url::Url::parse(resource_url).ok()?);
    let is_own = document.origin() == resource.origin() && document.path() == "/.well-known/did.json";
    is_own.then_some(did)
}

impl Engine {
    /// What the resource's host publishes, where the signature under this offer names a key of it.
    pub(crate) async fn published_for(&self, extensions: Option<&Map<String, Value>>, offer: &Offer) -> Option<KeySet> {
        let (url, terms) = (offer.resource_url(), offer.requirements());
        let artifacts = offer_receipt::offers(extensions);
        let did = artifacts.iter().find_map(|artifact| {
            let Artifact::Jws(text) = artifact else { return None };
            let jws = Jws::parse(text).ok()?;
            offer_receipt::is_offer_of(&jws.payload().to_object(), url, terms)
                .then(|| did_of_host(jws.kid()?, url))
                .flatten()
        })?;
        self.published_by(&did).await
    }

    async fn published_by(&self, did: &Did) -> Option<KeySet> {
        match self.did_documents.get()?.keys(did).await {
            Relayed::Answer(keys) => Some(keys),
            Relayed::Silence(_) => None,
        }
    }
}

/// What is known of a signature under an offer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Vouched {
    /// By a key that the registry has for who is paid, or by the account that is paid.
    ByPayee,
    /// By a key that the resource's own host publishes (did:web).
    ByOrigin,
    /// By the key that it brings along: whose that is, nobody here says.
    ByItself,
    /// In a form, or under a key, that is not read here.
    NotLookedAt,
}

impl Vouched {
    const fn as_str(self) -> &'static str {
        match self {
            Self::ByPayee => "by_payee",
            Self::ByOrigin => "by_origin",
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
    (payee, published): (Option<&Payee>, Option<&KeySet>),
    now: u64,
) -> Result<Option<String>, EngineError> {
    let known = (payee.map_or(&[][..], |payee| &payee.keys), published);
    for artifact in offer_receipt::offers(extensions) {
        let read = match &artifact {
            Artifact::Jws(jws) => Jws::parse(jws).ok().map(|jws| jws.payload().to_object()),
            Artifact::Eip712 { payload, .. } => Some((*payload).clone()),
        };
        let (url, terms) = (offer.resource_url(), offer.requirements());
        let Some(payload) = read.filter(|payload| offer_receipt::is_offer_of(payload, url, terms)) else { continue };
        if let Some(until) = offer_receipt::valid_until(&payload).filter(|until| *until < now) {
            return Err(refused(format!("one that stands at {now}"), format!("one that stood until {until}")));
        }
        let vouched = match artifact {
            Artifact::Jws(jws) => vouched_by_key(jws, known).map_err(|wrong| refused(wrong.expected, wrong.found))?,
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

/// Why a signature is none.
#[derive(Debug, PartialEq, Eq)]
struct Wrong {
    expected: String,
    found: String,
}

fn vouched_by_key(text: &str, (payees, published): (&[PublicKey], Option<&KeySet>)) -> Result<Vouched, Wrong> {
    let said = |error: mandates::rejection::Rejection| Wrong {
        expected: "a signature of its key".into(),
        found: error.to_string(),
    };
    let jws = Jws::parse(text).map_err(said)?;
    if jws.check_header().is_err() {
        return Ok(Vouched::NotLookedAt);
    }
    if payees.iter().any(|key| jws.verify(key).is_ok()) {
        return Ok(Vouched::ByPayee);
    }
    // The host says whose key that is; one that it does not name vouches for itself at most.
    if let Some(key) = jws.kid().zip(published).and_then(|(kid, keys)| keys.find(kid)) {
        jws.verify(key).map_err(said)?;
        return Ok(Vouched::ByOrigin);
    }
    let Some(key) = own_key(&jws)? else { return Ok(Vouched::NotLookedAt) };
    jws.verify(&key).map_err(said)?;
    Ok(Vouched::ByItself)
}

/// The key that an artifact brings along: in its header, or in a `kid` that is its own document. Two must be one.
fn own_key(jws: &Jws<'_>) -> Result<Option<PublicKey>, Wrong> {
    let brought = jws.header().get("jwk").and_then(Json::as_object).and_then(|jwk| PublicKey::from_jwk(jwk).ok());
    let did = jws.kid().and_then(|kid| kid.split('#').next()).and_then(|did| Did::parse(did).ok());
    let named = did.and_then(|did| did.own_keys().ok().flatten()).and_then(|keys| keys.iter().next().cloned());
    match (brought, named) {
        (Some(brought), Some(named)) if brought.thumbprint() != named.thumbprint() => {
            Err(Wrong { expected: format!("the key {} of its kid", named.thumbprint()), found: brought.thumbprint() })
        }
        (brought, named) => Ok(brought.or(named)),
    }
}

fn refused(expected: String, found: String) -> EngineError {
    EngineError::OfferSignature { expected, found }
}

#[cfg(test)]
mod tests {
    use mandates::keys::{KeyId, LocalKey};

    use super::*;

    const DID: &str = "did:web:shop.example";

    fn key(seed: u8) -> LocalKey {
        LocalKey::from_random(&[seed; 32]).unwrap()
    }

    fn signed(kid: &str, by: &LocalKey) -> String {
        let header = json!({ "alg": "ES256", "jwk": by.public().to_jwk(), "kid": kid });
        let unsigned = Unsigned::over(header.as_object().unwrap(), b"{}");
        let signature = by.sign(unsigned.signing_input()).unwrap();
        unsigned.finish(signature)
    }

    fn published(seed: u8) -> KeySet {
        KeySet::new([key(seed).public().clone().named(KeyId::new(format!("{DID}#one")))]).unwrap()
    }

    #[test]
    fn only_the_document_of_the_resources_own_host_is_asked() {
        for (kid, resource) in [
            ("did:web:other.example#one", "https://shop.example/a"),
            ("did:web:shop.example:evil#one", "https://shop.example/a"),
            ("did:web:shop.example#one", "http://shop.example/a"),
            ("did:web:shop.example#one", "https://shop.example:8443/a"),
            ("did:web:shop.example%3A8443#one", "https://shop.example/a"),
            ("did:web:shop.example#one", "https://a.shop.example/a"),
            ("did:web:shop.example#one", "https://shop.example.evil/a"),
            ("did:web:shop.example#one", "https://shop.example@evil.example/a"),
            ("did:web:127.0.0.1#one", "https://127.0.0.1/a"),
            ("did:web:shop.example#one", "mcp://tool/a"),
            ("https://shop.example#one", "https://shop.example/a"),
            ("", "https://shop.example/a"),
        ] {
            assert!(did_of_host(kid, resource).is_none(), "{kid} for {resource}");
        }
        for (kid, resource) in [
            ("did:web:shop.example#one", "https://shop.example/a"),
            ("did:web:shop.example#one", "https://SHOP.example:443/a?b"),
            ("did:web:shop.example%3A8443#one", "https://shop.example:8443/a"),
        ] {
            assert!(did_of_host(kid, resource).is_some(), "{kid} for {resource}");
        }
    }

    #[test]
    fn a_signature_is_the_origins_only_with_the_key_that_it_publishes() {
        let (honest, other) = (key(1), key(2));
        let named = format!("{DID}#one");
        let judged = |text: &str, keys: Option<&KeySet>| vouched_by_key(text, (&[], keys)).map_err(|_| ());
        // Under the name of a published key, with another one.
        assert_eq!(judged(&signed(&named, &other), Some(&published(1))), Err(()));
        assert_eq!(judged(&signed(&named, &honest), Some(&published(2))), Err(()));
        assert_eq!(judged(&signed(&format!("{DID}#two"), &honest), Some(&published(1))), Ok(Vouched::ByItself));
        assert_eq!(judged(&signed(&named, &honest), None), Ok(Vouched::ByItself), "nothing was read");
        assert_eq!(judged(&signed(&named, &honest), Some(&published(1))), Ok(Vouched::ByOrigin));
    }
}
