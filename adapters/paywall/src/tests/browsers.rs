//! People and scripts of other origins.

use http::Method;
use x402::wire::PAYMENT_REQUIRED;

use super::drawer::{assets, older_price};
use super::*;

const BROWSER: &str = "Mozilla/5.0 (X11; Linux x86_64)";

fn asked(accept: &str, agent: &str) -> Request<Body> {
    Request::get("/goods?q=%22%3E%3Cscript%3E")
        .header("accept", accept)
        .header("user-agent", agent)
        .body(Body::empty())
        .unwrap()
}

fn shop() -> Shop {
    let mut price = older_price(Repeat::Never).with_assets(assets());
    price.resource.description = Some("<script>alert(1)</script> & \"more\"".into());
    Shop::with(Goods::Text, Drawer::with(Fate::Settles), price)
}

#[tokio::test]
async fn whoever_is_no_browser_gets_no_page() {
    let shop = shop();
    for (accept, agent) in [
        ("application/json", BROWSER),
        ("*/*", BROWSER),
        ("text/html", "curl/8"),
        ("text/html", ""),
        ("", BROWSER),
        ("text/html;q=0", BROWSER),
        ("application/json, text/html;q=0.1", BROWSER),
        ("text/html;q=0.8, application/json;q=0.9", BROWSER),
    ] {
        let answer = shop.send(asked(accept, agent)).await;
        assert_eq!(
            (answer.status.as_u16(), &answer.headers["content-type"]),
            (402, &"application/json".parse().unwrap())
        );
        assert_eq!(answer.json()["x402Version"], 1, "{accept} {agent}");
    }
}

#[tokio::test]
async fn the_page_says_the_terms_and_runs_nothing() {
    let shop = shop();
    let page = shop.send(asked("text/html,application/xhtml+xml;q=0.9", BROWSER)).await;
    assert_eq!(
        (page.status.as_u16(), &page.headers["content-type"]),
        (402, &"text/html; charset=utf-8".parse().unwrap())
    );
    let policy = page.headers["content-security-policy"].to_str().unwrap();
    assert!(policy.starts_with("default-src 'none'; style-src 'sha256-") && !policy.contains("unsafe"), "{policy}");
    assert!(page.headers.contains_key(PAYMENT_REQUIRED), "a client that says it is a browser pays all the same");
    for forbidden in ["<script", "src=", "http-equiv", "@import", "url(", "onload", "<form", "<a "] {
        assert!(!page.body.contains(forbidden), "{forbidden} in {}", page.body);
    }
    let terms = offer();
    for said in [
        "0.01 USD Coin",
        terms.asset.as_str(),
        terms.pay_to.as_str(),
        "hardhat (eip155:31337)",
        "60 seconds",
        "&lt;script&gt;alert(1)&lt;/script&gt; &amp; &quot;more&quot;",
        "purser pay https://shop.example/goods?q=%22%3E%3Cscript%3E --mandate",
        "a payment in PAYMENT-SIGNATURE is required, or of version 1 in X-PAYMENT",
    ] {
        assert!(page.body.contains(said), "{said} is not in {}", page.body);
    }
    use base64::Engine;
    use sha2::Digest;
    let (_, style) = page.body.split_once("<style>").unwrap();
    let (style, _) = style.split_once("</style>").unwrap();
    let digest = base64::engine::general_purpose::STANDARD.encode(sha2::Sha256::digest(style.as_bytes()));
    assert!(policy.contains(&digest), "the policy allows the style sheet that is there");
    assert_eq!((shop.runs(), shop.drawer.won()), (0, 0));
}

#[tokio::test]
async fn a_browser_that_wants_a_page_as_much_as_data_gets_the_page() {
    let shop = shop();
    for accept in ["TEXT/HTML", "application/json;q=0.5,text/html;q=0.5", "application/json;q=0.1, text/html;q=0.2"] {
        let page = shop.send(asked(accept, BROWSER)).await;
        assert_eq!(page.headers["content-type"], "text/html; charset=utf-8", "{accept}");
    }
}

#[tokio::test]
async fn a_price_whose_scale_is_not_known_is_not_guessed() {
    let shop = Shop::with(Goods::Text, Drawer::with(Fate::Settles), price(Repeat::Never));
    let page = shop.send(asked("text/html", BROWSER)).await;
    assert!(
        page.body.contains("10000 atomic units of USD Coin") && page.body.contains("EVM chain 31337"),
        "{}",
        page.body
    );
    assert!(!page.body.contains("version 2 or 1"));
}

#[tokio::test]
async fn a_preflight_is_free_and_nothing_else_is() {
    let shop = shop();
    let request = |method: Method, headers: &[(&str, &str)]| {
        let mut request = Request::builder().method(method).uri("/goods");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(Body::empty()).unwrap()
    };
    let (origin, method) = (("origin", "https://page.example"), ("access-control-request-method", "GET"));
    for asked in [
        request(Method::OPTIONS, &[]),
        request(Method::OPTIONS, &[origin]),
        request(Method::OPTIONS, &[method]),
        request(Method::GET, &[origin, method]),
        request(Method::POST, &[origin, method]),
    ] {
        let answer = shop.send(asked).await;
        answer.assert_withheld();
        assert_eq!(answer.status.as_u16(), 402);
    }
    let answer =
        shop.send(request(Method::OPTIONS, &[origin, method, ("access-control-request-headers", "x-payment")])).await;
    assert_eq!((answer.status.as_u16(), answer.body.as_str()), (204, ""));
    let allowed = answer.headers["access-control-allow-headers"].to_str().unwrap();
    for name in ["PAYMENT-SIGNATURE", "X-PAYMENT", "Access-Control-Expose-Headers"] {
        assert!(allowed.split(", ").any(|one| one == name), "{name} in {allowed}");
    }
    assert_eq!(answer.headers["access-control-allow-methods"], "GET");
    assert!(!answer.headers.contains_key("access-control-allow-credentials"));
    assert_eq!((shop.runs(), shop.drawer.won()), (0, 0));
}
