//! The threads that serve callers: each runs its own tasks on its own reactor, so that an order never waits for
//! another core to be woken. The rest of the gateway (admin API, logins, probes) has a runtime of its own and
//! threads of its own.
//!
//! A write to a disk that hangs holds the worker that meets it, and all that it serves. When all of them are held, a
//! spare one serves who comes then: with one core there is one worker, and an exit must have somewhere to go.
//!
//! A caller's connection is given to the worker that has the fewest, and stays there. Upstream connections are
//! not bound to a worker: one that another worker made moves over without a handshake (`egress::line`).

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::runtime::{Builder, Handle};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::broker::dhan::calendar;
use crate::config::{Hours, Latency};
use crate::domain::steady;

/// How often a worker that spins asks whether the market is open, and one that does not, too.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How far away the next timer of a worker is at most. tokio wakes its reactor, by a write and a read, whenever a timer
/// is set that comes before all others; nearly none comes before this one.
const BEAT: Duration = Duration::from_secs(1);
/// A worker that has done nothing for so long stands in a call of the kernel's, as a write to a disk that hangs.
const STANDS: Duration = Duration::from_millis(2_500);
/// Turns between two looks at the clock, which is cheap and not free.
const TURNS: u32 = 1024;

/// See the module. When the last one is dropped, the threads end.
#[derive(Clone, Debug)]
pub struct Workers {
    all: Arc<[Worker]>,
    /// For when all of them stand.
    spare: Arc<Worker>,
    _stop: Arc<DropGuard>,
}

/// One thread.
#[derive(Debug)]
struct Worker {
    handle: Handle,
    connections: Arc<AtomicUsize>,
    pulse: Arc<Pulse>,
}

/// When a worker last did anything, in milliseconds since it began.
#[derive(Debug)]
struct Pulse {
    began: Instant,
    last: AtomicU64,
}

impl Pulse {
    fn new() -> Self {
        Self { began: Instant::now(), last: AtomicU64::new(0) }
    }

