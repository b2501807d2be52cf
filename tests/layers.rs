//! The layers of the crate documentation, held against every `crate::` path in the source.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use syn::visit::{self, Visit};
use syn::{ItemMod, UseTree};

/// The modules, lowest layer first
const LAYERS: [&[&str]; 8] = [
    &["name", "time", "chain", "finding", "facts", "input"],
    &["config", "store"],
    &["plan"],
    &["net"],
    &[
        "acme",
        "challenge",
        "install",
        "preflight",
        "target",
        "verify",
    ],
    &["pipeline", "report"],
    &["run", "schedule", "notify", "systemd"],
    &["cli", "telemetry"],
];

/// The module that is in builds for tests alone: it may use all, and nothing uses it
const FUZZ: &str = "fuzz";

/// The module of the points at which tests end a run: every layer passes them
const POINTS: &str = "crash";

/// Modules of one layer that may use each other
const WORDS: usize = 0;
const INPUTS: usize = 1;
const NET: usize = 3;
const STAGES: usize = 4;
const DRIVE: usize = 5;
const RUN: usize = 6;
const SURFACE: usize = 7;

/// Other crates that have one home
const HOMES: &[(&str, &[&str])] = &[
    ("instant_acme", &["acme"]),
    ("rcgen", &["acme"]),
    ("hickory_resolver", &["net"]),
    ("hyper", &["net"]),
    ("hyper_util", &["net"]),
    ("psl", &["name"]),
    ("rustix", &["config"]),
    ("fastrand", &["plan"]),
    ("hyper_rustls", &["net"]),
    ("tower_service", &["net"]),
    ("tokio_rustls", &["net"]),
    ("bollard", &["target", "cli/demo"]),
    ("certd_sandbox", &["cli/demo"]),
    ("x509_parser", &["chain"]),
    ("clap", &["cli", "telemetry"]),
    ("indicatif", &["cli"]),
    ("lettre", &["notify"]),
    ("quick_xml", &["report"]),
    ("schemars", &["finding", "report"]),
    ("toml", &["config"]),
    ("croner", &["time"]),
    ("sd_notify", &["systemd"]),
    ("tokio_cron_scheduler", &["schedule"]),
];

