//! What a process asks of the system for itself, before it does anything else.

use nix::sys::prctl::set_dumpable;
use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// Raises the limit of open files as far as it may be, and at most to what any run needs
///
/// The usual soft limit of 1024 is one for programs that use select(2): certd does not, and what it
/// starts with a raised limit may walk through all numbers below it, so that it is not without end.
pub(super) fn raise_descriptors() {
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else {
        return;
    };
    let wanted = hard.min(DESCRIPTORS);
    if wanted > soft {
        // Without it there are as many as before, and who runs out of them says so.
        let _ = setrlimit(Resource::RLIMIT_NOFILE, wanted, hard);
    }
}

/// Descriptors that this process may have open
pub(super) fn descriptors() -> Option<u64> {
    let (soft, _) = getrlimit(Resource::RLIMIT_NOFILE).ok()?;
    Some(soft)
}

/// Keeps the memory of this process, in which there are keys, from core dumps and from other
/// processes of the same user (prctl(2), `PR_SET_DUMPABLE`)
pub(super) fn hide_memory() {
    if let Err(error) = set_dumpable(false) {
        tracing::warn!("the memory of this process may be dumped: {error}");
    }
}

/// More than a thousand domains need side by side
const DESCRIPTORS: u64 = 65_536;
