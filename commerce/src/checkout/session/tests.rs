use std::collections::BTreeMap;

use mandates::party::Merchant;
use serde_json::json;

use super::super::shop::{Off, Product, Rate};
use super::*;

/// Two things that ship, one that does not, one that is gone.
pub(crate) fn shop() -> Shop {
    let product =
        |title: &str, price, stock, ships| Product { title: title.into(), price, stock, ships, image_url: None };
    let rate = |id: &str, service: &str, price, country: Option<&str>| Rate {
        id: id.into(),
        title: id.into(),
        price,
        country: country.map(str::to_owned),
        service: service.into(),
        free_from: (service == "standard").then_some(10_000),
        free_for: Vec::new(),
    };
    Shop {
        merchant: Merchant { id: "shop".into(), name: "Shop".into(), website: None },
        currency: mandates::currency::Currency::new("USD").unwrap(),
        products: BTreeMap::from([
            ("rose".to_owned(), product("Rose", 3_500, Some(10), true)),
            ("pot".to_owned(), product("Pot", 1_500, None, true)),
            ("card".to_owned(), product("Gift card", 1_000, None, false)),
            ("gone".to_owned(), product("Gone", 1_000, Some(0), false)),
        ]),
        rates: vec![
            rate("std", "standard", 500, None),
            rate("exp-us", "express", 1_500, Some("US")),
            rate("exp", "express", 2_500, None),
        ],
        discounts: vec![Discount { code: "TEN".into(), title: "Ten".into(), off: Off::Percent(10) }],
        tax_basis_points: 0,
        session_seconds: 3_600,
        kept_seconds: 30 * 24 * 3_600,
        sessions_max: 100,
        links: Vec::new(),
        url: "http://shop.example".into(),
        cards: None,
    }
}

const NOW: i64 = 1_800_000_000;

fn wanting(items: &[(&str, u64)]) -> Change {
    let wanted = |(at, (product, quantity)): (usize, &(&str, u64))| Wanted {
        product: (*product).to_owned(),
        quantity: *quantity,
        path: format!("$.line_items[{at}]"),
    };
    Change { lines: Some(items.iter().enumerate().map(wanted).collect()), ..Change::default() }
}

fn to(country: &str) -> Change {
    let given = json!({ "id": "d" }).as_object().cloned().unwrap();
    let destination = Destination { id: "d".into(), country: country.into(), given };
    Change { destinations: Some(Some(vec![destination])), destination: Some(Some("d".into())), ..Change::default() }
}

fn open(change: &Change) -> Result<Session, Refusal> {
    Session::open(&shop(), Opening { id: "cs".into(), protocol: Protocol::Acp, now: NOW }, change)
}

fn order() -> Order {
    Order { id: "order".into(), url: "http://shop.example/orders/order".into() }
}

#[test]
fn what_is_not_sold_here_opens_nothing() {
    let euros = Change { currency: Some("EUR".into()), ..wanting(&[("card", 1)]) };
    let many: Vec<(&str, u64)> = vec![("card", 1); LIST_MAX + 1];
    for (change, code, path) in [
        (Change::default(), Code::Missing, "$.line_items"),
        (wanting(&[]), Code::Invalid, "$.line_items"),
        (wanting(&many), Code::Invalid, "$.line_items"),
        (wanting(&[("card", 1), ("wumpus", 1)]), Code::NotFound, "$.line_items[1]"),
        (wanting(&[("Card", 1)]), Code::NotFound, "$.line_items[0]"),
        (euros, Code::Invalid, "$.currency"),
        (wanting(&[("card", u64::MAX)]), Code::TooMuch, "$.line_items"),
        (wanting(&[("card", u64::MAX), ("card", u64::MAX)]), Code::TooMuch, "$.line_items"),
    ] {
        let refused = open(&change).unwrap_err();
        assert_eq!((refused.code, refused.path.as_str()), (code, path), "{}", refused.message);
    }
}

#[test]
fn what_lacks_is_said_inside_and_cannot_be_claimed() {
    for (change, code) in [
        (wanting(&[("gone", 1)]), "out_of_stock"),
        (Change { destination: Some(None), ..wanting(&[("rose", 11)]) }, "quantity_exceeded"),
        (wanting(&[("rose", 1)]), "missing"),
        (Change { option: Some(Some("std".into())), ..wanting(&[("pot", 1)]) }, "missing"),
        (Change { lines: wanting(&[("pot", 1)]).lines, option: Some(Some("nowhere".into())), ..to("US") }, "missing"),
    ] {
        let session = open(&change).unwrap();
        assert_eq!((session.status, session.messages[0].code.as_str()), (Status::Incomplete, code), "{change:?}");
        let refused = session.claimed(NOW, order()).unwrap_err();
        assert_eq!(refused.code, Code::NotReady);
        assert!(refused.message.contains(&session.messages[0].text), "{}", refused.message);
    }
}

