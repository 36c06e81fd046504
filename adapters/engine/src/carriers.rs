//! The facilitators that a seller settles through, in its order.
//!
//! A payment is carried by one of them. Which one is decided before anybody is asked to carry it, and written down with what
//! is asked again after a restart. What that one answers is final, and where it says nothing the payment is followed on the
//! chain: no other is asked for it, because nobody knows that the first one has not sent it. The next payment goes to
//! whoever speaks.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use alloy_primitives::Address;
use ledger::id::TenantId;
use serde_json::{Map, Value};
use x402::auth_capture;
use x402::chain::ChainError;
use x402::exact::Transfer;
use x402::permit2::{approval, sponsor};
use x402::scheme;
use x402::wire::{PaymentPayload, PaymentRequirements, SettleResponse};

use crate::Engine;
use crate::error::EngineError;
use crate::ports::{Facilitator, Relayed};

/// How long one that said nothing, or that it does not carry this, is left alone.
const LEFT_ALONE: Duration = Duration::from_secs(5);
/// How long it is believed which extensions one takes, or that it does not say.
const BELIEVED_FOR: Duration = Duration::from_secs(60);

/// How long it is believed that it operates what is held here.
const OPERATES_FOR: Duration = Duration::from_secs(60);

pub struct Carriers {
    first: Carrier,
    others: Vec<Carrier>,
    /// Which tokens take permits of their own (EIP-2612), as far as their contracts were asked.
    permits: Mutex<BTreeMap<Address, bool>>,
}

pub struct Carrier {
    /// As the configuration names it.
    name: String,
    port: Arc<dyn Facilitator>,
    heard: Mutex<Heard>,
    /// When it said last that it operates what is held here.
    operates: Mutex<Option<Instant>>,
    extensions: Mutex<Option<(Instant, Vec<String>)>>,
}

/// The last that was heard of one.
#[derive(Clone, Copy, Debug)]
enum Heard {
    NotAsked,
    Speaks,
    /// It said nothing, or that it does not carry what is sold here.
    Silent {
        since: Instant,
    },
}

impl Carriers {
    pub fn new(first: Carrier, others: Vec<Carrier>) -> Self {
        Self { first, others, permits: Mutex::default() }
    }

    fn all(&self) -> impl Iterator<Item = &Carrier> {
        std::iter::once(&self.first).chain(&self.others)
    }

    fn named(&self, name: &str) -> Option<&Carrier> {
        self.all().find(|carrier| carrier.name == name)
    }

    /// The first who speaks and says that it carries payments like this. Whoever sells through one alone asks that one. A
    /// price by usage is settled by the one account that its payer permits, which is the first one's.
    async fn choose(&self, requirements: &PaymentRequirements) -> Option<&Carrier> {
        // What is held has one operator, the first one's account: where that does not say that it is, nobody captures it.
        if requirements.scheme == auth_capture::SCHEME {
            return self.first.operates(requirements).await.then_some(&self.first);
        }
        if self.others.is_empty() || requirements.scheme == x402::upto::SCHEME {
            return Some(&self.first);
        }
        for carrier in self.all() {
            if carrier.speaks(requirements).await {
                return Some(carrier);
            }
        }
        None
    }

    /// Before anything is claimed: with nobody to carry it no work is begun.
    pub(crate) async fn check(&self, requirements: &PaymentRequirements) -> Result<(), EngineError> {
        match self.choose(requirements).await {
            Some(_) => Ok(()),
            None => {
                let names: Vec<&str> = self.all().map(|carrier| carrier.name.as_str()).collect();
                Err(EngineError::FacilitatorsUnavailable(names.join(", ")))
            }
        }
    }

    /// Asks each what it carries, and says in the log who does not carry this.
    pub async fn look(&self, requirements: &PaymentRequirements) {
        if requirements.scheme == auth_capture::SCHEME {
            self.first.operates(requirements).await;
            return;
        }
        for carrier in self.all() {
            carrier.ask(requirements).await;
        }
    }

    /// The extensions that whoever would carry a payment like this says it takes; none where it does not say.
    pub(crate) async fn extensions(&self, requirements: &PaymentRequirements) -> Vec<String> {
        match self.choose(requirements).await {
            Some(carrier) => carrier.extensions().await,
            None => Vec::new(),
        }
    }

    /// Who carries a payment that nobody was asked to carry yet.
    pub(crate) async fn name_for(&self, requirements: &PaymentRequirements) -> String {
        self.choose(requirements).await.unwrap_or(&self.first).name.clone()
    }

    /// Who has a payment in hand of which that was not written down: there was one, then.
    pub(crate) fn former(&self) -> String {
        self.first.name.clone()
    }

    /// Nobody but whoever has it in hand is asked, also where the configuration does not name them any more.
    pub(crate) async fn settle(
        &self,
        name: &str,
        payload: &PaymentPayload,
        requirements: &PaymentRequirements,
    ) -> Relayed<SettleResponse> {
        match self.named(name) {
            Some(carrier) => carrier.took(carrier.port.settle(payload, requirements).await),
            None => missing(name),
        }
    }

