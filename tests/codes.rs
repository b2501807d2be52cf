//! The table of codes, held against every code in the source.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use certd::finding::codes::CODES;
use syn::punctuated::Punctuated;
use syn::visit::{self, Visit};
use syn::{Expr, ExprCall, ExprLit, ImplItemFn, ItemMod, Lit, LitStr, Macro, Token};

#[test]
fn the_table_holds_the_codes_of_the_source_and_no_others() {
    let used: BTreeSet<String> = sources().codes.into_keys().collect();
    let table: BTreeSet<String> = CODES.iter().map(|code| code.code.to_owned()).collect();
    let missing: Vec<_> = used.difference(&table).collect();
    let unused: Vec<_> = table.difference(&used).collect();
    assert!(
        missing.is_empty() && unused.is_empty(),
        "src/finding/codes.rs lacks {missing:?}, and nothing has the codes {unused:?}"
    );
}

#[test]
fn good_news_alone_has_no_cure() {
    let codes = sources().codes;
    for code in CODES {
        let is_good = codes.get(code.code) == Some(&Use::Good);
        assert_eq!(is_good, code.cure.is_none(), "{}", code.code);
    }
}

#[test]
fn what_a_look_finds_is_shown_by_a_test() {
    let mut tests = String::new();
    read_all(
        &Path::new(env!("CARGO_MANIFEST_DIR")).join("tests"),
        &mut tests,
    );
    let shown = |code: &str| {
        let mut places = tests.match_indices(code);
        let ends = |at: usize| tests[at + code.len()..].starts_with(|c: char| !is_of_code(c));
        places.any(|(at, _)| ends(at))
    };
    let looks = CODES
        .iter()
        .filter(|code| AREAS_OF_LOOKS.contains(&code.area()));
    let unseen: Vec<&str> = looks
        .map(|code| code.code)
        .filter(|code| !shown(code))
        .collect();
    assert_eq!(unseen, [""; 0]);
}

fn is_of_code(c: char) -> bool {
    c == '_' || c.is_ascii_alphanumeric()
}

/// What runs commands: their source, and what they printed
fn read_all(directory: &Path, text: &mut String) {
    for entry in fs::read_dir(directory).expect("a directory") {
        let path = entry.expect("an entry").path();
        let extension = path.extension().and_then(|extension| extension.to_str());
        match extension {
            _ if path.is_dir() => read_all(&path, text),
            Some("rs" | "snap") => {
                text.push_str(&fs::read_to_string(&path).expect("a text"));
            }
            _ => {}
        }
    }
}

/// First words of what `certd check`, `certd verify` and `certd why` find
const AREAS_OF_LOOKS: [&str; 15] = [
    "budget",
    "ca",
    "caa",
    "check",
    "connect",
    "dns",
    "docker",
    "files",
    "handshake",
    "http",
    "probe",
    "served",
    "site",
    "verify",
    "why",
];

#[test]
fn a_code_is_found_wherever_it_stands() {
    #[track_caller]
    fn check(text: &str, expected: &[(&str, Use)]) {
        let mut source = Source::default();
        source.visit_file(&syn::parse_file(text).expect("Rust"));
        let expected = expected
            .iter()
            .map(|(code, how)| ((*code).to_owned(), *how));
        assert_eq!(source.codes, expected.collect(), "{text}");
    }
    check(
        "fn f() { vec![Finding::ok(\"new.good\", x)]; }",
        &[("new.good", Use::Good)],
    );
    check(
        "fn f() { Finding::note(\"new.note\", x); }",
        &[("new.note", Use::Bad)],
    );
    check(
        "impl X { fn code(&self) -> &'static str { \"new.error\" } }",
        &[("new.error", Use::Bad)],
    );
    check("const X: &str = \"dns.new\";", &[("dns.new", Use::Bad)]);
    check(
        "fn f() { let (code, cure) = (\"dns.new\", \"see nginx.conf\"); }",
        &[("dns.new", Use::Bad)],
    );
    check("const X: &str = \"cert.pem\";", &[]);
    check(
        "#[cfg(test)] mod tests { fn f() { Finding::ok(\"new.good\", x); } }",
        &[],
    );
}

/// What a code is used for
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Use {
    /// For good news alone
    Good,
    /// For everything else
    Bad,
}

