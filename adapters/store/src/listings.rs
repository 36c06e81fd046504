//! The lists of the console. Where spends of several nodes are asked for, each node gives its newest few from its own
//! index, and the newest of those are taken: nothing is sorted but what could be shown.

use async_trait::async_trait;
use ledger::budget::Budget;
use ledger::gate::{Gate, Scope};
use ledger::id::{BudgetId, TenantId};
use ledger::listing::{Among, COME_TO_NOTHING, Listed, Listings};
use ledger::store::StoreError;

use crate::cell::{Cell, Cells, Row};
use crate::connection::Dialect;
use crate::failure::Failure;
use crate::load::limited;
use crate::{SqlStore, load, rows};

/// A node and everything below it: `$1` is the tenant, `$2` the node.
const UNDER: &str = "SELECT $2 UNION SELECT b.id FROM budget b JOIN under u ON b.tenant = $1 AND b.parent = u.id";

fn listed(row: &Row) -> Result<Listed, Failure> {
    let effects = load::effects_of(row, 0)?;
    let (seq, at) = (effects.seq, effects.at);
    let missing = || Failure::Broken(format!("a spend is looked for in record {seq}, which has none"));
    Ok(Listed { spend: effects.spend.ok_or_else(missing)?, at })
}

/// The same condition as the index has: neither engine concludes it from one state.
fn ended() -> String {
    let states = COME_TO_NOTHING.map(|state| format!("'{}'", state.as_str()));
    format!("s.state IN ({})", states.join(", "))
}

impl SqlStore {
    /// The newest of the nodes that `nodes` names as `u (id)`. `$3` is the record that they come before, `$4` how many.
    fn newest_of(&self, nodes: &str) -> String {
        let page = "WHERE s.tenant = $1 AND s.budget = u.id AND s.held_seq < $3 ORDER BY s.held_seq DESC LIMIT $4";
        let newest = match self.dialect() {
            Dialect::Postgres => {
                format!("u CROSS JOIN LATERAL (SELECT s.held_seq, s.seq FROM spend s {page}) s")
            }
            Dialect::Sqlite => format!(
                "u CROSS JOIN spend s ON s.tenant = $1
                     AND s.held_seq IN (SELECT s.held_seq FROM spend s INDEXED BY spend_budget {page})"
            ),
        };
        let join = self.dialect().join();
        format!(
            "WITH RECURSIVE {nodes} SELECT j.seq, j.bytes FROM (
                 SELECT s.held_seq, s.seq FROM {newest} ORDER BY s.held_seq DESC LIMIT $4) AS newest
             {join} journal j ON j.tenant = $1 AND j.seq = newest.seq ORDER BY newest.held_seq DESC"
        )
    }

    fn plain(&self, index: &str, condition: &str) -> String {
        let index = if index.is_empty() { String::new() } else { self.dialect().indexed_by(index) };
        let join = self.dialect().join();
        format!(
            "SELECT j.seq, j.bytes FROM spend s {index} {join} journal j ON j.tenant = s.tenant AND j.seq = s.seq
             WHERE s.tenant = $1 AND {condition} s.held_seq < $2 ORDER BY s.held_seq DESC LIMIT $3"
        )
    }

    fn list(&self, tenant: &TenantId, among: &Among, before: Cell, limit: Cell) -> (String, Cells) {
        let tenant = Cell::text(tenant);
        let subtree = format!("under (id) AS ({UNDER})");
        match among {
            Among::All => (self.plain("", ""), vec![tenant, before, limit]),
            Among::Open(state, None) => {
                let condition = format!("s.open = 1 AND s.state = '{}' AND", state.as_str());
                (self.plain("spend_open", &condition), vec![tenant, before, limit])
            }
            Among::Open(state, Some(node)) => {
                let condition = format!(
                    "s.open = 1 AND s.state = '{}' AND s.budget IN (WITH RECURSIVE {} SELECT id FROM under) AND",
                    state.as_str(),
                    subtree.replace("$2", "$4")
                );
                (self.plain("spend_open", &condition), vec![tenant, before, limit, Cell::blob(node.0)])
            }
            Among::Ended(state) => {
                let condition = format!("{} AND s.state = '{}' AND", ended(), state.as_str());
                (self.plain("spend_ended", &condition), vec![tenant, before, limit])
            }
            Among::Under(node) => {
                let text = self.newest_of(&format!("{subtree}, u (id) AS (SELECT id FROM under)"));
                (text, vec![tenant, Cell::blob(node.0), before, limit])
            }
            Among::HeldUnder(node, agent) => {
                let held = "SELECT b.id FROM under n JOIN budget b ON b.tenant = $1 AND b.id = n.id
                    WHERE b.kind = 'mandate' AND b.holder = $5";
                let text = self.newest_of(&format!("{subtree}, u (id) AS ({held})"));
                (text, vec![tenant, Cell::blob(node.0), before, limit, Cell::text(agent)])
            }
            Among::HeldBy(agent) => {
                let index = self.dialect().indexed_by("budget_holder");
                let held = format!(
                    "SELECT b.id FROM budget b {index} WHERE b.tenant = $1 AND b.kind = 'mandate' AND b.holder = $2"
                );
                (self.newest_of(&format!("u (id) AS ({held})")), vec![tenant, Cell::text(agent), before, limit])
            }
        }
    }

    /// How the engine goes about a list, line by line. Where it has no figures it would take a small table for none.
    #[cfg(test)]
    pub(crate) async fn plan_of(&self, tenant: &TenantId, among: &Among) -> Result<String, StoreError> {
        let (text, cells) = self.list(tenant, among, Cell::Integer(i64::MAX), Cell::Integer(50));
        let mut connection = self.shared.readers.acquire().await?;
        let rows = match self.dialect() {
            Dialect::Sqlite => connection.fetch(format!("EXPLAIN QUERY PLAN {text}"), cells).await?,
            Dialect::Postgres => {
                connection.execute("SET enable_seqscan = off", []).await?;
                let rows = connection.fetch(format!("EXPLAIN {text}"), cells).await?;
                connection.execute("RESET enable_seqscan", []).await?;
                rows
            }
        };
        let texts = rows.iter().flat_map(|row| &row.0).filter_map(|cell| match cell {
            Cell::Text(text) => Some(text.as_str()),
            _ => None,
        });
        Ok(texts.collect::<Vec<_>>().join("\n"))
    }

    async fn listed(&self, text: String, cells: Cells) -> Result<Vec<Listed>, StoreError> {
        let found = self.fetch(text, cells).await?;
        Ok(found.iter().map(listed).collect::<Result<_, Failure>>()?)
    }

    async fn budgets(&self, text: String, cells: Cells) -> Result<Vec<Budget>, StoreError> {
        let found = self.fetch(text, cells).await?;
        Ok(found.iter().map(|row| row.decoded(0)).collect::<Result<_, Failure>>()?)
    }
}

