//! The reads of the port, on connections that cannot write. Each sees the last commit, whole.

use std::ops::Range;

use async_trait::async_trait;
use ledger::budget::Budget;
use ledger::codec::{Canon, decode};
use ledger::decision::{Decision, DecisionState};
use ledger::effects::Effects;
use ledger::event::Event;
use ledger::gate::Gate;
use ledger::id::{BudgetId, DecisionId, Digest, Micros, PrincipalId, SpendId, TenantId};
use ledger::settlement::{Settlement, SettlementKey};
use ledger::spend::Spend;
use ledger::store::{AccountBalance, Answer, Document, JournalEntry, Store, StoreError, Verification, Work};
use sqlx::Row as _;
use sqlx::sqlite::SqliteRow;

use crate::failure::Failure;
use crate::limits::{READ_ROWS_MAX, SPEND_RECORDS_MAX};
use crate::table::Query;
use crate::{SqliteStore, load, verify};

#[async_trait]
impl Store for SqliteStore {
    async fn run(&self, tenant: &TenantId, work: Work) -> Result<Answer, StoreError> {
        self.run_in_lane(tenant, work).await
    }

    async fn spend(&self, tenant: &TenantId, id: SpendId) -> Result<Option<Spend>, StoreError> {
        self.body("SELECT body FROM spend WHERE tenant = ?1 AND id = ?2", tenant, &id.0).await
    }

    async fn budget(&self, tenant: &TenantId, id: BudgetId) -> Result<Option<Budget>, StoreError> {
        self.body("SELECT body FROM budget WHERE tenant = ?1 AND id = ?2", tenant, &id.0).await
    }

    async fn settlement(&self, tenant: &TenantId, key: &SettlementKey) -> Result<Option<Settlement>, StoreError> {
        let text = "SELECT body FROM settlement
             WHERE tenant = ?1 AND role = ?2 AND network = ?3 AND asset = ?4 AND payer = ?5 AND nonce = ?6";
        let row = sqlx::query(text)
            .bind(tenant.as_str())
            .bind(key.role.as_str())
            .bind(&key.authorization.network)
            .bind(key.authorization.asset.as_str())
            .bind(&key.authorization.payer)
            .bind(&key.authorization.nonce[..])
            .fetch_optional(&self.shared.readers)
            .await
            .map_err(Failure::from)?;
        Ok(row.map(|row| body_of(&row)).transpose()?)
    }

    async fn decision(&self, tenant: &TenantId, id: DecisionId) -> Result<Option<Decision>, StoreError> {
        self.body("SELECT body FROM decision WHERE tenant = ?1 AND id = ?2", tenant, &id.0).await
    }

    /// Checked against its digest at every read: a caller gets the document that was linked to, or none.
    async fn document(&self, tenant: &TenantId, digest: Digest) -> Result<Option<Document>, StoreError> {
        let row = sqlx::query("SELECT kind, bytes FROM document WHERE tenant = ?1 AND digest = ?2")
            .bind(tenant.as_str())
            .bind(&digest.0[..])
            .fetch_optional(&self.shared.readers)
            .await
            .map_err(Failure::from)?;
        let Some(row) = row else { return Ok(None) };
        let document =
            Document { kind: row.try_get(0).map_err(Failure::from)?, bytes: row.try_get(1).map_err(Failure::from)? };
        if document.digest() != digest {
            let found = document.digest();
            return Err(StoreError::Broken(format!("document {digest} is stored with bytes of digest {found}")));
        }
        Ok(Some(document))
    }

    async fn open_spends(
        &self,
        tenant: &TenantId,
        after: Option<SpendId>,
        limit: u32,
    ) -> Result<Vec<Spend>, StoreError> {
        let text = "SELECT body FROM spend INDEXED BY spend_open
             WHERE tenant = ?1 AND open = 1 AND id > ?2 ORDER BY id LIMIT ?3";
        // The empty string sorts before every id.
        let after = after.map(|id| id.0.to_vec()).unwrap_or_default();
        self.bodies(sqlx::query(text).bind(tenant.as_str()).bind(after).bind(rows(limit))).await
    }

