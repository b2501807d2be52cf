//! A CA that no longer answers: each order that it lets hang costs a time-out, so that after the
//! first one all others of the run wait for a single one, and end with it.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::finding::Finding;

/// Stands before the orders of a run at one CA
#[derive(Default)]
pub(super) struct Gate {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Default)]
enum State {
    /// The CA answers, as far as is known
    #[default]
    Open,
    /// An order ran into a time-out: the next one is the probe
    Doubtful,
    /// The probe is under way, and the others wait for it
    Probing,
    /// The probe ran into a time-out too
    Closed(Finding),
}

/// Whether an order that was let through is the probe
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Ordinary,
    Probe,
}

/// An order that was let through; dropped without a word it says nothing of the CA
pub(super) struct Admission<'g> {
    gate: &'g Gate,
    role: Role,
}

impl Gate {
    /// Lets an order through, at once or when the probe has ended
    ///
    /// # Errors
    /// Why the CA is asked for nothing more in this run.
    pub(super) async fn enter(&self) -> Result<Admission<'_>, Finding> {
        loop {
            // Made before the look, so that no change is missed after it.
            let changed = self.changed.notified();
            if let Some(entered) = self.try_enter() {
                return entered;
            }
            changed.await;
        }
    }

    fn try_enter(&self) -> Option<Result<Admission<'_>, Finding>> {
        let mut state = self.state();
        let role = match &*state {
            State::Open => Role::Ordinary,
            State::Doubtful => Role::Probe,
            State::Probing => return None,
            State::Closed(finding) => return Some(Err(finding.clone())),
        };
        if role == Role::Probe {
            *state = State::Probing;
        }
        Some(Ok(Admission { gate: self, role }))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, to: State) {
        *self.state() = to;
        self.changed.notify_waiters();
    }
}

impl Admission<'_> {
    /// The CA has answered, whatever it said
    pub(super) fn answered(self) {
        if !matches!(*self.gate.state(), State::Closed(_)) {
            self.gate.change(State::Open);
        }
    }

    /// It did not answer, which is reported as this
    pub(super) fn unanswered(self, finding: Finding) {
        let next = match (&*self.gate.state(), self.role) {
            (State::Probing, Role::Probe) => State::Closed(finding),
            (State::Open, _) => State::Doubtful,
            _ => return,
        };
        self.gate.change(next);
    }
}

impl Drop for Admission<'_> {
    fn drop(&mut self) {
        let is_probing = matches!(*self.gate.state(), State::Probing);
        if is_probing && self.role == Role::Probe {
            self.gate.change(State::Doubtful);
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    fn silence() -> Finding {
        Finding::failure("acme.unreachable", "no answer")
    }

    fn enter(gate: &Gate) -> Admission<'_> {
        let entered = gate.enter().now_or_never();
        match entered.expect("nobody is waited for") {
            Ok(admission) => admission,
            Err(_) => panic!("it is closed"),
        }
    }

    #[test]
    fn after_a_time_out_one_order_is_the_probe_and_the_others_end_with_it() {
        let gate = Gate::default();
        let (first, second) = (enter(&gate), enter(&gate));
        first.unanswered(silence());
        let probe = enter(&gate);
        let mut waiting = Box::pin(gate.enter());
        assert!((&mut waiting).now_or_never().is_none());
        // One that was under way before says no more than the first did.
        second.unanswered(silence());
        assert!((&mut waiting).now_or_never().is_none());
        probe.unanswered(silence());
        let turned_away = waiting.now_or_never().expect("the probe has ended").err();
        assert_eq!(turned_away, Some(silence()));
    }

    #[test]
    fn a_ca_that_answers_again_is_asked_by_all() {
        let gate = Gate::default();
        let slow = enter(&gate);
        enter(&gate).unanswered(silence());
        let probe = enter(&gate);
        slow.answered();
        enter(&gate).answered();
        // What it ran into is news of a CA that answered meanwhile.
        probe.unanswered(silence());
        assert_eq!(enter(&gate).role, Role::Probe);
    }

    #[test]
    fn a_probe_that_says_nothing_of_the_ca_is_followed_by_another() {
        let gate = Gate::default();
        enter(&gate).unanswered(silence());
        let probe = enter(&gate);
        let mut waiting = Box::pin(gate.enter());
        assert!((&mut waiting).now_or_never().is_none());
        drop(probe);
        let entered = waiting.now_or_never().expect("its turn").ok();
        assert_eq!(entered.map(|admission| admission.role), Some(Role::Probe));
    }
}
