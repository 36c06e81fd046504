//! What happens to machines, and what operators do.

use ledger::budget::BudgetState;
use ledger::gate::{GateState, Scope};
use ledger::id::{BudgetId, CallerKind};
use ledger::spend::{Spend, SpendState};

use super::actors::{identity, said};
use super::company::{AGENTS, CARRIER, Grant, HOME, ISSUER, PEOPLE, SHOP, home, tenant_id, wallet_address};
use super::origins::build;
use super::state::{NodeMode, StoreMode};
use super::world::{Reply, World};

impl World {
    pub fn pass_time(&mut self) {
        self.shared.with(|state| {
            let micros = match state.dice.below(1_000) {
                0..30 => state.dice.between(15_000_000, 70_000_000),
                30..34 => state.dice.between(1_800_000_000, 20_000_000_000),
                _ => state.dice.between(0, 1_000_000),
            };
            state.now = state.now.plus_micros(micros);
            let (chain, dice) = (&mut state.chain, &mut state.dice);
            chain.advance(state.now, dice);
        });
    }

    pub fn sweep(&mut self, process: usize, tenant: &'static str) {
        let engine = self.engine(process);
        self.spawn(process, format!("sweep {tenant}"), async move {
            Reply::Other(format!("{:?}", engine.sweep(&tenant_id(tenant)).await))
        });
    }

    pub fn turn_node(&mut self, process: usize) {
        use NodeMode::{Flaky, Forgetful, Lagging, Sound, Stalled};
        let mode = self.pick(&[Sound, Sound, Sound, Stalled, Flaky, Lagging, Forgetful]).unwrap();
        self.shared.with(|state| {
            state.nodes[process] = mode;
            state.tell(|| format!("  the node of {process} is {mode:?}"));
        });
    }

    pub fn turn_store(&mut self) {
        use StoreMode::{Down, Shaky, Sound};
        let mode = self.pick(&[Shaky, Shaky, Shaky, Shaky, Sound, Down]).unwrap();
        self.shared.with(|state| {
            state.store = mode;
            state.tell(|| format!("  the database is {mode:?}"));
        });
    }

    pub fn set_clocks(&mut self, process: usize) {
        self.shared.with(|state| {
            state.skew[process] = match state.dice.below(4) {
                0 => state.dice.between(-120_000_000, 120_000_000),
                1 => 0,
                _ => state.dice.between(-2_000_000, 2_000_000),
            };
            state.store_skew = state.dice.between(-20_000_000, 20_000_000);
            let line = format!("  clocks {:?}, the database's {}", state.skew, state.store_skew);
            state.tell(|| line);
        });
    }

    pub fn turn_gate(&mut self, process: usize) {
        let tenant = self.pick(&[HOME, HOME, HOME, SHOP, CARRIER]).unwrap();
        let closed: Vec<Scope> = self.shared.with(|state| {
            let gates = state.books.get(&tenant_id(tenant)).into_iter().flat_map(|book| book.gates.values());
            gates.filter(|gate| gate.state == GateState::Closed).map(|gate| gate.scope.clone()).collect()
        });
        let (engine, operator) = (self.engine(process), identity(tenant, "operator", CallerKind::Operator));
        if let Some(scope) = self.pick(&closed).filter(|_| self.shared.chance(900)) {
            self.spawn(process, format!("lift {scope}"), async move {
                Reply::Other(said(engine.lift(&operator, scope).await))
            });
            return;
        }
        let mandate = self.pick(&self.mandates).map(|(_, mandate)| Scope::Mandate(mandate));
        let person = Scope::Person(self.pick(&PEOPLE).unwrap().parse().unwrap());
        let agent = Scope::Agent(self.pick(&AGENTS).unwrap().0.parse().unwrap());
        let payee = Scope::Payee("shop".parse().unwrap());
        let build = Scope::Build(build(self.pick(&[1, 2, 3]).unwrap()));
        let issuer = Scope::Issuer(ISSUER.parse().unwrap());
        let mut scopes = vec![Scope::Everything];
        if tenant == HOME {
            scopes.extend([person, agent, payee, build, issuer].into_iter().chain(mandate));
        }
        // Who stops something has often seen it begin.
        let begun: Vec<Scope> = self.shared.with(|state| {
            let spends = state.books.get(&tenant_id(tenant)).into_iter().flat_map(|book| book.spends.values());
            let held = spends.filter(|spend| spend.state == SpendState::Held);
            held.flat_map(|spend| {
                let origin = spend.build.map(Scope::Build).into_iter().chain(spend.issuer.clone().map(Scope::Issuer));
                [Scope::Mandate(spend.budget), Scope::Payee(spend.payee.clone())].into_iter().chain(origin)
            })
            .collect()
        });
        let begun = self.pick(&begun).filter(|_| self.shared.chance(700));
        let scope = begun.unwrap_or_else(|| self.pick(&scopes).unwrap());
        self.spawn(
            process,
            format!("stop {scope}"),
            async move { Reply::Other(said(engine.stop(&operator, scope).await)) },
        );
    }

