//! A settlement's transaction and the same at higher fees: all signed and written down before the first is sent, so that
//! raising a fee needs neither a key nor a record, and whichever is mined is known for ours.

use alloy_primitives::{B256, Bytes, keccak256};
use ledger::id::TenantId;
use ledger::settlement::{Settlement, SettlementKey};
use ledger::store::Document;
use x402::chain::Prepared;

use crate::error::EngineError;
use crate::{Engine, Identity, book};

/// One transaction, as it is.
const ONE: &str = "settlement-transaction";
/// Several with one account nonce, in the order in which they are sent: the length of each in four bytes, big-endian, and
/// the bytes.
const SEVERAL: &str = "settlement-transactions";
/// The same of a transaction that carries several settlements, each of which has this document.
const TOGETHER: &str = "settlement-transactions-of-several";

pub(super) fn document(prepared: &Prepared) -> Document {
    if prepared.replacements.is_empty() {
        return Document { kind: ONE.into(), bytes: prepared.raw.to_vec() };
    }
    Document { kind: SEVERAL.into(), bytes: written(prepared) }
}

pub(super) fn document_of_several(prepared: &Prepared) -> Document {
    Document { kind: TOGETHER.into(), bytes: written(prepared) }
}

fn written(prepared: &Prepared) -> Vec<u8> {
    let mut bytes = Vec::new();
    for raw in std::iter::once(&prepared.raw).chain(&prepared.replacements) {
        bytes.extend(u32::try_from(raw.len()).unwrap_or(u32::MAX).to_be_bytes());
        bytes.extend_from_slice(raw);
    }
    bytes
}

/// `None` where it is no ladder.
fn rungs(document: &Document) -> Option<Vec<Bytes>> {
    if ![SEVERAL, TOGETHER].contains(&document.kind.as_str()) {
        return (document.kind == ONE).then(|| vec![Bytes::copy_from_slice(&document.bytes)]);
    }
    let (mut rest, mut found) = (document.bytes.as_slice(), Vec::new());
    while !rest.is_empty() {
        let (length, after) = rest.split_first_chunk::<4>()?;
        let (raw, after) = after.split_at_checked(usize::try_from(u32::from_be_bytes(*length)).ok()?)?;
        found.push(Bytes::copy_from_slice(raw));
        rest = after;
    }
    (!found.is_empty()).then_some(found)
}

impl Engine {
    pub(super) async fn ladder(&self, identity: &Identity, settlement: &Settlement) -> Result<Vec<Bytes>, EngineError> {
        let Some(digest) = settlement.document else { return Ok(Vec::new()) };
        let document = self.store.document(&identity.tenant, digest).await?;
        let document = document.ok_or_else(|| EngineError::Broken("a settlement's transaction is gone".into()))?;
        rungs(&document).ok_or_else(|| EngineError::Broken("a settlement's transaction cannot be read".into()))
    }

    /// Goes on after a restart where it was left: with the dearest one that the node has, or with the first where it has none.
    pub(super) async fn resume_ladder(&self, identity: &Identity, settlement: &Settlement) -> Result<(), EngineError> {
        let (tenant, key) = (&identity.tenant, &settlement.key);
        if self.desk.has_waited(tenant, key) {
            return Ok(());
        }
        let step = self.raise_after(tenant);
        for (rung, raw) in (0_u32..).zip(self.ladder(identity, settlement).await?).skip(1) {
            if self.chain.knows(keccak256(&raw)).await? {
                self.desk.waited_before(tenant, key, step.saturating_mul(rung));
            }
        }
        Ok(())
    }

    /// Which of them is due: the next one each time that the time of the configuration has passed since the first was sent.
    pub(super) fn due(&self, tenant: &TenantId, key: &SettlementKey) -> usize {
        let step = self.raise_after(tenant);
        let waited = self.desk.waited(tenant, key).as_millis();
        usize::try_from(waited.checked_div(step.as_millis()).unwrap_or_default()).unwrap_or(usize::MAX)
    }

    /// Whatever comes of it, the bytes may be out now: an error here proves nothing.
    pub(super) async fn send(&self, identity: &Identity, settlement: &Settlement, rung: usize) {
        let ladder = match self.ladder(identity, settlement).await {
            Ok(ladder) => ladder,
            Err(error) => return tracing::warn!("a settlement's transaction cannot be sent: {error}"),
        };
        if let Some(raw) = ladder.get(rung).or(ladder.last()) {
            self.send_bytes(raw).await;
        }
    }

    /// Those who share a transaction send it once.
    pub(super) async fn send_bytes(&self, raw: &Bytes) {
        let hash = keccak256(raw);
        if self.desk.was_sent(hash) {
            return;
        }
        match self.chain.broadcast(raw).await {
            Ok(()) => self.desk.sent(hash),
            Err(error) => tracing::warn!("the node did not take a settlement: {error}"),
        }
    }

    /// Whether its transaction carries others too.
    pub(super) async fn goes_together(
        &self,
        identity: &Identity,
        settlement: &Settlement,
    ) -> Result<bool, EngineError> {
        let Some(digest) = settlement.document else { return Ok(false) };
        let document = self.store.document(&identity.tenant, digest).await?;
        Ok(document.is_some_and(|document| document.kind == TOGETHER))
    }

    /// Every transaction that may carry it, the one on record first.
    pub(super) async fn sent(&self, identity: &Identity, settlement: &Settlement) -> Result<Vec<B256>, EngineError> {
        let Some(first) = settlement.transaction.as_ref().and_then(book::transaction) else { return Ok(Vec::new()) };
        let others = self.ladder(identity, settlement).await?;
        let others = others.iter().map(keccak256).filter(|hash| *hash != first);
        Ok(std::iter::once(first).chain(others).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn several(bytes: &[u8]) -> Option<Vec<Bytes>> {
        rungs(&Document { kind: SEVERAL.into(), bytes: bytes.to_vec() })
    }

    #[test]
    fn what_is_no_ladder_is_not_sent() {
        for bytes in [&[][..], &[0], &[0, 0, 0], &[0, 0, 0, 2, 1], &[0, 0, 0, 1, 1, 0], &[0xff; 5]] {
            assert_eq!(several(bytes), None, "{bytes:?}");
        }
        assert_eq!(rungs(&Document { kind: "sale-answer".into(), bytes: vec![1] }), None);
    }

    #[test]
    fn a_ladder_is_read_as_it_was_written() {
        let prepared = |replacements: Vec<Bytes>| Prepared {
            transaction: B256::ZERO,
            raw: Bytes::from_static(&[2, 1]),
            account_nonce: 0,
            replacements,
        };
        let alone = document(&prepared(Vec::new()));
        assert_eq!((alone.kind.as_str(), alone.bytes.as_slice()), (ONE, &[2, 1][..]), "as it always was");
        assert_eq!(rungs(&alone).unwrap().len(), 1);
        let higher = vec![Bytes::from_static(&[3]), Bytes::from(vec![4; 300])];
        let written = document(&prepared(higher.clone()));
        assert_eq!(rungs(&written).unwrap(), [vec![Bytes::from_static(&[2, 1])], higher.clone()].concat());
        let shared = document_of_several(&prepared(higher));
        assert_eq!((rungs(&shared), shared.bytes == written.bytes), (rungs(&written), true));
        assert_ne!(shared.kind, written.kind);
    }
}