    fn since_it_began(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn beat(&self) {
        self.last.store(self.since_it_began(), Ordering::Relaxed);
    }

    fn stands(&self) -> bool {
        u128::from(self.since_it_began().saturating_sub(self.last.load(Ordering::Relaxed))) > STANDS.as_millis()
    }
}

/// A connection's place at a worker, until it is dropped.
#[derive(Debug)]
pub(super) struct WorkerSlot {
    pub(super) handle: Handle,
    connections: Arc<AtomicUsize>,
}

impl Drop for WorkerSlot {
    fn drop(&mut self) {
        self.connections.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Workers {
    /// Start them.
    ///
    /// # Errors
    /// When a thread or its reactor cannot be made.
    pub fn start(latency: &Latency) -> io::Result<Self> {
        let stop = CancellationToken::new();
        let spin = latency.spin.then_some(latency.spin_hours);
        let start = |number: usize| Worker::start(&number.to_string(), spin, stop.clone());
        let all = (0..count(latency)).map(start).collect::<io::Result<_>>()?;
        let spare = Arc::new(Worker::start("spare", None, stop.clone())?);
        Ok(Self { all, spare, _stop: Arc::new(stop.drop_guard()) })
    }

    /// The one that accepts callers, so that with one core nothing is handed over.
    pub(super) fn first(&self) -> Option<&Handle> {
        self.all.first().map(|worker| &worker.handle)
    }

    /// Does the one that accepts callers stand?
    pub(super) fn first_stands(&self) -> bool {
        self.all.first().is_some_and(|worker| worker.pulse.stands())
    }

    /// The one that accepts callers while the first stands.
    pub(super) fn spare(&self) -> &Handle {
        &self.spare.handle
    }

    /// A place at the worker that has the fewest connections, of those that run.
    pub(super) fn seat(&self) -> WorkerSlot {
        let running = self.all.iter().filter(|worker| !worker.pulse.stands());
        let fewest = running.min_by_key(|worker| worker.connections.load(Ordering::Relaxed));
        let worker = fewest.unwrap_or(&self.spare);
        worker.connections.fetch_add(1, Ordering::Relaxed);
        WorkerSlot { handle: worker.handle.clone(), connections: Arc::clone(&worker.connections) }
    }
}

/// As many as are asked for, else one a core; workers that spin leave a core to everybody else.
fn count(latency: &Latency) -> usize {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    match latency.threads {
        0 if latency.spin => cores.saturating_sub(1).max(1),
        0 => cores,
        threads => threads,
    }
}

impl Worker {
    fn start(name: &str, spin: Option<Hours>, stop: CancellationToken) -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let pulse = Arc::new(Pulse::new());
        let own = Arc::clone(&pulse);
        let run = move || {
            runtime.block_on(async {
                tokio::select! {
                    () = stop.cancelled() => {}
                    () = awake(spin, &own) => {}
                }
            });
            // What is left was told to end long ago; its files and sockets are the kernel's to close.
            runtime.shutdown_background();
        };
        std::thread::Builder::new().name(format!("worker-{name}")).spawn(run)?;
        Ok(Self { handle, connections: Arc::default(), pulse })
    }
}

/// Keep the thread awake in those hours, if there are any; else see that a timer is never far away.
async fn awake(hours: Option<Hours>, pulse: &Pulse) {
    match hours {
        Some(hours) => spinning(hours, pulse).await,
        None => loop {
            pulse.beat();
            tokio::time::sleep(BEAT).await;
        },
    }
}

/// The reactor is asked again and again and never waited for.
async fn spinning(hours: Hours, pulse: &Pulse) {
    loop {
        pulse.beat();
        if hours == Hours::Market && !calendar::is_market_hours(steady::now()) {
            tokio::time::sleep(LOOK_EVERY).await;
            continue;
        }
        let until = Instant::now() + LOOK_EVERY;
        while Instant::now() < until {
            for _ in 0..TURNS {
                tokio::task::yield_now().await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn latency(threads: usize) -> Latency {
        Latency { spin: false, spin_hours: Hours::Always, threads }
    }

    #[test]
    fn connections_are_spread_evenly_and_places_come_back() {
        let workers = Workers::start(&latency(3)).unwrap();
        let taken = |workers: &Workers| -> Vec<usize> {
            workers.all.iter().map(|worker| worker.connections.load(Ordering::Relaxed)).collect()
        };
        let mut seats: Vec<_> = (0..7).map(|_| workers.seat()).collect();
        let mut counts = taken(&workers);
        counts.sort_unstable();
        assert_eq!(counts, [2, 2, 3]);
        seats.truncate(3);
        assert_eq!(taken(&workers), [1, 1, 1]);
    }

    /// Whoever came to a worker that waits for a disk would wait with it.
    #[test]
    fn nobody_is_given_to_a_worker_that_stands() {
        let workers = Workers::start(&latency(2)).unwrap();
        let (release, held) = std::sync::mpsc::channel::<()>();
        let seat = workers.seat();
        seat.handle.spawn(async move { held.recv().unwrap_or_default() });
        let stuck = Arc::clone(&seat.connections);
        drop(seat);
        let until = Instant::now() + Duration::from_secs(20);
        while !workers.all.iter().any(|worker| worker.pulse.stands()) {
            assert!(Instant::now() < until, "it is not noticed");
            std::thread::park_timeout(Duration::from_millis(20));
        }
        let seats: Vec<_> = (0..4).map(|_| workers.seat()).collect();
        assert!(seats.iter().all(|seat| !Arc::ptr_eq(&seat.connections, &stuck)));
        drop(release);
    }

    /// With one core there is one worker, and somebody who wants to get out.
    #[test]
    fn when_all_stand_there_is_one_more() {
        let workers = Workers::start(&latency(1)).unwrap();
        let (release, held) = std::sync::mpsc::channel::<()>();
        let (heard, answer) = std::sync::mpsc::channel::<()>();
        let seat = workers.seat();
        assert_eq!(seat.handle.id(), workers.first().unwrap().id());
        seat.handle.spawn(async move { held.recv().unwrap_or_default() });
        let until = Instant::now() + Duration::from_secs(20);
        while !workers.first_stands() {
            assert!(Instant::now() < until, "it is not noticed");
            std::thread::park_timeout(Duration::from_millis(20));
        }
        workers.seat().handle.spawn(async move { heard.send(()).unwrap_or_default() });
        answer.recv_timeout(Duration::from_secs(20)).expect("nobody serves who comes");
        drop(release);
        while workers.first_stands() {
            assert!(Instant::now() < until + Duration::from_secs(20), "it does not go on");
            std::thread::park_timeout(Duration::from_millis(20));
        }
        assert_eq!(workers.seat().handle.id(), workers.first().unwrap().id(), "the spare one rests again");
    }

    struct Gone(std::sync::mpsc::Sender<&'static str>);

    impl Drop for Gone {
        fn drop(&mut self) {
            let _ = self.0.send("ended");
        }
    }

    /// A worker that spins must do its work all the same, and end when it is to.
    #[test]
    fn a_spinning_worker_works_and_ends() {
        let workers = Workers::start(&Latency { spin: true, ..latency(1) }).unwrap();
        let handle = workers.first().unwrap().clone();
        let (told, heard) = std::sync::mpsc::channel();
        let (first, second) = (told.clone(), told);
        handle.spawn(async move {
            tokio::time::sleep(Duration::from_millis(1)).await;
            let _ = first.send("worked");
        });
        assert_eq!(heard.recv_timeout(Duration::from_secs(20)), Ok("worked"));
        let gone = Gone(second);
        handle.spawn(async move {
            let _gone = gone;
            std::future::pending::<()>().await;
        });
        drop(workers);
        assert_eq!(heard.recv_timeout(Duration::from_secs(20)), Ok("ended"));
    }
}
