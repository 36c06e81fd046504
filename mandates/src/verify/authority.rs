//! Checks 19 to 28: does what the chain says authorise this very action?

use super::credential::{Credential, Link, SignedBy};
use super::report::{CheckOutcome, Report};
use super::{
    Closed, ClosedFacts, Context, Expected, ExpectedFamily, Facts, Nonces, Obligation, OpenFacts, Purchase, Revoked,
};
use crate::cart::{self, Cart};
use crate::constraint::{Case, Constraint, Duty, Finding, Written};
use crate::json::{Json, Members};
use crate::mandate::{Family, Mandate, Open, Vct};
use crate::payment::ClosedPayment;
use crate::rejection::{Code, Rejection, shown, shown_value};
use crate::sd_jwt::Withheld;
use crate::trust;

pub(super) fn judge(credential: Credential, context: &Context<'_>, report: &mut Report) -> Result<Facts, Rejection> {
    let Credential { links, presentation, signer, signed_by, standings } = credential;
    let family = report.record("mandate_types", None, check_types(&links, context))?;
    report.family = Some(family);
    report.record("root_scope", None, check_root(&links, &signed_by))?;
    let mandates = report.record("mandate_schema", None, parse(&links))?;
    report.record("constraints_disclosed", None, links.iter().try_for_each(check_disclosed))?;
    let Parsed { open, closed } = mandates;
    let mut obligations = Vec::new();
    let Some((link, closed)) = closed else {
        understand(&open, family, report)?;
        for name in ["preset_claims", "purchase_binding", "merchant_signature", "cart_times", "nonce_unused"] {
            report.note(name, None, CheckOutcome::NotAsked, "an open mandate on its own pays nothing".to_owned());
        }
        check_revoked(&links, context, report)?;
        return Ok(Facts { family, open, closed: None, obligations, expires_at_seconds: earliest(&links), standings });
    };
    report.record("preset_claims", None, check_presets(&open, link.claims()))?;
    hold_constraints(&open, &closed, context, report, &mut obligations)?;
    let paid_for = bind_purchase(link, &closed, context, report)?;
    use_nonce(&links, presentation.as_ref(), context, report, &mut obligations)?;
    check_revoked(&links, context, report)?;
    use_mandates(&open, link, context, report, &mut obligations)?;
    agree(&closed, paid_for.as_ref(), report)?;
    let cart = match &closed {
        Closed::Checkout { cart, .. } => Some(cart.clone()),
        Closed::Payment(_) => paid_for,
    };
    let facts = ClosedFacts { identity: link.identity, mandate: closed, cart, presentation, signer };
    Ok(Facts { family, open, closed: Some(facts), obligations, expires_at_seconds: earliest(&links), standings })
}

/// Check 19: One family, all open but the last, the last closed.
fn check_types(links: &[Link], context: &Context<'_>) -> Result<Family, Rejection> {
    let types = links.iter().map(|link| Vct::of(link.claims())).collect::<Result<Vec<_>, _>>()?;
    let Some((last, before)) = types.split_last() else {
        return Err(Rejection::new(Code::LeafNotClosed, "a chain ends with a closed mandate; this one has no mandate"));
    };
    let family = last.family();
    if let Some(other) = before.iter().find(|vct| vct.family() != family) {
        return Err(
            Rejection::new(Code::FamilyMixed, format!("a chain is of one family; {other} and {last} came")).at("vct")
        );
    }
    if let Some(closed) = before.iter().find(|vct| !vct.is_open()) {
        return Err(Rejection::new(
            Code::NonleafNotOpen,
            format!("only the last mandate is closed; {closed} came before it"),
        )
        .at("vct"));
    }
    let is_looked_at_alone = context.expected == Expected::OnItsOwn;
    if last.is_open() && !is_looked_at_alone {
        return Err(Rejection::new(Code::LeafNotClosed, format!("the last mandate is closed; {last} came")).at("vct"));
    }
    match context.family {
        ExpectedFamily::Exactly(wanted) if wanted != family => {
            let message = format!("a {} mandate was asked for; {last} came", wanted.as_str());
            Err(Rejection::new(Code::FamilyUnexpected, message).at("vct"))
        }
        _ => Ok(family),
    }
}

/// Whoever signed the root is trusted for the outermost mandate. Beyond AP2, which leaves trust lists open.
fn check_root(links: &[Link], signed_by: &SignedBy) -> Result<(), Rejection> {
    let outermost = links.first().map(|link| Vct::of(link.claims())).transpose()?;
    outermost.map_or(Ok(()), |outermost| trust::check_scope(&signed_by.scopes, signed_by.issuer.as_deref(), outermost))
}

