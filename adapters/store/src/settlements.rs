//! Settlements that are not over, page by page.

use ledger::id::TenantId;
use ledger::settlement::Settlement;
use ledger::store::Place;

use crate::SqlStore;
use crate::cell::Cell;
use crate::failure::Failure;
use crate::limits::SETTLEMENTS_MAX;

impl SqlStore {
    pub(crate) async fn open_settlements_after(
        &self,
        tenant: &TenantId,
        after: Option<Place>,
        limit: u32,
    ) -> Result<Vec<(Place, Settlement)>, Failure> {
        self.settlements(tenant, "state IN ('claimed', 'promised', 'submitted')", after, limit).await
    }

    pub(crate) async fn owed_settlements_of(&self, tenant: &TenantId, limit: u32) -> Result<Vec<Settlement>, Failure> {
        let found = self.settlements(tenant, "state IN ('unpaid', 'undelivered')", None, limit).await?;
        Ok(found.into_iter().map(|(_, settlement)| settlement).collect())
    }

    /// What is settled and still open is young, whoever it is. What was not delivered stays open while it is owed, also in a
    /// final block, and only its row says which: so it is left out page by page, and the page is filled up from behind it.
    pub(crate) async fn young_settlements_after(
        &self,
        tenant: &TenantId,
        mut after: Option<Place>,
        limit: u32,
    ) -> Result<Vec<(Place, Settlement)>, Failure> {
        let (mut young, most) = (Vec::new(), usize::try_from(limit.min(SETTLEMENTS_MAX)).unwrap_or(usize::MAX));
        while young.len() < most {
            let page = self.settlements(tenant, "state IN ('settled', 'undelivered')", after, limit).await?;
            let Some((last, _)) = page.last() else { break };
            after = Some(*last);
            young.extend(page.into_iter().filter(|(_, settlement)| settlement.young.is_some()));
        }
        young.truncate(most);
        Ok(young)
    }

    /// Of those that are open: settled ones are while their block may be taken back.
    async fn settlements(
        &self,
        tenant: &TenantId,
        which: &str,
        after: Option<Place>,
        limit: u32,
    ) -> Result<Vec<(Place, Settlement)>, Failure> {
        let (index, order) = (self.dialect().indexed_by("settlement_open"), self.dialect().insertion());
        let text = format!(
            "SELECT {order}, body FROM settlement {index}
             WHERE tenant = $1 AND open = 1 AND {order} > $2 AND {which} ORDER BY {order} LIMIT $3"
        );
        let after = after.map_or(Cell::Integer(-1), |place| Cell::number(place.0));
        let cells = vec![Cell::text(tenant), after, Cell::Integer(limit.min(SETTLEMENTS_MAX).into())];
        let found = self.fetch(text, cells).await?;
        found
            .iter()
            .map(|row| Ok((Place(u64::try_from(row.integer(0)?).unwrap_or_default()), row.decoded(1)?)))
            .collect()
    }
}
