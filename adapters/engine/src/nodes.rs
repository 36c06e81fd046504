//! The nodes above the mandates, tenant and people: opened when first needed, with the caps of the configuration, and
//! brought up to it when it changes.

use ledger::budget::{BudgetKind, Caps};
use ledger::command::{Command, OpenBudget};
use ledger::id::{BudgetId, PrincipalId};
use ledger::money::Amount;

use crate::book::service;
use crate::consent::fiat;
use crate::error::EngineError;
use crate::tenant::Tenant;
use crate::{Engine, Identity};

impl Engine {
    /// A person's node and the tenant's above it.
    pub(crate) async fn open_person(
        &self,
        tenant: &Tenant,
        person: &PrincipalId,
        currency: &str,
    ) -> Result<BudgetId, EngineError> {
        let identity = service(&tenant.id, "configuration")?;
        let asset = fiat(currency)?;
        let known = tenant.people.get(person);
        let known = known.ok_or_else(|| EngineError::NotFound { what: "user", id: person.to_string() })?;
        let root = BudgetId::of_tenant(&tenant.id, &asset);
        let node = BudgetId::of_person(&tenant.id, person, &asset);
        let own_currency = currency == tenant.currency;
        let levels = [
            (root, None, BudgetKind::Tenant, identity.caller.principal.clone(), &tenant.caps),
            (node, Some(root), BudgetKind::Person, person.clone(), &known.caps),
        ];
        for (id, parent, kind, holder, caps) in levels {
            // The configured caps are in the tenant's currency; in another one nothing is granted above a mandate.
            let nothing = || Caps { total: Some(Amount::ZERO), ..Caps::default() };
            let caps = if own_currency { caps.clone() } else { nothing() };
            if self.store.budget(&tenant.id, id).await?.is_none() {
                let asset = asset.clone();
                let open = OpenBudget { id, parent, kind, holder, asset, caps, decision: None, document: None };
                self.run(&identity, Command::OpenBudget(open), Vec::new()).await?;
            }
        }
        Ok(node)
    }

    /// Gives the open nodes of a tenant the caps that its configuration says now. What was used stays used: a lower cap
    /// bars what comes. A person whom the configuration does not name any more keeps theirs, and may do nothing.
    pub async fn take_up_caps(&self, tenant: &Tenant) -> Result<(), EngineError> {
        let identity = service(&tenant.id, "configuration")?;
        let asset = fiat(&tenant.currency)?;
        // The root first: a person may have more only once the tenant has.
        self.give_caps(&identity, BudgetId::of_tenant(&tenant.id, &asset), &tenant.caps).await?;
        let mut first = Ok(());
        for (person, known) in &tenant.people {
            // One that cannot be keeps nobody else's from being taken up.
            let given = self.give_caps(&identity, BudgetId::of_person(&tenant.id, person, &asset), &known.caps).await;
            first = first.and(given);
        }
        first
    }

    async fn give_caps(&self, identity: &Identity, id: BudgetId, caps: &Caps) -> Result<(), EngineError> {
        let Some(node) = self.store.budget(&identity.tenant, id).await? else { return Ok(()) };
        if node.caps.amended(caps).is_ok_and(|same| same == node.caps) {
            return Ok(());
        }
        let changed = self.run(identity, Command::ChangeCaps { budget: id, caps: caps.clone() }, Vec::new()).await?;
        let cap = changed.budget.and_then(|budget| budget.caps.total);
        tracing::info!(tenant = %identity.tenant, budget = %id, ?cap, "the caps of the configuration were taken up");
        Ok(())
    }
}
