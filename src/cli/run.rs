//! `sixgate run`: an order engine with everything that it needs to go through the gateway, or with no other way.

mod child;
mod environment;
mod folder;
mod forward;
pub(super) mod inside;
mod isolate;
mod listener;
mod notice;
mod plan;
mod trust;

use std::ffi::OsString;
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, ExitCode};
use std::time::Duration;

use clap::Args;
use jiff::Timestamp;
use serde_json::Value;

use super::client::{self, Client};
use super::endpoint::{Endpoint, GatewayArguments, read_token};
use super::failure::{self, CallError};
use super::fields::Fields;
use super::secrets::read_key;
use super::table::text;
use crate::domain::Secret;
use crate::domain::secret::ExposeSecret;
use crate::domain::tasks::Tasks;
use crate::store::handed_over;

use child::Signals;
use environment::{Files, ProxyVariables};
use folder::{Lease, RunFolder};
use forward::{Forwarder, Gateway};
use isolate::Outside;
use listener::{At, Door};
use notice::{Notice, Sign};
use plan::Names;
use trust::Trust;

/// How long a key may take to be given back at the end.
const GIVE_BACK: Duration = Duration::from_secs(5);

/// Run an order engine with everything it needs to trade through the gateway
///
/// The command finds the proxy and the certificates to trust in its environment, for curl,
/// Python, Node, Go, Java, .NET, PHP and R. Where the listener asks for a client key, one is
/// made for the run and deleted after it.
///
/// With --isolate the command has a network of its own, without root: the broker's hosts lead
/// to the gateway whatever the program knows of proxies, and nothing else leads out.
///
/// It ends as the command does: with its exit code, or 128 and the number of the signal.
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  sixgate run alpha -- python engine.py
  sixgate run alpha --isolate -- ./engine --paper
  sixgate run alpha --isolate --allow 127.0.0.1:6379 --allow db.lan:5432 -- node engine.mjs")]
pub(super) struct RunArguments {
    /// The account's name
    account: String,
    /// In a network of its own, in which the broker's hosts lead to the gateway and nothing else leads out
    ///
    /// Programs that know no proxy work, and none can go past the gateway. It takes a user
    /// namespace; where this host forbids them, the error says what to change.
    #[arg(long)]
    isolate: bool,
    /// With --isolate: a host that the command may reach besides, from this machine's own network
    #[arg(long, value_name = "HOST:PORT", requires = "isolate")]
    allow: Vec<String>,
    /// The listener, where the gateway's own word for it does not hold from here (an SSH tunnel)
    #[arg(long, value_name = "URL|unix:PATH")]
    proxy: Option<String>,
    /// A file with a client key to use (- for standard input), in place of one that is made for the run
    #[arg(long, value_name = "FILE")]
    key_file: Option<PathBuf>,
    /// Say so if no request has come through the gateway for so long after the start; 0s: never
    #[arg(long, value_name = "TIME", default_value = "1m", value_parser = humantime::parse_duration)]
    notice_after: Duration,
    /// The command and its arguments
    #[arg(last = true, required = true, value_name = "COMMAND")]
    command: Vec<OsString>,
    #[command(flatten)]
    gateway: GatewayArguments,
}

pub(super) fn run(arguments: &RunArguments) -> ExitCode {
    let run = || {
        let name = client::account(&arguments.account)?;
        let endpoint = Endpoint::find(&arguments.gateway)?;
        let token = read_token(&endpoint.token_file)?;
        let client = Client::new(&endpoint, Some(token))?;
        let folder = RunFolder::new().map_err(failed("the folder of a run"))?;
        // Before there is a thread that could get them.
        child::block().map_err(failed("the signals of this process"))?;
        let run = Run { arguments, name, endpoint: &endpoint, client: &client, folder, lease: None };
        client::block_on(run.whole())?
    };
    failure::exit_code(run())
}

/// What could not be made or read on this host.
fn failed(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> CallError {
    move |err| CallError::Output { what: what.into(), err }
}

/// A run from its beginning to its end.
struct Run<'a> {
    arguments: &'a RunArguments,
    name: &'a str,
    endpoint: &'a Endpoint,
    client: &'a Client,
    folder: RunFolder,
    /// What has to be given back.
    lease: Option<Lease>,
}

/// All that the command needs.
struct Prepared {
    door: Door,
    key: Option<Secret>,
    trust: Trust,
    status: Value,
    files: Made,
}

/// Files of the run.
struct Made {
    bundle: PathBuf,
    trust_store: PathBuf,
    php: PathBuf,
}

/// The command, and what carries its connections.
struct Started {
    child: Child,
    forwarder: Option<std::sync::Arc<Forwarder>>,
}