struct Parsed<'a> {
    open: Vec<OpenFacts>,
    closed: Option<(&'a Link, Closed)>,
}

/// Check 20: The schema of each mandate, and of the cart that a checkout mandate carries.
fn parse(links: &[Link]) -> Result<Parsed<'_>, Rejection> {
    let mut parsed = Parsed { open: Vec::new(), closed: None };
    for link in links {
        match Mandate::parse_for(link.claims(), link.holder.as_ref())? {
            Mandate::Open(mandate) => {
                parsed.open.push(OpenFacts { identity: link.identity, segment: link.segment, mandate });
            }
            Mandate::Payment(payment) => parsed.closed = Some((link, Closed::Payment(payment))),
            Mandate::Checkout(mandate) => {
                let cart = Cart::parse(&mandate.checkout_jwt)?;
                parsed.closed = Some((link, Closed::Checkout { mandate, cart }));
            }
        }
    }
    Ok(parsed)
}

/// Check 21: Everything inside `constraints` is shown, save entries of the lists that AP2 lets a holder thin out. A withheld
/// constraint or member could be the one that forbids this (and a decoy there cannot be told from one).
fn check_disclosed(link: &Link) -> Result<(), Rejection> {
    const THINNED: [&str; 2] = ["allowed", "acceptable_items"];
    for withheld in &link.resolved.withheld {
        let (Withheld::Element(path) | Withheld::Member(path)) = withheld;
        let is_inside = path.get(2).is_some_and(|step| step == "constraints");
        let is_thinned = matches!(withheld, Withheld::Element(_))
            && path.last().is_some_and(|step| THINNED.contains(&step.as_str()))
            && path.len() > 3;
        if is_inside && !is_thinned {
            let place = path.get(2..).unwrap_or_default().join(".");
            let message = format!("constraints are shown whole; something at {} is withheld", shown(&place));
            return Err(Rejection::new(Code::ConstraintWithheld, message).at("constraints"));
        }
    }
    Ok(())
}

/// Check 22: Every preset claim of every open mandate stands unchanged in the closed one.
fn check_presets(open: &[OpenFacts], closed: Members<'_>) -> Result<(), Rejection> {
    for facts in open {
        for (name, preset) in &facts.mandate.presets {
            let came = closed.get(name);
            if came.is_none_or(|came| came != *preset) {
                let came = came.map_or_else(|| "nothing".to_owned(), shown_value);
                let message = format!("{} is preset to {}; {came} came", shown(name), shown_value(preset));
                return Err(Rejection::new(Code::PresetClaimChanged, message).at(name.clone()));
            }
        }
    }
    Ok(())
}

/// Check 23 for an open mandate on its own: nothing to evaluate against, but nothing may be unknown either.
fn understand(open: &[OpenFacts], family: Family, report: &mut Report) -> Result<(), Rejection> {
    for facts in open {
        for written in &facts.mandate.constraints {
            match written.understood(family) {
                Ok(_) => {
                    let detail = "understood; there is no action to hold to it".to_owned();
                    report.note_constraint(facts.segment, written.name(), CheckOutcome::NotAsked, detail);
                }
                Err(refused) => return Err(fail(facts.segment, written, refused, report)),
            }
        }
    }
    Ok(())
}

/// Check 23: Every constraint of every open mandate.
fn hold_constraints(
    open: &[OpenFacts],
    closed: &Closed,
    context: &Context<'_>,
    report: &mut Report,
    obligations: &mut Vec<Obligation>,
) -> Result<(), Rejection> {
    for facts in open {
        let siblings = facts.mandate.constraints.as_slice();
        let (action, used) = (closed.action(), context.usage.of(facts.identity));
        let case = Case { action, siblings, used, open_checkout: &context.open_checkout, clock: context.clock };
        for written in siblings {
            match written.understood(action.family()).and_then(|constraint| constraint.evaluate(&case)) {
                Ok(Finding::Holds(detail)) => {
                    report.note_constraint(facts.segment, written.name(), CheckOutcome::Passed, detail);
                }
                Ok(Finding::LeftToState(duty, detail)) => {
                    obligations.push(Obligation { mandate: facts.identity, duty });
                    report.note_constraint(facts.segment, written.name(), CheckOutcome::LeftToState, detail);
                }
                Err(refused) => return Err(fail(facts.segment, written, refused, report)),
            }
        }
    }
    Ok(())
}