/// The codes in a source
#[derive(Default)]
struct Source {
    codes: BTreeMap<String, Use>,
}

impl Source {
    fn note(&mut self, literal: &LitStr, how: Use) {
        let known = self.codes.entry(literal.value()).or_insert(how);
        *known = how.max(*known);
    }
}

fn sources() -> Source {
    let mut source = Source::default();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    collect(&root, &root, &mut source);
    assert!(source.codes.len() > 100, "the source was found");
    source
}

fn collect(root: &Path, directory: &Path, source: &mut Source) {
    for entry in fs::read_dir(directory).expect("a directory") {
        let path = entry.expect("an entry").path();
        let relative = path.strip_prefix(root).expect("below src");
        let is_test = relative.ends_with("tests.rs") || relative.ends_with("tests");
        if is_test || ASIDE.iter().any(|aside| relative.starts_with(aside)) {
            continue;
        }
        match path.is_dir() {
            true => collect(root, &path, source),
            false => {
                let text = fs::read_to_string(&path).expect("source");
                source.visit_file(&syn::parse_file(&text).expect("Rust"));
            }
        }
    }
}

/// `area.what`
fn is_code(text: &str) -> bool {
    let is_word = |word: &str| {
        let mut bytes = word.bytes();
        !word.is_empty() && bytes.all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_'))
    };
    text.split_once('.')
        .is_some_and(|(area, what)| is_word(area) && is_word(what))
}

/// Whether a text that stands anywhere is a code: its area is one of the table's
fn has_known_area(text: &str) -> bool {
    let area = text.split('.').next().unwrap_or_default();
    is_code(text) && CODES.iter().any(|code| code.area() == area)
}

/// The literal that is the first argument of `Finding::ok` and its like, and how it is used
fn given_to_finding(call: &ExprCall) -> Option<(&LitStr, Use)> {
    let Expr::Path(function) = &*call.func else {
        return None;
    };
    let mut segments = function.path.segments.iter().rev();
    let constructor = segments.next()?.ident.to_string();
    if segments.next()?.ident != "Finding" {
        return None;
    }
    let how = match constructor.as_str() {
        "ok" => Use::Good,
        "note" | "warning" | "failure" => Use::Bad,
        _ => return None,
    };
    match call.args.first()? {
        Expr::Lit(ExprLit {
            lit: Lit::Str(literal),
            ..
        }) => Some((literal, how)),
        _ => None,
    }
}

/// Literals in the body of a function `code`
struct Returned<'s>(&'s mut Source);

impl<'a> Visit<'a> for Returned<'_> {
    fn visit_lit_str(&mut self, literal: &'a LitStr) {
        if is_code(&literal.value()) {
            self.0.note(literal, Use::Bad);
        }
    }
}

impl<'a> Visit<'a> for Source {
    fn visit_item_mod(&mut self, module: &'a ItemMod) {
        if module.ident != "tests" {
            visit::visit_item_mod(self, module);
        }
    }

    fn visit_impl_item_fn(&mut self, function: &'a ImplItemFn) {
        if function.sig.ident == "code" {
            Returned(self).visit_block(&function.block);
        }
        visit::visit_impl_item_fn(self, function);
    }

    fn visit_expr_call(&mut self, call: &'a ExprCall) {
        let Some((literal, how)) = given_to_finding(call) else {
            return visit::visit_expr_call(self, call);
        };
        self.note(literal, how);
        // The code itself must not be taken for one that stands anywhere.
        for argument in call.args.iter().skip(1) {
            self.visit_expr(argument);
        }
    }

    fn visit_lit_str(&mut self, literal: &'a LitStr) {
        if has_known_area(&literal.value()) {
            self.note(literal, Use::Bad);
        }
    }

    fn visit_macro(&mut self, called: &'a Macro) {
        // Comparisons name codes that are made elsewhere.
        if called.path.is_ident("matches") {
            return;
        }
        // What a macro is given is parsed here, and only where it reads as expressions.
        let arguments = called.parse_body_with(Punctuated::<Expr, Token![,]>::parse_terminated);
        for argument in arguments.iter().flatten() {
            Visit::visit_expr(self, argument);
        }
    }
}

/// The table itself, and what plays with codes of others
const ASIDE: [&str; 3] = ["finding/codes.rs", "cli/demo", "fuzz.rs"];
