//! What is read of those who pay a seller or are carried for.

use ledger::id::TenantId;
use ledger::settlement::{PayerKey, Settlement};
use ledger::spend::PERMIT2;

use crate::cell::Cell;
use crate::failure::Failure;
use crate::{SqlStore, rows};

/// Charges of nothing that are looked through for a payment, and how many at once.
const CHARGES_MAX: usize = 1_000;
const CHARGES_PAGE: usize = 50;

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
        let Some(name) = &payer.payer else { return Ok(false) };
        let chain = payer.asset.as_str().split('/').next().unwrap_or_default();
        for network in [chain.to_owned(), format!("{chain}/{PERMIT2}")] {
            let cells = vec![
                Cell::text(tenant),
                Cell::text(payer.role),
                Cell::Text(network),
                Cell::text(&payer.asset),
                Cell::text(name),
            ];
            if self.paid_in(cells).await? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Page by page, because mostly the first row tells.
    async fn paid_in(&self, network: Vec<Cell>) -> Result<bool, Failure> {
        let text = format!(
            "SELECT body FROM settlement WHERE tenant = $1 AND role = $2 AND network = $3 AND asset = $4 AND payer = $5
             AND nonce > $6 AND state = 'settled' AND open = 0 ORDER BY nonce LIMIT {CHARGES_PAGE}"
        );
        let mut after = Vec::new();
        for _ in 0..CHARGES_MAX.div_ceil(CHARGES_PAGE) {
            let cells = network.iter().cloned().chain([Cell::Blob(after)]).collect();
            let rows = self.fetch(text.clone(), cells).await?;
            let page = rows.iter().map(|row| row.decoded(0)).collect::<Result<Vec<Settlement>, Failure>>()?;
            if page.iter().any(|settled| !settled.money.amount.is_zero()) {
                return Ok(true);
            }
            let Some(last) = page.last().filter(|_| page.len() >= CHARGES_PAGE) else { return Ok(false) };
            after = last.key.authorization.nonce.to_vec();
        }
        Ok(false)
    }
}
