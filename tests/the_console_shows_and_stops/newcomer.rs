//! A newcomer: what `purser dev` prints, a browser, and links. No address is typed, and nothing is clicked that a script of ours
//! would have to find.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Output, Stdio};

use crate::approvals_cannot_be_faked::stage::{outcome, quiet, shown};
use crate::harness::browser::Browser;
use crate::harness::process::{purser, run, stdout};

/// `purser dev` as somebody starts it, and what it says to them.
struct Started {
    child: Child,
    said: Vec<String>,
}

impl Started {
    fn new() -> Self {
        let mut command = Command::new(purser());
        let mut child =
            command.arg("dev").stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("purser starts");
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
        let mut said = Vec::new();
        while said.last().is_none_or(|line: &String| !line.starts_with("Then look at")) {
            said.push(lines.next().expect("it says where to go"));
        }
        std::thread::spawn(move || lines.for_each(drop));
        Self { child, said }
    }

    /// What stands behind the colon of the line that begins so.
    fn says(&self, beginning: &str) -> &str {
        let line = self.said.iter().find_map(|line| line.strip_prefix(beginning));
        line.and_then(|rest| rest.strip_prefix(": ")).unwrap_or_else(|| panic!("{beginning}: {:?}", self.said))
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A command as it was printed, with this in the place of that.
fn typed(command: &str, changes: &[(&str, &str)]) -> Output {
    let words = command.strip_prefix("purser ").expect("a command of ours").split(' ');
    let with = |word| changes.iter().find(|(from, _)| *from == word).map_or(word, |(_, to)| *to);
    run(&words.map(with).collect::<Vec<_>>(), &[])
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newcomer_approves_a_purchase_finds_it_in_the_books_and_stops_the_agent() {
    let dev = Started::new();
    let browser = Browser::start().await;
    browser.add_authenticator().await;
    browser.go(dev.says("Answer its agents in a browser")).await;
    browser.click(".answer").await;
    browser.until("form.who").await;
    assert_eq!(browser.text("h1").await, "Waiting for your answer");
    let asked = typed(dev.says("Have an agent ask you for something"), &[]);
    assert!(asked.status.success(), "{asked:?}");
    browser.follow("main a").await;
    shown(&browser, "newcomer-waiting").await;
    browser.follow(".cards a").await;
    assert_eq!(browser.text("h1").await, "shopper asks to spend up to 1.00 USD");
    browser.click("[data-passkey=approve] .answer").await;
    browser.until(&outcome("approved")).await;
    shown(&browser, "newcomer-approved").await;
    let mandate = browser.text(".outcome code").await;
    let pay = dev.says("Have it pay under what you allowed");
    let paid = typed(pay, &[("MANDATE", &mandate)]);
    assert!(paid.status.success() && !stdout(&paid).is_empty(), "{paid:?}");
    // In the books: from the mandate to its payment, and to the entries.
    browser.follow(".outcome a").await;
    browser.until("body.console").await;
    assert!(browser.text("h1").await.starts_with("shopper"));
    shown(&browser, "newcomer-mandate").await;
    browser.follow(".spends td a").await;
    assert!(browser.text("h1").await.ends_with("→ shop"));
    assert!(browser.text("main").await.contains("payable/shop"), "its entries");
    shown(&browser, "newcomer-payment").await;
    browser.follow(".places a[href$='/ledger']").await;
    assert!(browser.text("main").await.contains("Debits and credits agree."));
    shown(&browser, "newcomer-books").await;
    // On a phone the way to a payment is in sight.
    browser.look(390, "light").await;
    browser.follow(".places a[href$='/spends']").await;
    let seen = "const at = document.querySelector('.spends td a').getBoundingClientRect();
        return at.left >= 0 && at.right <= document.documentElement.clientWidth";
    assert_eq!(browser.run(seen, serde_json::json!([])).await, true);
    browser.look(1280, "light").await;
    browser.follow(".places a[href$='/stops']").await;
    browser.follow("a[href='/console/stops/new?scope=agent/shopper']").await;
    browser.follow("button.danger").await;
    browser.until(".stops li").await;
    shown(&browser, "newcomer-stopped").await;
    let refused = typed(pay, &[("MANDATE", &mandate), ("first", "second")]);
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && said.contains("stopped"), "{said}");
    quiet(&browser, "all of it").await;
}
