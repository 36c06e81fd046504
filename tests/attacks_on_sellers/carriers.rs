//! Several facilitators in order: one carries a payment, and no other is asked for it while nobody knows what became of it.

use super::*;

const PATH: &str = "/carried/first";

fn counts(carriers: &[Carrier; 2]) -> [u64; 2] {
    [0, 1].map(|place| carriers[place].asked.load(Ordering::SeqCst))
}

fn silence(carrier: &Carrier, settles: bool, speaks: bool) {
    carrier.silent.store(!settles, Ordering::SeqCst);
    carrier.deaf.store(!speaks, Ordering::SeqCst);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payment_is_carried_by_one_of_several() {
    let mut world = World::start_with(60).await;
    let carriers = [Carrier::start(&world).await, Carrier::start(&world).await];
    let [first, second] = &carriers;
    let tenant = world.config.tenants.iter_mut().find_map(|tenant| tenant.sell.as_mut()).expect("who sells");
    tenant.facilitators = vec![second.url.clone()];
    sell(&mut world, vec![route(PATH, json!({ "settle_first_above": "1" }))], Some(&first.url));
    let buyer = Buyer::new(&world, 95, 100 * PRICE).await;
    let pay = async |world: &World| buyer.sign(world, PATH, 600).await;

    let payment = pay(&world).await;
    assert!(present(&world, PATH, &payment).await.is_served());
    assert_eq!(counts(&carriers), [1, 0], "the first one carries");
    // What the first one refuses is refused: nobody else is asked whether they see it otherwise.
    first.refuses.store(true, Ordering::SeqCst);
    let payment = pay(&world).await;
    assert_eq!(present(&world, PATH, &payment).await.status, 402);
    first.refuses.store(false, Ordering::SeqCst);
    assert_eq!(counts(&carriers), [2, 0]);
    // Nothing is known of this one: it stays the first one's, however often it is presented, also after a restart.
    silence(first, false, false);
    let unknown = pay(&world).await;
    for round in 0..3 {
        let got = present(&world, PATH, &unknown).await;
        assert!(!got.is_served() && [502, 503].contains(&got.status), "{} {}", got.status, got.body);
        assert_eq!(counts(&carriers), [3 + round, 0], "{}", got.body);
    }
    let payment = pay(&world).await;
    assert!(present(&world, PATH, &payment).await.is_served(), "the next one goes to whoever speaks");
    assert_eq!(counts(&carriers), [5, 1]);
    world.restart();
    let got = present(&world, PATH, &unknown).await;
    assert!(!got.is_served() && counts(&carriers) == [6, 1], "{} {}", got.status, got.body);
    // With nobody to carry it nothing is begun, and the same payment is good afterwards.
    silence(second, true, false);
    world.restart();
    let payment = pay(&world).await;
    let (asked, got) = (counts(&carriers), present(&world, PATH, &payment).await);
    assert_eq!((got.status, text(&got.body, "code")), (503, "till_unavailable"), "{}", got.body);
    assert_eq!(counts(&carriers), asked, "nobody was asked to carry it");
    // The first one is back: it is asked again, and what it had in hand is paid, once.
    silence(first, true, true);
    let before = paid(&world).await;
    assert!(until_paid(&world, PATH, &unknown).await.is_served());
    assert!(until_paid(&world, PATH, &payment).await.is_served());
    assert_eq!((paid(&world).await, counts(&carriers)[1]), (before + 2, asked[1]));
    verify_books(&world);
}
