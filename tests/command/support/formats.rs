//! Readers of what `certd verify` writes for other programs, each as strict as its program.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use boon::{Compiler, SchemaIndex, Schemas};
use serde_json::Value;

/// A file of `tests/data`
pub(crate) fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/data")
        .join(name)
}

/// A JSON Schema
pub(crate) struct Schema {
    all: Schemas,
    index: SchemaIndex,
}

impl Schema {
    #[track_caller]
    pub(crate) fn new(schema: Value) -> Self {
        let (mut all, mut compiler) = (Schemas::new(), Compiler::new());
        compiler.enable_format_assertions();
        compiler
            .add_resource("schema.json", schema)
            .expect("the schema can be added");
        let index = compiler
            .compile("schema.json", &mut all)
            .unwrap_or_else(|error| panic!("no schema: {error:#}"));
        Self { all, index }
    }

    /// The schema in a file of `tests/data`
    pub(crate) fn of_data(name: &str) -> Self {
        let text = std::fs::read_to_string(data(name)).expect("the file is there");
        Self::new(serde_json::from_str(&text).expect("a schema is JSON"))
    }

    pub(crate) fn accepts(&self, value: &Value) -> bool {
        self.all.validate(value, self.index).is_ok()
    }

    #[track_caller]
    pub(crate) fn check(&self, value: &Value) {
        if let Err(error) = self.all.validate(value, self.index) {
            panic!("{error:#}\n{value:#}");
        }
    }
}

/// Holds XML against the schema of Jenkins
///
/// xmllint is libxml2's. A machine that has none passes, unless it is one that must have it.
#[track_caller]
pub(crate) fn check_junit(xml: &str) {
    let file = tempfile::NamedTempFile::new().expect("a temporary file can be made");
    std::fs::write(file.path(), xml).expect("it is writable");
    let run = Command::new("xmllint")
        .args(["--noout", "--nonet", "--schema"])
        .arg(data("junit-10.xsd"))
        .arg(file.path())
        .output();
    match run {
        Ok(run) => assert!(
            run.status.success(),
            "{}\n{xml}",
            String::from_utf8_lossy(&run.stderr)
        ),
        Err(error) => {
            let needed = ["CERTD_LIVE", "CI"].map(std::env::var_os);
            assert!(needed.iter().all(Option::is_none), "xmllint: {error}");
        }
    }
}

/// Whether XML can be held against a schema here
pub(crate) fn has_xmllint() -> bool {
    Command::new("xmllint").arg("--version").output().is_ok()
}

/// One sample of a metric
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Sample {
    pub(crate) name: String,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) value: f64,
}

/// The samples of a text in Prometheus's format, as its textfile collector takes them: no
/// timestamps, each family once and together, no sample twice
#[track_caller]
pub(crate) fn samples(text: &str) -> Vec<Sample> {
    assert!(text.ends_with('\n'), "the last line has no end: {text:?}");
    let (mut seen, mut told) = (BTreeSet::new(), Vec::<Sample>::new());
    let mut families: Vec<&str> = Vec::new();
    let mut typed = "";
    for line in text.trim_end_matches('\n').split('\n') {
        if let Some(help) = line.strip_prefix("# HELP ") {
            let (name, _) = help.split_once(' ').expect("a name and a text");
            assert!(!families.contains(&name), "{name} comes twice");
            families.push(name);
        } else if let Some(kind) = line.strip_prefix("# TYPE ") {
            let (name, kind) = kind.split_once(' ').expect("a name and a type");
            assert_eq!((Some(&name), kind), (families.last(), "gauge"));
            typed = name;
        } else {
            let sample = sample(line).unwrap_or_else(|| panic!("no sample: {line:?}"));
            assert_eq!(sample.name, typed, "{line:?} stands in another family");
            let identity = format!("{}{:?}", sample.name, sample.labels);
            assert!(seen.insert(identity), "{line:?} comes twice");
            told.push(sample);
        }
    }
    told
}