fn fail(segment: usize, written: &Written, refused: Rejection, report: &mut Report) -> Rejection {
    report.note_constraint(segment, written.name(), CheckOutcome::Failed, refused.message.clone());
    refused
}

/// Check 24: The mandate is about the checkout being paid, which its merchant signed and which is still good. Returns the cart
/// that a payment is held to in check 28.
fn bind_purchase(
    link: &Link,
    closed: &Closed,
    context: &Context<'_>,
    report: &mut Report,
) -> Result<Option<Cart>, Rejection> {
    match check_hashes(link, closed, &context.purchase) {
        // A hash that agrees with its own checkout binds nothing.
        Ok(()) if matches!(context.purchase, Purchase::OnItsOwn) => {
            report.note("purchase_binding", None, CheckOutcome::NotAsked, "what is bought was not asked".to_owned());
        }
        result => report.record("purchase_binding", None, result)?,
    }
    let (jwt, keys) = match (closed, &context.purchase) {
        (
            Closed::Checkout { mandate, .. },
            Purchase::Cart { merchant_keys, .. } | Purchase::CheckoutHash { merchant_keys, .. },
        ) => (mandate.checkout_jwt.as_str(), *merchant_keys),
        (Closed::Payment(_), Purchase::Cart { checkout_jwt, merchant_keys }) => (*checkout_jwt, *merchant_keys),
        (Closed::Checkout { .. }, Purchase::TransactionId(_)) => {
            let message = "a checkout is verified with its merchant's keys; none came";
            return report.record("merchant_signature", None, Err(Rejection::new(Code::MerchantKeyUnknown, message)));
        }
        (Closed::Checkout { .. }, Purchase::OnItsOwn) | (Closed::Payment(_), _) => {
            for name in ["merchant_signature", "cart_times"] {
                report.note(name, None, CheckOutcome::NotAsked, "no signed cart came beside the mandate".to_owned());
            }
            return Ok(None);
        }
    };
    report.record("merchant_signature", None, cart::check_signature(jwt, keys))?;
    let cart = Cart::parse(jwt).and_then(|cart| cart.check_times(&context.clock).map(|()| cart));
    report.record("cart_times", None, cart).map(Some)
}

fn check_hashes(link: &Link, closed: &Closed, purchase: &Purchase<'_>) -> Result<(), Rejection> {
    let expected = match purchase {
        Purchase::Cart { checkout_jwt, .. } => Some(cart::hash(checkout_jwt, link.resolved.algorithm)),
        Purchase::CheckoutHash { hash, .. } | Purchase::TransactionId(hash) => Some((*hash).to_owned()),
        Purchase::OnItsOwn => None,
    };
    match closed {
        Closed::Payment(payment) => match expected {
            Some(expected) if expected != payment.transaction_id => {
                let message =
                    format!("transaction_id is {}; {} came", shown(&expected), shown(&payment.transaction_id));
                Err(Rejection::new(Code::TransactionIdMismatch, message).at("transaction_id"))
            }
            _ => Ok(()),
        },
        Closed::Checkout { mandate, .. } => {
            let actual = cart::hash(&mandate.checkout_jwt, link.resolved.algorithm);
            if actual != mandate.checkout_hash {
                let message = format!("checkout_hash is {actual}; {} came", shown(&mandate.checkout_hash));
                return Err(Rejection::new(Code::CheckoutHashMismatch, message).at("checkout_hash"));
            }
            match expected {
                Some(expected) if expected != actual => {
                    let message = format!("the checkout is {}; {actual} came", shown(&expected));
                    Err(Rejection::new(Code::CheckoutNotExpected, message).at("checkout_hash"))
                }
                _ => Ok(()),
            }
        }
    }
}

/// Check 25: The leaf's nonce, kept under the identity of the outermost mandate.
fn use_nonce(
    links: &[Link],
    presentation: Option<&super::Presentation>,
    context: &Context<'_>,
    report: &mut Report,
    obligations: &mut Vec<Obligation>,
) -> Result<(), Rejection> {
    let (Some(presentation), Some(outermost)) = (presentation, links.first()) else {
        report.note("nonce_unused", None, CheckOutcome::NotAsked, "the token carries no nonce".to_owned());
        return Ok(());
    };
    match context.nonces {
        Nonces::Consumed(consumed) if consumed.contains(&presentation.nonce) => {
            let message = format!("a nonce is used once; {} was used before", shown(&presentation.nonce));
            report.record("nonce_unused", None, Err(Rejection::new(Code::Replayed, message).at("nonce")))
        }
        Nonces::Consumed(_) => report.record("nonce_unused", None, Ok(())),
        Nonces::LeftToState => {
            let (audience, nonce) = (presentation.audience.clone(), presentation.nonce.clone());
            obligations.push(Obligation { mandate: outermost.identity, duty: Duty::Nonce { audience, nonce } });
            report.note("nonce_unused", None, CheckOutcome::LeftToState, String::new());
            Ok(())
        }
    }
}

