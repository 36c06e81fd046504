//! An authenticator without a browser, for the questions of a service in this process.

use engine::Identity;
use engine::approver::Made;
use engine::error::EngineError;
use engine::ruling::standing::propose::StandingWish;
use ledger::id::{AuthMethod, Caller, CallerKind};
use mandates::base64url;
use mandates::keys::LocalKey;
use mandates::webauthn::Assertion;
use purser::world::HOME;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::shop::Shop;
use super::text;

const USER_PRESENT_AND_VERIFIED: u8 = 0x05;
const ATTESTED: u8 = 0x40;

/// A passkey of one person.
pub struct SoftPasskey {
    identity: Identity,
    key: LocalKey,
    credential: Vec<u8>,
    count: u32,
    origin: String,
}

impl SoftPasskey {
    pub async fn register(shop: &Shop, person: &str) -> Self {
        let url = shop.service.invite(person).await.unwrap();
        let code = url.rsplit_once('#').unwrap().1;
        let engine = shop.service.engine();
        let asked = engine.begin_registration(code).await.unwrap();
        let seed: [u8; 32] = Sha256::digest(person.as_bytes()).into();
        let caller = Caller::new(person.parse().unwrap(), CallerKind::User, AuthMethod::Passkey);
        let passkey = Self {
            identity: Identity { tenant: HOME.parse().unwrap(), caller },
            key: LocalKey::from_random(&seed).unwrap(),
            credential: seed[..16].to_vec(),
            count: 1,
            origin: engine.pages().unwrap().party().unwrap().origin.clone(),
        };
        let made = Made {
            client_data: passkey.client_data("webauthn.create", &asked.challenge),
            attestation: passkey.attestation(),
        };
        engine.register(code, &made).await.unwrap();
        passkey
    }

    /// Signs exactly this question.
    pub async fn approve(&mut self, shop: &Shop, approval: &Value) -> Result<(), EngineError> {
        self.approve_over(shop, approval, text(approval, "digest")).await
    }

    /// The same, beside what a wallet signed.
    pub async fn approve_with(
        &mut self,
        shop: &Shop,
        approval: &Value,
        presentation: &Value,
    ) -> Result<(), EngineError> {
        let id = text(approval, "id").parse().unwrap();
        let subject: ledger::id::Digest = text(approval, "digest").parse().unwrap();
        let given = self.assertion(&subject.0);
        let presentation = presentation.as_object();
        shop.service.engine().approve_signed(&self.identity, id, subject, &given, presentation).await.map(|_| ())
    }

    /// Signs this digest for that question.
    pub async fn approve_over(&mut self, shop: &Shop, approval: &Value, digest: &str) -> Result<(), EngineError> {
        let id = text(approval, "id").parse().unwrap();
        let signed: ledger::id::Digest = digest.parse().unwrap();
        let given = self.assertion(&signed.0);
        let subject = text(approval, "digest").parse().unwrap();
        shop.service.engine().approve_signed(&self.identity, id, subject, &given, None).await.map(|_| ())
    }

    /// Asks, beside the question about one payment, for payments like it.
    pub async fn ask_beside(
        &self,
        shop: &Shop,
        approval: &Value,
        (per_payment, total, days): (&str, &str, u16),
    ) -> Result<String, EngineError> {
        let (id, subject) = (text(approval, "id").parse().unwrap(), text(approval, "digest").parse().unwrap());
        let wish = StandingWish { per_payment: per_payment.into(), total: total.into(), days };
        let asked = shop.service.engine().propose_standing(&self.identity, id, subject, &wish).await?;
        Ok(asked.decision.id.to_string())
    }

    fn assertion(&mut self, challenge: &[u8; 32]) -> Assertion {
        self.count += 1;
        let client_data = self.client_data("webauthn.get", challenge);
        let authenticator_data = self.data(USER_PRESENT_AND_VERIFIED);
        let signed = [authenticator_data.as_slice(), &Sha256::digest(&client_data)].concat();
        let signature = der(self.key.sign(&signed).unwrap().as_ref());
        Assertion { credential: self.credential.clone(), client_data, authenticator_data, signature, user_handle: None }
    }

    fn client_data(&self, kind: &str, challenge: &[u8; 32]) -> Vec<u8> {
        let challenge = base64url::encode(challenge);
        let data = json!({ "type": kind, "challenge": challenge, "origin": self.origin, "crossOrigin": false });
        data.to_string().into_bytes()
    }

    fn data(&self, flags: u8) -> Vec<u8> {
        let domain = self.origin.split("://").nth(1).unwrap().split(':').next().unwrap();
        [Sha256::digest(domain.as_bytes()).as_slice(), &[flags], &self.count.to_be_bytes()].concat()
    }

    /// WebAuthn Level 3 section 6.5.4, format `none`; the key as COSE_Key (RFC 9052 section 7).
    fn attestation(&self) -> Vec<u8> {
        let jwk = self.key.public().to_jwk();
        let point = |name: &str| base64url::decode(jwk[name].as_str().unwrap()).unwrap();
        let cose =
            [&[0xa5, 1, 2, 3, 0x26, 0x20, 1, 0x21, 0x58, 32][..], &point("x"), &[0x22, 0x58, 32], &point("y")].concat();
        let length = u16::try_from(self.credential.len()).unwrap().to_be_bytes();
        let data = self.data(USER_PRESENT_AND_VERIFIED | ATTESTED);
        let data = [data, vec![0; 16], length.to_vec(), self.credential.clone(), cose].concat();
        let head = [0x58, u8::try_from(data.len()).unwrap()];
        [b"\xa3\x63fmt\x64none\x67attStmt\xa0\x68authData".as_slice(), &head, &data].concat()
    }
}

/// `r` and `s` as an ECDSA-Sig-Value (RFC 3279 section 2.2.3).
fn der(raw: &[u8]) -> Vec<u8> {
    let integer = |half: &[u8]| {
        let digits: Vec<u8> = half.iter().copied().skip_while(|byte| *byte == 0).collect();
        let sign = digits.first().is_none_or(|first| *first > 0x7f).then_some(0);
        let value: Vec<u8> = sign.into_iter().chain(digits).collect();
        [vec![2, u8::try_from(value.len()).unwrap()], value].concat()
    };
    let both = [integer(&raw[..32]), integer(&raw[32..])].concat();
    [vec![0x30, u8::try_from(both.len()).unwrap()], both].concat()
}