impl Run<'_> {
    async fn whole(mut self) -> Result<ExitCode, CallError> {
        let signals = Signals::new().map_err(failed("the signals of this process"))?;
        let tasks = Tasks::default();
        let prepared = tokio::select! {
            prepared = self.prepare() => prepared,
            () = signals.interrupted() => Err(CallError::Interrupted),
        };
        let ended = match prepared {
            Ok(prepared) => self.command(&prepared, &signals, &tasks).await,
            Err(err) => Err(err),
        };
        self.give_back().await;
        ended
    }

    /// Everything before the command.
    async fn prepare(&mut self) -> Result<Prepared, CallError> {
        self.undo_killed_runs().await;
        let status = self.client.get(&["v1", "status"]).await?.value()?;
        self.client.get(&["v1", "accounts", self.name]).await?;
        let door = self.door(&status)?;
        let ca = self.client.get(&["ca.pem"]).await?;
        let trust = Trust::of_host_and(&ca.text).ok_or_else(|| self.client.strange())?;
        let files = self.write(&trust).map_err(failed("the files of a run"))?;
        let gateway = Gateway::new(door.at.clone(), None, trust.certificates()).map_err(no_tls)?;
        gateway.reach().await.map_err(|err| {
            CallError::Usage(format!(
                "the gateway's listener {} is not reached from here ({err}); name the way to it with --proxy",
                door.at
            ))
        })?;
        let key = match (&self.arguments.key_file, door.needs_key) {
            (Some(file), _) => Some(read_key("--key-file", file)?),
            (None, true) => Some(self.make_key().await?),
            (None, false) => None,
        };
        Ok(Prepared { door, key, trust, status, files })
    }

    fn door(&self, status: &Value) -> Result<Door, CallError> {
        let Some(text) = &self.arguments.proxy else {
            return listener::choose(status, self.name, &self.endpoint.location, self.arguments.isolate);
        };
        let usage = |why: &str| CallError::Usage(format!("--proxy {why}"));
        let at =
            At::parse(text).ok_or_else(|| usage("is neither a URL such as http://127.0.0.1:8080 nor unix:PATH"))?;
        if matches!(at, At::Unix(_)) && !self.arguments.isolate {
            return Err(usage("is a unix socket, to which a program is led only with --isolate"));
        }
        // Of what the gateway says of its listeners, this one's may be true in other words.
        let known = listener::choose(status, self.name, &self.endpoint.location, true).ok();
        let needs_key = known.is_none_or(|known| known.needs_key || known.at != at);
        Ok(Door { at, needs_key })
    }

    fn write(&self, trust: &Trust) -> std::io::Result<Made> {
        let bundle = self.folder.write("bundle.pem", trust.pem().as_bytes())?;
        let trust_store = self.folder.write("trust.p12", &trust.pkcs12())?;
        let php = self.folder.file("php");
        std::fs::create_dir(&php)?;
        std::fs::write(php.join("sixgate.ini"), environment::php_settings(&bundle))?;
        Ok(Made { bundle, trust_store, php })
    }

    /// A client key for this run alone.
    async fn make_key(&mut self) -> Result<Secret, CallError> {
        let mut lease = Lease { admin: self.client.at().to_owned(), account: self.name.to_owned(), key_id: None };
        let mut fields = Fields::default();
        fields.set("label", format!("sixgate run, process {}", std::process::id()));
        let made = self.client.post(&["v1", "accounts", self.name, "keys"], fields).await?.value()?;
        lease.key_id = Some(text(&made, "/id"));
        let noted = self.folder.note(&lease);
        self.lease = Some(lease);
        noted.map_err(failed("the lease of a run"))?;
        Ok(Secret::from(text(&made, "/key")))
    }

    /// Delete the keys of runs that were killed, if they were this gateway's.
    async fn undo_killed_runs(&self) {
        for left in folder::leftovers() {
            let undone = match &left.lease.key_id {
                None => true,
                Some(_) if left.lease.admin != self.client.at() => false,
                Some(id) => {
                    let deleted = self.client.delete(&["v1", "accounts", &left.lease.account, "keys", id]).await;
                    // Refused: the key has gone, or the account has.
                    matches!(deleted, Ok(()) | Err(CallError::Refused { .. }))
                }
            };
            if undone {
                left.remove();
            }
        }
    }

    /// Run it to its end.
    async fn command(&self, prepared: &Prepared, signals: &Signals, tasks: &Tasks) -> Result<ExitCode, CallError> {
        let start = Timestamp::now();
        let started = if self.arguments.isolate {
            match self.isolated(prepared, signals, tasks).await? {
                Ok(started) => started,
                Err(code) => return Ok(code),
            }
        } else {
            let proxy = self.proxy_url(prepared);
            let mut command = self.become_command(prepared, proxy.as_deref().map(String::as_str), None);
            Started { child: command.spawn().map_err(failed("a process for the command"))?, forwarder: None }
        };
        let Started { mut child, forwarder } = started;
        let made = self.lease.as_ref().and_then(|lease| lease.key_id.clone());
        let sign = match (forwarder, made) {
            (Some(forwarder), _) => Sign::Forwarded(forwarder),
            (None, Some(id)) => Sign::KeyUsed(id),
            (None, None) => Sign::RequestSince(start),
        };
        let program = self.arguments.command.first().map(|program| program.display().to_string()).unwrap_or_default();
        let after = self.arguments.notice_after;
        let notice = Notice { client: self.client, account: self.name, program, after, sign };
        let ended = tokio::select! {
            ended = child::wait(&mut child, signals) => ended,
            () = notice.watch() => return Ok(ExitCode::FAILURE),
        };
        ended.map(child::code_of).map_err(failed("what became of the command"))
    }

    /// Start it in namespaces of its own. `Err` with the exit code where they could not be made: that was said already.
    async fn isolated(
        &self,
        prepared: &Prepared,
        signals: &Signals,
        tasks: &Tasks,
    ) -> Result<Result<Started, ExitCode>, CallError> {
        let Prepared { door, key, trust, status, files } = prepared;
        let names = Names::new(&plan::broker_hosts(status), &self.arguments.allow)?;
        let plan = names.plan(&self.folder, &files.bundle).map_err(failed("the files of a namespace"))?;
        let caller = key.as_ref().map(|key| (self.name, key.expose_secret()));
        let gateway = Gateway::new(door.at.clone(), caller, trust.certificates()).map_err(no_tls)?;
        let forwarder = Forwarder::new(names.routes, gateway);

        let outside = Outside::new(self.folder.file("inside.sock")).map_err(failed("a socket for the namespace"))?;
        let mut command = self.become_command(prepared, None, Some(&outside));
        let mut child = command.spawn().map_err(failed("a process for the command"))?;
        let made = outside.make(&plan, &mut child, signals).await.map_err(failed("a namespace for the command"))?;
        let mut namespace = match made {
            Ok(namespace) => namespace,
            Err(status) => return Ok(Err(child::code_of(status))),
        };
        for socket in std::mem::take(&mut namespace.sockets) {
            forwarder.serve(socket, tasks).map_err(failed("a socket of the namespace"))?;
        }
        // If it has gone by now, it is waited for as any command.
        let _ = namespace.go_on().await;
        Ok(Ok(Started { child, forwarder: Some(forwarder) }))
    }

    /// The proxy as a URL, with the key in it if there is one.
    fn proxy_url(&self, prepared: &Prepared) -> Option<zeroize::Zeroizing<String>> {
        let caller = prepared.key.as_ref().map(|key| (self.name, key.expose_secret()));
        prepared.door.at.url(caller).map(zeroize::Zeroizing::new)
    }

    /// This program again, which becomes the command.
    fn become_command(&self, prepared: &Prepared, proxy: Option<&str>, outside: Option<&Outside>) -> Command {
        let proxy = match (&prepared.door.at, proxy) {
            (At::Tcp { host, port, .. }, Some(url)) => Some(ProxyVariables { url, host, port: *port }),
            _ => None,
        };
        let Made { bundle, trust_store, php } = &prepared.files;
        let files = Files { bundle, trust_store, php };
        let hosts = plan::names_of(&plan::broker_hosts(&prepared.status));
        let mut command = Command::new("/proc/self/exe");
        command.arg0(inside::NAME).arg(outside.map_or(inside::NOWHERE.as_ref(), |outside| outside.path()));
        command.args(&self.arguments.command).env_remove(handed_over::NUMBER);
        for (name, value) in environment::variables(proxy.as_ref(), &files, &hosts, |name| std::env::var_os(name)) {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        // Should this process be killed, the key is deleted by a later run, and not while the command uses it.
        let _ = self.folder.share();
        command
    }

    /// Delete the key that was made for the run. What else there is lies in the folder.
    async fn give_back(&mut self) {
        let Some(Lease { account, key_id: Some(id), .. }) = self.lease.take() else { return };
        let path = ["v1", "accounts", account.as_str(), "keys", id.as_str()];
        let deleted = tokio::time::timeout(GIVE_BACK, self.client.delete(&path)).await;
        let why = match deleted {
            Ok(Ok(())) => return,
            Ok(Err(err)) => err.to_string(),
            Err(_) => format!("no answer within {} s", GIVE_BACK.as_secs()),
        };
        // Nobody may be there to read it.
        let _ = writeln!(
            std::io::stderr(),
            "sixgate run: the client key {id} of {account} could not be deleted: {why}. Then: sixgate key delete {account} {id}"
        );
    }
}

fn no_tls(err: rustls::Error) -> CallError {
    CallError::Client(err.to_string())
}
