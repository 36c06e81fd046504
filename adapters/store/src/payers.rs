//! What is read of those who pay a seller or are carried for.

use ledger::id::TenantId;
use ledger::settlement::{PayerKey, Settlement};
use ledger::spend::PERMIT2;

use crate::cell::Cell;
use crate::failure::Failure;
use crate::{SqlStore, rows};

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

    /// By the primary key, in either space of nonces.
    pub(crate) async fn paid_for_good(&self, tenant: &TenantId, payer: &PayerKey) -> Result<bool, Failure> {
        let text = "SELECT 1 FROM settlement WHERE tenant = $1 AND role = $2 AND network IN ($3, $4) AND asset = $5
             AND payer = $6 AND state = 'settled' AND open = 0 LIMIT 1";
        let Some(name) = &payer.payer else { return Ok(false) };
        let network = payer.asset.as_str().split('/').next().unwrap_or_default();
        let cells = vec![
            Cell::text(tenant),
            Cell::text(payer.role),
            Cell::text(network),
            Cell::Text(format!("{network}/{PERMIT2}")),
            Cell::text(&payer.asset),
            Cell::text(name),
        ];
        Ok(!self.fetch(text, cells).await?.is_empty())
    }
}
