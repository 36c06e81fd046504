//! What lies with a sale in the store: what was given, what it is to be paid with, or why nothing was given.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ledger::settlement::SettlementKey;
use ledger::store::Document;
use serde::{Deserialize, Serialize};
use x402::wire::{PaymentPayload, PaymentRequirements};

use crate::desk::Goods;
use crate::error::EngineError;

const ANSWER: &str = "sale-answer";
const SERVED: &str = "sale-served";
const PREPAID: &str = "sale-prepaid";
const BEGUN: &str = "sale-begun";
const UNDELIVERED: &str = "sale-undelivered";
const HELD: &str = "sale-held";

/// What a payment is carried with; whoever holds it can have exactly this payment made, and no other.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Payment {
    pub payload: PaymentPayload,
    pub requirements: PaymentRequirements,
    /// Who was asked to carry it; the first where nothing is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub carrier: Option<String>,
}

/// How far a sale is that is paid out of what an escrow holds, and what whoever carries it is asked for.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct HeldSale {
    pub stage: Stage,
    pub payment: Payment,
    /// Signed once, and sent until the chain shows it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<serde_json::Map<String, serde_json::Value>>,
    /// In base64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    answer: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Stage {
    /// It is to be held, and no work is begun.
    Holding,
    /// It is held, and the handler runs.
    Working,
    /// The handler answered: what it charges is to be captured, and the rest to go back.
    Capturing,
    /// All of it is to go back.
    Voiding,
}

impl HeldSale {
    pub fn new(stage: Stage, payment: Payment) -> Self {
        Self { stage, payment, request: None, answer: None }
    }

    #[must_use]
    pub fn asking(self, request: serde_json::Map<String, serde_json::Value>) -> Self {
        Self { request: Some(request), ..self }
    }

    #[must_use]
    pub fn answering(self, answer: &[u8]) -> Self {
        Self { answer: Some(STANDARD.encode(answer)), ..self }
    }

    pub fn document(&self) -> Result<Document, EngineError> {
        written(HELD, self)
    }

    pub fn answer(&self) -> Result<Option<Vec<u8>>, EngineError> {
        let answer = self.answer.as_ref().map(|answer| STANDARD.decode(answer)).transpose();
        answer.map_err(|error| EngineError::Broken(format!("the answer of a held sale cannot be read: {error}")))
    }

    pub fn read(document: &Document) -> Result<Self, EngineError> {
        let broken = |why: String| EngineError::Broken(format!("what lies with a held sale cannot be read: {why}"));
        if document.kind != HELD {
            return Err(broken(format!("a document of kind {}", document.kind)));
        }
        serde_json::from_slice(&document.bytes).map_err(|error| broken(error.to_string()))
    }
}

#[derive(Serialize, Deserialize)]
struct Served {
    payment: Payment,
    /// In base64.
    answer: String,
}

/// What a document says of its sale.
pub(crate) enum Content {
    /// What the handler answered, paid for or about to be.
    Answer(Vec<u8>),
    /// What was given, or is about to be, before it is paid.
    Served { payment: Box<Payment>, answer: Vec<u8> },
    /// To be paid before the handler runs.
    Prepaid { carrier: Option<String> },
    /// Paid, and the handler runs.
    Begun,
    /// The handler ended, and nothing was given.
    Undelivered,
    /// To be paid out of what an escrow holds; nothing is answered.
    Held,
}

pub(super) fn answer(bytes: Vec<u8>) -> Document {
    Document { kind: ANSWER.into(), bytes }
}

/// Read again after a restart, to have it paid.
pub(super) fn served(goods: &Goods, answer: &[u8]) -> Result<Document, EngineError> {
    written(SERVED, &Served { payment: payment(goods), answer: STANDARD.encode(answer) })
}

pub(super) fn prepaid(goods: &Goods) -> Result<Document, EngineError> {
    written(PREPAID, &payment(goods))
}

pub(super) fn begun(key: &SettlementKey) -> Document {
    Document { kind: BEGUN.into(), bytes: format!("purser/sale-begun/1 {}", named(key)).into_bytes() }
}

pub(super) fn undelivered(key: &SettlementKey, why: &str) -> Document {
    let bytes = format!("purser/sale-undelivered/1 {} {why}", named(key)).into_bytes();
    Document { kind: UNDELIVERED.into(), bytes }
}

fn named(key: &SettlementKey) -> String {
    let authorization = &key.authorization;
    format!("{}/{}/0x{}", authorization.asset, authorization.payer, hex::encode(authorization.nonce))
}

pub(super) fn payment(goods: &Goods) -> Payment {
    let Goods { payload, requirements, carrier, .. } = goods.clone();
    Payment { payload, requirements, carrier }
}

fn written<T: Serialize>(kind: &str, value: &T) -> Result<Document, EngineError> {
    let bytes = serde_json::to_vec(value).map_err(|error| EngineError::Broken(error.to_string()))?;
    Ok(Document { kind: kind.into(), bytes })
}

pub(super) fn read(document: Document) -> Result<Content, EngineError> {
    let broken = |why: String| EngineError::Broken(format!("what lies with a sale cannot be read: {why}"));
    match document.kind.as_str() {
        ANSWER => Ok(Content::Answer(document.bytes)),
        SERVED => {
            let served = serde_json::from_slice(&document.bytes).map_err(|error| broken(error.to_string()))?;
            let Served { payment, answer } = served;
            let answer = STANDARD.decode(answer).map_err(|error| broken(error.to_string()))?;
            Ok(Content::Served { payment: Box::new(payment), answer })
        }
        PREPAID => {
            let payment: Payment =
                serde_json::from_slice(&document.bytes).map_err(|error| broken(error.to_string()))?;
            Ok(Content::Prepaid { carrier: payment.carrier })
        }
        HELD => Ok(HeldSale::read(&document)?.answer()?.map_or(Content::Held, Content::Answer)),
        BEGUN => Ok(Content::Begun),
        UNDELIVERED => Ok(Content::Undelivered),
        other => Err(broken(format!("a document of kind {other}"))),
    }
}