    async fn spends_of(
        &self,
        tenant: &TenantId,
        budget: BudgetId,
        records: Range<u64>,
        limit: u32,
    ) -> Result<Vec<Spend>, StoreError> {
        let text = "WITH RECURSIVE under (id) AS (
                 SELECT ?2 UNION SELECT b.id FROM budget b JOIN under u ON b.tenant = ?1 AND b.parent = u.id)
             SELECT s.body FROM under u CROSS JOIN spend s INDEXED BY spend_budget ON s.tenant = ?1 AND s.budget = u.id
                 AND s.held_seq >= ?3 AND s.held_seq < ?4
             ORDER BY s.held_seq DESC LIMIT ?5";
        let query = sqlx::query(text).bind(tenant.as_str()).bind(budget.0.to_vec());
        self.bodies(query.bind(place(records.start)).bind(place(records.end)).bind(rows(limit))).await
    }

    async fn open_settlements(&self, tenant: &TenantId, limit: u32) -> Result<Vec<Settlement>, StoreError> {
        let text = "SELECT body FROM settlement INDEXED BY settlement_open
             WHERE tenant = ?1 AND open = 1 ORDER BY rowid LIMIT ?2";
        self.bodies(sqlx::query(text).bind(tenant.as_str()).bind(rows(limit))).await
    }

    async fn decisions_of(
        &self,
        tenant: &TenantId,
        approver: &PrincipalId,
        state: DecisionState,
        records: Range<u64>,
        limit: u32,
    ) -> Result<Vec<Decision>, StoreError> {
        let text = "SELECT body FROM decision INDEXED BY decision_approver
             WHERE tenant = ?1 AND approver = ?2 AND state = ?3 AND asked >= ?4 AND asked < ?5
             ORDER BY asked DESC LIMIT ?6";
        let query = sqlx::query(text).bind(tenant.as_str()).bind(approver.as_str()).bind(state.as_str());
        self.bodies(query.bind(place(records.start)).bind(place(records.end)).bind(rows(limit))).await
    }

    async fn closed_gates(&self, tenant: &TenantId) -> Result<Vec<Gate>, StoreError> {
        let text = "SELECT body FROM gate WHERE tenant = ?1 AND state = 'closed' ORDER BY scope LIMIT ?2";
        self.bodies(sqlx::query(text).bind(tenant.as_str()).bind(READ_ROWS_MAX)).await
    }

    async fn balances(&self, tenant: &TenantId) -> Result<Vec<AccountBalance>, StoreError> {
        let text = "SELECT a.name, a.asset, b.debit_posted, b.credit_posted, b.debit_pending, b.credit_pending
             FROM account a JOIN account_balance b ON b.tenant = a.tenant AND b.account = a.id
             WHERE a.tenant = ?1 ORDER BY a.name, a.asset";
        let found = sqlx::query(text).bind(tenant.as_str()).fetch_all(&self.shared.readers).await;
        Ok(found.map_err(Failure::from)?.iter().map(balance_of).collect::<Result<_, Failure>>()?)
    }

    async fn balances_after(
        &self,
        tenant: &TenantId,
        after: Option<&(String, String)>,
        limit: u32,
    ) -> Result<Vec<AccountBalance>, StoreError> {
        let text = "SELECT a.name, a.asset, b.debit_posted, b.credit_posted, b.debit_pending, b.credit_pending
             FROM account a JOIN account_balance b ON b.tenant = a.tenant AND b.account = a.id
             WHERE a.tenant = ?1 AND (a.name, a.asset) > (?2, ?3) ORDER BY a.name, a.asset LIMIT ?4";
        // No account has an empty name: before all of them.
        let (name, asset) = after.map_or(("", ""), |(name, asset)| (name, asset));
        let query = sqlx::query(text).bind(tenant.as_str()).bind(name).bind(asset).bind(rows(limit));
        let found = query.fetch_all(&self.shared.readers).await.map_err(Failure::from)?;
        Ok(found.iter().map(balance_of).collect::<Result<_, Failure>>()?)
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
        let Ok(from) = i64::try_from(from) else { return Ok(Vec::new()) };
        let text = "SELECT seq, bytes, leaf FROM journal WHERE tenant = ?1 AND seq >= ?2 ORDER BY seq LIMIT ?3";
        let query = sqlx::query(text).bind(tenant.as_str()).bind(from).bind(rows(limit));
        let found = query.fetch_all(&self.shared.readers).await.map_err(Failure::from)?;
        Ok(found.iter().map(record_of).collect::<Result<_, Failure>>()?)
    }

    async fn events(&self, tenant: &TenantId, after: Option<(u64, u16)>, limit: u32) -> Result<Vec<Event>, StoreError> {
        let text = "SELECT seq, number, at, type, subject, mandate FROM event
             WHERE tenant = ?1 AND (seq, number) > (?2, ?3) ORDER BY seq, number LIMIT ?4";
        let (seq, number) = after.map_or((-1, 0), |(seq, number)| (i64::try_from(seq).unwrap_or(i64::MAX), number));
        let query = sqlx::query(text).bind(tenant.as_str()).bind(seq).bind(number).bind(rows(limit));
        let found = query.fetch_all(&self.shared.readers).await.map_err(Failure::from)?;
        Ok(found.iter().map(event_of).collect::<Result<_, Failure>>()?)
    }

    async fn records_of_spend(
        &self,
        tenant: &TenantId,
        spend: SpendId,
    ) -> Result<Vec<(JournalEntry, Effects)>, StoreError> {
        let text = "SELECT j.seq, j.bytes, j.leaf FROM record_subject r
             CROSS JOIN journal j ON j.tenant = r.tenant AND j.seq = r.seq
             WHERE r.tenant = ?1 AND r.spend = ?2 ORDER BY r.seq LIMIT ?3";
        let query = sqlx::query(text).bind(tenant.as_str()).bind(spend.0.to_vec()).bind(SPEND_RECORDS_MAX);
        let found = query.fetch_all(&self.shared.readers).await.map_err(Failure::from)?;
        Ok(found.iter().map(record_of).collect::<Result<_, Failure>>()?)
    }

    async fn head(&self, tenant: &TenantId) -> Result<(u64, Digest), StoreError> {
        let mut connection = self.shared.readers.acquire().await.map_err(Failure::from)?;
        let head = load::head(&mut connection, tenant).await?;
        Ok((head.frontier.size(), head.frontier.root()))
    }

    async fn verify(&self, tenant: &TenantId) -> Result<Verification, StoreError> {
        let salt_key = self.shared.salts.find(tenant)?;
        verify::verify(&self.shared.readers, tenant, &salt_key).await
    }
}

