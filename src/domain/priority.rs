//! Which threads go first on a core that they share: those that carry orders.
//!
//! The workers (`proxy/workers`) and the journal run at the process's own priority. What serves operators, keeps
//! tokens and stores state gives way to them: woken, an order's thread does not wait for the end of their slice
//! (sched(7)). On a core that orders do not fill it makes no difference.
//!
//! A sandbox may forbid a thread to do so; then it runs like all the others, which is right all the same.

use thread_priority::unix::{set_thread_priority_and_policy, thread_native_id};
use thread_priority::{NormalThreadSchedulePolicy, ThreadPriority, ThreadPriorityValue, ThreadSchedulePolicy};

/// Of 0 to 99, which the library spreads over the nice values from 19 to -20: this is 10, a ninth of what an order's
/// thread gets while both want all of a core. So logins, health checks and changes go on under any load.
const BEHIND: u8 = 22;

/// This thread, and those it starts from now on, give way to orders.
pub fn give_way() {
    let behind = ThreadPriorityValue::try_from(BEHIND).map(ThreadPriority::Crossplatform);
    set(behind.unwrap_or(ThreadPriority::Min), NormalThreadSchedulePolicy::Other);
}

/// This thread, and those it starts from now on, run only on cores that nobody else needs (`SCHED_IDLE`).
pub fn give_way_to_all() {
    set(ThreadPriority::Min, NormalThreadSchedulePolicy::Idle);
}

fn set(priority: ThreadPriority, policy: NormalThreadSchedulePolicy) {
    let policy = ThreadSchedulePolicy::Normal(policy);
    if let Err(err) = set_thread_priority_and_policy(thread_native_id(), priority, policy) {
        tracing::debug!(error = %err, "this thread runs at the priority of all others");
    }
}
