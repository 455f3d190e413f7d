//! Which threads go first on a core that they share: those that carry orders.
//!
//! The workers (`proxy/workers`) and the journal run at the process's own priority, whatever it was started with (`nice`,
//! systemd's `Nice=`). What serves operators, keeps tokens and stores state gives way to them: woken, an order's thread
//! does not wait for the end of their slice (sched(7)). On a core that orders do not fill it makes no difference.
//!
//! A sandbox may forbid a thread to do so; then it runs like all the others, which is right all the same.

use std::sync::LazyLock;

use thread_priority::unix::{set_thread_priority_and_policy, thread_native_id};
use thread_priority::{NormalThreadSchedulePolicy, ThreadPriority, ThreadPriorityValue, ThreadSchedulePolicy};

/// By how much more nice what gives way is than the process: it gets a ninth of what an order's thread gets while both
/// want all of a core. So logins, health checks and changes go on under any load.
const BEHIND: i32 = 10;
/// The nicest that there is. A process at 9 or less has all of [`BEHIND`], one at 19 has none.
const LAST: i32 = 19;

/// The priority of what gives way. Worked out once: a thread that is started by one which gives way already must not
/// be as far behind that one again.
static BEHIND_ORDERS: LazyLock<ThreadPriority> = LazyLock::new(|| of_nice_value((own_nice_value() + BEHIND).min(LAST)));

/// This thread, and those it starts from now on, give way to orders.
pub fn give_way() {
    set(*BEHIND_ORDERS, NormalThreadSchedulePolicy::Other);
}

/// This thread, and those it starts from now on, run only on cores that nobody else needs (`SCHED_IDLE`, under which
/// the nice value counts for nothing).
pub fn give_way_to_all() {
    set(ThreadPriority::Min, NormalThreadSchedulePolicy::Idle);
}

fn set(priority: ThreadPriority, policy: NormalThreadSchedulePolicy) {
    let policy = ThreadSchedulePolicy::Normal(policy);
    if let Err(err) = set_thread_priority_and_policy(thread_native_id(), priority, policy) {
        tracing::debug!(error = %err, "this thread runs at the priority of all others");
    }
}

/// The process's nice value, which is that of its first thread: that one never gives way (`/proc/self/stat`,
/// proc_pid_stat(5), field 19; what follows the name is field 3). Where it cannot be read it is taken for the usual, 0.
fn own_nice_value() -> i32 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let after_the_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    after_the_name.split_whitespace().nth(19 - 3).and_then(|nice| nice.parse().ok()).unwrap_or(0)
}

/// A nice value as the library has it: priorities from 0 to 99, spread over the nice values from 19 to -20.
fn of_nice_value(nice: i32) -> ThreadPriority {
    let policy = ThreadSchedulePolicy::Normal(NormalThreadSchedulePolicy::Other);
    let mut all = (0..=99_u8).filter_map(|value| ThreadPriorityValue::try_from(value).ok());
    all.find(|value| ThreadPriority::Crossplatform(*value).to_posix(policy).is_ok_and(|is| is == nice))
        .map_or(ThreadPriority::Min, ThreadPriority::Crossplatform)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A value that the library's scale skipped would make a thread the last of all.
    #[test]
    fn every_nice_value_has_a_priority() {
        for nice in -20..=LAST {
            let policy = ThreadSchedulePolicy::Normal(NormalThreadSchedulePolicy::Other);
            assert_eq!(of_nice_value(nice).to_posix(policy).unwrap(), nice);
        }
    }
}
