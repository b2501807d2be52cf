//! `certd schema`.

use super::args::{DescribedReport, Global, SchemaArguments};
use super::error::CliError;
use super::{Ended, print, write_json};
use crate::report::verify::VerifyReport;

/// Prints a schema, which is JSON whatever `--format` says
pub(super) fn run(global: &Global, args: &SchemaArguments) -> Result<Ended, CliError> {
    let schema = match args.report {
        DescribedReport::Verify => VerifyReport::schema(),
    };
    print(global.color, |out| write_json(&schema, out))?;
    Ok(Ended::Well)
}
