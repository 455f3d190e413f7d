//! What makes an order write safe: it is written down before it leaves, it is never
//! done twice, and it never makes the broker close the door on its account.
//!
//! - [`body`]: what a write's body says, by value.
//! - [`journal`]: what was sent and what became of it, so that it can be read,
//!   proved and remembered after a crash.
//! - [`limits`]: how much the broker takes from an account, kept before it is sent.
//! - [`memory`]: what is known of the writes of the last day, by the ids that their
//!   callers can repeat them with.
//! - [`recall`]: what the journal remembers of both after a restart.
//! - [`terms`]: what an order asks for, by value.
//! - [`trail`]: what a lost write can be looked for by, and what the broker's answers
//!   say of it.
//!
//! Not here: sending (`proxy`), connections and their health (`legs`, `egress`), what
//! an endpoint is (`broker`).

pub mod body;
pub mod journal;
pub mod limits;
pub mod memory;
pub mod recall;
pub mod terms;
pub mod trail;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use jiff::Timestamp;

use crate::domain::ClientId;
use crate::telemetry::events::Events;

use journal::{Journal, JournalError, Options};
use limits::{Gate, Monotonic, Rules};
use memory::Memory;

/// What the gateway knows of order writes, and of how much the broker still takes.
#[derive(Debug)]
pub struct Orders {
    /// Every send and what became of it.
    pub journal: Journal,
    /// Those of the last day.
    pub memory: Memory,
    /// Whoever watches hears of every outcome.
    pub events: Events,
    gates: papaya::HashMap<ClientId, Arc<Gate>>,
    keeping: ArcSwap<Keeping>,
    clock: Monotonic,
}

/// How the limits are kept, now.
#[derive(Debug)]
struct Keeping {
    rules: Arc<Rules>,
    max_wait: Duration,
}

impl Orders {
    /// Open the journal in `folder`. Reads and writes files: not on a worker of the runtime.
    ///
    /// # Errors
    /// [`JournalError`].
    pub fn open(
        folder: &Path,
        fsync: bool,
        keep: Duration,
        rules: Rules,
        max_wait: Duration,
    ) -> Result<Self, JournalError> {
        let journal = Journal::open(folder, &Options { fsync, keep }, Timestamp::now())?;
        let keeping = ArcSwap::from_pointee(Keeping { rules: Arc::new(rules), max_wait });
        let (gates, clock) = (papaya::HashMap::new(), Monotonic::start());
        Ok(Self { journal, memory: Memory::default(), events: Events::default(), gates, keeping, clock })
    }

    /// A customer's limits.
    pub fn gate(&self, customer: &ClientId) -> Arc<Gate> {
        let gates = self.gates.pin();
        if let Some(gate) = gates.get(customer) {
            return Arc::clone(gate);
        }
        let new = || {
            let keeping = self.keeping.load();
            Arc::new(Gate::new(Arc::clone(&keeping.rules), keeping.max_wait, self.clock))
        };
        let gate = Arc::clone(gates.get_or_insert_with(customer.clone(), new));
        // A reload may have passed by between its making and its being there to be found.
        let keeping = self.keeping.load();
        gate.reload(Arc::clone(&keeping.rules), keeping.max_wait);
        gate
    }

    /// Keep the limits by other rules, and another `limits.max_wait`, from now on.
    pub fn reload(&self, rules: Rules, max_wait: Duration) {
        let rules = Arc::new(rules);
        self.keeping.store(Arc::new(Keeping { rules: Arc::clone(&rules), max_wait }));
        for gate in self.gates.pin().values() {
            gate.reload(Arc::clone(&rules), max_wait);
        }
    }
}
