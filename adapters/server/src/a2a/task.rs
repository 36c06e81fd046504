//! What a task is called, and what is said of it.
//!
//! A name is all that an unpaid task is: version, time, randomness, skill and context, sealed for whoever began it. It is
//! read back by every replica and after every restart, and cannot be made up.

use ledger::id::{Digest, IdempotencyKey};
use mandates::base64url;
use mandates::json::Object;
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::call::{CONTEXT_BYTES_MAX, Dialect};

/// How long a task waits for its payment.
pub(super) const UNPAID_SECONDS: i64 = 3_600;

const FORM: u8 = 1;
const NONCE_BYTES: usize = 16;
const SEAL_BYTES: usize = 16;
const SKILL_BYTES_MAX: usize = 128;

/// A task, as its id says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Task {
    pub id: String,
    pub context: String,
    pub skill: String,
    pub begun_seconds: i64,
}

/// An id whose seal was not looked at yet.
pub(super) struct Unsealed {
    task: Task,
    said: Vec<u8>,
    seal: Vec<u8>,
}

/// `owner` is who began it, where they said who they are; it is in the seal and not in the id.
fn sealed(said: &[u8], owner: &str, seal: impl Fn(&[u8]) -> Option<Digest>) -> Option<Vec<u8>> {
    let mut all = said.to_vec();
    all.extend_from_slice(owner.as_bytes());
    seal(&all)?.0.get(..SEAL_BYTES).map(<[u8]>::to_vec)
}

impl Task {
    pub fn begin(
        skill: &str,
        context: Option<String>,
        begun_seconds: i64,
        random: [u8; 32],
        owner: &str,
        seal: impl Fn(&[u8]) -> Option<Digest>,
    ) -> Option<Self> {
        let (nonce, rest) = random.split_at(NONCE_BYTES);
        let context = context.unwrap_or_else(|| hex(rest));
        if context.len() > CONTEXT_BYTES_MAX || skill.len() > SKILL_BYTES_MAX {
            return None;
        }
        let mut said = vec![FORM];
        said.extend_from_slice(&begun_seconds.to_be_bytes());
        said.extend_from_slice(nonce);
        for text in [skill, &context] {
            said.push(u8::try_from(text.len()).ok()?);
            said.extend_from_slice(text.as_bytes());
        }
        let seal = sealed(&said, owner, seal)?;
        said.extend_from_slice(&seal);
        Some(Self { id: base64url::encode(&said), context, skill: skill.to_owned(), begun_seconds })
    }

    /// The order that a payment of it is claimed for. It hides the id, which whoever reads the books shall not have.
    pub fn order(&self) -> Option<IdempotencyKey> {
        Digest::of_parts("purser/a2a-task/1", &[self.id.as_bytes()]).to_string().parse().ok()
    }

    pub const fn unpaid_until(&self) -> i64 {
        self.begun_seconds.saturating_add(UNPAID_SECONDS)
    }
}

impl Unsealed {
    pub fn read(id: &str) -> Option<Self> {
        let bytes = base64url::decode(id)?;
        let (said, seal) = bytes.split_at_checked(bytes.len().checked_sub(SEAL_BYTES)?)?;
        let (form, rest) = said.split_first()?;
        let (begun, rest) = rest.split_first_chunk::<8>()?;
        let (_, rest) = rest.split_at_checked(NONCE_BYTES)?;
        let (skill, rest) = counted(rest)?;
        let (context, rest) = counted(rest)?;
        let begun_seconds = i64::from_be_bytes(*begun);
        if *form != FORM || !rest.is_empty() {
            return None;
        }
        let task = Task { id: id.to_owned(), context, skill, begun_seconds };
        Some(Self { task, said: said.to_vec(), seal: seal.to_vec() })
    }

    pub fn skill(&self) -> &str {
        &self.task.skill
    }

    /// The task, where this seller began it for this owner.
    pub fn open(self, owner: &str, seal: impl Fn(&[u8]) -> Option<Digest>) -> Option<Task> {
        // Digests are compared: how far two seals agree takes no time that could be measured.
        let expected = sealed(&self.said, owner, seal)?;
        (Digest::of(&expected) == Digest::of(&self.seal)).then_some(self.task)
    }
}

fn counted(bytes: &[u8]) -> Option<(String, &[u8])> {
    let (length, rest) = bytes.split_first()?;
    let (text, rest) = rest.split_at_checked(usize::from(*length))?;
    Some((String::from_utf8(text.to_vec()).ok()?, rest))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    InputRequired,
    Working,
    Completed,
    Failed,
    Canceled,
}

impl State {
    const fn name(self, dialect: Dialect) -> &'static str {
        match (self, dialect) {
            (Self::InputRequired, Dialect::V0_3) => "input-required",
            (Self::Working, Dialect::V0_3) => "working",
            (Self::Completed, Dialect::V0_3) => "completed",
            (Self::Failed, Dialect::V0_3) => "failed",
            (Self::Canceled, Dialect::V0_3) => "canceled",
            (Self::InputRequired, Dialect::V1_0) => "TASK_STATE_INPUT_REQUIRED",
            (Self::Working, Dialect::V1_0) => "TASK_STATE_WORKING",
            (Self::Completed, Dialect::V1_0) => "TASK_STATE_COMPLETED",
            (Self::Failed, Dialect::V1_0) => "TASK_STATE_FAILED",
            (Self::Canceled, Dialect::V1_0) => "TASK_STATE_CANCELED",
        }
    }
}

/// What is told of a task.
#[derive(Clone, Debug)]
pub(super) struct Told {
    pub state: State,
    pub text: String,
    pub metadata: Object,
    /// Name and data of each.
    pub artifacts: Vec<(&'static str, Value)>,
}

impl Told {
    pub fn new(state: State, text: impl Into<String>) -> Self {
        Self { state, text: text.into(), metadata: Object::new(), artifacts: Vec::new() }
    }

    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.metadata.insert(name.to_owned(), value.into());
        self
    }

