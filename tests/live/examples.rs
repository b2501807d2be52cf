//! The examples that need a container, as a person runs them.

use std::path::Path;
use std::process::Command;

use libtest_mimic::Trial;

use crate::support::process;

pub(crate) fn trials() -> Vec<Trial> {
    crate::trials![the_example_with_pebble_ends_with_what_openssl_sees]
}

fn the_example_with_pebble_ends_with_what_openssl_sees() {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/pebble/run.sh");
    let mut command = Command::new(script);
    let output = process::run(command.env("CERTD", env!("CARGO_BIN_EXE_certd")));
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}");
    for words in [
        "2 domains: 2 proven",
        "3 endpoints: 3 good",
        "DNS:messenger.rare-books.test",
    ] {
        assert!(text.contains(words), "no {words:?} in {text}");
    }
}
