//! A merchant redeems a token: at most what it holds, once.

use ledger::command::{Attempt, Command};
use ledger::effects::{Effects, Fact, Operation};
use ledger::id::{CallerKind, Digest, SpendId};
use ledger::money::Amount;
use ledger::spend::{Spend, SpendState};
use serde::{Deserialize, Serialize};

use super::answer::order_key;
use super::{Allowed, CaptureOrder, Found, KeptAnswer, ProcessorAnswer, SealedCard, VaultError};
use crate::consent::{forbidden, to_document};
use crate::error::EngineError;
use crate::ports::Relayed;
use crate::rate::authority_from_minor;
use crate::{Engine, Identity};

/// Attempts at one token, the refused ones among them: a card is not tried out here.
const ATTEMPTS_MAX: usize = 8;
const REDEMPTION_TYPE: &str = "purser.redemption/1";
pub(super) const RELEASE_TYPE: &str = "purser.card-release/1";

/// What a merchant asks for.
#[derive(Clone, Debug)]
pub struct Redemption<'a> {
    pub token: &'a str,
    /// Minor units.
    pub amount: Amount,
    /// ISO 4217, in capitals.
    pub currency: &'a str,
    pub checkout_session_id: &'a str,
    /// `Idempotency-Key`, as it came.
    pub key: &'a str,
}

/// The same as it is written down before anybody is asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct KeptRedemption {
    pub(super) r#type: String,
    payment: SpendId,
    merchant: String,
    /// All that the token holds, where its card was handed out.
    #[serde(alias = "released")]
    pub amount: Amount,
    pub currency: String,
    key: Digest,
}

/// What became of an attempt. Without an answer nobody knows.
#[derive(Clone, Debug)]
pub struct Redeemed {
    pub view: TokenView,
    pub answer: Option<KeptAnswer>,
    pub is_replay: bool,
}

/// A token as its merchant and its agent may see it.
#[derive(Clone, Debug)]
pub struct TokenView {
    pub spend: Spend,
    pub allowed: Allowed,
}

/// Where an attempt stands, as the records have it.
pub(super) enum Standing {
    New { before: usize },
    UnderWay,
    Answered(Digest),
}

impl Engine {
    /// What a token is good for. Reads only.
    pub async fn token_view(&self, identity: &Identity, token: &str) -> Result<Redeemed, EngineError> {
        let found = self.find_token(identity, token).await?;
        let answer = match found.spend.state {
            SpendState::Settled => self.last_answer(&found).await?,
            _ => None,
        };
        Ok(Redeemed { view: view(&found)?, answer, is_replay: false })
    }

    /// Gives back what a token holds: its merchant, who does not need it any more, or the agent that asked for it.
    pub async fn void_token(&self, identity: &Identity, token: &str) -> Result<Redeemed, EngineError> {
        let found = self.find_token(identity, token).await?;
        let _in_hand = self.busy.take(found.spend.id, None)?;
        let answer = self.run(&found.identity, Command::Void { spend: found.spend.id }, Vec::new()).await?;
        let found = found.after(answer.spend)?;
        Ok(Redeemed { view: view(&found)?, answer: None, is_replay: false })
    }

    pub async fn redeem(&self, identity: &Identity, redemption: &Redemption<'_>) -> Result<Redeemed, EngineError> {
        let found = self.find_token(identity, redemption.token).await?;
        if identity.caller.kind != CallerKind::Merchant {
            return Err(forbidden("the merchant of the token", identity));
        }
        check(found.allowed()?, redemption)?;
        let kept = KeptRedemption {
            r#type: REDEMPTION_TYPE.into(),
            payment: found.spend.id,
            merchant: found.identity.caller.principal.to_string(),
            amount: redemption.amount,
            currency: redemption.currency.to_owned(),
            key: Digest::of(redemption.key.as_bytes()),
        };
        let document = to_document("redemption", &kept)?;
        let attempt = Attempt { document: document.digest(), amount: authority_from_minor(redemption.amount)? };
        let _in_hand = self.busy.take(found.spend.id, Some(attempt.document))?;
        let records = self.store.records_of_spend(&found.identity.tenant, found.spend.id).await?;
        let (found, card) = match standing(records.iter().map(|(_, record)| record), attempt.document) {
            Standing::Answered(digest) => {
                let answer = Some(self.kept_answer(&found.identity, digest).await?);
                return Ok(Redeemed { view: view(&found)?, answer, is_replay: true });
            }
            Standing::UnderWay => return self.ask_again(found, attempt, &kept).await,
            Standing::New { before } => {
                let asked = || format!("{} {}", redemption.amount, redemption.currency);
                check_open(&found, before, asked)?;
                // Before it is written down: an attempt whose person was erased could be asked of nobody, and hold for ever.
                let card = self.open_card(&found).await?;
                let cart = session(&found)?;
                let redeem = Command::Redeem { spend: found.spend.id, attempt, cart };
                let after = self.run(&found.identity, redeem, vec![document]).await?.spend;
                (found.after(after)?, card)
            }
        };
        self.ask(found, attempt, &kept, &card).await
    }

