//! Test cards: each number does one thing. Every other number that can be a card's is good.

use serde_json::{Value, json};

/// What the simulator does with a card.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Behaviour {
    Good,
    Declined(&'static str),
    /// The first attempt for a payment is declined, the next is good.
    DeclinedFirst,
    /// Done, and the first answer is lost.
    LostAnswer,
    /// The first question is lost: nothing was done.
    LostQuestion,
    /// Done, and never answered; a notice comes, late and twice.
    NoticeOnly,
    /// Done, and never told but in the settlement file.
    FileOnly,
    /// Declined, and never told but in the settlement file.
    FileOnlyDeclined,
    /// Done, and answered two seconds later.
    Slow,
}

const CARDS: [(&str, &str, Behaviour); 10] = [
    ("declined", "4000000000000002", Behaviour::Declined("card_declined")),
    ("insufficient_funds", "4000000000009995", Behaviour::Declined("insufficient_funds")),
    ("expired_card", "4000000000000069", Behaviour::Declined("expired_card")),
    ("declined_first", "4000000000000259", Behaviour::DeclinedFirst),
    ("lost_answer", "4000000000005126", Behaviour::LostAnswer),
    ("lost_question", "4000000000000077", Behaviour::LostQuestion),
    ("notice_only", "4000000000003220", Behaviour::NoticeOnly),
    ("file_only", "4000000000003063", Behaviour::FileOnly),
    ("file_only_declined", "4000000000000341", Behaviour::FileOnlyDeclined),
    ("slow", "4000000000000101", Behaviour::Slow),
];

pub fn behaviour(number: &str) -> Behaviour {
    CARDS.iter().find(|(_, known, _)| *known == number).map_or(Behaviour::Good, |(.., behaviour)| *behaviour)
}

/// The numbers by name.
pub fn cards() -> Value {
    let named = CARDS.iter().map(|(name, number, _)| ((*name).to_owned(), json!(number)));
    let good = [("good".to_owned(), json!("4242424242424242"))];
    Value::Object(good.into_iter().chain(named).collect())
}
