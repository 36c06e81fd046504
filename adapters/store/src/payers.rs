//! What is read of those who pay a seller or are carried for.

use ledger::id::{Digest, TenantId};
use ledger::settlement::{PayerKey, Settlement};
use ledger::spend::PERMIT2;

use crate::cell::Cell;
use crate::failure::Failure;
use crate::{SqlStore, rows};

/// Charges of nothing that are looked through for a payment.
const CHARGES_MAX: usize = 1_000;
/// Purchases of one payer in one token that are looked through for one.
const BOUGHT_MAX: usize = 10_000;
/// Mostly the first row tells.
const PAGE: usize = 100;

impl SqlStore {
    pub(crate) async fn unfinished_of(&self, tenant: &TenantId, payer: &PayerKey) -> Result<Vec<Settlement>, Failure> {
        let mut connection = self.shared.readers.acquire().await?;
        let look_up = if payer.payer.is_some() { &rows::find::SETTLEMENTS_OF } else { &rows::find::SETTLEMENTS_IN };
        let found = look_up.find(&mut connection, tenant, vec![rows::payer_key(payer)]).await?;
        let mut found = found.iter().map(|row| row.decoded(0)).collect::<Result<Vec<Settlement>, Failure>>()?;
        // A key that fills a statement up is asked twice.
        found.sort_by(|one, other| one.key.cmp(&other.key));
        found.dedup_by(|one, other| one.key == other.key);
        Ok(found)
    }

    /// By the primary key, in either space of nonces. A charge of nothing is no payment; whoever has [`CHARGES_MAX`] of
    /// those and more counts as one who never paid.
    pub(crate) async fn paid_for_good(&self, tenant: &TenantId, payer: &PayerKey) -> Result<bool, Failure> {
        let is_paid = |row: &Settlement| !row.money.amount.is_zero();
        Ok(!self.settled_by(tenant, payer, "AND open = 0", (CHARGES_MAX, 1), is_paid).await?.is_empty())
    }

    /// All that a payer bought is looked through, up to [`BOUGHT_MAX`]: what is not found has to be paid.
    pub(crate) async fn settled_for(
        &self,
        tenant: &TenantId,
        payer: &PayerKey,
        subject: Digest,
    ) -> Result<Vec<Settlement>, Failure> {
        let is_for = |row: &Settlement| row.subject == subject && !row.money.amount.is_zero();
        self.settled_by(tenant, payer, "", (BOUGHT_MAX, BOUGHT_MAX), is_for).await
    }

    /// Page by page; `most` are how many are looked through in a space of nonces, and how many are wanted.
    async fn settled_by(
        &self,
        tenant: &TenantId,
        payer: &PayerKey,
        more: &str,
        most: (usize, usize),
        is_wanted: impl Fn(&Settlement) -> bool,
    ) -> Result<Vec<Settlement>, Failure> {
        let (mut wanted, (looked_through, enough)) = (Vec::new(), most);
        let Some(name) = &payer.payer else { return Ok(wanted) };
        let chain = payer.asset.as_str().split('/').next().unwrap_or_default();
        let text = format!(
            "SELECT body FROM settlement WHERE tenant = $1 AND role = $2 AND network = $3 AND asset = $4 AND payer = $5
             AND nonce > $6 AND state = 'settled' {more} ORDER BY nonce LIMIT {PAGE}"
        );
        for network in [chain.to_owned(), format!("{chain}/{PERMIT2}")] {
            let mut after = Vec::new();
            for _ in 0..looked_through.div_ceil(PAGE) {
                let cells = vec![
                    Cell::text(tenant),
                    Cell::text(payer.role),
                    Cell::text(&network),
                    Cell::text(&payer.asset),
                    Cell::text(name),
                    Cell::Blob(after),
                ];
                let rows = self.fetch(text.clone(), cells).await?;
                let page = rows.iter().map(|row| row.decoded(0)).collect::<Result<Vec<Settlement>, Failure>>()?;
                let last = page.last().filter(|_| page.len() >= PAGE).map(|last| last.key.authorization.nonce);
                wanted.extend(page.into_iter().filter(&is_wanted));
                match last {
                    Some(nonce) if wanted.len() < enough => after = nonce.to_vec(),
                    _ => break,
                }
            }
        }
        Ok(wanted)
    }
}
