//! What people, agents, sellers, strangers and operators do, and what happens to machines.

use alloy_primitives::{Address, U256};
use engine::authorize::PaymentRequest;
use engine::consent::{CartDemand, IntentRequest};
use engine::error::EngineError;
use engine::facilitate::Repeater;
use engine::limits::{LimitText, PeriodText, RefundsText};
use engine::recurrence::FrequencyText;
use engine::sell::{Presented, Rerun, SaleClaim};
use engine::{Engine, Identity};
use ledger::command::{Command, Request};
use ledger::decision::Answer;
use ledger::id::{AuthMethod, Caller, CallerKind, Digest, SpendId};
use ledger::money::Amount;
use ledger::recurrence::Frequency;
use ledger::spend::SpendState;
use ledger::store::Work as Unit;
use ledger::transfer::Money;
use serde_json::{Map, json};
use x402::chain::TransferCall;
use x402::exact;
use x402::release::Release;
use x402::wire::{
    FacilitatorRequest, PaymentPayload, PaymentRequired, PaymentRequirements, ResourceInfo, SettleResponse,
};

use super::chain::{Call, TOKEN};
use super::company::{
    AGENTS, CARRIER, FUNDS, GAS_FUNDS, HOME, RELAYER, SHOP, SHOP_ADDRESS, STALL_ADDRESS, native, network, tenant_id,
    token, wallet_address,
};
use super::origins::person as come_in;
use super::state::{PROCESSES, pause};
use super::store::commit;
use super::world::{Purchase, Reply, World};

const STRANGER: Address = Address::repeat_byte(0xd4);

pub fn identity(tenant: &str, name: &str, kind: CallerKind) -> Identity {
    let caller = Caller::new(name.parse().unwrap(), kind, AuthMethod::Internal);
    Identity { tenant: tenant_id(tenant), caller }
}

pub fn said<T>(told: Result<T, EngineError>) -> String {
    told.map_or_else(|error| error.to_string(), |_| "done".into())
}

fn requirements(pay_to: Address, price: u128) -> PaymentRequirements {
    PaymentRequirements {
        scheme: "exact".into(),
        network: network().to_string(),
        amount: price.to_string(),
        asset: format!("{TOKEN:#x}"),
        pay_to: format!("{pay_to:#x}"),
        max_timeout_seconds: 60,
        extra: Some(Map::from_iter([("name".into(), json!("USD Coin")), ("version".into(), json!("2"))])),
        unknown: Map::new(),
    }
}

impl World {
    pub fn roll(&self, end: usize) -> usize {
        self.shared.with(|state| state.dice.below(end))
    }

    pub fn pick<T: Clone>(&self, from: &[T]) -> Option<T> {
        self.shared.with(|state| state.dice.pick(from))
    }

    /// What is on the chain when it begins, in the books too.
    pub fn fund(&mut self) {
        let wallets = [
            (HOME, wallet_address(), Money { asset: token(), amount: Amount::new(FUNDS) }),
            (CARRIER, RELAYER, Money { asset: native(), amount: Amount::new(GAS_FUNDS) }),
        ];
        for (tenant, wallet, money) in wallets {
            let caller = identity(tenant, "treasury", CallerKind::Service).caller;
            let reference = Digest([1; 32]);
            let command = Command::Fund { wallet: format!("{}:{wallet:#x}", network()), money, reference };
            let unit = Unit::new(Request { caller, command }, Vec::new());
            self.shared.with(|state| commit(state, &tenant_id(tenant), &unit)).unwrap();
        }
        for owner in [wallet_address(), SHOP_ADDRESS, STALL_ADDRESS] {
            self.shared.with(|state| state.chain.give(owner, U256::from(FUNDS)));
        }
    }

