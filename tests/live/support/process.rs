//! Programs that run as long as the value that started them.

use std::fs::File;
use std::net::{Ipv4Addr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// A running program, killed by its own pid on drop
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts `command`, with both of its output streams in the file `log`
    #[track_caller]
    pub(crate) fn start(command: &mut Command, log: &Path) -> Self {
        let output = File::create(log).expect("log file can be made");
        let errors = output.try_clone().expect("log file can be shared");
        let child = command
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(errors)
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {command:?}: {error}"));
        Self {
            child,
            log: log.to_owned(),
        }
    }

    /// Blocks until something accepts TCP connections at `port` of the loopback
    #[track_caller]
    pub(crate) fn wait_listening(&mut self, port: u16) {
        let deadline = Instant::now() + START;
        while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
            if let Ok(Some(status)) = self.child.try_wait() {
                panic!("{status} before port {port} was open:\n{}", self.log());
            }
            if Instant::now() > deadline {
                panic!("port {port} still closed after {START:?}:\n{}", self.log());
            }
            thread::sleep(POLL);
        }
    }

    /// Ends the program
    pub(crate) fn stop(&mut self) {
        // Both fail only for a program that has ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Asks the program to end, and waits until it has
    #[track_caller]
    pub(crate) fn end(&mut self) {
        let id = self.child.id().to_string();
        stdout_of(Command::new("kill").arg(&id));
        wait_for("end of the program", || {
            self.child.try_wait().expect("it can be waited for")
        });
    }

    /// What the program has written so far
    pub(crate) fn log(&self) -> String {
        let log = std::fs::read(&self.log).expect("log file can be read");
        String::from_utf8_lossy(&log).into_owned()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Blocks until `found` gives something, for as long as a program may take to start
#[track_caller]
pub(crate) fn wait_for<T>(what: &str, mut found: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + START;
    loop {
        if let Some(found) = found() {
            return found;
        }
        assert!(Instant::now() < deadline, "no {what} after {START:?}");
        thread::sleep(POLL);
    }
}

/// Runs `command` to its end and returns its output, whatever its status
#[track_caller]
pub(crate) fn run(command: &mut Command) -> Output {
    command
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|error| panic!("cannot start {command:?}: {error}"))
}

/// Runs `command` and returns its trimmed stdout; a failure panics with its stderr
#[track_caller]
pub(crate) fn stdout_of(command: &mut Command) -> String {
    let output = run(command);
    if !output.status.success() {
        let errors = String::from_utf8_lossy(&output.stderr);
        panic!("{command:?}: {}\n{errors}", output.status);
    }
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// The pause between two looks at something that is waited for
pub(crate) const POLL: Duration = Duration::from_millis(5);

/// How long a program may take to start
pub(crate) const START: Duration = Duration::from_secs(20);
