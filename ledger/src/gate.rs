//! Gates: what a human closed. While one is closed nothing is reserved and nothing is signed within its scope; what is
//! signed already is an uncleared cheque and goes its way.

use std::fmt;
use std::str::FromStr;

use crate::budget::{Budget, BudgetKind};
use crate::codec::{Canon, DecodeError, Reader, canon_names, canon_struct};
use crate::id::{BudgetId, Caller, Digest, Micros, PayeeId, PrincipalId};
use crate::origin::{Build, Issuer};
use crate::spend::Spend;

canon_names!(GateState { Open = 1 "open", Closed = 2 "closed" });

/// What a gate bars.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scope {
    /// The whole tenant: it pays nothing, sells nothing and carries nothing.
    Everything,
    /// The same, of a book that was restored or copied: what it does not know may have been paid. Lifted by whoever has
    /// held it against the chain, never over the network.
    Fence,
    /// Every mandate of a person.
    Person(PrincipalId),
    /// Every mandate that an agent holds.
    Agent(PrincipalId),
    /// A mandate and everything below it.
    Mandate(BudgetId),
    /// Every payment to a payee, whoever pays.
    Payee(PayeeId),
    /// Every agent that ran this software when it reserved, or runs it when it signs.
    Build(Build),
    /// Whoever comes with a token of this issuer: agents reserve and sign nothing, users decide nothing.
    Issuer(Issuer),
}

impl Scope {
    /// A name of fixed width for addresses.
    pub fn id(&self) -> Digest {
        Digest::of_parts("purser/gate/1", &[self.to_string().as_bytes()])
    }
}

/// What bars everything under these nodes: who handed a mandate on is stopped with all that came of it.
pub fn scopes_of_path<'a>(path: impl IntoIterator<Item = &'a Budget>) -> Vec<Scope> {
    let mut scopes = Vec::new();
    for node in path {
        match node.kind {
            BudgetKind::Mandate => scopes.extend([Scope::Agent(node.holder.clone()), Scope::Mandate(node.id)]),
            BudgetKind::Person => scopes.push(Scope::Person(node.holder.clone())),
            BudgetKind::Tenant => {}
        }
    }
    scopes
}

/// What bars the signature of a spend, whoever asks for it.
pub fn scopes_of_spend<'a>(spend: &Spend, path: impl IntoIterator<Item = &'a Budget>) -> Vec<Scope> {
    let mut scopes = vec![Scope::Fence, Scope::Everything, Scope::Payee(spend.payee.clone())];
    scopes.extend(scopes_of_path(path));
    scopes.extend(scopes_of_origin(spend.build, spend.issuer.as_ref()));
    scopes
}

/// What bars whoever runs this software or comes by this issuer.
pub fn scopes_of_origin(build: Option<Build>, issuer: Option<&Issuer>) -> impl Iterator<Item = Scope> {
    build.map(Scope::Build).into_iter().chain(issuer.cloned().map(Scope::Issuer))
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Everything => f.write_str("everything"),
            Self::Fence => f.write_str("fence"),
            Self::Person(name) => write!(f, "person/{name}"),
            Self::Agent(name) => write!(f, "agent/{name}"),
            Self::Mandate(id) => write!(f, "mandate/{id}"),
            Self::Payee(name) => write!(f, "payee/{name}"),
            Self::Build(digest) => write!(f, "build/{digest}"),
            Self::Issuer(url) => write!(f, "issuer/{url}"),
        }
    }
}

impl FromStr for Scope {
    type Err = DecodeError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || DecodeError::Value { what: "a scope", found: text.to_owned() };
        match text.split_once('/') {
            None if text == "everything" => Ok(Self::Everything),
            None if text == "fence" => Ok(Self::Fence),
            Some(("person", name)) => name.parse().map(Self::Person).map_err(|_| wrong()),
            Some(("agent", name)) => name.parse().map(Self::Agent).map_err(|_| wrong()),
            Some(("mandate", id)) => id.parse().map(Self::Mandate).map_err(|_| wrong()),
            Some(("payee", name)) => name.parse().map(Self::Payee).map_err(|_| wrong()),
            Some(("build", digest)) => digest.parse().map(Self::Build).map_err(|_| wrong()),
            Some(("issuer", url)) => url.parse().map(Self::Issuer).map_err(|_| wrong()),
            _ => Err(wrong()),
        }
    }
}

impl Canon for Scope {
    fn write(&self, out: &mut Vec<u8>) {
        self.to_string().write(out);
    }

    fn read(input: &mut Reader<'_>) -> Result<Self, DecodeError> {
        String::read(input)?.parse()
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gate {
    pub scope: Scope,
    pub state: GateState,
    /// Who closed it last. What an operator closed an operator opens.
    pub closed_by: Caller,
    pub since: Micros,
}
canon_struct!(Gate { scope, state, closed_by, since });

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scope_is_read_as_it_is_written() {
        for text in [
            "",
            "all",
            "everything/",
            "person/",
            "person",
            "agent/a b",
            "mandate/ab",
            "payee/",
            "x/y",
            "/",
            "build/",
            "build/ab",
            "issuer/",
            "issuer/idp.example",
            "issuer/https://idp.example/",
            "issuer/https://u@idp.example",
        ] {
            assert!(text.parse::<Scope>().is_err(), "{text}");
        }
        let mandate = format!("mandate/{}", "ab".repeat(32));
        let build = format!("build/sha256:{}", "ab".repeat(32));
        assert!(build.to_uppercase().parse::<Scope>().is_err());
        let issuer = "issuer/https://idp.example/a";
        for text in [
            "everything",
            "fence",
            "person/ann",
            "agent/a/b",
            "payee/x402:http://127.0.0.1:1",
            &mandate,
            &build,
            issuer,
        ] {
            let scope: Scope = text.parse().unwrap();
            assert_eq!(scope.to_string(), text);
            assert_eq!(crate::codec::decode::<Scope>(&crate::codec::encode(&scope)).unwrap(), scope);
        }
    }
}