    pub fn act(&mut self, step: usize) {
        let process = self.roll(PROCESSES);
        self.pass_time();
        let die = self.roll(1_000);
        self.shared.with(|state| {
            let now = state.now.0;
            state.tell(|| format!("step {step} ({die}) at {} process {process}", state_time(now)));
        });
        match die {
            0..270 => self.buy(process),
            270..380 => self.retry(process),
            380..610 => self.present(process),
            610..660 => self.report(process),
            660..740 => {
                let tenant = self.pick(&[HOME, HOME, SHOP, CARRIER]).unwrap();
                self.sweep(process, tenant);
            }
            740..770 => self.crash(process),
            770..810 => self.turn_node(process),
            810..830 => self.turn_store(),
            830..840 => self.set_clocks(process),
            840..845 => self.change_build(),
            845..885 => self.turn_gate(process),
            885..900 => self.turn_mandate(process),
            900..915 => self.change_caps(process),
            915..930 => {
                let number = self.roll(AGENTS.len());
                self.ask_mandate(process, number);
            }
            930..945 => self.send_back(),
            945..960 => self.post_refund(process),
            960..965 => self.cancel(),
            965..985 => self.reorganise(),
            985..992 => self.lose_from_pool(),
            _ => self.void(process),
        }
    }

    /// An agent meets a 402 at a shop of ours, or at a stranger's stall.
    fn buy(&mut self, process: usize) {
        if self.mandates.len() < 5 {
            let number = self.roll(AGENTS.len());
            self.ask_mandate(process, number);
        }
        let live = self.mandates.len().min(8);
        let recent = self.mandates[self.mandates.len() - live..].to_vec();
        let Some((number, mandate)) = self.pick(&recent) else { return };
        let (thing, price) = (self.roll(12), 10_000 * u128::try_from(1 + self.roll(36)).unwrap());
        let (origin, pay_to) = if self.roll(3) > 0 {
            ("https://shop.example", SHOP_ADDRESS)
        } else {
            ("https://stall.example", STALL_ADDRESS)
        };
        let resource = ResourceInfo::new(format!("{origin}/things/{thing}"));
        let offer = PaymentRequired::new(resource, vec![requirements(pay_to, price)], None);
        let key = self.name();
        self.purchases.push(Purchase { agent: number, mandate, key, offer, again_after: None, payment: None });
        self.authorize(process, self.purchases.len() - 1);
    }

    /// One of the latest purchases, now and then an old one.
    fn some_purchase(&self, with_payment: impl Fn(&Purchase) -> bool) -> Option<usize> {
        let count = if self.roll(20) == 0 { usize::MAX } else { 12 };
        let fit: Vec<usize> = self
            .purchases
            .iter()
            .enumerate()
            .rev()
            .take(count)
            .filter(|(_, one)| with_payment(one))
            .map(|(place, _)| place)
            .collect();
        self.pick(&fit)
    }

    fn retry(&mut self, process: usize) {
        // Also where a payment is known: it must be the same one.
        if let Some(place) = self.some_purchase(|_| true) {
            self.authorize(process, place);
        }
    }

    fn authorize(&mut self, process: usize, place: usize) {
        let (engine, purchase) = (self.engine(process), self.purchases[place].clone());
        let request = PaymentRequest {
            mandate: purchase.mandate,
            required: purchase.offer,
            method: "GET".into(),
            url: None,
            key: purchase.key,
            cart: None,
            again_after: purchase.again_after,
        };
        let caller = self.agent(purchase.agent);
        self.spawn(process, format!("authorize {}", request.key), async move {
            Reply::Authorized(place, Box::new(engine.authorize(&caller, request).await))
        });
    }

    fn present(&mut self, process: usize) {
        let Some(place) = self.some_purchase(|purchase| purchase.payment.is_some()) else { return };
        let purchase = self.purchases[place].clone();
        let Some((_, payload)) = purchase.payment else { return };
        let requirements = purchase.offer.accepts[0].clone();
        let engine = self.engine(process);
        let is_shop = requirements.pay_to == format!("{SHOP_ADDRESS:#x}");
        let name = format!("present {}", purchase.key);
        match self.roll(20) {
            0..2 => self.front_run(&payload),
            _ if is_shop => {
                let fails = self.roll(15) == 0;
                let purpose = Digest::of(purchase.offer.resource.url.as_bytes());
                let (rerun, release) = (Rerun::Never, Release::default());
                let presented = Presented { payload, requirements, purpose, named: None, rerun, release, order: None };
                self.spawn(process, name, async move { Reply::Other(sell(&engine, presented, fails).await) });
            }
            2..12 => {
                let request = FacilitatorRequest::new(payload, requirements);
                self.spawn(process, name, async move {
                    let told = engine.facilitator_settle(&tenant_id(CARRIER), &request, Repeater::Recognized).await;
                    Reply::Other(format!("{told:?}"))
                });
            }
            12..15 => self.front_run(&payload),
            // The stall keeps the cheque, and may come with it later or never.
            _ => {}
        }
    }

