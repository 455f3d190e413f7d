//! Time as the kernel accounts for it, and which core runs what.

use std::fs;
use std::process::Command;
use std::time::Duration;

use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;

/// What `/proc` counts in, on every Linux (`USER_HZ`).
const TICK: Duration = Duration::from_millis(10);

/// CPU time of a process, its ended threads included.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct CpuTime {
    /// In the program.
    pub user: Duration,
    /// In the kernel on its behalf. On loopback that includes the receiving half of what it sends.
    pub system: Duration,
}

impl CpuTime {
    /// Of a process until now. In steps of 10 ms; the kernel's own sum is exact.
    pub(crate) fn of_process(id: u32) -> Self {
        let text = fs::read_to_string(format!("/proc/{id}/stat")).expect("the process runs");
        // The name, in parentheses, may hold blanks; what follows are plain numbers (proc(5): utime is field 14).
        let (_, fields) = text.rsplit_once(')').expect("a name in parentheses");
        let mut fields = fields.split_whitespace().skip(11).map(|field| field.parse::<u32>().expect("ticks"));
        let mut next = || TICK * fields.next().expect("utime and stime");
        Self { user: next(), system: next() }
    }

    pub(crate) fn since(self, earlier: Self) -> Self {
        Self { user: self.user.saturating_sub(earlier.user), system: self.system.saturating_sub(earlier.system) }
    }

    pub(crate) fn total(self) -> Duration {
        self.user + self.system
    }
}

/// What a core did.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct CoreTime {
    pub idle: Duration,
    /// Everybody's work on it, and what the host took away.
    pub busy: Duration,
}

impl CoreTime {
    pub(crate) fn since(self, earlier: Self) -> Self {
        Self { idle: self.idle.saturating_sub(earlier.idle), busy: self.busy.saturating_sub(earlier.busy) }
    }

    /// The part of the time that it had nothing to do.
    pub(crate) fn idle_share(self) -> f64 {
        self.idle.as_secs_f64() / (self.idle + self.busy).as_secs_f64().max(f64::MIN_POSITIVE)
    }

    /// The part of the time that it worked, or waited for the host, for somebody else than `own`.
    pub(crate) fn others_share(self, own: Duration) -> f64 {
        self.busy.saturating_sub(own).as_secs_f64() / (self.idle + self.busy).as_secs_f64().max(f64::MIN_POSITIVE)
    }
}

/// All cores until now, in order.
pub(crate) fn cores() -> Vec<CoreTime> {
    let text = fs::read_to_string("/proc/stat").expect("/proc/stat");
    let cores = text.lines().filter(|line| line.starts_with("cpu") && !line.starts_with("cpu "));
    cores
        .map(|line| {
            // user nice system idle iowait irq softirq steal; guest time is part of user.
            let ticks: Vec<u32> = line.split_whitespace().skip(1).take(8).filter_map(|n| n.parse().ok()).collect();
            let idle = ticks[3] + ticks[4];
            CoreTime { idle: TICK * idle, busy: TICK * (ticks.iter().sum::<u32>() - idle) }
        })
        .collect()
}

/// Run this thread, and what it starts from now on, on one core only.
pub(crate) fn pin_this_thread(core: usize) {
    let mut set = CpuSet::new();
    set.set(core).expect("a core that can be");
    sched_setaffinity(Pid::from_raw(0), &set).unwrap_or_else(|err| panic!("cannot run on core {core} only: {err}"));
}

/// What the figures were made on.
#[derive(Debug)]
pub(crate) struct Machine {
    pub cores: usize,
    pub lines: Vec<String>,
}

impl Machine {
    pub(crate) fn look() -> Self {
        let processors = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let value = |key: &str| {
            let line = processors.lines().find(|line| line.starts_with(key))?;
            line.split_once(':').map(|(_, value)| value.trim().to_owned())
        };
        let guest = value("flags").is_some_and(|flags| flags.split(' ').any(|flag| flag == "hypervisor"));
        let cores = cores().len();
        let model = value("model name").unwrap_or_else(|| "unknown".to_owned());
        let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        let build = if cfg!(debug_assertions) { "DEBUG: these figures mean nothing" } else { "optimised" };
        let lines = vec![
            format!("machine: {model}, {cores} cores{}", if guest { ", a virtual machine" } else { "" }),
            format!("kernel:  Linux {}", kernel.trim()),
            format!("commit:  {}; {}; build: {build}", commit(), first_line("rustc", &["--version"])),
        ];
        Self { cores, lines }
    }
}

fn commit() -> String {
    let head = first_line("git", &["rev-parse", "--short=12", "HEAD"]);
    let changed = Command::new("git").args(["status", "--porcelain", "--untracked-files=no"]).output();
    match changed {
        Ok(output) if output.stdout.is_empty() => head,
        _ => format!("{head} with changes"),
    }
}

/// The first line that a program prints.
pub(crate) fn first_line(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    text.lines().next().map_or_else(|| format!("{program}: unknown"), |line| line.trim().to_owned())
}
