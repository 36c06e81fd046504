//! What somebody with the database and without the master key can do: nothing that goes unnoticed.

use sqlx::{Connection as _, SqliteConnection};
use store::keys::{KeyState, KeyTable, SealedKey};
use store::{Location, Schema};

use super::ring::draw;
use super::{KeyError, MasterKey, Purpose, Ring, Slot, envelope};

struct Vault {
    folder: tempfile::TempDir,
    master: MasterKey,
}

impl Vault {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap(), master: MasterKey::random().unwrap() }
    }

    fn path(&self) -> Location {
        self.folder.path().join("keys.sqlite").into()
    }

    async fn ring(&self) -> Result<Ring, KeyError> {
        Ring::open(&self.path(), self.master.clone(), Schema::Migrate).await
    }

    /// A vault with a wallet that was rotated once, and a provider.
    async fn furnished() -> (Self, Ring) {
        let vault = Self::new();
        let mut ring = vault.ring().await.unwrap();
        ring.provide(&[wallet(), provider()]).await.unwrap();
        ring.rotate(&wallet(), &draw(&wallet()).unwrap()).await.unwrap();
        (vault, ring)
    }

    async fn rows(&self) -> Vec<SealedKey> {
        let mut table = KeyTable::open(&self.path(), Schema::Refuse).await.unwrap();
        let rows = table.rows().await.unwrap();
        table.close().await.unwrap();
        rows
    }

    /// Past the guards, as somebody with the file and a hex editor.
    async fn damage(&self, sql: &str) {
        let url = format!("sqlite://{}", self.path());
        let mut connection = SqliteConnection::connect(&url).await.unwrap();
        let guards = "SELECT name, sql FROM sqlite_schema WHERE type = 'trigger' AND tbl_name = 'sealed_key'";
        let guards: Vec<(String, String)> = sqlx::query_as(guards).fetch_all(&mut connection).await.unwrap();
        assert_eq!(guards.len(), 2);
        let drops = guards.iter().map(|(name, _)| format!("DROP TRIGGER {name}"));
        let creates = guards.iter().map(|(_, sql)| sql.clone());
        for statement in drops.chain([sql.to_owned()]).chain(creates) {
            let done = sqlx::raw_sql(sqlx::AssertSqlSafe(statement)).execute(&mut connection).await.unwrap();
            assert!(!sql.starts_with("UPDATE") || done.rows_affected() < 2, "{sql} changed more than one row");
        }
        connection.close().await.unwrap();
    }
}

fn wallet() -> Slot {
    Slot::new("main", Purpose::Wallet)
}

fn provider() -> Slot {
    Slot::new("main", Purpose::Provider)
}

fn is_damage(error: &KeyError) -> bool {
    matches!(error, KeyError::Damaged(_) | KeyError::MasterKeyMismatch { .. })
}

#[tokio::test]
async fn what_lies_in_the_database_is_no_key() {
    let (vault, ring) = Vault::furnished().await;
    let mut secrets: Vec<Vec<u8>> = ring.keys().iter().map(|key| key.secret().to_vec()).collect();
    secrets.push(vault.master.bytes().to_vec());
    drop(ring);
    for entry in std::fs::read_dir(vault.folder.path()).unwrap() {
        let bytes = std::fs::read(entry.unwrap().path()).unwrap();
        for secret in &secrets {
            let text = hex::encode(secret);
            assert!(!bytes.windows(32).any(|part| part == secret.as_slice()), "a secret lies open");
            assert!(!bytes.windows(64).any(|part| part == text.as_bytes()), "a secret lies open in hexadecimal");
        }
    }
    let rows = vault.rows().await;
    assert_eq!(rows.len(), 3);
    for (at, row) in rows.iter().enumerate() {
        assert!(rows.iter().skip(at + 1).all(|other| other.secret != row.secret && other.data_key != row.data_key));
    }
}

#[tokio::test]
async fn every_word_of_a_row_is_sealed() {
    for sql in [
        "UPDATE sealed_key SET tenant = 'other' WHERE purpose = 'provider'",
        "UPDATE sealed_key SET purpose = 'relayer' WHERE purpose = 'wallet' AND state = 'active'",
        "UPDATE sealed_key SET purpose = 'receipts' WHERE purpose = 'provider'",
        "UPDATE sealed_key SET purpose = 'miracle' WHERE purpose = 'provider'",
        "UPDATE sealed_key SET kid = 'another' WHERE purpose = 'provider'",
        "UPDATE sealed_key SET created_at = created_at - 1 WHERE purpose = 'provider'",
        "UPDATE sealed_key SET ended_at = ended_at + 1 WHERE state = 'retired'",
        "UPDATE sealed_key SET master = '0011223344556677' WHERE purpose = 'provider'",
        "UPDATE sealed_key SET secret = (SELECT secret FROM sealed_key WHERE state = 'retired') WHERE purpose = 'provider'",
        "UPDATE sealed_key SET data_key = (SELECT data_key FROM sealed_key WHERE state = 'retired') WHERE purpose = 'provider'",
        "UPDATE sealed_key SET data_key = (SELECT secret FROM sealed_key WHERE state = 'retired') WHERE purpose = 'provider'",
        "UPDATE sealed_key SET secret = substr(secret, 1, 20) WHERE purpose = 'provider'",
        "UPDATE sealed_key SET secret = zeroblob(0) WHERE purpose = 'provider'",
        "UPDATE sealed_key SET data_key = zeroblob(60) WHERE purpose = 'provider'",
        // A key that was ended does not come back, whoever says so.
        "UPDATE sealed_key SET state = 'revoked' WHERE state = 'retired'",
        "DELETE FROM sealed_key WHERE purpose = 'wallet' AND state = 'active';
         UPDATE sealed_key SET state = 'active', ended_at = NULL WHERE state = 'retired'",
    ] {
        let (vault, ring) = Vault::furnished().await;
        drop(ring);
        vault.damage(sql).await;
        let error = vault.ring().await.err();
        assert!(error.as_ref().is_some_and(is_damage), "{sql}: {error:?}");
    }
}

