//! A host whose `/etc` is the test's own.

use std::path::{Path, PathBuf};
use std::process::Command;

/// The `/etc` of the programs that are started with it: a folder that has nothing but what the test puts there. Other
/// programs keep theirs, so it takes a mount namespace.
#[derive(Debug)]
pub(crate) struct Etc {
    dir: PathBuf,
}

impl Etc {
    /// An empty one, in `dir`.
    pub(crate) fn new(dir: &Path) -> Self {
        let dir = dir.join("etc");
        std::fs::create_dir(&dir).unwrap();
        Self { dir }
    }

    /// Let a program have it.
    pub(crate) fn give(&self, command: &mut Command) {
        let mut inside = Command::new("unshare");
        let mount = "mount --bind \"$0\" /etc && exec \"$@\"";
        inside.args(["--mount", "--propagation", "private", "--", "sh", "-c", mount]).arg(&self.dir);
        inside.arg(command.get_program()).args(command.get_args());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => inside.env(name, value),
                None => inside.env_remove(name),
            };
        }
        *command = inside;
    }

    /// Write one of its files where it is, or make it.
    pub(crate) fn write(&self, name: &str, text: &str) {
        std::fs::write(self.dir.join(name), text).unwrap();
    }

    /// Put a file in the place of one that is there, as programs do that never leave half of one.
    pub(crate) fn replace(&self, name: &str, text: &str) {
        let new = self.dir.join("new");
        std::fs::write(&new, text).unwrap();
        std::fs::rename(&new, self.dir.join(name)).unwrap();
    }

    /// Put a link to another file of it in the place of one that is there.
    pub(crate) fn link(&self, name: &str, to: &str) {
        let new = self.dir.join("new");
        std::os::unix::fs::symlink(to, &new).unwrap();
        std::fs::rename(&new, self.dir.join(name)).unwrap();
    }
}
