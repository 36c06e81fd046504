//! What agents run, and by whom agents and people come in.

use engine::Identity;
use ledger::id::{CallerKind, Digest};
use ledger::origin::Build;

use super::actors::identity;
use super::company::{AGENTS, HOME, ISSUER};
use super::world::World;

/// A person as they come in: one of the two by an outside issuer.
pub fn person(name: &str) -> Identity {
    let mut person = identity(HOME, name, CallerKind::User);
    person.caller.issuer = (name == "ben").then(|| ISSUER.parse().unwrap());
    person
}

/// One of three builds.
pub fn build(number: u8) -> Build {
    Build(Digest([number; 32]))
}

impl World {
    /// As it comes in now: the first states no build, and the first comes with a token of ours.
    pub fn agent(&self, number: usize) -> Identity {
        let mut agent = identity(HOME, AGENTS[number].0, CallerKind::Agent);
        agent.caller.issuer = (number > 0).then(|| ISSUER.parse().unwrap());
        agent.caller.build = self.builds[number].map(build);
        agent
    }

    /// Other software under the same name.
    pub fn change_build(&mut self) {
        let number = self.roll(AGENTS.len());
        self.builds[number] = self.pick(&[None, Some(1), Some(2), Some(3)]).unwrap();
    }
}
