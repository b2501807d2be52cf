//! `certd notify --test`.

use super::args::Global;
use super::error::CliError;
use super::{Ended, configuration, crypto_provider, now, print_report};
use crate::config::Environment;
use crate::notify;
use crate::report::text;

pub(super) async fn run(global: &Global, environment: &Environment) -> Result<Ended, CliError> {
    let config = configuration(global, environment)?;
    if config.notify.is_empty() {
        return Err(CliError::NoChannel {
            file: config.path.display().to_string(),
        });
    }
    let report = notify::test(&config, &crypto_provider(), now()).await;
    if !global.keeps_back(report.is_well()) {
        print_report(&report, global.format, global.color, |report, out| {
            text::notify(report, out)
        })?;
    }
    Ok(match report.is_well() {
        true => Ended::Well,
        false => Ended::Failed,
    })
}
