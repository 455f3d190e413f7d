//! The real binary as a running gateway, in a namespace or here.

use std::ops::{Deref, DerefMut};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::admin::{AdminAt, AdminClient};
use super::net::Place;
use super::process::Process;
use super::wait;

/// How long a start may take, on a machine that runs other tests too.
const START: Duration = Duration::from_secs(90);

/// What a start waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ready {
    /// `GET /readyz` answers 200.
    Readyz,
    /// `GET /healthz` answers 200.
    Healthz,
    /// Nothing: the test expects that it does not come up, or waits by itself.
    Nothing,
}

/// A `sixgate serve` process.
#[derive(Debug)]
pub(crate) struct Gateway {
    process: Process,
    place: Place,
    dir: PathBuf,
    admin: AdminAt,
    token_file: PathBuf,
}

impl Gateway {
    /// Start one in `place` with this configuration and wait until it is ready. Its files are kept in `dir`; `{dir}`
    /// in the configuration stands for that folder. Started again in the same `dir` it finds its state.
    pub(crate) fn start(place: &Place, config: &str, dir: &Path) -> Self {
        Self::start_with(place, config, dir, Ready::Readyz, |_| {})
    }

    /// [`Gateway::start`], with a choice of what to wait for, and of the command's arguments and environment.
    pub(crate) fn start_with(
        place: &Place,
        config: &str,
        dir: &Path,
        ready: Ready,
        adjust: impl FnOnce(&mut Command),
    ) -> Self {
        Self::start_program(Path::new(env!("CARGO_BIN_EXE_sixgate")), place, config, dir, ready, adjust)
    }

    /// [`Gateway::start_with`], of another build's binary.
    pub(crate) fn start_program(
        program: &Path,
        place: &Place,
        config: &str,
        dir: &Path,
        ready: Ready,
        adjust: impl FnOnce(&mut Command),
    ) -> Self {
        let file = dir.join("sixgate.toml");
        let text = Self::write_config(dir, config);
        let (admin, token_file) = admin_of(&text, dir);
        let mut command = place.command(program);
        command.arg("serve").arg("--config").arg(&file);
        adjust(&mut command);
        let process = Process::start(command, dir, "gateway");
        let mut gateway = Self { process, place: place.clone(), dir: dir.to_path_buf(), admin, token_file };
        gateway.wait_until_ready(ready);
        gateway
    }

    /// Write the configuration file anew, as for a reload; answers what was written.
    pub(crate) fn write_config(dir: &Path, config: &str) -> String {
        let text = config.replace("{dir}", dir.to_str().expect("a folder named in UTF-8"));
        std::fs::write(dir.join("sixgate.toml"), &text).expect("write the configuration");
        text
    }

    /// Wait until it is ready; panics with its log if it ends before, or takes too long.
    pub(crate) fn wait_until_ready(&mut self, ready: Ready) {
        let path = match ready {
            Ready::Readyz => "/readyz",
            Ready::Healthz => "/healthz",
            Ready::Nothing => return,
        };
        let anybody = AdminClient::anonymous(&self.place, self.admin.clone());
        let mut last = String::new();
        let is_ready = wait::poll(START, || {
            if let Some(status) = self.process.ended() {
                panic!("the gateway ended with {status} before it was ready; it said:\n{}", self.process.log());
            }
            let answer = anybody.try_call("GET", path, None);
            last = format!("{answer:?}");
            answer.is_ok_and(|(status, _)| status == 200).then_some(())
        });
        assert!(
            is_ready.is_some(),
            "no 200 from {path} within {START:?}, but {last}; it said:\n{}",
            self.process.log()
        );
    }

    /// Its admin API, with the admin role's token as the file has it now.
    pub(crate) fn admin(&self) -> AdminClient {
        AdminClient::with_token_file(&self.place, self.admin.clone(), &self.token_file)
    }

    /// Its admin API, with no token.
    pub(crate) fn admin_without_token(&self) -> AdminClient {
        AdminClient::anonymous(&self.place, self.admin.clone())
    }

    /// The value of a line of the metrics, named up to its value; none where it is not there.
    pub(crate) fn metric(&self, line: &str) -> Option<f64> {
        let text = self.admin().get("/metrics").1;
        text.as_str().unwrap().lines().find_map(|found| found.strip_prefix(line)?.trim().parse().ok())
    }

    /// Its folder.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Where it runs.
    pub(crate) const fn place(&self) -> &Place {
        &self.place
    }
}

impl Deref for Gateway {
    type Target = Process;

    fn deref(&self) -> &Process {
        &self.process
    }
}

impl DerefMut for Gateway {
    fn deref_mut(&mut self) -> &mut Process {
        &mut self.process
    }
}

/// Where a configuration puts the admin API and its token. A gateway runs in `dir`, so that is what relative paths
/// start from.
fn admin_of(config: &str, dir: &Path) -> (AdminAt, PathBuf) {
    let table: toml::Table = config.parse().expect("the test's configuration is TOML");
    let key = |name: &str| table.get("admin").and_then(|admin| admin.get(name)).and_then(toml::Value::as_str);
    let token_file = dir.join(key("token_file").unwrap_or("state/admin.token"));
    let address = key("address").unwrap_or("127.0.0.1:8081");
    let at = match address.strip_prefix("unix:") {
        Some(path) => AdminAt::Unix(dir.join(path)),
        None => AdminAt::Tcp(address.parse().expect("admin.address is an address and a port")),
    };
    (at, token_file)
}
