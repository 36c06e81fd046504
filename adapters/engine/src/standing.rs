//! The status of credentials that a valid chain names: our own from the book, those of others from where they publish it.
//!
//! Nothing is fetched before the chain was verified, and nothing under keys that a caller brought: only a root of the trust
//! file may send us somewhere.

use mandates::clock::Clock;
use mandates::limits::STATUS_LISTS_MAX;
use mandates::trust::Roots;
use mandates::verify::{Lists, Published, Verdict};

use crate::Engine;
use crate::ports::Relayed;
use crate::tenant::Tenant;

/// Whose word it is that the root is trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Vouched {
    ByOperator,
    ByCaller,
}

impl Engine {
    pub(crate) async fn held_to_status(
        &self,
        tenant: &Tenant,
        verdict: Verdict,
        trusted: &dyn Roots,
        vouched: Vouched,
        clock: Clock,
    ) -> Verdict {
        let mut lists = Lists::new();
        let places: Vec<String> = verdict.status_places().into_iter().map(|place| place.uri.clone()).collect();
        for uri in places {
            if !lists.contains_key(&uri) && lists.len() < STATUS_LISTS_MAX {
                let list = self.published(tenant, &uri, vouched).await;
                lists.insert(uri, list);
            }
        }
        verdict.held_to(&lists, trusted, clock)
    }

    async fn published(&self, tenant: &Tenant, uri: &str, vouched: Vouched) -> Published {
        if let Some(name) = uri.strip_prefix(tenant.status_url.as_str()).and_then(|rest| rest.strip_prefix('/')) {
            return match self.status_list(name).await {
                Ok(token) => Published::Token(token),
                Err(error) => Published::Unavailable(error.to_string()),
            };
        }
        let Some(lists) = self.status_lists.get() else {
            return Published::Unavailable("this service fetches no lists of others".into());
        };
        if vouched == Vouched::ByCaller {
            let why = "lists are fetched for roots of the trust file, and the keys of this one came with the request";
            return Published::Unavailable(why.into());
        }
        match lists.fetch(uri).await {
            Relayed::Answer(token) => Published::Token(token),
            Relayed::Silence(why) => Published::Unavailable(why),
        }
    }
}