    /// Asks about an attempt that was written down before. Without its card nobody can ask: it waits for the processor's
    /// notice or its settlement file.
    pub(super) async fn ask_again(
        &self,
        found: Found,
        attempt: Attempt,
        kept: &KeptRedemption,
    ) -> Result<Redeemed, EngineError> {
        if kept.is_release() {
            return self.doubt_capture(found).await;
        }
        match self.open_card(&found).await {
            Ok(card) => self.ask(found, attempt, kept, &card).await,
            Err(EngineError::Erased { .. }) => {
                tracing::warn!(payment = %found.spend.id, "an attempt cannot be asked about again: its card is erased");
                self.doubt_capture(found).await
            }
            Err(error) => Err(error),
        }
    }

    /// Asks the processor, under the key of the attempt, and takes down what it says. Where it says nothing, nobody knows.
    async fn ask(
        &self,
        found: Found,
        attempt: Attempt,
        kept: &KeptRedemption,
        card: &SealedCard,
    ) -> Result<Redeemed, EngineError> {
        let key = order_key(&found, &attempt.document);
        let order = CaptureOrder {
            key: &key,
            payment: found.spend.id,
            merchant_id: &found.allowed()?.allowance.merchant_id,
            amount: kept.amount,
            currency: &kept.currency,
            card: &card.card,
        };
        let answer = match found.vault()?.processor.capture(&order).await {
            Relayed::Answer(answer) if agrees(&answer, kept) => answer,
            Relayed::Answer(_) => {
                let payment = found.spend.id;
                tracing::error!(%payment, "the processor says that it captured something else than it was asked for");
                return self.doubt_capture(found).await;
            }
            Relayed::Silence(why) => {
                tracing::warn!(payment = %found.spend.id, "the processor did not answer: {why}");
                return self.doubt_capture(found).await;
            }
        };
        self.take_answer(found, attempt, answer, None).await
    }

    async fn doubt_capture(&self, found: Found) -> Result<Redeemed, EngineError> {
        let after = self.run(&found.identity, Command::Doubt { spend: found.spend.id }, Vec::new()).await?.spend;
        let found = found.after(after)?;
        Ok(Redeemed { view: view(&found)?, answer: None, is_replay: false })
    }

    /// Posts what was captured, or lets the token go on as it was.
    pub(super) async fn take_answer(
        &self,
        found: Found,
        attempt: Attempt,
        answer: ProcessorAnswer,
        because: Option<String>,
    ) -> Result<Redeemed, EngineError> {
        let kept = self.keep_answer(&found, attempt, answer, because).await?;
        let document = to_document("processor-answer", &kept)?;
        let (spend, digest) = (found.spend.id, document.digest());
        let command = match &kept.processor {
            ProcessorAnswer::Done { id, .. } => {
                let transaction = id.parse().map_err(|_| EngineError::invalid("id", "a processor's reference", id))?;
                Command::Capture { spend, attempt, transaction, document: digest }
            }
            ProcessorAnswer::Declined { .. } => Command::Decline { spend, attempt, document: digest },
        };
        let after = self.run(&found.identity, command, vec![document]).await?;
        let is_new = after.freshness == ledger::store::Freshness::New;
        let found = found.after(after.spend)?;
        // Somebody else was told first: theirs is the receipt that stands.
        let answer = if is_new { Some(kept) } else { self.last_answer(&found).await? };
        Ok(Redeemed { view: view(&found)?, answer, is_replay: false })
    }

    pub(super) async fn open_card(&self, found: &Found) -> Result<SealedCard, EngineError> {
        let digest = found.allowed()?.sealed;
        let document = self.store.document(&found.identity.tenant, digest).await?;
        let document = document.ok_or(EngineError::Erased { what: "the sealed card", digest })?;
        let plain = found.vault()?.seal.open(found.spend.id, &document.bytes)?;
        // The parser's own sentence could repeat what it read.
        serde_json::from_slice(&plain).map_err(|_| EngineError::Broken("a sealed card cannot be read".into()))
    }