    /// Somebody carries the authorization to the chain without asking anybody.
    fn front_run(&mut self, payload: &PaymentPayload) {
        let (authorization, _) = exact::read_payload(payload).unwrap();
        let call = TransferCall {
            asset: TOKEN,
            from: authorization.from,
            to: authorization.to,
            value: authorization.value,
            valid_after: authorization.valid_after,
            valid_before: authorization.valid_before,
            nonce: authorization.nonce,
            signature: [0; 65],
        };
        self.shared.with(|state| {
            let (_, tx) = state.chain.write(STRANGER, None, Call::Transfer(call));
            state.chain.send(tx);
        });
    }

    fn report(&mut self, process: usize) {
        let Some(place) = self.some_purchase(|purchase| purchase.payment.is_some()) else { return };
        let purchase = self.purchases[place].clone();
        let Some((spend, _)) = purchase.payment else { return };
        // A hash that somebody made up is as good as any: it settles nothing.
        let hash = format!("0x{}", hex::encode(Digest::of(purchase.key.as_str().as_bytes()).0));
        let response = SettleResponse::settled(format!("{:#x}", wallet_address()), hash, network().to_string());
        let (engine, caller) = (self.engine(process), self.agent(purchase.agent));
        self.spawn(process, format!("report {}", purchase.key), async move {
            Reply::Other(said(engine.report_outcome(&caller, spend, (Some(response), None)).await))
        });
    }

    pub fn ask_mandate(&mut self, process: usize, number: usize) {
        let (name, person) = AGENTS[number];
        let limit = |period, zone: Option<&str>, seconds, each_payee, amount: Option<&str>, payments| LimitText {
            period,
            zone: zone.map(str::to_owned),
            from_day: None,
            seconds,
            each_payee,
            amount: amount.map(str::to_owned),
            payments,
        };
        // At most what the person has; all mandates together ask for more.
        let most = usize::try_from(self.grant.person.min(4_000_000) / 10_000).unwrap();
        let (cents, seconds) = (most / 2 + self.roll(most / 2 + 1), 3_600 * (1 + self.roll(48)));
        let request = IntentRequest {
            cost_centre: None,
            user: person.parse().unwrap(),
            description: "things".into(),
            currency: "USD".into(),
            total: format!("{}.{:02}", cents / 100, cents % 100),
            per_payment: Some("0.35".into()),
            payments: Some(10 + u64::try_from(self.roll(40)).unwrap()),
            frequency: (self.roll(6) == 0).then_some(FrequencyText(Frequency::Daily)),
            payees: None,
            expires_in_seconds: u64::try_from(seconds).unwrap(),
            limits: vec![
                limit(PeriodText::Day, Some("UTC"), None, true, Some("2.00"), None),
                limit(PeriodText::Rolling, None, Some(1_200), false, None, Some(12)),
            ],
            hours: None,
            refunds: if self.roll(2) == 0 { RefundsText::Restore } else { RefundsText::Keep },
            cart: CartDemand::Optional,
        };
        let (engine, asks, decides) = (self.engine(process), self.agent(number), come_in(person));
        self.spawn(process, format!("mandate for {name}"), async move {
            Reply::Opened(number, consent(&engine, &asks, &decides, request).await)
        });
    }