#[async_trait]
impl Listings for SqlStore {
    async fn spends_before(
        &self,
        tenant: &TenantId,
        among: &Among,
        before: Option<u64>,
        limit: u32,
    ) -> Result<Vec<Listed>, StoreError> {
        let before = before.map_or(Cell::Integer(i64::MAX), Cell::number);
        let (text, cells) = self.list(tenant, among, before, limited(limit));
        self.listed(text, cells).await
    }

    async fn gate(&self, tenant: &TenantId, scope: &Scope) -> Result<Option<Gate>, StoreError> {
        let text = "SELECT body FROM gate WHERE tenant = $1 AND scope = $2".to_owned();
        let found = self.fetch(text, vec![Cell::text(tenant), Cell::text(scope)]).await?;
        Ok(found.first().map(|row| row.decoded(0)).transpose()?)
    }

    async fn spends_named(&self, tenant: &TenantId, prefix: &[u8], limit: u32) -> Result<Vec<Listed>, StoreError> {
        let join = self.dialect().join();
        let text = format!(
            "SELECT j.seq, j.bytes FROM spend s {join} journal j ON j.tenant = s.tenant AND j.seq = s.seq
             WHERE s.tenant = $1 AND s.id >= $2 AND s.id <= $3 ORDER BY s.id LIMIT $4"
        );
        let mut last = prefix.to_vec();
        last.resize(32, 0xff);
        self.listed(text, vec![Cell::text(tenant), Cell::blob(prefix), Cell::Blob(last), limited(limit)]).await
    }

    async fn budgets_named(&self, tenant: &TenantId, ids: &[BudgetId]) -> Result<Vec<Budget>, StoreError> {
        let mut connection = self.shared.readers.acquire().await?;
        let keys = ids.iter().map(|id| vec![Cell::blob(id.0)]).collect();
        let found = rows::find::BUDGETS.find(&mut connection, tenant, keys).await?;
        let mut found = found.iter().map(|row| row.decoded(1)).collect::<Result<Vec<Budget>, Failure>>()?;
        // A key that fills a statement up is asked twice.
        found.sort_by_key(|budget| budget.id);
        found.dedup_by_key(|budget| budget.id);
        Ok(found)
    }

    async fn budgets_under(
        &self,
        tenant: &TenantId,
        parent: BudgetId,
        after: Option<BudgetId>,
        limit: u32,
    ) -> Result<Vec<Budget>, StoreError> {
        let text = "SELECT body FROM budget WHERE tenant = $1 AND parent = $2 AND id > $3 ORDER BY id LIMIT $4";
        let after = Cell::Blob(after.map(|id| id.0.to_vec()).unwrap_or_default());
        self.budgets(text.to_owned(), vec![Cell::text(tenant), Cell::blob(parent.0), after, limited(limit)]).await
    }

    async fn budgets_below(
        &self,
        tenant: &TenantId,
        roots: &[BudgetId],
        limit: u32,
    ) -> Result<Vec<Budget>, StoreError> {
        let text = format!(
            "WITH RECURSIVE under (id) AS ({UNDER})
             SELECT b.body FROM under u {} budget b ON b.tenant = $1 AND b.id = u.id WHERE b.id <> $2 LIMIT $3",
            self.dialect().join()
        );
        let (mut found, mut left) = (Vec::new(), limit);
        for root in roots {
            if left == 0 {
                break;
            }
            let cells = vec![Cell::text(tenant), Cell::blob(root.0), limited(left)];
            let below = self.budgets(text.clone(), cells).await?;
            left = left.saturating_sub(u32::try_from(below.len()).unwrap_or(u32::MAX));
            found.extend(below);
        }
        Ok(found)
    }
}