#[test]
fn no_module_uses_a_layer_above_its_own() {
    let mut wrong = Vec::new();
    for file in sources() {
        for used in &file.crate_modules {
            if let Err(reason) = allowed(&file, used) {
                wrong.push(format!(
                    "{}: {} uses {used}: {reason}",
                    file.path.display(),
                    file.module
                ));
            }
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
}

#[test]
fn no_two_modules_of_the_run_use_each_other() {
    let uses = |from: &str, to: &str| {
        let sources = sources();
        let mut own = sources.iter().filter(|file| file.module == from);
        own.any(|file| file.crate_modules.contains(to))
    };
    for (index, one) in LAYERS[RUN].iter().enumerate() {
        for other in &LAYERS[RUN][index + 1..] {
            assert!(!uses(one, other) || !uses(other, one), "{one} and {other}");
        }
    }
}

#[test]
fn an_external_crate_has_one_home() {
    let mut wrong = Vec::new();
    for file in sources() {
        for &(name, homes) in HOMES {
            if file.roots.contains(name) && !homes.iter().any(|home| file.lies_in(home)) {
                wrong.push(format!("{} uses {name}", file.path.display()));
            }
        }
        let pure = layer(&file.module) == Some(WORDS) || file.module == "plan";
        for name in ["tokio", "tracing"] {
            if pure && file.roots.contains(name) {
                wrong.push(format!("{} uses {name}", file.path.display()));
            }
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
}

#[test]
fn every_module_is_in_the_table_and_in_the_documentation() {
    let library = fs::read_to_string(source_root().join("lib.rs")).unwrap();
    let modules = library.lines().filter_map(|line| {
        let line = line.strip_prefix("pub ").unwrap_or(line);
        line.strip_prefix("mod ")?.strip_suffix(';')
    });
    let declared: BTreeSet<&str> = modules.collect();
    let table: BTreeSet<&str> = LAYERS
        .iter()
        .flat_map(|layer| layer.iter().copied())
        .chain([FUZZ, POINTS])
        .collect();
    assert_eq!(declared, table);
    for module in declared {
        let documented = match module {
            // Whoever reads the documentation of the product finds no link to these.
            FUZZ | POINTS => [format!("`{module}`"), format!("`src/{module}.rs`")],
            _ => [format!("[`{module}`]"), format!("[`mod@{module}`]")],
        };
        assert!(
            documented.iter().any(|link| library.contains(link)),
            "{module}"
        );
    }
}

#[test]
fn the_rules_can_be_broken() {
    for (from, to) in [
        ("name", "config"),
        ("net", "config"),
        ("net", "plan"),
        ("acme", "plan"),
        ("acme", "target"),
        ("config", "net"),
        ("plan", "net"),
        ("verify", "pipeline"),
        ("report", "cli"),
        ("pipeline", "run"),
        ("cli", "fuzz"),
        ("crash", "store"),
    ] {
        let file = parse(&format!("src/{from}.rs"), "");
        assert!(allowed(&file, to).is_err(), "{from} -> {to}");
    }
    for (from, to) in [
        ("pipeline", "acme"),
        ("chain", "time"),
        ("fuzz", "plan"),
        ("store", "crash"),
        ("net", "crash"),
    ] {
        let file = parse(&format!("src/{from}.rs"), "");
        assert_eq!(allowed(&file, to), Ok(()), "{from} -> {to}");
    }
    let file = parse(
        "src/x.rs",
        "fn f() { crate::cli::main(); let _ = tokio::spawn(g()); }",
    );
    assert_eq!(file.crate_modules, BTreeSet::from(["cli".to_owned()]));
    assert!(file.roots.contains("tokio"));
    let file = parse(
        "src/x.rs",
        "use crate::{net::tls, plan::{self, due}}; use super::super::acme;",
    );
    assert_eq!(
        file.crate_modules,
        BTreeSet::from(["net".to_owned(), "plan".to_owned()])
    );
    let file = parse("src/x.rs", "#[cfg(test)] mod tests { use crate::cli::x; }");
    assert_eq!(file.crate_modules, BTreeSet::new());
}

fn layer(module: &str) -> Option<usize> {
    LAYERS.iter().position(|layer| layer.contains(&module))
}

fn allowed(file: &Source, to: &str) -> Result<(), &'static str> {
    let from = file.module.as_str();
    if from == to {
        return Ok(());
    }
    if to == FUZZ {
        return Err("it is not in the product");
    }
    if from == FUZZ {
        return Ok(());
    }
    if to == POINTS {
        return Ok(());
    }
    let (Some(own), Some(other)) = (layer(from), layer(to)) else {
        return Err("it is in no layer");
    };
    match (own, other) {
        _ if other > own => Err("it lies above"),
        (NET, INPUTS..NET) => Err("net knows neither inputs nor plans"),
        (STAGES, 2) => Err("stages do not plan"),
        (STAGES, STAGES) => Err("stages do not know each other"),
        (WORDS | INPUTS | DRIVE | RUN | SURFACE, _) if own == other => Ok(()),
        _ if own == other => Err("it lies beside"),
        _ => Ok(()),
    }
}

struct Source {
    path: PathBuf,
    /// First part of its module path
    module: String,
    /// Modules that stand after `crate::`
    crate_modules: BTreeSet<String>,
    /// First segments of all paths
    roots: BTreeSet<String>,
}

fn source_root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

fn sources() -> Vec<Source> {
    let mut found = Vec::new();
    collect(&source_root(), &mut found);
    assert!(found.len() > 30, "the source was found");
    found
}

fn collect(directory: &Path, found: &mut Vec<Source>) {
    for entry in fs::read_dir(directory).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            collect(&path, found);
            continue;
        }
        let relative = path
            .strip_prefix(source_root())
            .expect("below src")
            .to_owned();
        let is_test = relative.ends_with("tests.rs");
        let is_top = ["lib.rs", "main.rs"]
            .iter()
            .any(|top| relative.ends_with(top));
        if !is_test && !is_top {
            let text = fs::read_to_string(&path).expect("source");
            found.push(parse(
                Path::new("src").join(relative).to_str().expect("UTF-8"),
                &text,
            ));
        }
    }
}

fn parse(path: &str, text: &str) -> Source {
    let path = PathBuf::from(path);
    let first = path
        .components()
        .nth(1)
        .expect("a file in src")
        .as_os_str()
        .to_str()
        .expect("UTF-8");
    let mut source = Source {
        module: first.trim_end_matches(".rs").to_owned(),
        path,
        crate_modules: BTreeSet::new(),
        roots: BTreeSet::new(),
    };
    source.visit_file(&syn::parse_file(text).expect("Rust"));
    source
}

impl Source {
    /// Whether it is a module or lies below it
    fn lies_in(&self, module: &str) -> bool {
        let home = Path::new("src").join(module);
        self.path.with_extension("").starts_with(home)
    }

    fn note(&mut self, segments: &[String]) {
        if let Some(root) = segments.first() {
            self.roots.insert(root.clone());
        }
        if let [root, module, ..] = segments
            && root == "crate"
        {
            self.crate_modules.insert(module.clone());
        }
    }

    fn walk(&mut self, tree: &UseTree, before: &[String]) {
        let with = |ident: &syn::Ident| [before, &[ident.to_string()]].concat();
        match tree {
            UseTree::Path(path) => self.walk(&path.tree, &with(&path.ident)),
            UseTree::Name(name) => self.note(&with(&name.ident)),
            UseTree::Rename(rename) => self.note(&with(&rename.ident)),
            UseTree::Glob(_) => self.note(before),
            UseTree::Group(group) => group.items.iter().for_each(|tree| self.walk(tree, before)),
        }
    }
}

impl<'a> Visit<'a> for Source {
    fn visit_item_mod(&mut self, module: &'a ItemMod) {
        // Tests may look anywhere.
        if module.ident != "tests" {
            visit::visit_item_mod(self, module);
        }
    }

    fn visit_item_use(&mut self, item: &'a syn::ItemUse) {
        self.walk(&item.tree, &[]);
    }

    fn visit_path(&mut self, path: &'a syn::Path) {
        let segments: Vec<String> = path
            .segments
            .iter()
            .map(|segment| segment.ident.to_string())
            .collect();
        self.note(&segments);
        visit::visit_path(self, path);
    }
}