impl SqliteStore {
    async fn body<T: Canon>(
        &self,
        text: &'static str,
        tenant: &TenantId,
        id: &[u8; 32],
    ) -> Result<Option<T>, StoreError> {
        let query = sqlx::query(text).bind(tenant.as_str()).bind(&id[..]);
        let row = query.fetch_optional(&self.shared.readers).await.map_err(Failure::from)?;
        Ok(row.map(|row| body_of(&row)).transpose()?)
    }

    async fn bodies<T: Canon>(&self, query: Query<'_>) -> Result<Vec<T>, StoreError> {
        let found = query.fetch_all(&self.shared.readers).await.map_err(Failure::from)?;
        Ok(found.iter().map(body_of).collect::<Result<_, Failure>>()?)
    }
}

/// A record's number as SQLite counts; nothing is beyond its integers.
fn place(seq: u64) -> i64 {
    i64::try_from(seq).unwrap_or(i64::MAX)
}

fn balance_of(row: &SqliteRow) -> Result<AccountBalance, Failure> {
    let (account, asset) = (load::text_of(row, 0)?, load::text_of(row, 1)?);
    Ok(AccountBalance { account, asset, balance: load::balance(row, 2)? })
}

fn rows(limit: u32) -> u32 {
    limit.min(READ_ROWS_MAX)
}

fn body_of<T: Canon>(row: &SqliteRow) -> Result<T, Failure> {
    let bytes: &[u8] = row.try_get(0)?;
    Ok(decode(bytes)?)
}

fn event_of(row: &SqliteRow) -> Result<Event, Failure> {
    let number = |column: usize| -> Result<i64, Failure> { Ok(row.try_get(column)?) };
    let out_of_range = |_| Failure::Broken("an event is numbered out of range".to_owned());
    let kind: String = row.try_get(3)?;
    let mandate: Option<Vec<u8>> = row.try_get(5)?;
    let mandate = mandate.map(|bytes| <[u8; 32]>::try_from(bytes).map(BudgetId));
    Ok(Event {
        seq: u64::try_from(number(0)?).map_err(out_of_range)?,
        number: u16::try_from(number(1)?).map_err(out_of_range)?,
        at: Micros(number(2)?),
        kind: kind.parse()?,
        subject: row.try_get(4)?,
        mandate: mandate.transpose().map_err(|_| Failure::Broken("a mandate's id has 32 bytes".to_owned()))?,
    })
}

pub(crate) fn record_of(row: &SqliteRow) -> Result<(JournalEntry, Effects), Failure> {
    let seq: i64 = row.try_get(0)?;
    let bytes: Vec<u8> = row.try_get(1)?;
    let effects = Effects::from_bytes(&bytes)?;
    if i64::try_from(effects.seq) != Ok(seq) {
        return Err(Failure::Broken(format!("record {seq} says that it is record {}", effects.seq)));
    }
    let entry = JournalEntry { seq: effects.seq, bytes, leaf: load::digest(row, 2)? };
    Ok((entry, effects))
}