    pub fn to_json(&self, task: &Task, now_seconds: i64, dialect: Dialect, extensions: &[&str]) -> Value {
        let (role, text) = match dialect {
            Dialect::V0_3 => ("agent", json!({ "kind": "text", "text": self.text })),
            Dialect::V1_0 => ("ROLE_AGENT", json!({ "text": self.text })),
        };
        let state = self.state.name(dialect);
        // One status, one message: whoever reads it twice sees that it is the same.
        let spoken =
            Digest::of_parts("purser/a2a-message/1", &[task.id.as_bytes(), state.as_bytes(), self.text.as_bytes()]);
        let mut message = json!({
            "messageId": spoken.to_string(), "taskId": task.id, "contextId": task.context, "role": role, "parts": [text],
            "metadata": self.metadata, "extensions": extensions,
        });
        let artifacts: Vec<Value> = self.artifacts.iter().map(|(name, data)| artifact(name, data, dialect)).collect();
        let mut told = json!({ "id": task.id, "contextId": task.context, "artifacts": artifacts });
        if dialect == Dialect::V0_3 {
            message["kind"] = "message".into();
            told["kind"] = "task".into();
        }
        told["status"] = json!({ "state": state, "message": message });
        if let Some(now) = timestamp(now_seconds) {
            told["status"]["timestamp"] = now.into();
        }
        told
    }
}

fn artifact(name: &str, data: &Value, dialect: Dialect) -> Value {
    let part = match dialect {
        // Version 0.3 has objects only here.
        Dialect::V0_3 if data.is_object() => json!({ "kind": "data", "data": data }),
        Dialect::V0_3 => json!({ "kind": "data", "data": { "content": data } }),
        Dialect::V1_0 => json!({ "data": data, "mediaType": "application/json" }),
    };
    json!({ "artifactId": name, "name": name, "parts": [part] })
}

fn timestamp(seconds: i64) -> Option<String> {
    OffsetDateTime::from_unix_timestamp(seconds).ok()?.format(&Rfc3339).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seal_of(secret: &'static str) -> impl Fn(&[u8]) -> Option<Digest> {
        move |said| Some(Digest::of_parts(secret, &[said]))
    }

    fn begun() -> Task {
        Task::begin("hello", Some("a context".into()), 1_000, [7; 32], "home/agent", seal_of("ours")).unwrap()
    }

    fn opened(id: &str, owner: &str, secret: &'static str) -> Option<Task> {
        Unsealed::read(id)?.open(owner, seal_of(secret))
    }

    #[test]
    fn a_name_is_read_by_whoever_has_the_secret_and_for_its_owner_alone() {
        let task = begun();
        assert_eq!(opened(&task.id, "home/agent", "ours"), Some(task.clone()));
        for (owner, secret) in [("", "ours"), ("home/other", "ours"), ("home/agen", "ours"), ("home/agent", "theirs")] {
            assert_eq!(opened(&task.id, owner, secret), None, "{owner} with {secret}");
        }
    }

    #[test]
    fn no_other_text_is_a_name() {
        let task = begun();
        let bytes = base64url::decode(&task.id).unwrap();
        for at in 0..bytes.len() {
            let mut other = bytes.clone();
            other[at] ^= 1;
            assert_eq!(opened(&base64url::encode(&other), "home/agent", "ours"), None, "byte {at}");
            assert_eq!(opened(&base64url::encode(&bytes[..at]), "home/agent", "ours"), None, "{at} bytes");
        }
        for id in ["", "task-123", "A", "====", &format!("{}A", task.id), &format!("{}=", task.id)] {
            assert_eq!(opened(id, "home/agent", "ours"), None, "{id}");
        }
    }

    /// The seal covers owner and name as one text: neither borrows a letter from the other.
    #[test]
    fn a_context_does_not_run_into_the_owner() {
        let one = Task::begin("hello", Some("c".into()), 1_000, [7; 32], "xhome", seal_of("ours")).unwrap();
        let other = Task::begin("hello", Some("cx".into()), 1_000, [7; 32], "home", seal_of("ours")).unwrap();
        assert_ne!(one.id, other.id);
        assert_ne!(one.order(), other.order());
        assert_eq!(opened(&one.id, "home", "ours"), None);
    }

    #[test]
    fn what_is_too_long_has_no_name() {
        let long = "x".repeat(CONTEXT_BYTES_MAX + 1);
        assert_eq!(Task::begin("hello", Some(long), 1, [7; 32], "", seal_of("ours")), None);
        assert_eq!(Task::begin(&"x".repeat(SKILL_BYTES_MAX + 1), None, 1, [7; 32], "", seal_of("ours")), None);
    }

    #[test]
    fn both_versions_say_the_same() {
        let task = begun();
        let told = Told { artifacts: vec![("result", json!({ "content": 1 }))], ..Told::new(State::Completed, "done") };
        let (older, newer) = (told.to_json(&task, 0, Dialect::V0_3, &[]), told.to_json(&task, 0, Dialect::V1_0, &[]));
        assert_eq!((&older["kind"], &older["status"]["state"]), (&json!("task"), &json!("completed")));
        assert_eq!(older["artifacts"][0]["parts"][0], json!({ "kind": "data", "data": { "content": 1 } }));
        assert_eq!(newer["status"]["state"], "TASK_STATE_COMPLETED");
        assert_eq!(newer["artifacts"][0]["parts"][0]["data"], json!({ "content": 1 }));
        assert_eq!(newer["status"]["timestamp"], "1970-01-01T00:00:00Z");
    }
}
