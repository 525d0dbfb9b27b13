//! The control socket: how commands on this machine reach the server of a data folder.
//!
//! Whoever may open it owns the folder and everything in it, so it asks for no password; its file mode says who may.
//! Knows paths; not what is said over the socket.

use rustix::fs::{Mode, OFlags};
use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

const NAME: &str = "control.sock";

/// The longest path that a socket's address holds, in bytes.
const MAX_PATH: usize = 107;

/// Makes a data folder that nobody else may look into, where there is none.
///
/// # Errors
/// What the system says.
pub fn make_private(folder: &Path) -> io::Result<()> {
    if folder.exists() {
        return Ok(());
    }
    DirBuilder::new().recursive(true).mode(0o700).create(folder)
}

/// A path that is short enough, for as long as this lives.
#[derive(Debug)]
pub struct Short {
    path: PathBuf,
    _folder: Option<OwnedFd>,
}

impl Short {
    fn new(folder: &Path, name: &str) -> io::Result<Self> {
        let path = folder.join(name);
        if path.as_os_str().len() <= MAX_PATH {
            return Ok(Self { path, _folder: None });
        }
        let open = rustix::fs::open(folder, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        let path = PathBuf::from(format!("/proc/self/fd/{}/{name}", open.as_raw_fd()));
        Ok(Self { path, _folder: Some(open) })
    }

    /// The path.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// Listens for this folder's commands. The folder's lock has to be held: what an earlier server left is replaced.
///
/// # Errors
/// What the system says.
pub fn listen(folder: &Path) -> io::Result<UnixListener> {
    // It gets its place once nobody else can open it.
    let private = folder.join("control.new");
    match fs::remove_dir_all(&private) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => DirBuilder::new().mode(0o700).create(&private)?,
    }
    let socket = Short::new(&private, NAME)?;
    let listener = UnixListener::bind(socket.path())?;
    fs::set_permissions(private.join(NAME), Permissions::from_mode(0o600))?;
    fs::rename(private.join(NAME), folder.join(NAME))?;
    fs::remove_dir(&private)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Removes the socket of a server that has stopped.
///
/// # Errors
/// What the system says.
pub fn remove(folder: &Path) -> io::Result<()> {
    match fs::remove_file(folder.join(NAME)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// The socket of the server that has this folder open; `None` where no server has.
///
/// # Errors
/// What the system says, such as that this user may not.
pub fn find(folder: &Path) -> io::Result<Option<Short>> {
    let socket = Short::new(folder, NAME)?;
    match UnixStream::connect(socket.path()) {
        Ok(_) => Ok(Some(socket)),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_is_found_while_somebody_listens_however_deep_the_folder_lies() {
        let yard = tempfile::tempdir().unwrap();
        for folder in [yard.path().join("a"), yard.path().join("b".repeat(120))] {
            make_private(&folder).unwrap();
            assert!(find(&folder).unwrap().is_none());
            for _ in 0..2 {
                let listener = listen(&folder).unwrap();
                assert!(find(&folder).unwrap().is_some());
                assert_eq!(folder.join(NAME).metadata().unwrap().permissions().mode() & 0o777, 0o600);
                drop(listener);
                if folder.ends_with("a") {
                    remove(&folder).unwrap();
                }
                assert!(find(&folder).unwrap().is_none(), "nobody listens");
            }
        }
    }
}
