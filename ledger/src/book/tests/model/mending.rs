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
    fn used_in(&self, id: BudgetId, limit: &Limit, at: Micros, payee: Option<&str>) -> u128 {
        let since =
            |then: Micros| self.nodes[&id].since.iter().any(|(like, since)| like.is_like(limit) && then >= *since);
        let paid = self.under(id).filter(|bought| {
            bought.life.counts()
                && payee.is_none_or(|payee| !limit.each_payee || bought.payee == payee)
                && since(bought.at)
                && in_one_period(&limit.period, bought.at, at, Width::AsMuchAsMust)
        });
        let paid: u128 = paid.map(|bought| self.share(id, bought)).sum();
        paid + self.charged_in(id, limit, at, Width::AsMuchAsMust, payee)
    }

    pub(super) fn charged_in(
        &self,
        id: BudgetId,
        limit: &Limit,
        at: Micros,
        width: Width,
        payee: Option<&str>,
    ) -> u128 {
        let charges = self.nodes[&id].charges.iter();
        let is_of = |own: &Option<String>| !limit.each_payee || payee.is_none() || own.as_deref() == payee;
        let now = charges.filter(|(like, then, _, own)| {
            like.is_like(limit) && is_of(own) && in_one_period(&limit.period, *then, at, width)
        });
        now.map(|(_, _, amount, _)| amount).sum()
    }

    /// What was given back, and is paid after all: each node and each limit that counted it is charged as far as it has
    /// room.
    pub(super) fn charge(&mut self, spend: &SpendId) {
        let bought = &self.spends[spend];
        let (leaf, payee, authority, at) = (bought.leaf, bought.payee.clone(), bought.authority, bought.at);
        for id in self.path(leaf) {
            let used = self.used(id);
            let room = self.nodes[&id].caps.total.map_or(u128::MAX, |cap| cap.get().saturating_sub(used));
            self.nodes.get_mut(&id).unwrap().charged += authority.min(room);
            for limit in self.nodes[&id].caps.limits.clone() {
                let used = self.used_in(id, &limit, at, Some(&payee));
                let room = limit.amount.map_or(u128::MAX, |cap| cap.get().saturating_sub(used));
                let charge = (limit, at, authority.min(room), Some(payee.clone()));
                self.nodes.get_mut(&id).unwrap().charges.push(charge);
            }
        }
        self.spends.get_mut(spend).unwrap().life = Life::Charged;
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
                let used = self.used_in(*id, &limit, at, None);
                let room = limit.amount.map_or(u128::MAX, |cap| cap.get().saturating_sub(used));
                let charge = (limit, at, recover.authority.get().min(room), None);
                self.nodes.get_mut(id).unwrap().charges.push(charge);
            }
        }
    }
}
