//! Promise 6: after a stop returned, nothing new is reserved and nothing new is signed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use reqwest::Method;

use crate::harness::shop::{Shop, intent};

/// 32 clients pay while the mandate is revoked. What the book held when the call returned is all that it ever holds.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_reserved_after_a_revocation_returned() {
    for round in 0..5 {
        let shop = Arc::new(Shop::open().await);
        let mut request = intent();
        request["payments"] = 100_000.into();
        request["total"] = "4000.00".into();
        let mandate = shop.mandate(request).await;
        let stopped = Arc::new(AtomicBool::new(false));
        let mut clients = Vec::new();
        for client in 0..32 {
            let (shop, mandate, stopped) = (shop.clone(), mandate.clone(), stopped.clone());
            clients.push(tokio::spawn(async move {
                let (mut paid, mut late) = (0_u32, 0_u32);
                for number in 0..200 {
                    let was_stopped = stopped.load(Ordering::SeqCst);
                    let offer = shop.offer(&format!("/r{round}/c{client}/n{number}"), 10_000);
                    match shop.pay(&mandate, &offer, &format!("r{round}-c{client}-n{number}")).await {
                        Ok(_) if was_stopped => late += 1,
                        Ok(_) => paid += 1,
                        Err(error) => {
                            assert_eq!(error.code(), Some("mandate_revoked"), "{error}");
                            break;
                        }
                    }
                }
                (paid, late)
            }));
        }
        tokio::time::sleep(std::time::Duration::from_millis(150)).await;
        let path = format!("/v1/mandates/{mandate}/revoke");
        shop.call(Method::POST, &path, &shop.user, None).await.expect("revoked");
        let at_return = shop.figures(&mandate).await["payments"]["used"].as_u64().unwrap();
        stopped.store(true, Ordering::SeqCst);
        let (mut paid, mut late) = (0, 0);
        for client in clients {
            let (ours, theirs) = client.await.unwrap();
            paid += u64::from(ours);
            late += u64::from(theirs);
        }
        assert_eq!(late, 0, "a payment began after the stop had returned");
        assert!(paid > 0, "there was something to stop");
        let after = shop.figures(&mandate).await["payments"]["used"].as_u64().unwrap();
        // What was held and not yet signed is given back, so the figure may fall; it never rises.
        assert!(after <= at_return, "round {round}: {at_return} when the call returned, {after} later");
        assert_eq!(after, paid, "round {round}: what was answered is what is held");
    }
}