    /// A payee sends something back: some of it, all of it, or more than it got.
    fn send_back(&mut self) {
        let settled: Vec<(SpendId, Address, u128)> = self.shared.with(|state| {
            let spends =
                state.books[&tenant_id(HOME)].spends.values().filter(|spend| spend.state == SpendState::Settled);
            spends.map(|spend| (spend.id, spend.pay_to.parse().unwrap(), spend.money.amount.get())).collect()
        });
        let Some((spend, from, amount)) = self.pick(&settled) else { return };
        let share = [amount, amount / 2, amount / 3, amount + 1][self.roll(4)];
        let number = self.refunds.len();
        let hash = self.shared.with(|state| {
            let (to, value) = (wallet_address(), U256::from(share));
            let (_, mut tx) = state.chain.write(from, None, Call::Move { from, to, value });
            tx.hash = alloy_primitives::keccak256(format!("refund {number}"));
            state.chain.send(tx.clone());
            format!("{:#x}", tx.hash)
        });
        self.refunds.push((spend, hash));
    }

    fn post_refund(&mut self, process: usize) {
        let latest = &self.refunds[self.refunds.len().saturating_sub(3)..];
        let Some((spend, hash)) = self.pick(latest) else { return };
        let (engine, desk) = (self.engine(process), identity(HOME, "desk", CallerKind::Service));
        self.spawn(process, format!("refund {hash}"), async move {
            Reply::Other(said(engine.refund(&desk, spend, &hash).await))
        });
    }

    /// Whoever else has the wallet's key takes a cheque back.
    fn cancel(&mut self) {
        let Some(place) = self.some_purchase(|purchase| purchase.payment.is_some()) else { return };
        let Some((_, payload)) = self.purchases[place].payment.clone() else { return };
        let (authorization, _) = exact::read_payload(&payload).unwrap();
        self.shared.with(|state| {
            let (_, tx) = state.chain.write(STRANGER, None, Call::Cancel((authorization.from, authorization.nonce)));
            state.chain.send(tx);
        });
    }

    fn void(&mut self, process: usize) {
        let held: Vec<SpendId> = self.shared.with(|state| {
            let spends = state.books[&tenant_id(HOME)].spends.values().filter(|spend| spend.state.is_open());
            spends.map(|spend| spend.id).collect()
        });
        let Some(spend) = self.pick(&held) else { return };
        let (engine, desk) = (self.engine(process), identity(HOME, "desk", CallerKind::Service));
        self.spawn(
            process,
            format!("void {spend}"),
            async move { Reply::Other(said(engine.void(&desk, spend).await)) },
        );
    }
}

fn state_time(micros: i64) -> String {
    let seconds = micros.div_euclid(1_000_000);
    format!("{seconds}.{:06}", micros.rem_euclid(1_000_000))
}

/// A seller's handler, between claim and settlement.
async fn sell(engine: &Engine, presented: Presented, fails: bool) -> String {
    let shop = tenant_id(SHOP);
    let key = match exact::claim_key(&presented.payload, &presented.requirements) {
        Ok(key) => key,
        Err(refusal) => return refusal.to_string(),
    };
    match engine.sale_claim(&shop, presented).await {
        Ok(SaleClaim::Won(_)) => {
            pause().await;
            if fails {
                return said(engine.sale_abandon(&shop, &key).await);
            }
            format!("{:?}", engine.sale_settle(&shop, &key, b"the thing".to_vec(), None).await)
        }
        Ok(other) => format!("{other:?}").chars().take(40).collect(),
        Err(error) => error.to_string(),
    }
}

/// An agent asks, its person says yes; both again where nobody answers.
async fn consent(
    engine: &Engine,
    asks: &Identity,
    decides: &Identity,
    request: IntentRequest,
) -> Result<ledger::id::BudgetId, EngineError> {
    let approval = engine.propose_intent(asks, request).await?;
    let (id, subject) = (approval.decision.id, approval.decision.subject);
    let mut tries = 0;
    loop {
        tries += 1;
        match engine.decide(decides, id, subject, Answer::Approve, None).await {
            Ok(approval) => match approval.decision.opened {
                Some(mandate) => return Ok(mandate),
                None if tries > 3 => return Err(EngineError::Broken("approved, and nothing opened".into())),
                None => {}
            },
            Err(error) if tries > 3 => return Err(error),
            Err(_) => {}
        }
    }
}
