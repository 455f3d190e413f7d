//! A namespace for a command, seen from outside: what is to be made there goes in by a socket, and what listens there
//! comes out.

use std::io::{self, IoSliceMut};
use std::mem::MaybeUninit;
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus};

use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use tokio::io::{AsyncWriteExt, Interest};
use tokio::net::{UnixListener, UnixStream};

use super::child::{Came, Signals, pass};
use super::inside::MOST_SOCKETS;
use super::plan::Plan;

/// Where the process inside finds us.
#[derive(Debug)]
pub(super) struct Outside {
    path: PathBuf,
    socket: UnixListener,
}

/// A namespace whose process waits for the word to go on.
#[derive(Debug)]
pub(super) struct Namespace {
    inside: UnixStream,
    /// What listens in it.
    pub(super) sockets: Vec<TcpListener>,
}

impl Outside {
    /// # Errors
    /// The socket cannot be made.
    pub(super) fn new(path: PathBuf) -> io::Result<Self> {
        let socket = UnixListener::bind(&path)?;
        Ok(Self { path, socket })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Have the namespace made by `child`. `Err` with its status if it ended instead: it has said why.
    ///
    /// # Errors
    /// The kernel refused something here.
    pub(super) async fn make(
        self,
        plan: &Plan,
        child: &mut Child,
        signals: &Signals,
    ) -> io::Result<Result<Namespace, ExitStatus>> {
        let making = async {
            let (mut inside, _) = self.socket.accept().await?;
            let text = serde_json::to_string(plan)? + "\n";
            inside.write_all(text.as_bytes()).await?;
            let sockets = take_over(&inside).await?;
            Ok::<_, io::Error>(Namespace { inside, sockets })
        };
        tokio::pin!(making);
        loop {
            if let Some(status) = child.try_wait()? {
                return Ok(Err(status));
            }
            tokio::select! {
                made = &mut making => match made {
                    Ok(namespace) => return Ok(Ok(namespace)),
                    // It ended, and with that its end of the socket; its status says how.
                    Err(_) => return child.wait().map(Err),
                },
                came = signals.next() => match came? {
                    Came::Child | Came::Shared => {}
                    Came::Pass(signal) => pass(child, signal),
                },
            }
        }
    }
}

impl Namespace {
    /// Let the command begin.
    ///
    /// # Errors
    /// The process inside has gone.
    pub(super) async fn go_on(mut self) -> io::Result<()> {
        self.inside.write_all(b"g").await
    }
}

/// The sockets that the process inside hands over.
async fn take_over(inside: &UnixStream) -> io::Result<Vec<TcpListener>> {
    loop {
        inside.readable().await?;
        let received = inside.try_io(Interest::READABLE, || {
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_SOCKETS))];
            let mut control = RecvAncillaryBuffer::new(&mut space);
            let mut byte = [0];
            let message = recvmsg(inside, &mut [IoSliceMut::new(&mut byte)], &mut control, RecvFlags::CMSG_CLOEXEC)?;
            if message.bytes == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let mut sockets: Vec<OwnedFd> = Vec::new();
            for message in control.drain() {
                if let RecvAncillaryMessage::ScmRights(descriptors) = message {
                    sockets.extend(descriptors);
                }
            }
            Ok(sockets)
        });
        match received {
            Err(err) if err.kind() == io::ErrorKind::WouldBlock => {}
            received => return Ok(received?.into_iter().map(TcpListener::from).collect()),
        }
    }
}