    pub fn turn_mandate(&mut self, process: usize) {
        use BudgetState::{Active, Revoked, Suspended};
        let resting: Vec<BudgetId> = self.shared.with(|state| {
            let nodes = state.books[&tenant_id(HOME)].budgets.values();
            nodes.filter(|node| node.state == Suspended).map(|node| node.id).collect()
        });
        let (mandate, to) = match self.pick(&resting).filter(|_| self.shared.chance(800)) {
            Some(mandate) => (mandate, Active),
            None => {
                let Some((_, mandate)) = self.pick(&self.mandates) else { return };
                (mandate, self.pick(&[Suspended, Suspended, Suspended, Revoked]).unwrap())
            }
        };
        let (engine, operator) = (self.engine(process), identity(HOME, "operator", CallerKind::Operator));
        self.spawn(process, format!("mandate {to}"), async move {
            Reply::Other(said(engine.change_mandate(&operator, mandate, to).await))
        });
    }

    /// Another configuration, also one that grants less than what is used.
    pub fn change_caps(&mut self, process: usize) {
        let factor = self.pick(&[1, 3, 5, 10, 20, 50, 200]).unwrap();
        let day = self.pick(&[200_000, 500_000, 900_000]).unwrap();
        self.grant = Grant { tenant: 1_000_000 * factor, person: 800_000 * factor, day: day * factor };
        let (engine, tenant) = (self.engine(process), home(self.grant));
        self.spawn(
            process,
            format!("caps {factor}"),
            async move { Reply::Other(said(engine.take_up_caps(&tenant).await)) },
        );
    }

    pub fn reorganise(&mut self) {
        self.is_shaken = true;
        self.shared.with(|state| {
            // Mostly as deep as something that is settled already.
            let spends = state.books.values().flat_map(|book| book.spends.values());
            let settled = spends.filter(|spend| spend.state == SpendState::Settled);
            let used = |spend: &Spend| state.chain.use_of(&(wallet_address(), spend.authorization.nonce.into()));
            let young = settled.filter_map(used).map(|used| used.block.number);
            let young = young.filter(|number| *number > state.chain.finalized().number);
            let young = young.max().map(|number| usize::try_from(number).unwrap());
            let reaching = young.map_or(0, |number| (state.chain.head() + 1).saturating_sub(number));
            let depth = if state.dice.chance(800) { reaching } else { 0 };
            let depth = depth.max(1 + state.dice.below(4));
            let (chain, dice) = (&mut state.chain, &mut state.dice);
            chain.reorganise(depth, dice);
            state.tell(|| format!("  {depth} blocks are taken back"));
        });
    }

    pub fn lose_from_pool(&mut self) {
        self.shared.with(|state| {
            let place = state.dice.below(state.chain.pool.len());
            if place < state.chain.pool.len() {
                state.chain.pool.remove(place);
            }
        });
    }
}
