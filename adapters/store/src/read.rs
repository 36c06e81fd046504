//! The reads of the port, on connections that cannot write. Each sees the last commit, whole.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use async_trait::async_trait;
use ledger::budget::Budget;
use ledger::claim::{Claim, ClaimKey};
use ledger::codec::Canon;
use ledger::decision::{Decision, DecisionState};
use ledger::effects::Effects;
use ledger::event::{self, Event};
use ledger::gate::{Gate, Scope};
use ledger::id::{BudgetId, DecisionId, Digest, Micros, PrincipalId, SpendId, TenantId};
use ledger::settlement::{PayerKey, Settlement, SettlementKey};
use ledger::spend::{Spend, SpendState};
use ledger::store::{AccountBalance, Answer, Document, JournalEntry, Place, Store, StoreError, Verification, Work};
use ledger::window::{Window, WindowKey};

use crate::cell::{Cell, Cells, Row};
use crate::failure::Failure;
use crate::limits::{READ_ROWS_MAX, SPEND_RECORDS_MAX};
use crate::load::{limited, record_of};
use crate::{SqlStore, load, rows, verify};

#[async_trait]
impl Store for SqlStore {
    async fn run(&self, tenant: &TenantId, work: Work) -> Result<Answer, StoreError> {
        self.run_in_lane(tenant, work).await
    }

    async fn spend(&self, tenant: &TenantId, id: SpendId) -> Result<Option<Spend>, StoreError> {
        let text =
            format!("SELECT j.seq, j.bytes FROM spend s {} WHERE s.tenant = $1 AND s.id = $2", self.last_record());
        let found = self.look_up(text, vec![Cell::text(tenant), Cell::blob(id.0)]).await?;
        Ok(found.map(|row| load::spend_of(&row, 0)).transpose()?)
    }

    async fn budget(&self, tenant: &TenantId, id: BudgetId) -> Result<Option<Budget>, StoreError> {
        self.body("SELECT body FROM budget WHERE tenant = $1 AND id = $2", tenant, &id.0).await
    }

    async fn budgets_after(
        &self,
        tenant: &TenantId,
        after: Option<BudgetId>,
        limit: u32,
    ) -> Result<Vec<Budget>, StoreError> {
        let text = "SELECT body FROM budget WHERE tenant = $1 AND id > $2 ORDER BY id LIMIT $3";
        let after = after.map(|id| id.0.to_vec()).unwrap_or_default();
        self.bodies(text, vec![Cell::text(tenant), Cell::Blob(after), limited(limit)]).await
    }

    async fn windows(&self, tenant: &TenantId, keys: Vec<WindowKey>) -> Result<Vec<Window>, StoreError> {
        let mut connection = self.shared.readers.acquire().await?;
        let cells = keys.iter().map(rows::window_key).collect();
        let found = rows::find::WINDOWS.find(&mut connection, tenant, cells).await?;
        // A row may come twice, where a statement was filled up.
        let windows = found.iter().map(|row| rows::window_of(row).map(|window| (window.key.clone(), window)));
        Ok(windows.collect::<Result<BTreeMap<_, _>, Failure>>()?.into_values().collect())
    }

    async fn settlement(&self, tenant: &TenantId, key: &SettlementKey) -> Result<Option<Settlement>, StoreError> {
        let text = "SELECT body FROM settlement
             WHERE tenant = $1 AND role = $2 AND network = $3 AND asset = $4 AND payer = $5 AND nonce = $6";
        let key = rows::settlement_key(key);
        let cells = std::iter::once(Cell::text(tenant)).chain(key).collect();
        Ok(self.look_up(text, cells).await?.map(|row| row.decoded(0)).transpose()?)
    }

    async fn claim(&self, tenant: &TenantId, key: &ClaimKey) -> Result<Option<Claim>, StoreError> {
        let text = "SELECT j.seq, j.bytes FROM claim c JOIN journal j ON j.tenant = c.tenant AND j.seq = c.seq
                    WHERE c.tenant = $1 AND c.key = $2";
        let key = key.digest();
        let found = self.look_up(text, vec![Cell::text(tenant), Cell::blob(key.0)]).await?;
        let Some(row) = found else { return Ok(None) };
        let claims = load::effects_of(&row, 0)?.claims;
        let claim = claims.into_iter().find(|claim| claim.key == key);
        claim.map(Some).ok_or_else(|| StoreError::Broken(format!("the record of a claim does not claim {key}")))
    }

