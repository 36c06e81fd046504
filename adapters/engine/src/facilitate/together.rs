//! Settlements that wait for the same relayer go out in one transaction. Nothing waits for company: whoever gets the relayer's
//! pen takes along what waits by then.
//!
//! Each keeps its claim, its record and its own proof. The transaction is one contract call that calls the token once for
//! each, and lets each fail for itself (Multicall3, `aggregate3`): an authorization of EIP-3009 may be sent by anybody, so
//! the token does not care who calls. Permit2 binds its spender, and a contract that signs may burn what gas there is: those
//! go alone, as does whatever would fail now.

use std::task::Poll;

use ledger::command::Command;
use ledger::id::TenantId;
use ledger::settlement::{SettlementKey, SettlementState};
use ledger::store::Answer;
use tokio::sync::{OwnedMutexGuard, oneshot};
use x402::chain::{Batch, Pool, Prepared, Relayer, SettlementCall, TransferCall};
use x402::exact::{VerifiedPayment, check_findings};

use super::carriage::Carriage;
use super::ladder;
use crate::error::EngineError;
use crate::{Engine, Identity, book};

/// One that waits for its relayer.
#[derive(Debug)]
pub struct Waiting {
    key: SettlementKey,
    payment: VerifiedPayment,
    call: TransferCall,
    reply: oneshot::Sender<Turned>,
}

/// What its turn came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turned {
    /// Written down, and sent together with others; or in the book for what another process does with it.
    Sent,
    /// Nothing was written or sent: it goes by itself.
    Alone,
    /// It was written down and not sent, and is given up.
    GivenUp,
}

impl Waiting {
    pub fn is_waiting(&self) -> bool {
        !self.reply.is_closed()
    }

    fn tell(self, turned: Turned) {
        // Whoever went away finds it in the book.
        let _ = self.reply.send(turned);
    }
}

fn tell_all(waiting: Vec<Waiting>, turned: Turned) {
    waiting.into_iter().for_each(|one| one.tell(turned));
}

impl Engine {
    /// Its turn at the relayer, alone or together with what else waits there.
    pub(super) async fn take_turn(&self, carriage: &Carriage<'_>, relayer: &dyn Relayer) -> Turned {
        let (tenant, address) = (&carriage.identity.tenant, relayer.address());
        let SettlementCall::Transfer(call) = carriage.payment.call() else { return Turned::Alone };
        let most = carriage.role.batch_max.get();
        if most < 2 || self.desk.goes_alone(tenant, &carriage.key) || !relayer.batches().await {
            return Turned::Alone;
        }
        let (reply, mut turned) = oneshot::channel();
        let waiting = Waiting { key: carriage.key.clone(), payment: carriage.payment.clone(), call: *call, reply };
        self.desk.queue(tenant, address, waiting);
        loop {
            let pen = tokio::select! {
                biased;
                told = &mut turned => return self.told(carriage, told.ok()).await,
                pen = self.desk.pen(tenant, address) => pen,
            };
            let waiting = self.desk.unqueue(tenant, address, most);
            if waiting.is_empty() {
                drop(pen);
                let told = turned.await.ok();
                return self.told(carriage, told).await;
            }
            self.take_along(&carriage.identity, relayer, waiting, pen).await;
        }
    }

    /// Whoever took it along may be gone: then what is written down may have been sent, and what is not was not.
    async fn told(&self, carriage: &Carriage<'_>, told: Option<Turned>) -> Turned {
        if let Some(told) = told {
            return told;
        }
        let is_claimed = match self.settlement(carriage).await {
            Ok(settlement) => settlement.state == SettlementState::Claimed,
            Err(_) => false,
        };
        if is_claimed && self.abandon(carriage).await.is_ok() { Turned::GivenUp } else { Turned::Sent }
    }

    async fn take_along(
        &self,
        identity: &Identity,
        relayer: &dyn Relayer,
        waiting: Vec<Waiting>,
        pen: OwnedMutexGuard<()>,
    ) {
        if waiting.len() < 2 {
            return tell_all(waiting, Turned::Alone);
        }
        let members = self.fitting(&identity.tenant, waiting).await;
        let Some((members, prepared)) = self.write_together(identity, relayer, members).await else { return };
        drop(pen);
        self.send_bytes(&prepared.raw).await;
        tell_all(members, Turned::Sent);
    }

    /// Those that can go together; whatever else is the matter with the others, they find out alone.
    async fn fitting(&self, tenant: &TenantId, waiting: Vec<Waiting>) -> Vec<Waiting> {
        let calls: Vec<_> = waiting.iter().map(|one| one.call.clone()).collect();
        let elsewhere = together(waiting.iter().map(|one| self.claimed_elsewhere(tenant, &one.payment)));
        let (found, elsewhere) = tokio::join!(self.chain.findings_of(&calls), elsewhere);
        let found = found.unwrap_or_else(|error| {
            tracing::info!("transfers are not looked at together: {error}");
            Vec::new()
        });
        let mut looked_at = found.into_iter().zip(elsewhere);
        let mut members = Vec::with_capacity(waiting.len());
        for one in waiting {
            // An account that has code, though it keeps its key (EIP-7702), is asked by the token as a contract is.
            let fits = looked_at.next().is_some_and(|(found, elsewhere)| {
                let checked = elsewhere.map(|elsewhere| check_findings(&one.payment, &found, elsewhere));
                found.payer_code.is_empty() && matches!(checked, Ok(Ok(())))
            });
            if fits { members.push(one) } else { one.tell(Turned::Alone) }
        }
        members
    }