#[test]
fn what_is_sent_costs_what_the_way_there_costs() {
    let session = open(&wanting(&[("rose", 1)])).unwrap();
    for (country, options) in [("US", ["std", "exp-us"]), ("us", ["std", "exp-us"]), ("CA", ["std", "exp"])] {
        let session = session.changed(&shop(), NOW, &to(country)).unwrap();
        assert_eq!(session.options.iter().map(|way| way.id.as_str()).collect::<Vec<_>>(), options);
        assert_eq!((session.status, session.totals.total), (Status::Incomplete, 3_500));
        let chosen = Change { option: Some(Some(options[1].into())), ..Change::default() };
        let ready = session.changed(&shop(), NOW, &chosen).unwrap();
        assert_eq!((ready.status, ready.totals.total), (Status::ReadyForPayment, 3_500 + session.options[1].amount));
        let dear = ready.changed(&shop(), NOW, &wanting(&[("rose", 3)])).unwrap();
        assert_eq!((dear.options[0].amount, dear.options[0].title.as_str()), (0, "Free std"));
        let gone = ready.changed(&shop(), NOW, &Change { destinations: Some(None), ..Change::default() }).unwrap();
        assert_eq!((gone.status, gone.totals.total), (Status::Incomplete, 3_500), "no destination, no way");
    }
    let card =
        open(&Change { codes: Some(Some(vec!["TEN".into(), "NONE".into()])), ..wanting(&[("card", 2), ("card", 1)]) })
            .unwrap();
    assert_eq!((card.status, card.lines.len(), card.totals.total), (Status::ReadyForPayment, 1, 2_700));
    assert_eq!(card.applied.len(), 1, "an unknown code takes nothing off");
}

#[test]
fn what_is_finished_or_being_paid_for_is_not_changed() {
    let ready = open(&wanting(&[("card", 1)])).unwrap();
    let claimed = ready.claimed(NOW, order()).unwrap();
    let late = NOW + 3_600;
    let finished = [claimed.paid(NOW).unwrap(), ready.cancelled(NOW).unwrap(), ready.at(late)];
    for session in &finished {
        assert!(session.status.is_final());
        assert_eq!(session.changed(&shop(), NOW, &wanting(&[("card", 2)])).unwrap_err().code, Code::Finished);
        assert_eq!(session.cancelled(NOW).unwrap_err().code, Code::Finished);
        assert_eq!(session.claimed(NOW, order()).unwrap_err().code, Code::Finished);
        assert_eq!(session.paid(NOW).unwrap_err().code, Code::Finished);
        assert_eq!(session.declined(NOW, String::new()).unwrap_err().code, Code::Finished);
    }
    assert_eq!(ready.paid(NOW).unwrap_err().code, Code::Finished, "nobody claimed it");
    assert_eq!(ready.changed(&shop(), late, &wanting(&[("card", 2)])).unwrap_err().code, Code::Finished);
    assert_eq!(ready.claimed(late, order()).unwrap_err().code, Code::Finished);
    for now in [NOW, late] {
        assert_eq!(claimed.at(now).status, Status::CompleteInProgress, "unknown is not failed");
        assert_eq!(claimed.cancelled(now).unwrap_err().code, Code::Finished);
        assert_eq!(claimed.changed(&shop(), now, &wanting(&[("card", 2)])).unwrap_err().code, Code::Finished);
        assert_eq!(claimed.claimed(now, order()).unwrap_err().code, Code::Finished, "twice");
    }
    let declined = claimed.declined(NOW, "too little".into()).unwrap();
    assert_eq!((declined.status, &declined.order), (Status::ReadyForPayment, &None));
    assert!(declined.claimed(NOW, order()).is_ok());
}

#[test]
fn what_is_written_down_is_read_again() {
    let session = open(&wanting(&[("rose", 1)])).unwrap();
    let session = session.changed(&shop(), NOW, &to("US")).unwrap();
    let text = serde_json::to_vec(&session).unwrap();
    assert_eq!(serde_json::from_slice::<Session>(&text).unwrap(), session);
    assert!(serde_json::from_str::<Session>("{\"id\": \"cs\"}").is_err());
}