    async fn decision(&self, tenant: &TenantId, id: DecisionId) -> Result<Option<Decision>, StoreError> {
        self.body("SELECT body FROM decision WHERE tenant = $1 AND id = $2", tenant, &id.0).await
    }

    /// Checked against its digest at every read: a caller gets the document that was linked to, or none.
    async fn document(&self, tenant: &TenantId, digest: Digest) -> Result<Option<Document>, StoreError> {
        let text = "SELECT kind, bytes FROM document WHERE tenant = $1 AND digest = $2";
        let found = self.look_up(text, vec![Cell::text(tenant), Cell::blob(digest.0)]).await?;
        let Some(row) = found else { return Ok(None) };
        let document = Document { kind: row.text(0)?.to_owned(), bytes: row.blob(1)?.to_vec() };
        if document.digest() != digest {
            let found = document.digest();
            return Err(StoreError::Broken(format!("document {digest} is stored with bytes of digest {found}")));
        }
        Ok(Some(document))
    }

    async fn open_spends(&self, tenant: &TenantId, after: Option<u64>, limit: u32) -> Result<Vec<Spend>, StoreError> {
        let (index, record) = (self.dialect().indexed_by("spend_open"), self.last_record());
        let text = format!(
            "SELECT j.seq, j.bytes FROM spend s {index} {record}
             WHERE s.tenant = $1 AND s.open = 1 AND s.held_seq > $2 ORDER BY s.held_seq LIMIT $3"
        );
        self.spends(text, vec![Cell::text(tenant), after.map_or(Cell::Integer(-1), Cell::number), limited(limit)]).await
    }

