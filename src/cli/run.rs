//! `certd run`.

use tokio::sync::mpsc;

use super::args::Global;
use super::error::CliError;
use super::{Ended, Signals, crypto_provider, now};
use crate::config::{Config, Environment};
use crate::schedule::{self, DaemonError, Order, Setup};

/// Runs the daemon until a signal ends it
///
/// It takes the signals itself: HUP has it read domains.toml again, and TERM lets it come to an end.
pub(super) async fn run(global: &Global, environment: &Environment) -> Result<Ended, CliError> {
    let mut signals = Signals::listen()?;
    let setup = Setup {
        path: Config::locate(global.config.as_deref(), environment)?,
        environment: environment.clone(),
        provider: crypto_provider(),
        clock: now,
    };
    let (sender, orders) = mpsc::unbounded_channel();
    let mut ended = Ended::Well;
    let daemon = schedule::run(setup, orders);
    tokio::pin!(daemon);
    loop {
        tokio::select! {
            biased;
            stopped = &mut daemon => return stopped.map(|()| ended).map_err(CliError::from),
            number = signals.next() => {
                let order = match number {
                    HANGUP => Order::Reload,
                    TERMINATE => Order::Drain,
                    _ => Order::Stop,
                };
                if order == Order::Stop {
                    ended = Ended::Signal(number);
                }
                // A daemon that has ended needs no order.
                let _ = sender.send(order);
            }
        }
    }
}

impl From<DaemonError> for CliError {
    fn from(error: DaemonError) -> Self {
        match error {
            DaemonError::Config(error) => error.into(),
            DaemonError::NoDomain => Self::NoDomain,
            DaemonError::Store(error) => error.into(),
            error => Self::Daemon(error),
        }
    }
}

const HANGUP: u8 = 1;
const TERMINATE: u8 = 15;
