//! What the model makes of caps that change and payments that are found.

use super::Model;
use crate::budget::Caps;
use crate::command::Recover;
use crate::id::{BudgetId, Micros};

impl Model {
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

    pub(super) fn recover(&mut self, recover: &Recover) {
        assert!(self.closed.contains("fence"), "recovered in front of the fence");
        assert!(self.nonces.insert(recover.authorization.nonce), "an authorization twice");
        self.recovered += recover.money.amount.get();
        for id in &recover.nodes {
            let used = self.used(*id);
            let node = self.nodes.get_mut(id).unwrap();
            let room = node.caps.total.map_or(u128::MAX, |cap| cap.get().saturating_sub(used));
            node.charged += recover.authority.get().min(room);
        }
    }
}