    async fn spends_of(
        &self,
        tenant: &TenantId,
        budget: BudgetId,
        records: Range<u64>,
        limit: u32,
    ) -> Result<Vec<Spend>, StoreError> {
        let (join, index) = (self.dialect().join(), self.dialect().indexed_by("spend_budget"));
        let record = self.last_record();
        let text = format!(
            "WITH RECURSIVE under (id) AS (
                 SELECT $2 UNION SELECT b.id FROM budget b JOIN under u ON b.tenant = $1 AND b.parent = u.id)
             SELECT j.seq, j.bytes FROM under u {join} spend s {index} ON s.tenant = $1 AND s.budget = u.id
                 AND s.held_seq >= $3 AND s.held_seq < $4 {record}
             ORDER BY s.held_seq DESC LIMIT $5"
        );
        let (from, to) = (Cell::number(records.start), Cell::number(records.end));
        self.spends(text, vec![Cell::text(tenant), Cell::blob(budget.0), from, to, limited(limit)]).await
    }

    async fn open_settlements(
        &self,
        tenant: &TenantId,
        after: Option<Place>,
        limit: u32,
    ) -> Result<Vec<(Place, Settlement)>, StoreError> {
        Ok(self.open_settlements_after(tenant, after, limit).await?)
    }

    async fn settlements_of(&self, tenant: &TenantId, payer: &PayerKey) -> Result<Vec<Settlement>, StoreError> {
        Ok(self.unfinished_of(tenant, payer).await?)
    }

    async fn has_paid(&self, tenant: &TenantId, payer: &PayerKey) -> Result<bool, StoreError> {
        Ok(self.paid_for_good(tenant, payer).await?)
    }

    async fn paid_for(&self, tenant: &TenantId, by: &PayerKey, subject: Digest) -> Result<Vec<Settlement>, StoreError> {
        Ok(self.settled_for(tenant, by, subject).await?)
    }

    async fn owed_settlements(&self, tenant: &TenantId, limit: u32) -> Result<Vec<Settlement>, StoreError> {
        Ok(self.owed_settlements_of(tenant, limit).await?)
    }

    async fn young_settlements(
        &self,
        tenant: &TenantId,
        after: Option<Place>,
        limit: u32,
    ) -> Result<Vec<(Place, Settlement)>, StoreError> {
        Ok(self.young_settlements_after(tenant, after, limit).await?)
    }

    async fn decisions_of(
        &self,
        tenant: &TenantId,
        approver: &PrincipalId,
        state: DecisionState,
        records: Range<u64>,
        limit: u32,
    ) -> Result<Vec<Decision>, StoreError> {
        let index = self.dialect().indexed_by("decision_approver");
        let text = format!(
            "SELECT body FROM decision {index} WHERE tenant = $1 AND approver = $2 AND state = $3
             AND asked >= $4 AND asked < $5 ORDER BY asked DESC LIMIT $6"
        );
        let (from, to) = (Cell::number(records.start), Cell::number(records.end));
        let cells = vec![Cell::text(tenant), Cell::text(approver), Cell::text(state), from, to, limited(limit)];
        self.bodies(text, cells).await
    }

    async fn reviews_in(
        &self,
        tenant: &TenantId,
        state: DecisionState,
        records: Range<u64>,
        limit: u32,
    ) -> Result<Vec<Decision>, StoreError> {
        let index = self.dialect().indexed_by("decision_review");
        let text = format!(
            "SELECT body FROM decision {index} WHERE tenant = $1 AND state = $2
             AND state IN ('in_review', 'confirmed', 'disputed', 'overdue')
             AND asked >= $3 AND asked < $4 ORDER BY asked DESC LIMIT $5"
        );
        let (from, to) = (Cell::number(records.start), Cell::number(records.end));
        self.bodies(text, vec![Cell::text(tenant), Cell::text(state), from, to, limited(limit)]).await
    }

    async fn reviews_due(&self, tenant: &TenantId, at: Micros, limit: u32) -> Result<Vec<Decision>, StoreError> {
        let index = self.dialect().indexed_by("decision_due");
        let text = format!(
            "SELECT body FROM decision {index} WHERE tenant = $1 AND due_at IS NOT NULL AND due_at <= $2
             ORDER BY due_at LIMIT $3"
        );
        self.bodies(text, vec![Cell::text(tenant), Cell::Integer(at.0), limited(limit)]).await
    }

    async fn gates(&self, tenant: &TenantId, scopes: &[Scope]) -> Result<Vec<Gate>, StoreError> {
        let keys = scopes.iter().map(|scope| vec![Cell::text(scope)]).collect();
        let found = rows::find::GATES.find(&mut self.shared.readers.acquire().await?, tenant, keys).await?;
        Ok(found.iter().map(|row| row.decoded(0)).collect::<Result<_, Failure>>()?)
    }

    async fn closed_gates(&self, tenant: &TenantId) -> Result<Vec<Gate>, StoreError> {
        let text = "SELECT body FROM gate WHERE tenant = $1 AND state = 'closed' ORDER BY scope LIMIT $2";
        self.bodies(text, vec![Cell::text(tenant), limited(READ_ROWS_MAX)]).await
    }

    async fn balances(&self, tenant: &TenantId) -> Result<Vec<AccountBalance>, StoreError> {
        let text = "SELECT a.name, a.asset, b.debit_posted, b.credit_posted, b.debit_pending, b.credit_pending
             FROM account a JOIN account_balance b ON b.tenant = a.tenant AND b.account = a.id
             WHERE a.tenant = $1 ORDER BY a.name, a.asset";
        let found = self.fetch(text, vec![Cell::text(tenant)]).await?;
        Ok(found.iter().map(balance_of).collect::<Result<_, Failure>>()?)
    }

    async fn balances_after(
        &self,
        tenant: &TenantId,
        after: Option<&(String, String)>,
        limit: u32,
    ) -> Result<Vec<AccountBalance>, StoreError> {
        let text = "SELECT a.name, a.asset, b.debit_posted, b.credit_posted, b.debit_pending, b.credit_pending
             FROM account a JOIN account_balance b ON b.tenant = a.tenant AND b.account = a.id
             WHERE a.tenant = $1 AND (a.name, a.asset) > ($2, $3) ORDER BY a.name, a.asset LIMIT $4";
        // No account has an empty name: before all of them.
        let (name, asset) = after.map_or(("", ""), |(name, asset)| (name, asset));
        let cells = vec![Cell::text(tenant), Cell::text(name), Cell::text(asset), limited(limit)];
        let found = self.fetch(text, cells).await?;
        Ok(found.iter().map(balance_of).collect::<Result<_, Failure>>()?)
    }

    async fn balances_before(&self, tenant: &TenantId, seq: u64) -> Result<Vec<AccountBalance>, StoreError> {
        self.balances_as_of(tenant, seq).await
    }

    async fn count_open(&self, tenant: &TenantId, holder: &PrincipalId, most: u32) -> Result<u32, StoreError> {
        let (join, index) = (self.dialect().join(), self.dialect().indexed_by("spend_open"));
        let text = format!(
            "SELECT count(*) FROM (SELECT 1 FROM spend s {index} {join} budget b ON b.tenant = s.tenant AND b.id = s.budget
                 WHERE s.tenant = $1 AND s.open = 1 AND s.state <> 'settled' AND b.holder = $2 LIMIT $3) AS found"
        );
        let found = self.fetch(text, vec![Cell::text(tenant), Cell::text(holder), Cell::Integer(most.into())]).await?;
        let count = found.first().map_or(Ok(0), |row| row.integer(0))?;
        Ok(u32::try_from(count).unwrap_or(u32::MAX))
    }

    async fn spends_in(
        &self,
        tenant: &TenantId,
        state: SpendState,
        after: Option<u64>,
        limit: u32,
    ) -> Result<Vec<Spend>, StoreError> {
        let record = self.last_record();
        let index = if state.is_open() { self.dialect().indexed_by("spend_open") } else { String::new() };
        let open = if state.is_open() { "AND s.open = 1" } else { "" };
        let text = format!(
            "SELECT j.seq, j.bytes FROM spend s {index} {record}
             WHERE s.tenant = $1 {open} AND s.state = $2 AND s.held_seq > $3 ORDER BY s.held_seq LIMIT $4"
        );
        let after = after.map_or(Cell::Integer(-1), Cell::number);
        self.spends(text, vec![Cell::text(tenant), Cell::text(state), after, limited(limit)]).await
    }

    /// Time within a tenant only rises, so the place is found by halving.
    async fn record_at(&self, tenant: &TenantId, at: Micros) -> Result<u64, StoreError> {
        let (mut low, mut high) = (0, self.head(tenant).await?.0);
        while low < high {
            let middle = low + (high - low) / 2;
            let found = self.records(tenant, middle, 1).await?;
            match found.first() {
                Some((_, effects)) if effects.at < at => low = middle.saturating_add(1),
                _ => high = middle,
            }
        }
        Ok(low)
    }

    async fn records(
        &self,
        tenant: &TenantId,
        from: u64,
        limit: u32,
    ) -> Result<Vec<(JournalEntry, Effects)>, StoreError> {
        let text = "SELECT seq, bytes, leaf FROM journal WHERE tenant = $1 AND seq >= $2 ORDER BY seq LIMIT $3";
        let found = self.fetch(text, vec![Cell::text(tenant), Cell::number(from), limited(limit)]).await?;
        Ok(found.iter().map(record_of).collect::<Result<_, Failure>>()?)
    }

    async fn leaves(&self, tenant: &TenantId, from: u64, limit: u32) -> Result<Vec<Digest>, StoreError> {
        let text = "SELECT leaf FROM journal WHERE tenant = $1 AND seq >= $2 ORDER BY seq LIMIT $3";
        let found = self.fetch(text, vec![Cell::text(tenant), Cell::number(from), limited(limit)]).await?;
        Ok(found.iter().map(|row| row.digest(0)).collect::<Result<_, Failure>>()?)
    }

    /// A function of the records, so that nothing has to be written for them.
    async fn events(&self, tenant: &TenantId, after: Option<(u64, u16)>, limit: u32) -> Result<Vec<Event>, StoreError> {
        let most = usize::try_from(limit.min(READ_ROWS_MAX)).unwrap_or(usize::MAX);
        let (mut found, mut from) = (Vec::new(), after.map_or(0, |(seq, _)| seq));
        while found.len() < most {
            let page = self.records(tenant, from, limit).await?;
            let Some((last, _)) = page.last() else { break };
            from = last.seq.saturating_add(1);
            let told = page.iter().flat_map(|(_, effects)| event::events(effects));
            found.extend(told.filter(|event| Some((event.seq, event.number)) > after));
        }
        found.truncate(most);
        Ok(found)
    }

    async fn records_of_spend(
        &self,
        tenant: &TenantId,
        spend: SpendId,
    ) -> Result<Vec<(JournalEntry, Effects)>, StoreError> {
        let join = self.dialect().join();
        // The one that reserved it, and the later ones.
        let text = format!(
            "SELECT j.seq, j.bytes, j.leaf FROM (
                 SELECT s.held_seq AS seq FROM spend s WHERE s.tenant = $1 AND s.id = $2
                 UNION ALL
                 SELECT r.seq FROM spend s {join} spend_record r ON r.tenant = s.tenant AND r.held_seq = s.held_seq
                 WHERE s.tenant = $1 AND s.id = $2) AS r
             {join} journal j ON j.tenant = $1 AND j.seq = r.seq ORDER BY j.seq LIMIT $3"
        );
        let cells = vec![Cell::text(tenant), Cell::blob(spend.0), Cell::Integer(SPEND_RECORDS_MAX.into())];
        let found = self.fetch(text, cells).await?;
        Ok(found.iter().map(record_of).collect::<Result<_, Failure>>()?)
    }

    async fn head(&self, tenant: &TenantId) -> Result<(u64, Digest), StoreError> {
        let mut connection = self.shared.readers.acquire().await?;
        let head = load::head(&mut connection, tenant).await?;
        Ok((head.frontier.size(), head.frontier.root()))
    }

    async fn verify(&self, tenant: &TenantId) -> Result<Verification, StoreError> {
        self.verify_watched(tenant, Arc::default()).await
    }
}

