//! What the model makes of caps that change and payments that are found.

use super::period::{Width, in_one_period};
use super::{Life, Model};
use crate::budget::Caps;
use crate::command::Recover;
use crate::id::{BudgetId, Micros, SpendId};
use crate::window::Limit;

impl Model {
    pub(super) fn grow_old(&mut self, spend: &SpendId, otherwise: &str) {
        let bought = self.spends.get_mut(spend).unwrap();
        assert!(std::mem::take(&mut bought.young) && bought.refunded == 0, "{otherwise}");
    }

    pub(super) fn change_caps(&mut self, id: BudgetId, caps: &Caps, at: Micros) {
        let used = self.used(id);
        let node = self.nodes.get_mut(&id).unwrap();
        for limit in &caps.limits {
            if !node.since.iter().any(|(known, _)| known.is_like(limit)) {
                node.since.push((limit.clone(), at));
            }
        }
        node.caps = Caps { refunds: node.caps.refunds, ..caps.clone() };
        node.ceiling = caps.total.map(|cap| cap.get().max(used));
    }

    /// What payments and charges took in the period of an instant; a rolling one as its last part has it.
    fn used_in(&self, id: BudgetId, limit: &Limit, at: Micros) -> u128 {
        let since =
            |then: Micros| self.nodes[&id].since.iter().any(|(like, since)| like.is_like(limit) && then >= *since);
        let paid = self.under(id).filter(|bought| {
            bought.life != Life::Gone
                && since(bought.at)
                && in_one_period(&limit.period, bought.at, at, Width::AsMuchAsMust)
        });
        let paid: u128 = paid.map(|bought| self.share(id, bought)).sum();
        paid + self.charged_in(id, limit, at, Width::AsMuchAsMust)
    }

    pub(super) fn charged_in(&self, id: BudgetId, limit: &Limit, at: Micros, width: Width) -> u128 {
        let charges = self.nodes[&id].charges.iter();
        let now =
            charges.filter(|(like, then, _)| like.is_like(limit) && in_one_period(&limit.period, *then, at, width));
        now.map(|(_, _, amount)| amount).sum()
    }

    pub(super) fn recover(&mut self, recover: &Recover, at: Micros) {
        assert!(self.closed.contains("fence"), "recovered in front of the fence");
        self.nonces.insert(recover.authorization.nonce);
        assert!(self.found.insert(recover.authorization.nonce), "an authorization twice");
        self.recovered += recover.money.amount.get();
        for id in &recover.nodes {
            let used = self.used(*id);
            let node = self.nodes.get_mut(id).unwrap();
            let room = node.caps.total.map_or(u128::MAX, |cap| cap.get().saturating_sub(used));
            node.charged += recover.authority.get().min(room);
            // Each limit that counts every payee is charged as far as its own window has room.
            for limit in self.nodes[id].caps.limits.clone().into_iter().filter(|limit| !limit.each_payee) {
                let used = self.used_in(*id, &limit, at);
                let room = limit.amount.map_or(u128::MAX, |cap| cap.get().saturating_sub(used));
                let charge = (limit, at, recover.authority.get().min(room));
                self.nodes.get_mut(id).unwrap().charges.push(charge);
            }
        }
    }
}
