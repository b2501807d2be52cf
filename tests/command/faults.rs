//! Every fault that `certd obtain` can meet: what an operator reads, what it costs at the CA,
//! what is left behind, and that the next run without the fault ends well.
//!
//! A snapshot holds a row for each fault: the output of the run that meets it, and in one line
//! how many orders were placed, by it and by the runs after it.

use std::fmt::Write as _;
use std::thread;

use certd_sandbox::Clock;
use certd_sandbox::acme::Reuse;
use jiff::{SignedDuration, Timestamp};

use crate::support::{Host, Place, Run, Setting, over_80_columns};

mod calls;
mod container;
mod engine;
mod limits;
mod orders;
mod patience;
mod served;
mod validation;

/// A fault, and what should come of it
struct Row {
    title: String,
    setting: Setting,
    /// Run before the fault, which must prove the domains
    before: Before,
    fault: Box<dyn Fn(&Host) + Send + Sync>,
    status: i32,
    /// Code of the finding; empty where all is well
    code: &'static str,
    next: Next,
}

/// What there is when the fault strikes
#[derive(Clone, Copy, PartialEq, Eq)]
enum Before {
    Nothing,
    /// A generation that is live and proven; the run with the fault is forced
    Proven,
    /// A generation that is live, proven and old
    Due,
}

/// How runs go on without the fault
#[derive(Clone, Copy)]
enum Next {
    /// The next run proves the domains, with the order that it needs
    Proven,
    /// The next run proves what was issued, without a request to the CA
    ProvenWithoutOrder,
    /// The next run waits and asks the CA nothing; one that is forced proves the domains
    BacksOff,
    /// The next run fails and asks the CA nothing; one that is forced proves the domains
    Stops,
    /// A person must help first
    Helped(fn(&Host)),
    /// A person must help first; then the next run proves what was issued
    Deployed(fn(&Host)),
}

impl Row {
    fn new(
        title: impl Into<String>,
        (status, code): (i32, &'static str),
        next: Next,
        fault: impl Fn(&Host) + Send + Sync + 'static,
    ) -> Self {
        Self {
            title: title.into(),
            setting: Setting::default(),
            before: Before::Nothing,
            fault: Box::new(fault),
            status,
            code,
            next,
        }
    }

    /// The same at a renewal, for which names are validated again
    fn at_a_renewal(mut self) -> Self {
        self.before = Before::Due;
        self.setting.reuse = Reuse::Never;
        self.setting.clock = Clock::new(|| Timestamp::now() - OLD);
        self
    }

    /// The same at a renewal that is not due
    fn forced(self) -> Self {
        Self {
            before: Before::Proven,
            ..self
        }
    }

    /// The same with other lines in `[nginx]`
    fn nginx(mut self, lines: &'static str) -> Self {
        self.setting.nginx = lines;
        self
    }

    fn play(&self) -> Told {
        let host = Host::new(&self.setting);
        let mut told = Told::default();
        let arguments: &[&str] = match self.before {
            Before::Proven => &["--force"],
            Before::Nothing | Before::Due => &[],
        };
        if self.before != Before::Nothing {
            told.expect_run(&host.obtain(&[]), 0, "before the fault");
        }
        let (live, placed) = (host.live(), host.ca.orders());
        (self.fault)(&host);
        let run = host.obtain(arguments);
        told.expect_run(&run, self.status, "with the fault");
        told.expect(run.stderr.is_empty(), "nothing on stderr");
        told.expect(self.is_told(&run), self.code);
        let is_deployed = matches!(self.next, Next::ProvenWithoutOrder | Next::Deployed(_));
        let reaches_nginx = self.status == 0 || is_deployed;
        told.expect(reaches_nginx || host.live() == live, "live stays");
        told.expect_clean(&host, "after the fault");
        let orders = host.ca.orders() - placed;
        self.go_on(&host, &mut told);
        told.expect_clean(&host, "in the end");
        let then = host.ca.orders() - placed - orders;
        let shown = match self.status {
            // What a good run shows is told by other tests.
            0 => "exit 0\n".to_owned(),
            _ => host.place.without_directory(&run.to_string()),
        };
        let shown = format!("{shown}{}orders: {orders}, then {then}\n", told.shown);
        told.under(&self.title, &shown)
    }

    /// Whether the output has a finding with the code, and fits a terminal
    fn is_told(&self, run: &Run) -> bool {
        let is_finding = |line: &str| {
            ["✗", "!"]
                .iter()
                .any(|sign| line.trim() == format!("{sign} {}", self.code))
        };
        // A path, a URL and a line to copy are kept whole.
        let mut long = over_80_columns(&run.stdout);
        long.retain(|line| line.trim().contains(' ') && !line.contains("ssl_certificate"));
        long.is_empty() && (self.code.is_empty() || run.stdout.lines().any(is_finding))
    }

    fn go_on(&self, host: &Host, told: &mut Told) {
        if self.status == 0 {
            return;
        }
        host.behave();
        let requests = host.ca.requests().len();
        match self.next {
            Next::Proven => told.expect_run(&host.obtain(&[]), 0, "after it"),
            Next::Helped(help) => {
                help(host);
                told.expect_run(&host.obtain(&[]), 0, "after help");
            }
            Next::ProvenWithoutOrder | Next::Deployed(_) => {
                if let Next::Deployed(help) = self.next {
                    help(host);
                }
                told.expect_run(&host.obtain(&[]), 0, "after it");
                told.expect(host.ca.requests().len() == requests, "the CA is not asked");
            }
            Next::BacksOff | Next::Stops => {
                let run = host.obtain(&[]);
                match self.next {
                    Next::Stops => {
                        told.expect_run(&run, 1, "while it is stopped");
                        told.expect(run.stdout.contains("✗ order.stopped"), "order.stopped");
                        let shown = host.place.without_directory(&run.to_string());
                        told.shown = format!("then {shown}");
                    }
                    _ => told.expect_run(&run, 75, "while it waits"),
                }
                told.expect(host.ca.requests().len() == requests, "the CA is not asked");
                let is_named = run.stdout.contains("--skip-check budget");
                let forced = host.obtain(&["--force"]);
                told.expect_run(&forced, if is_named { 75 } else { 0 }, "by force");
                if is_named {
                    told.expect(host.ca.requests().len() == requests, "the CA is not asked");
                    let regardless = host.obtain(&["--force", "--skip-check", "budget"]);
                    told.expect_run(&regardless, 0, "regardless of limits");
                }
            }
        }
    }
}

/// What came of a row
#[derive(Default)]
struct Told {
    shown: String,
    wrong: Vec<String>,
}

impl Told {
    /// The row as it stands in the snapshot, below its title
    fn under(mut self, title: &str, shown: &str) -> Self {
        self.shown = format!("# {title}\n{shown}\n");
        for wrong in &mut self.wrong {
            *wrong = format!("{title}: {wrong}");
        }
        self
    }