    pub(super) async fn kept_answer(&self, identity: &Identity, digest: Digest) -> Result<KeptAnswer, EngineError> {
        let text = self.document_text(identity, digest).await?;
        serde_json::from_str(&text).map_err(|error| EngineError::Broken(format!("an answer cannot be read: {error}")))
    }

    pub(super) async fn last_answer(&self, found: &Found) -> Result<Option<KeptAnswer>, EngineError> {
        let operations = [Operation::Settle, Operation::Decline];
        match self.reference(&found.identity, found.spend.id, &operations).await? {
            Some(digest) => Ok(Some(self.kept_answer(&found.identity, digest).await?)),
            None => Ok(None),
        }
    }

    /// The attempt that was begun last, as it was written down.
    pub(super) async fn last_attempt(&self, found: &Found) -> Result<Option<(Attempt, KeptRedemption)>, EngineError> {
        let digest = self.reference(&found.identity, found.spend.id, &[Operation::Redeem]).await?;
        let Some(document) = digest else { return Ok(None) };
        let text = self.document_text(&found.identity, document).await?;
        let kept: KeptRedemption = serde_json::from_str(&text)
            .map_err(|error| EngineError::Broken(format!("a redemption cannot be read: {error}")))?;
        Ok(Some((Attempt { document, amount: authority_from_minor(kept.amount)? }, kept)))
    }
}

impl Found {
    pub(super) fn after(self, spend: Option<Spend>) -> Result<Self, EngineError> {
        let spend = spend.ok_or_else(|| EngineError::Broken("a token without its spend".into()))?;
        Ok(Self { spend, ..self })
    }
}

pub(super) fn view(found: &Found) -> Result<TokenView, EngineError> {
    Ok(TokenView { spend: found.spend.clone(), allowed: found.allowed()?.clone() })
}

fn check(allowed: &Allowed, redemption: &Redemption<'_>) -> Result<(), EngineError> {
    let allowance = &allowed.allowance;
    if redemption.checkout_session_id != allowance.checkout_session_id {
        let expected = allowance.checkout_session_id.clone();
        let found = crate::error::shortened(redemption.checkout_session_id);
        return Err(VaultError::SessionMismatch { expected, found }.into());
    }
    if redemption.currency != allowance.currency {
        let (expected, found) = (allowance.currency.clone(), crate::error::shortened(redemption.currency));
        return Err(VaultError::CurrencyMismatch { expected, found }.into());
    }
    if redemption.amount > allowance.max_amount {
        let (requested, limit) = (redemption.amount, allowance.max_amount);
        return Err(VaultError::AmountExceedsAllowance { requested, limit }.into());
    }
    Ok(())
}

/// The book says the same; this says it in the words of whoever holds a token.
pub(super) fn check_open(found: &Found, before: usize, asked: impl Fn() -> String) -> Result<(), EngineError> {
    match found.spend.state {
        _ if before >= ATTEMPTS_MAX => Err(VaultError::AttemptsExhausted { limit: ATTEMPTS_MAX }.into()),
        SpendState::Held => Ok(()),
        SpendState::Voided | SpendState::Expired => {
            Err(VaultError::TokenState { expected: "held", found: found.spend.state.to_string() }.into())
        }
        _ => {
            let first = format!("an attempt that is {}", found.spend.state);
            let found = format!("{} under another key", asked());
            Err(VaultError::TokenUsed { first, found }.into())
        }
    }
}

/// A merchant's checkout session, whichever token pays it.
pub(super) fn session(found: &Found) -> Result<Digest, EngineError> {
    Ok(super::sessions::cart(&found.spend.payee, &found.allowed()?.allowance.checkout_session_id))
}

fn agrees(answer: &ProcessorAnswer, kept: &KeptRedemption) -> bool {
    match answer {
        ProcessorAnswer::Done { amount, currency, .. } => *amount == kept.amount && *currency == kept.currency,
        ProcessorAnswer::Declined { .. } => true,
    }
}

/// One attempt is under way at a time, so what comes after its record and before the next one's is about it.
pub(super) fn standing<'a>(records: impl Iterator<Item = &'a Effects>, attempt: Digest) -> Standing {
    let (mut standing, mut before) = (None, 0_usize);
    for record in records {
        match (record.operation, &record.fact) {
            (Operation::Redeem, Some(Fact::Reference(digest))) => {
                before = before.saturating_add(1);
                if *digest == attempt {
                    standing = Some(Standing::UnderWay);
                }
            }
            (Operation::Settle | Operation::Decline, Some(Fact::Reference(digest))) => {
                if matches!(standing, Some(Standing::UnderWay)) {
                    standing = Some(Standing::Answered(*digest));
                }
            }
            _ => {}
        }
    }
    standing.unwrap_or(Standing::New { before })
}