    pub(crate) async fn submit(
        &self,
        name: &str,
        payload: &PaymentPayload,
        requirements: &PaymentRequirements,
    ) -> Relayed<SettleResponse> {
        match self.named(name) {
            Some(carrier) => carrier.took(carrier.port.submit(payload, requirements).await),
            None => missing(name),
        }
    }
}

impl Engine {
    /// What a seller says in a 402 of how Permit2 may get its allowance with the payment: as far as whoever would carry it
    /// takes it, and the token can do it.
    pub async fn declared(&self, tenant: &TenantId, offers: &[PaymentRequirements]) -> Map<String, Value> {
        let mut said = Map::new();
        let Some(seller) = self.tenant(tenant).ok().and_then(|tenant| tenant.seller.clone()) else { return said };
        for offer in offers {
            let Ok(terms) = scheme::terms(offer) else { continue };
            if !matches!(terms.transfer, Transfer::Permit2 | Transfer::Upto { .. }) {
                continue;
            }
            let taken = seller.carriers.extensions(offer).await;
            let takes = |extension: &str| taken.iter().any(|taken| taken == extension);
            if takes(approval::EXTENSION) {
                said.insert(approval::EXTENSION.to_owned(), approval::declaration());
            }
            if takes(sponsor::EXTENSION) && self.has_permits(&seller.carriers, terms.token).await {
                said.insert(sponsor::EXTENSION.to_owned(), sponsor::declaration());
            }
        }
        said
    }

    async fn has_permits(&self, carriers: &Carriers, token: Address) -> bool {
        let known = || carriers.permits.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = known().get(&token) {
            return *known;
        }
        let has_permits = match self.chain.permit_nonce(token, Address::ZERO).await {
            Ok(_) => true,
            Err(ChainError::Reverted { .. }) => false,
            Err(error) => {
                tracing::info!(%token, "whether it takes permits is not known: {error}");
                return false;
            }
        };
        known().insert(token, has_permits);
        has_permits
    }
}

fn missing<T>(name: &str) -> Relayed<T> {
    Relayed::Silence(format!("{name}, which has this payment in hand, is not configured any more"))
}

impl Carrier {
    pub fn new(name: impl Into<String>, port: Arc<dyn Facilitator>) -> Self {
        Self {
            name: name.into(),
            port,
            heard: Mutex::new(Heard::NotAsked),
            operates: Mutex::new(None),
            extensions: Mutex::default(),
        }
    }

    async fn operates(&self, requirements: &PaymentRequirements) -> bool {
        let lately = |said: &Option<Instant>| said.is_some_and(|said| said.elapsed() < OPERATES_FOR);
        if lately(&self.operates.lock().unwrap_or_else(PoisonError::into_inner)) {
            return true;
        }
        let does = match self.port.carries(requirements).await {
            Relayed::Answer(does) => does,
            Relayed::Silence(why) => {
                tracing::warn!(facilitator = self.name, "does not say what it carries: {why}");
                false
            }
        };
        if !does {
            tracing::error!(facilitator = self.name, "does not say that it operates what would be held here");
        }
        *self.operates.lock().unwrap_or_else(PoisonError::into_inner) = does.then(Instant::now);
        does
    }

    async fn speaks(&self, requirements: &PaymentRequirements) -> bool {
        let heard = *self.heard();
        match heard {
            Heard::Speaks => true,
            Heard::Silent { since } if since.elapsed() < LEFT_ALONE => false,
            Heard::Silent { .. } | Heard::NotAsked => self.ask(requirements).await,
        }
    }

    async fn ask(&self, requirements: &PaymentRequirements) -> bool {
        let carries = match self.port.carries(requirements).await {
            Relayed::Answer(true) => true,
            Relayed::Answer(false) => {
                let (scheme, network) = (&requirements.scheme, &requirements.network);
                tracing::error!(facilitator = self.name, scheme, network, "says that it does not carry this");
                false
            }
            Relayed::Silence(why) => {
                tracing::warn!(facilitator = self.name, "does not say what it carries: {why}");
                false
            }
        };
        *self.heard() = if carries { Heard::Speaks } else { Heard::Silent { since: Instant::now() } };
        carries
    }

    async fn extensions(&self) -> Vec<String> {
        let believed = || self.extensions.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((since, known)) = believed().as_ref()
            && since.elapsed() < BELIEVED_FOR
        {
            return known.clone();
        }
        let said = match self.port.extensions().await {
            Relayed::Answer(said) => said,
            Relayed::Silence(why) => {
                tracing::warn!(facilitator = self.name, "does not say which extensions it takes: {why}");
                Vec::new()
            }
        };
        *believed() = Some((Instant::now(), said.clone()));
        said
    }

    /// One that said nothing is asked what it carries before the next payment goes to it.
    fn took<T>(&self, relayed: Relayed<T>) -> Relayed<T> {
        *self.heard() = match &relayed {
            Relayed::Answer(_) => Heard::Speaks,
            Relayed::Silence(_) => Heard::Silent { since: Instant::now() },
        };
        relayed
    }

    /// It stays whole whatever a holder of the lock died of.
    fn heard(&self) -> MutexGuard<'_, Heard> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
