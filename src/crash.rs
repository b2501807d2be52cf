//! Points at which a test ends a run: before and after a request that may change something at a CA,
//! after each change in the file system and each command in a container. Before a change all is as at the last point,
//! and a sync makes no difference to what a killed process leaves: it is noted, and no point.
//!
//! Without the feature `failpoints`, which is for tests alone, a point is an empty function. With
//! it a run writes down the points that it passes, and kills itself at one of them as the kernel
//! would: nothing is cleaned up; or it panics at each that has certain words in its name. A unit test stops the writer of files on its own thread instead.

#[cfg(not(feature = "failpoints"))]
use std::fmt::Display;
use std::io;
use std::path::Path;

/// Passes a point: `what` has just happened to something, or is about to
#[cfg(not(feature = "failpoints"))]
pub(crate) fn point(_what: &str, _to: impl Display) {}

/// Notes that what is at a path was synced
#[cfg(not(feature = "failpoints"))]
pub(crate) fn synced(_path: &Path) {}

/// Passes a point at which a test has a defect: how often it is passed is chance, so that nothing is
/// killed there
#[cfg(not(feature = "failpoints"))]
pub(crate) fn defect(_what: &str, _to: impl Display) {}

#[cfg(feature = "failpoints")]
pub(crate) use killed::{defect, point, synced};

/// Passes a point between two changes to files
///
/// # Errors
/// None but in a unit test that stops the writer here.
pub(crate) fn step(what: &str, path: &Path) -> io::Result<()> {
    point(what, path.display());
    stopped()
}

#[cfg(not(test))]
const fn stopped() -> io::Result<()> {
    Ok(())
}

#[cfg(test)]
use writer::stopped;

/// Killing the process
#[cfg(feature = "failpoints")]
mod killed {
    use std::env;
    use std::ffi::OsStr;
    use std::fmt::Display;
    use std::fs::File;
    use std::io::Write;
    use std::path::Path;
    use std::sync::{Mutex, PoisonError};

    use nix::sys::signal::{Signal, kill};
    use nix::unistd::Pid;

    /// Names of the points passed so far
    static PASSED: Mutex<Vec<String>> = Mutex::new(Vec::new());

    pub(crate) fn defect(what: &str, to: impl Display) {
        if env::var(PANIC).is_ok_and(|words| format!("{what} {to}").contains(&words)) {
            panic!("a test wants it at {what}");
        }
    }

    pub(crate) fn point(what: &str, to: impl Display) {
        defect(what, &to);
        let Some(log) = env::var_os(LOG) else { return };
        let mut passed = PASSED.lock().unwrap_or_else(PoisonError::into_inner);
        let name = format!("{what} {to}");
        // How often a CA is polled is chance: a pair that only repeats the last one is no other.
        if passed.iter().rev().take(2).any(|last| *last == name) {
            return;
        }
        write_down(&log, &name);
        passed.push(name);
        if env::var(AT).is_ok_and(|at| at == passed.len().to_string()) {
            // Whoever waits for the lock meanwhile must not pass another point.
            kill(Pid::this(), Signal::SIGKILL).expect("a process may kill itself");
        }
    }

    pub(crate) fn synced(path: &Path) {
        let Some(log) = env::var_os(LOG) else { return };
        let _in_turn = PASSED.lock().unwrap_or_else(PoisonError::into_inner);
        write_down(&log, &format!("{SYNCED}{}", path.display()));
    }

    fn write_down(log: &OsStr, line: &str) {
        #[expect(clippy::disallowed_methods, reason = "no file of the store's")]
        let log = File::options().append(true).create(true).open(log);
        let noted = log.and_then(|mut log| writeln!(log, "{line}"));
        noted.expect("the test gives a file that can be written");
    }

    /// How the line of a sync begins, which is no point
    const SYNCED: &str = "    synced ";
    /// File to which each point that is passed adds its name, a line each; without it none counts
    const LOG: &str = "CERTD_CRASH_LOG";
    /// Words in the name of a point at which the thread panics, each time
    const PANIC: &str = "CERTD_PANIC_AT";
    /// Number of the point, from 1, at which the process kills itself
    const AT: &str = "CERTD_CRASH_AT";
}

/// Stopping a writer with an error
#[cfg(test)]
pub(crate) mod writer {
    use std::cell::Cell;
    use std::io;

    thread_local! {
        static LEFT: Cell<Option<usize>> = const { Cell::new(None) };
    }

    /// Lets `steps` steps pass on this thread and fails every one after them
    pub(crate) fn stop_after(steps: usize) {
        LEFT.set(Some(steps));
    }

    /// Lets everything pass again
    pub(crate) fn never_stop() {
        LEFT.set(None);
    }

    pub(super) fn stopped() -> io::Result<()> {
        match LEFT.get() {
            None => Ok(()),
            Some(0) => Err(io::Error::other("stopped here")),
            Some(left) => {
                LEFT.set(Some(left - 1));
                Ok(())
            }
        }
    }
}
