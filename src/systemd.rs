//! Telling systemd how the daemon fares (sd_notify(3)); where nobody listens nothing happens.

use std::time::Duration;

use sd_notify::NotifyState;

/// The daemon is at work; `status` says in a line what comes next
pub fn ready(status: &str) {
    tell(&[NotifyState::Ready, NotifyState::Status(status)]);
}

/// What the daemon does, in a line for `systemctl status`
pub fn status(status: &str) {
    tell(&[NotifyState::Status(status)]);
}

/// domains.toml is read again; [`ready`] follows
pub fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(since) => tell(&[NotifyState::Reloading, since]),
        Err(_) => tell(&[NotifyState::Reloading]),
    }
}

/// The daemon ends
pub fn stopping() {
    tell(&[NotifyState::Stopping]);
}

/// The daemon's loop turns
pub fn alive() {
    tell(&[NotifyState::Watchdog]);
}

/// How often [`alive`] is to be called: twice as often as systemd looks (sd_watchdog_enabled(3));
/// `None` where it does not
pub fn watchdog() -> Option<Duration> {
    let period = sd_notify::watchdog_enabled()? / 2;
    (!period.is_zero()).then_some(period)
}

fn tell(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::debug!(%error, "systemd was not told");
    }
}
