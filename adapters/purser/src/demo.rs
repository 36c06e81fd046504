//! `purser demo`: one purchase from the question to the books, then the refusals. Every line is something that
//! happened over HTTP, on the chain or in the database; nothing is scripted text about it.

mod refusals;

use std::path::PathBuf;

use alloy_primitives::{Address, U256};
use engine::evidence::{EvidenceFile, check};
use ledger::store::{Store, Verification};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use x402::chain::{At, Chain};

use crate::client::{Client, ClientError};
use crate::credential::Credential;
use crate::dev::{DevOptions, DevService};
use crate::ledger::{TrialBalance, journal, record_line};
use crate::pay::{Purchase, buy};
use crate::verify::assets_of;
use crate::world::{AGENT, CARRIER, HOME, MARKER, MERCHANT, SHOP, USER, shop_address};

#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error("{0}")]
    Part(String),
    #[error("{0} is missing in {1}")]
    Missing(&'static str, String),
}

/// The story as it goes, on standard output unless only the object is wanted.
struct Story {
    quiet: bool,
    step: u32,
}

impl Story {
    fn step(&mut self, title: &str) {
        self.step += 1;
        if !self.quiet {
            println!("\n{}. {title}", self.step);
        }
    }

    fn say(&self, line: impl std::fmt::Display) {
        if !self.quiet {
            println!("   {line}");
        }
    }
}

struct Actors {
    client: Client,
    url: String,
    user: String,
    agent: String,
    merchant: String,
}

/// Runs the story; the object that it ends with, `ok` last of all.
pub async fn run(quiet: bool) -> Result<Value, DemoError> {
    let part = |error: &dyn std::fmt::Display| DemoError::Part(error.to_string());
    let service = DevService::start(DevOptions::default()).await.map_err(|error| part(&error))?;
    let outcome = tell(&service, quiet).await;
    service.stop().await;
    outcome
}

async fn tell(service: &DevService, quiet: bool) -> Result<Value, DemoError> {
    let mut story = Story { quiet, step: 0 };
    if !quiet {
        println!("Purser: an agent buys a report for one cent, and everything around it.");
        println!(
            "An embedded chain, a database, a seller, a facilitator and a wallet are running at {}.",
            service.url()
        );
    }
    let token = |tenant: &str, principal: &str, kind| {
        service.token(tenant, principal, kind).map_err(|error| DemoError::Part(error.to_string()))
    };
    let actors = Actors {
        client: Client::new(service.url())?,
        url: service.url().to_owned(),
        user: token(HOME, USER, ledger::id::CallerKind::User)?,
        agent: token(HOME, AGENT, ledger::id::CallerKind::Agent)?,
        merchant: token(SHOP, MERCHANT, ledger::id::CallerKind::Merchant)?,
    };
    let before = Balances::read(service).await?;
    let purchase = purchase(&mut story, &actors).await?;
    let after = Balances::read(service).await?;
    let books = show_books(&mut story, service, &purchase.spend, &before, &after).await?;
    let evidence = show_evidence(&mut story, service, &actors, &purchase.spend).await?;
    let refusals = refusals::refuse(&mut story, &actors, &purchase).await?;
    let journal = verify_journal(&mut story, service).await?;
    let balances_agree =
        after.payee_delta(&before) == U256::from(10_000) && after.payer_delta(&before) == U256::from(10_000);
    let ok = purchase.state == "settled"
        && balances_agree
        && books.1
        && evidence.1
        && journal.1
        && refusals.iter().all(|refusal| refusal.holds);
    story.step(if ok { "All of it holds." } else { "SOMETHING DOES NOT HOLD; see above." });
    Ok(json!({
        "ok": ok,
        "spend": { "id": purchase.spend, "state": purchase.state, "amount": purchase.amount, "asset": purchase.asset, "transaction": purchase.transaction },
        "chain": { "payer_delta": format!("-{}", after.payer_delta(&before)), "payee_delta": after.payee_delta(&before).to_string() },
        "ledger": books.0,
        "journal": journal.0,
        "evidence": evidence.0,
        "refusals": refusals.iter().map(|refusal| json!({ "case": refusal.case, "code": refusal.code })).collect::<Vec<_>>(),
    }))
}

struct Bought {
    mandate: String,
    spend: String,
    state: String,
    amount: String,
    asset: String,
    transaction: String,
    signature: String,
    cart: String,
}

fn text(value: &Value, name: &'static str) -> Result<String, DemoError> {
    let found = value.get(name).and_then(Value::as_str).map(str::to_owned);
    found.ok_or_else(|| DemoError::Missing(name, value.to_string().chars().take(400).collect()))
}

/// An agent asks, its user approves exactly that.
async fn mandate(actors: &Actors, request: Value) -> Result<(Value, Value), DemoError> {
    let asked = actors.client.call(Method::POST, "/v1/mandates/intents", &actors.agent, None, Some(request)).await?;
    let approval = asked.get("approval").cloned().unwrap_or_default();
    let (id, digest) = (text(&approval, "id")?, text(&approval, "digest")?);
    let decision = json!({ "decision": "approve", "digest": digest });
    let path = format!("/v1/approvals/{id}/decision");
    let decided = actors.client.call(Method::POST, &path, &actors.user, None, Some(decision)).await?;
    Ok((approval, decided))
}