impl SqlStore {
    /// `Store::verify`, which counts the records that it has read in `read`.
    pub async fn verify_watched(&self, tenant: &TenantId, read: Arc<AtomicU64>) -> Result<Verification, StoreError> {
        let salt_key = self.shared.salts.find(tenant)?;
        verify::verify(&self.shared.opener, tenant, &salt_key, read).await
    }

    async fn look_up(&self, text: impl Into<String>, cells: Cells) -> Result<Option<Row>, Failure> {
        Ok(self.shared.readers.acquire().await?.look_up(text.into(), cells).await?.into_iter().next())
    }

    pub(crate) async fn fetch(&self, text: impl Into<Cow<'static, str>>, cells: Cells) -> Result<Vec<Row>, Failure> {
        self.shared.readers.acquire().await?.fetch(text, cells).await
    }

    /// The record that says what a spend `s` is.
    fn last_record(&self) -> String {
        format!("{} journal j ON j.tenant = s.tenant AND j.seq = s.seq", self.dialect().join())
    }

    async fn spends(&self, text: String, cells: Cells) -> Result<Vec<Spend>, StoreError> {
        let found = self.fetch(text, cells).await?;
        // A sweep reads hundreds, and they are large: a list that grows as it is filled copies them.
        let mut spends = Vec::with_capacity(found.len());
        for row in &found {
            spends.push(load::spend_of(row, 0)?);
        }
        Ok(spends)
    }

    async fn body<T: Canon>(&self, text: &str, tenant: &TenantId, id: &[u8; 32]) -> Result<Option<T>, StoreError> {
        let found = self.look_up(text, vec![Cell::text(tenant), Cell::blob(id)]).await?;
        Ok(found.map(|row| row.decoded(0)).transpose()?)
    }

    async fn bodies<T: Canon>(&self, text: impl Into<Cow<'static, str>>, cells: Cells) -> Result<Vec<T>, StoreError> {
        let found = self.fetch(text, cells).await?;
        Ok(found.iter().map(|row| row.decoded(0)).collect::<Result<_, Failure>>()?)
    }
}

fn balance_of(row: &Row) -> Result<AccountBalance, Failure> {
    let (account, asset) = (row.parsed(0)?, row.parsed(1)?);
    Ok(AccountBalance { account, asset, balance: row.balance(2)? })
}