#[tokio::test]
async fn every_flipped_bit_is_found() {
    let (vault, ring) = Vault::furnished().await;
    drop(ring);
    let row = vault.rows().await.swap_remove(0);
    for at in 0..row.secret.len() {
        let mut flipped = row.clone();
        flipped.secret[at] ^= 1;
        assert!(envelope::open(&vault.master, &flipped).as_ref().is_err_and(is_damage), "byte {at} of the secret");
        let mut flipped = row.clone();
        flipped.data_key[at] ^= 0x80;
        assert!(envelope::open(&vault.master, &flipped).as_ref().is_err_and(is_damage), "byte {at} of the data key");
    }
    assert!(envelope::open(&vault.master, &row).is_ok());
}

#[tokio::test]
async fn another_master_key_opens_nothing_and_says_both() {
    let (vault, ring) = Vault::furnished().await;
    drop(ring);
    let other = MasterKey::random().unwrap();
    let error = Ring::open(&vault.path(), other.clone(), Schema::Refuse).await.err().unwrap();
    let said = error.to_string();
    assert!(said.starts_with("master_key_mismatch"), "{said}");
    assert!(said.contains(&other.id()) && said.contains(&vault.master.id()), "{said}");
    assert!(!said.contains(&other.to_hex()) && !format!("{other:?}").contains(&other.to_hex()));
    for text in ["", "00", &"g".repeat(64), &"0".repeat(63), &"0".repeat(66)] {
        assert!(matches!(MasterKey::from_hex(text), Err(KeyError::MasterKey(_))), "{text}");
    }
}

#[tokio::test]
async fn rewrap_changes_the_master_key_and_nothing_else() {
    let (vault, ring) = Vault::furnished().await;
    let before: Vec<_> =
        ring.keys().iter().map(|key| (key.sealed.kid.clone(), key.sealed.state, *key.secret())).collect();
    drop(ring);
    let (new, stranger) = (MasterKey::random().unwrap(), MasterKey::random().unwrap());
    let rows = vault.rows().await;
    assert!(Ring::rewrap(&vault.path(), &stranger, &new).await.is_err(), "with the wrong old key");
    assert_eq!(vault.rows().await, rows, "and nothing was changed");
    assert_eq!(Ring::rewrap(&vault.path(), &vault.master, &new).await.unwrap(), 3);
    assert_eq!(Ring::rewrap(&vault.path(), &vault.master, &new).await.unwrap(), 0, "again is as once");
    assert!(vault.ring().await.err().as_ref().is_some_and(is_damage), "the old one opens nothing");
    let ring = Ring::open(&vault.path(), new, Schema::Refuse).await.unwrap();
    let after: Vec<_> =
        ring.keys().iter().map(|key| (key.sealed.kid.clone(), key.sealed.state, *key.secret())).collect();
    assert_eq!(after, before);
    let secrets = |rows: &[SealedKey]| rows.iter().map(|row| row.secret.clone()).collect::<Vec<_>>();
    assert_eq!(secrets(&vault.rows().await), secrets(&rows), "only data keys are sealed again");
}

#[tokio::test]
async fn a_place_has_one_active_key() {
    let (vault, mut ring) = Vault::furnished().await;
    let (old, new) = {
        let retired: Vec<_> = ring.retired(&wallet()).collect();
        assert_eq!(retired.len(), 1);
        (*retired[0].secret(), *ring.active(&wallet()).unwrap().secret())
    };
    assert_ne!(old, new);
    assert!(matches!(ring.add(&wallet(), &draw(&wallet()).unwrap()).await, Err(KeyError::Exists { .. })));
    assert!(matches!(ring.rotate(&wallet(), &new).await, Err(KeyError::Exists { .. })), "itself");
    assert!(matches!(ring.rotate(&wallet(), &old).await, Err(KeyError::Exists { .. })), "a former one");
    let relayer = Slot::new("main", Purpose::Relayer);
    assert!(matches!(ring.rotate(&relayer, &old).await, Err(KeyError::Missing(_))), "nothing is there");
    assert!(matches!(ring.rotate(&relayer, &[0; 32]).await, Err(KeyError::Missing(_) | KeyError::Unmade(_))));
    assert!(matches!(ring.add(&relayer, &[0; 32]).await, Err(KeyError::Unmade(_))), "zero is no key");
    assert!(matches!(ring.add(&relayer, &[0xff; 32]).await, Err(KeyError::Unmade(_))), "beyond the order");
    for purpose in [Purpose::TenantSecret, Purpose::JournalSalt] {
        let slot = Slot::new("main", purpose);
        ring.provide(std::slice::from_ref(&slot)).await.unwrap();
        assert!(matches!(ring.rotate(&slot, &[1; 32]).await, Err(KeyError::NotRotatable(_))));
    }
    assert_eq!(vault.rows().await.iter().filter(|row| row.state == KeyState::Active).count(), 4);
}