fn intent(total: &str, per_payment: &str, payments: u64, seconds: u64) -> Value {
    json!({
        "user": USER,
        "description": "Please buy market reports for me.",
        "currency": "USD", "total": total, "per_payment": per_payment, "payments": payments,
        "payees": [{ "id": SHOP, "name": "Demo Shop" }],
        "expires_in_seconds": seconds,
    })
}

async fn purchase(story: &mut Story, actors: &Actors) -> Result<Bought, DemoError> {
    story.step("The agent asks its human for an Intent mandate");
    let (approval, decided) = mandate(actors, intent("5.00", "3.00", 20, 3_600)).await?;
    let document = approval.get("document").cloned().unwrap_or_default();
    story.say(format!(
        "up to 5.00 USD, 3.00 a payment, 20 payments, paid to Demo Shop only; question {}",
        short(&text(&approval, "id")?)
    ));
    story.say(format!(
        "the agent's words, quoted to the human as untrusted: {}",
        document.get("quoted_from_agent").unwrap_or(&Value::Null)
    ));
    story.step("The human approves exactly that document");
    let id = text(&decided, "mandate")?;
    story.say(format!("approved by its digest {}", short(&text(&approval, "digest")?)));
    story.say(format!(
        "mandate {} is signed by the trusted surface; its budget hangs under the person's and the tenant's",
        short(&id)
    ));

    let url = format!("{}/paid/report", actors.url);
    story.step("The agent fetches a resource and meets a 402");
    let met = actors.client.fetch("GET", &url, None).await?;
    story.say(format!("GET {url} -> {}", met.status.as_u16()));
    if met.status != StatusCode::PAYMENT_REQUIRED {
        return Err(DemoError::Part(format!("a 402 was expected, {} came", met.status)));
    }
    story.step("The merchant signs the cart");
    let checkout = json!({ "checkout": checkout("cart-1", 1) });
    let signed = actors.client.call(Method::POST, "/v1/mandates/carts", &actors.merchant, None, Some(checkout)).await?;
    let cart = text(&signed, "checkout_jwt")?;
    story.say(format!("checkout hash {}", text(&signed, "checkout_hash")?));

    story.step(
        "The agent closes the payment mandate over cart and offer; the money is held, then signed; the seller serves",
    );
    let order = Purchase {
        url,
        method: "GET".into(),
        mandate: id.clone(),
        key: "demo-purchase-1".into(),
        cart: Some(cart.clone()),
    };
    let bought = buy(&actors.client, &Credential::bearer(&actors.agent), &order, &|_| ()).await?;
    let payment = bought.payment.ok_or(DemoError::Missing("payment", "the purchase".into()))?;
    let body = String::from_utf8_lossy(&bought.fetched.body).into_owned();
    story.say(format!("hold {}: limit, claims, books and journal in one unit of work", short(&text(&payment, "id")?)));
    story.say(format!(
        "the seller answered {} with the paid content: {}",
        bought.fetched.status.as_u16(),
        body.contains(MARKER)
    ));
    story.say(
        "10000 atomic units of a token with six decimals: 0.01, debited as 0.01 USD at the demo's own stated rate of 1",
    );
    story.say(format!("the chain shows {}", text(&payment, "transaction")?));
    story.say(format!("the spend is {}", text(&payment, "state")?));
    if bought.fetched.status != StatusCode::OK || !body.contains(MARKER) {
        return Err(DemoError::Part(format!("the paid content was not served: {}: {body}", bought.fetched.status)));
    }
    Ok(Bought {
        mandate: id,
        spend: text(&payment, "id")?,
        state: text(&payment, "state")?,
        amount: text(&payment, "amount")?,
        asset: text(&payment, "asset")?,
        transaction: text(&payment, "transaction")?,
        signature: bought.payment_signature.unwrap_or_default(),
        cart,
    })
}

/// A UCP checkout of one report.
fn checkout(id: &str, cents: u64) -> Value {
    json!({
        "id": id, "status": "ready_for_complete", "currency": "USD",
        "line_items": [{
            "id": "line-1", "quantity": 1,
            "item": { "id": "report", "title": "Market report", "price": cents },
            "totals": [{ "type": "total", "amount": cents }],
        }],
        "totals": [{ "type": "subtotal", "amount": cents }, { "type": "total", "amount": cents }],
        "links": [],
    })
}

struct Balances {
    payer: U256,
    payee: U256,
}

impl Balances {
    async fn read(service: &DevService) -> Result<Self, DemoError> {
        let of = async |owner: Address| {
            let balance = service.rpc().balance_of(chain::token::ADDRESS, owner, At::Latest).await;
            balance.map_err(|error| DemoError::Part(error.to_string()))
        };
        Ok(Self { payer: of(service.wallet()).await?, payee: of(shop_address()).await? })
    }