/// Check 26: No mandate of the chain is revoked.
fn check_revoked(links: &[Link], context: &Context<'_>, report: &mut Report) -> Result<(), Rejection> {
    let Revoked::Among(revoked) = context.revoked else {
        report.note("not_revoked", None, CheckOutcome::LeftToState, String::new());
        return Ok(());
    };
    let found = links.iter().find(|link| revoked.contains(&link.identity));
    let result = found.map_or(Ok(()), |link| {
        let message = format!("no mandate of the chain is revoked; {} is", link.identity);
        Err(Rejection::new(Code::Revoked, message))
    });
    report.record("not_revoked", None, result)
}

/// Check 27: Without a recurrence an open mandate carries one live closed one; a direct closed mandate is used once.
fn use_mandates(
    open: &[OpenFacts],
    closed: &Link,
    context: &Context<'_>,
    report: &mut Report,
    obligations: &mut Vec<Obligation>,
) -> Result<(), Rejection> {
    let single: Vec<_> = if open.is_empty() {
        vec![closed.identity]
    } else {
        open.iter().filter(|facts| !recurs(&facts.mandate)).map(|facts| facts.identity).collect()
    };
    let mut left = 0_usize;
    for mandate in single {
        match context.usage.of(mandate) {
            Some(used) if used.uses > 0 => {
                let message = format!("mandate {mandate} carries one payment; {} came before", used.uses);
                return report.record("usage", None, Err(Rejection::new(Code::MandateAlreadyUsed, message)));
            }
            Some(_) => {}
            None => {
                left = left.saturating_add(1);
                obligations.push(Obligation { mandate, duty: Duty::SingleUse });
            }
        }
    }
    let outcome = if left == 0 { CheckOutcome::Passed } else { CheckOutcome::LeftToState };
    report.note("usage", None, outcome, String::new());
    Ok(())
}

fn recurs(open: &Open) -> bool {
    open.constraints.iter().filter_map(Written::known).any(|known| matches!(known, Constraint::AgentRecurrence(_)))
}

/// Check 28: Ours, AP2 has no such rule: the payment is the cart's total, in its currency, to its merchant.
fn agree(closed: &Closed, cart: Option<&Cart>, report: &mut Report) -> Result<(), Rejection> {
    match (closed, cart) {
        (Closed::Payment(payment), Some(cart)) => report.record("cart_agreement", None, check_agreement(payment, cart)),
        _ => {
            report.note("cart_agreement", None, CheckOutcome::NotAsked, "no payment and cart to compare".to_owned());
            Ok(())
        }
    }
}

fn check_agreement(payment: &ClosedPayment, cart: &Cart) -> Result<(), Rejection> {
    let paid = &payment.payment_amount;
    if paid.currency != cart.currency {
        let message = format!("the cart is in {}; the payment is in {}", cart.currency, paid.currency);
        return Err(Rejection::new(Code::PaymentNotCheckoutCurrency, message).at("payment_amount.currency"));
    }
    if paid.amount != cart.total {
        let message = format!("the cart's total is {} {}; the payment is {}", cart.total, cart.currency, paid.amount);
        return Err(Rejection::new(Code::PaymentNotCheckoutTotal, message).at("payment_amount.amount"));
    }
    match &cart.merchant {
        Some(merchant) if merchant.is(&payment.payee) => Ok(()),
        Some(merchant) => {
            let message = format!("the cart is {merchant}'s; the payment goes to {}", payment.payee);
            Err(Rejection::new(Code::PaymentNotCheckoutMerchant, message).at("payee"))
        }
        None => {
            let message = format!("the cart names {} as its merchant; it names none", payment.payee);
            Err(Rejection::new(Code::MerchantMissing, message).at("checkout_jwt.merchant"))
        }
    }
}

/// The first second at which some mandate of the chain is no longer good.
fn earliest(links: &[Link]) -> Option<i64> {
    let expiries = links.iter().filter_map(|link| match link.claims().get("exp") {
        Some(Json::Number(_)) => crate::mandate::seconds(link.claims(), "exp").ok().flatten(),
        _ => None,
    });
    expiries.min()
}
