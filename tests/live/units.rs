//! The units in `systemd/`, as systemd itself reads them.

use std::path::{Path, PathBuf};
use std::process::Command;

use libtest_mimic::Trial;

use crate::support::process::stdout_of;
use crate::support::write;

pub(crate) fn trials() -> Vec<Trial> {
    crate::trials![
        the_units_are_in_order,
        the_service_is_sandboxed,
        the_service_is_bounded_and_leaves_no_core
    ]
}

/// Copies of the units, with certd where it was built
fn units(directory: &Path) -> Vec<PathBuf> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("systemd");
    let entries = std::fs::read_dir(source).expect("a directory");
    let units: Vec<PathBuf> = entries
        .map(|entry| {
            let path = entry.expect("an entry").path();
            let text = std::fs::read_to_string(&path).expect("a unit");
            let copy = directory.join(path.file_name().expect("a name"));
            let certd = env!("CARGO_BIN_EXE_certd");
            write(&copy, text.replace("/usr/local/bin/certd", certd));
            copy
        })
        .collect();
    assert!(units.len() >= 3, "{units:?}");
    units
}

fn the_units_are_in_order() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut verify = Command::new("systemd-analyze");
    verify.args(["verify", "--man=no"]);
    let output = verify.args(units(directory.path())).output();
    let output = output.expect("systemd-analyze runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.is_empty(), "{said}");
}

fn the_service_is_bounded_and_leaves_no_core() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut services = 0;
    for unit in units(directory.path()) {
        if unit
            .extension()
            .is_none_or(|extension| extension != "service")
        {
            continue;
        }
        services += 1;
        let text = std::fs::read_to_string(&unit).expect("a unit");
        let has = |line: &str| text.lines().any(|other| other == line);
        assert!(has("LimitCORE=0"), "{text}");
        assert!(text.contains("\nMemoryMax="), "{text}");
    }
    assert_eq!(services, 2);
}

fn the_service_is_sandboxed() {
    let directory = tempfile::tempdir().expect("a directory");
    let units = units(directory.path());
    let services = units.iter().filter(|unit| {
        unit.extension()
            .is_some_and(|extension| extension == "service")
    });
    for service in services {
        // Tenths of what systemd calls exposure, of ten at most.
        let mut security = Command::new("systemd-analyze");
        security.args(["security", "--offline=true", "--threshold=20", "--no-pager"]);
        stdout_of(security.arg(service));
    }
}