#[tokio::test]
async fn a_revoked_key_counts_for_nothing_and_stays_so() {
    let (vault, mut ring) = Vault::furnished().await;
    let active = ring.active(&wallet()).unwrap().sealed.kid.clone();
    let retired = ring.retired(&wallet()).next().unwrap().sealed.kid.clone();
    assert!(matches!(ring.revoke(&wallet(), &active).await, Err(KeyError::NotEnded { .. })));
    assert!(matches!(ring.revoke(&wallet(), "nobody").await, Err(KeyError::Unknown { .. })));
    assert!(matches!(ring.revoke(&provider(), &retired).await, Err(KeyError::Unknown { .. })), "another place's");
    ring.revoke(&wallet(), &retired).await.unwrap();
    ring.revoke(&wallet(), &retired).await.unwrap();
    assert_eq!(ring.retired(&wallet()).count(), 0);
    let mut table = KeyTable::open(&vault.path(), Schema::Refuse).await.unwrap();
    let back = table
        .change(|rows| {
            let row = rows.iter().find(|row| row.kid == retired).unwrap();
            Ok::<_, KeyError>(vec![envelope::reseal(
                &vault.master,
                &vault.master,
                row,
                (KeyState::Retired, row.ended_at),
            )?])
        })
        .await;
    assert!(back.is_err(), "the database itself does not take it back");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn two_that_draw_at_once_have_the_same_keys() {
    let vault = Vault::new();
    drop(vault.ring().await.unwrap());
    let slots = [wallet(), provider(), Slot::tokens()];
    let mut draws = tokio::task::JoinSet::new();
    for _ in 0..6 {
        let (path, master, slots) = (vault.path(), vault.master.clone(), slots.clone());
        draws.spawn(async move {
            let mut ring = Ring::open(&path, master, Schema::Refuse).await.unwrap();
            ring.provide(&slots).await.unwrap();
            slots.iter().map(|slot| *ring.active(slot).unwrap().secret()).collect::<Vec<_>>()
        });
    }
    let drawn = draws.join_all().await;
    assert!(drawn.windows(2).all(|two| two[0] == two[1]));
    assert_eq!(vault.rows().await.len(), 3);
}

/// A journal salted with a lost key would not verify, and purchases would get new nonces: no new key is drawn.
#[tokio::test]
async fn a_book_without_its_keys_is_not_given_others() {
    let vault = Vault::new();
    let mut ring = vault.ring().await.unwrap();
    let salt = Slot::new("main", Purpose::JournalSalt);
    let url = format!("sqlite://{}", vault.path());
    let mut connection = SqliteConnection::connect(&url).await.unwrap();
    sqlx::raw_sql("INSERT INTO head VALUES ('main', 1, x'00', zeroblob(32), 1)")
        .execute(&mut connection)
        .await
        .unwrap();
    connection.close().await.unwrap();
    assert!(matches!(ring.provide(std::slice::from_ref(&salt)).await, Err(KeyError::Lost(slot)) if slot == salt));
    assert!(matches!(
        ring.provide(&[wallet(), Slot::new("main", Purpose::TenantSecret)]).await,
        Err(KeyError::Lost(_))
    ));
    assert!(vault.rows().await.is_empty(), "all or none");
    ring.provide(&[Slot::new("other", Purpose::JournalSalt), wallet()]).await.unwrap();
}

#[test]
fn a_purpose_is_read_as_it_is_written() {
    for text in ["", "walle", "agent", "agent/", "wallet/x", "Wallet", "wallet ", "merchant/", "/x", "provider/"] {
        assert!(text.parse::<Purpose>().is_err(), "{text}");
    }
    for text in ["provider", "receipts", "agent/a/b", "merchant/m", "tokens", "wallet", "relayer", "journal-salt"] {
        assert_eq!(text.parse::<Purpose>().unwrap().to_string(), text);
    }
}

#[test]
fn a_relayer_has_one_name() {
    for text in ["relayer/", "relayer/0", "relayer/1", "relayer/02", "relayer/x", "relayer/2/3", "relayer/4294967296"] {
        assert!(text.parse::<Purpose>().is_err(), "{text}");
    }
    for purpose in [Purpose::Relayer, Purpose::FurtherRelayer(2), Purpose::FurtherRelayer(u32::MAX)] {
        assert_eq!(purpose.to_string().parse(), Ok(purpose));
    }
}