fn sample(line: &str) -> Option<Sample> {
    let end = line.find(['{', ' '])?;
    let (name, mut rest) = line.split_at(end);
    let mut labels = BTreeMap::new();
    if let Some(mut inner) = rest.strip_prefix('{') {
        loop {
            let (key, after) = inner.split_once("=\"")?;
            is_word(key).then_some(())?;
            let (value, after) = quoted(after)?;
            labels
                .insert(key.to_owned(), value)
                .is_none()
                .then_some(())?;
            match (after.strip_prefix(','), after.strip_prefix('}')) {
                (Some(more), _) => inner = more,
                (None, Some(after)) => break rest = after,
                (None, None) => return None,
            }
        }
    }
    let value = rest.strip_prefix(' ')?;
    is_word(name).then_some(Sample {
        name: name.to_owned(),
        labels,
        value: value.parse().ok()?,
    })
}

/// The value up to the closing quote, and what follows it
fn quoted(text: &str) -> Option<(String, &str)> {
    let (mut value, mut chars) = (String::new(), text.char_indices());
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((value, &text[at + 1..])),
            '\\' => value.push(match chars.next()?.1 {
                'n' => '\n',
                other @ ('\\' | '"') => other,
                _ => return None,
            }),
            other => value.push(other),
        }
    }
    None
}

fn is_word(text: &str) -> bool {
    let mut bytes = text.bytes();
    !text.is_empty() && bytes.all(|byte| byte == b'_' || byte.is_ascii_lowercase())
}

/// One annotation
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Annotation {
    pub(crate) command: String,
    pub(crate) properties: BTreeMap<String, String>,
    pub(crate) message: String,
}

/// The annotations in a log as GitHub's runner takes them from it, and the lines that are none
pub(crate) fn annotations(log: &str) -> (Vec<Annotation>, Vec<&str>) {
    let (mut annotations, mut plain) = (Vec::new(), Vec::new());
    for line in log.lines() {
        match line.trim_start().strip_prefix("::") {
            Some(command) => annotations.push(annotation(command)),
            None => plain.push(line),
        }
    }
    (annotations, plain)
}

fn annotation(text: &str) -> Annotation {
    let (head, message) = text.split_once("::").expect("a command ends with ::");
    let (command, properties) = head.split_once(' ').unwrap_or((head, ""));
    let properties = properties.split(',').map(|property| {
        let (key, value) = property.split_once('=').expect("a property has a value");
        let value = value.replace("%0D", "\r").replace("%0A", "\n");
        let value = value.replace("%3A", ":").replace("%2C", ",");
        (key.to_owned(), value.replace("%25", "%"))
    });
    Annotation {
        command: command.to_owned(),
        properties: properties.collect(),
        message: message
            .replace("%0D", "\r")
            .replace("%0A", "\n")
            .replace("%25", "%"),
    }
}

#[test]
fn the_readers_are_strict() {
    let good = "# HELP a b\n# TYPE a gauge\na{n=\"x\\\"\\n\\\\\",o=\"\"} 1\na 2.5\n";
    let read = samples(good);
    assert_eq!(read[0].labels["n"], "x\"\n\\");
    assert_eq!(read[1].value, 2.5);
    for bad in [
        "a",
        "a 1 2",
        "a{n=\"x} 1",
        "a{n=\"\\t\"} 1",
        "a{n=\"\"n=\"\"} 1",
        "a{n=\"\",n=\"\"} 1",
        "A 1",
    ] {
        assert_eq!(sample(bad), None, "{bad:?}");
    }
    let (read, plain) = annotations("::error file=a%2Cb,line=1::x%0Ay%2525\nrest");
    assert_eq!(read[0].properties["file"], "a,b");
    assert_eq!(read[0].message, "x\ny%25");
    assert_eq!(plain, ["rest"]);
}