    fn expect(&mut self, holds: bool, what: &str) {
        if !holds {
            self.wrong.push(format!("not so: {what}"));
        }
    }

    fn expect_run(&mut self, run: &Run, status: i32, when: &str) {
        if run.status != Some(status) {
            self.wrong.push(format!("{when}: not {status}, but {run}"));
        }
    }

    fn expect_clean(&mut self, host: &Host, when: &str) {
        let left = host.leftovers().into_iter();
        self.wrong
            .extend(left.map(|left| format!("{when}: {left}")));
    }
}

/// Plays all rows at once and compares what they show with a snapshot
#[track_caller]
fn check(name: &str, rows: &[Row]) {
    compare(name, play_all(rows, Row::play));
}

/// Plays all rows at once: most of their time is spent in waiting
fn play_all<R: Sync>(rows: &[R], play: impl Fn(&R) -> Told + Sync) -> Vec<Told> {
    let play = &play;
    thread::scope(|scope| {
        let playing: Vec<_> = rows
            .iter()
            .map(|row| scope.spawn(move || play(row)))
            .collect();
        playing
            .into_iter()
            .map(|row| row.join().expect("the row says what is wrong"))
            .collect()
    })
}

#[track_caller]
fn compare(name: &str, told: Vec<Told>) {
    let mut shown = String::new();
    let mut wrong = String::new();
    for told in told {
        shown.push_str(&told.shown);
        for words in told.wrong {
            let _ = writeln!(wrong, "{words}");
        }
    }
    let mut settings = Place::new().filters();
    for (pattern, name) in [
        // How often a state is looked at depends on how fast it changes.
        (r"\d+ requests? to the CA", "[N] requests to the CA"),
        // Where a line is broken depends on how long it took.
        (UNBROKEN.0, UNBROKEN.1),
        (UNBROKEN.0, UNBROKEN.1),
        (r"listen \d+ ssl", "listen [PORT] ssl"),
        (r"acme-challenge/[\w-]{22,}", "acme-challenge/[TOKEN]"),
        (r#""[\w-]{22}\.[\w-]{43}""#, "[KEY AUTHORIZATION]"),
        (
            r"/(authorization|certificate|challenge|order)/\w+",
            "/$1/[ID]",
        ),
    ] {
        settings.add_filter(pattern, name);
    }
    settings.bind(|| insta::assert_snapshot!(name, shown));
    assert!(wrong.is_empty(), "{wrong}");
}

/// The detail of a stage on one line
const UNBROKEN: (&str, &str) = (
    r"(?m)^(  \w+ +[^\n]*?) \[ELAPSED\]\n {12}(\S[^\n]*)$",
    "$1 $2 [ELAPSED]",
);

/// Age at which a certificate of 90 days is due
const OLD: SignedDuration = SignedDuration::from_hours(70 * 24);
