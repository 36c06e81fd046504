//! What balances were: added up from the transfers.

use std::collections::BTreeMap;

use ledger::account::{Balance, Side};
use ledger::id::TenantId;
use ledger::store::{AccountBalance, StoreError};

use crate::SqlStore;
use crate::cell::Cell;
use crate::limits::READ_ROWS_MAX;

impl SqlStore {
    /// Page by page: as far as the past goes, so long it takes.
    pub(crate) async fn balances_as_of(&self, tenant: &TenantId, seq: u64) -> Result<Vec<AccountBalance>, StoreError> {
        let mut connection = self.shared.readers.acquire().await?;
        let accounts = "SELECT id, name, asset FROM account WHERE tenant = $1";
        let text = "SELECT seq, leg, debit, credit, layer, amount, resolves_amount FROM transfer
             WHERE tenant = $1 AND (seq, leg) > ($2, $3) AND seq < $4 ORDER BY seq, leg LIMIT $5";
        let mut balances: BTreeMap<i64, Balance> = BTreeMap::new();
        let mut after = (Cell::Integer(-1), Cell::Integer(0));
        loop {
            let cells = [Cell::text(tenant), after.0, after.1, Cell::number(seq), Cell::Integer(READ_ROWS_MAX.into())];
            let page = connection.fetch(text, cells).await?;
            let Some(last) = page.last() else { break };
            after = (Cell::Integer(last.integer(0)?), Cell::Integer(last.integer(1)?));
            for row in &page {
                let (layer, amount, resolved) = (row.parsed(4)?, row.amount(5)?, row.optional_amount(6)?);
                for (side, account) in [(Side::Debit, row.integer(2)?), (Side::Credit, row.integer(3)?)] {
                    let added = balances.entry(account).or_default().add(side, layer, amount, resolved);
                    added.map_err(|error| StoreError::Broken(error.to_string()))?;
                }
            }
        }
        let mut found = Vec::with_capacity(balances.len());
        for row in connection.fetch(accounts, [Cell::text(tenant)]).await? {
            if let Some(balance) = balances.remove(&row.integer(0)?) {
                found.push(AccountBalance { account: row.parsed(1)?, asset: row.parsed(2)?, balance });
            }
        }
        found.sort_by_key(|entry| (entry.account.to_string(), entry.asset.to_string()));
        Ok(found)
    }
}