    /// Signs one transaction for them and makes it durable with each. Nothing is sent. `None` where they were told otherwise.
    async fn write_together(
        &self,
        identity: &Identity,
        relayer: &dyn Relayer,
        mut members: Vec<Waiting>,
    ) -> Option<(Vec<Waiting>, Prepared)> {
        if members.len() < 2 {
            tell_all(members, Turned::Alone);
            return None;
        }
        let held = match self.chain.account_nonce(relayer.address(), Pool::Pending).await {
            Ok(pending) => self.next_nonce(identity, relayer, pending).await,
            Err(error) => Err(error.into()),
        };
        let held = match held {
            Ok(held) => held,
            Err(error) => {
                tracing::warn!(code = error.code(), "nothing goes together: {error}");
                tell_all(members, Turned::Alone);
                return None;
            }
        };
        let mut prepared = prepare(relayer, &members, held.number()).await;
        if let Ok(Batch::Failing(places)) = &prepared {
            members = without(members, places);
            prepared = match members.len() {
                0 | 1 => Ok(Batch::Failing(Vec::new())),
                _ => prepare(relayer, &members, held.number()).await,
            };
        }
        let prepared = match prepared {
            Ok(Batch::Prepared(prepared)) => prepared,
            Ok(Batch::Failing(_)) | Err(_) => {
                tell_all(members, Turned::Alone);
                return None;
            }
        };
        let written = self.dispatch_together(identity, &members, &prepared).await;
        if written.iter().all(|is_written| *is_written) {
            held.used();
            return Some((members, prepared));
        }
        held.doubted();
        for (member, is_written) in members.into_iter().zip(written) {
            if !is_written {
                member.tell(Turned::Sent);
                continue;
            }
            let command = Command::Abandon { settlement: member.key.clone() };
            if let Err(error) = self.run(identity, command, Vec::new()).await {
                tracing::warn!(code = error.code(), "a settlement that was not sent is not given up: {error}");
            }
            member.tell(Turned::GivenUp);
        }
        None
    }

    /// Which of them are written down as carried by it. Where one is not, none is sent: it would move, and stand nowhere.
    async fn dispatch_together(&self, identity: &Identity, members: &[Waiting], prepared: &Prepared) -> Vec<bool> {
        let document = ladder::document_of_several(prepared);
        let digest = document.digest();
        let Ok(transaction) = book::reference(prepared.transaction) else { return vec![false; members.len()] };
        let runs = members.iter().map(|member| {
            let command = Command::Dispatch {
                settlement: member.key.clone(),
                document: digest,
                transaction: Some(transaction.clone()),
                account_nonce: Some(prepared.account_nonce),
            };
            self.run(identity, command, vec![document.clone()])
        });
        let is_written = |answer: Result<Answer, EngineError>| match answer {
            Ok(answer) => answer.settlement.is_some_and(|settlement| settlement.document == Some(digest)),
            Err(error) => {
                tracing::warn!(code = error.code(), "a settlement is not written down: {error}");
                false
            }
        };
        together(runs).await.into_iter().map(is_written).collect()
    }
}

/// All of them at once, so that they share what they wait for.
async fn together<F: Future>(all: impl Iterator<Item = F>) -> Vec<F::Output> {
    let mut waiting: Vec<_> = all.map(|one| (Box::pin(one), None)).collect();
    std::future::poll_fn(|context| {
        let mut is_pending = false;
        for (one, output) in waiting.iter_mut().filter(|(_, output)| output.is_none()) {
            match one.as_mut().poll(context) {
                Poll::Ready(value) => *output = Some(value),
                Poll::Pending => is_pending = true,
            }
        }
        if is_pending { Poll::Pending } else { Poll::Ready(()) }
    })
    .await;
    waiting.into_iter().filter_map(|(_, output)| output).collect()
}

async fn prepare(relayer: &dyn Relayer, members: &[Waiting], nonce: u64) -> Result<Batch, x402::chain::ChainError> {
    let calls: Vec<_> = members.iter().map(|member| member.call.clone()).collect();
    relayer.prepare_batch(&calls, nonce).await
}

/// Those at these places go alone; where none is named, all do.
fn without(members: Vec<Waiting>, places: &[usize]) -> Vec<Waiting> {
    let (mut left, mut failing) = (Vec::new(), Vec::new());
    for (place, member) in members.into_iter().enumerate() {
        if places.is_empty() || places.contains(&place) { failing.push(member) } else { left.push(member) }
    }
    tell_all(failing, Turned::Alone);
    left
}