    fn payer_delta(&self, before: &Self) -> U256 {
        before.payer.saturating_sub(self.payer)
    }

    fn payee_delta(&self, before: &Self) -> U256 {
        self.payee.saturating_sub(before.payee)
    }
}

async fn show_books(
    story: &mut Story,
    service: &DevService,
    spend: &str,
    before: &Balances,
    after: &Balances,
) -> Result<(Value, bool), DemoError> {
    let part = |error: ledger::store::StoreError| DemoError::Part(error.to_string());
    story.step("The books: every entry of this spend in the user's journal");
    let tenant = service.tenant(HOME).map_err(|error| DemoError::Part(error.to_string()))?;
    for (_, effects) in journal(service.store(), &tenant).await.map_err(part)? {
        if effects.spend.as_ref().is_some_and(|found| found.id.to_string() == spend) {
            story.say(record_line(&effects));
        }
    }
    story.step("Ledger and chain side by side");
    let mut ok = true;
    let mut accounts = Vec::new();
    for (name, owner, delta) in [
        (HOME, service.wallet(), format!("-{}", after.payer_delta(before))),
        (SHOP, shop_address(), format!("+{}", after.payee_delta(before))),
        (CARRIER, Address::ZERO, String::new()),
    ] {
        let tenant = service.tenant(name).map_err(|error| DemoError::Part(error.to_string()))?;
        let trial = TrialBalance::read(service.store(), &tenant).await.map_err(part)?;
        ok &= trial.is_balanced();
        story.say(format!("{name}:"));
        trial.lines().iter().for_each(|line| story.say(format!("  {line}")));
        if let Value::Array(rows) = trial.to_json()["accounts"].take() {
            accounts.extend(rows.into_iter().map(|mut row| {
                row["tenant"] = name.into();
                row
            }));
        }
        if owner != Address::ZERO {
            let wallet = format!("wallet/eip155:31337:{owner:#x}");
            let book = trial
                .accounts
                .iter()
                .find(|entry| entry.account.to_string() == wallet && !entry.asset.as_str().contains("slip44"));
            let booked = book.map(|entry| entry.balance.net(entry.account.class()).to_string()).unwrap_or_default();
            let chain = if name == HOME { after.payer } else { after.payee };
            let same = booked == chain.to_string();
            ok &= same;
            story.say(format!(
                "  chain: {chain} ({delta} by this purchase); book: {booked}; {}",
                if same { "equal" } else { "NOT EQUAL" }
            ));
        }
    }
    Ok((json!({ "balanced": ok, "accounts": accounts }), ok))
}

async fn show_evidence(
    story: &mut Story,
    service: &DevService,
    actors: &Actors,
    spend: &str,
) -> Result<(Value, bool), DemoError> {
    story.step("The evidence of this spend, in one file that verifies offline");
    let path = format!("/v1/payments/{spend}/evidence");
    let evidence = actors.client.call(Method::GET, &path, &actors.user, None, None).await?;
    let file: PathBuf =
        std::env::temp_dir().join(format!("purser-evidence-{}.json", short(spend).trim_end_matches('…')));
    let bytes = serde_json::to_vec_pretty(&evidence).map_err(|error| DemoError::Part(error.to_string()))?;
    std::fs::write(&file, bytes).map_err(|error| DemoError::Part(format!("{}: {error}", file.display())))?;
    let read = std::fs::read(&file).map_err(|error| DemoError::Part(error.to_string()))?;
    let parsed: EvidenceFile = serde_json::from_slice(&read).map_err(|error| DemoError::Part(error.to_string()))?;
    let findings = check(&parsed, service.roots(), &assets_of(&parsed));
    findings.iter().for_each(|finding| story.say(finding));
    let verified = findings.iter().all(|finding| finding.holds);
    story.say(format!("purser verify --evidence {}", file.display()));
    Ok((json!({ "file": file, "verified": verified }), verified))
}

async fn verify_journal(story: &mut Story, service: &DevService) -> Result<(Value, bool), DemoError> {
    story.step("The journal, read again from the first record");
    let (mut entries, mut head, mut verified) = (0, String::new(), true);
    for name in [HOME, SHOP, CARRIER] {
        let tenant = service.tenant(name).map_err(|error| DemoError::Part(error.to_string()))?;
        let verification = service.store().verify(&tenant).await.map_err(|error| DemoError::Part(error.to_string()))?;
        story.say(crate::ledger::verification_line(&tenant, &verification));
        match verification {
            Verification::Sound { entries: count, root } if name == HOME => (entries, head) = (count, root.to_string()),
            Verification::Sound { .. } => {}
            Verification::Broken { .. } => verified = false,
        }
    }
    Ok((json!({ "entries": entries, "head": head, "verified": verified }), verified))
}

fn short(id: &str) -> String {
    format!("{}…", id.chars().take(12).collect::<String>())
}
