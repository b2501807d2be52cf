//! `certd run`, with a stand-in for systemd and an eye on its log.

use std::fmt;
use std::io::{BufRead, BufReader, PipeWriter, Read, pipe};
use std::os::unix::net::UnixDatagram;
use std::process::{Child, Command, ExitStatus};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::sys::stat::fstat;
use nix::unistd::Pid;

use super::Host;

/// A running daemon, killed on drop
pub(crate) struct Daemon {
    child: Child,
    log: Arc<Mutex<String>>,
    told: Arc<Mutex<Vec<String>>>,
}

impl Daemon {
    /// Starts it, and waits until it says that it is ready
    pub(crate) fn start(host: &Host) -> Self {
        Self::start_with(host, |_| {})
    }

    /// The same, with a command that is changed before
    pub(crate) fn start_with(host: &Host, change: impl FnOnce(&mut Command)) -> Self {
        Self::begin(host, |command, _| change(command))
    }

    /// The same, its log being systemd's journal
    pub(crate) fn start_in_journal(host: &Host) -> Self {
        Self::begin(host, |command, log| {
            let log = fstat(log).expect("it is open");
            command.env("JOURNAL_STREAM", format!("{}:{}", log.st_dev, log.st_ino));
        })
    }

    /// What one that does not start says to the journal
    pub(crate) fn refused_in_journal(host: &Host) -> String {
        let mut command = host.place.certd(&["run"]);
        let (mut stderr, log) = pipe().expect("a pipe");
        let known = fstat(&log).expect("it is open");
        let stream = format!("{}:{}", known.st_dev, known.st_ino);
        command.env("JOURNAL_STREAM", stream).stderr(log);
        let ended = command.status().expect("certd starts");
        assert!(!ended.success(), "it starts");
        drop(command);
        let mut said = String::new();
        stderr.read_to_string(&mut said).expect("text");
        said
    }

    fn begin(host: &Host, change: impl FnOnce(&mut Command, &PipeWriter)) -> Self {
        let socket = host.place.path("notify.sock");
        // A daemon that ran here before has left its own.
        let _ = std::fs::remove_file(&socket);
        let systemd = UnixDatagram::bind(&socket).expect("a socket");
        let mut command = host.place.certd(&["run"]);
        let (stderr, log) = pipe().expect("a pipe");
        command.env("NOTIFY_SOCKET", &socket);
        change(&mut command, &log);
        let child = command.stderr(log).spawn().expect("certd starts");
        let (log, told) = (Arc::default(), Arc::default());
        thread::spawn({
            let log = Arc::clone(&log);
            move || read_log(BufReader::new(stderr), &log)
        });
        thread::spawn({
            let told = Arc::clone(&told);
            move || listen(&systemd, &told)
        });
        let daemon = Self { child, log, told };
        daemon.wait_until("it is ready", || daemon.told("READY=1") > 0);
        daemon
    }

    /// Waits until the daemon has come so far
    #[track_caller]
    pub(crate) fn wait_until(&self, what: &str, has_come: impl Fn() -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !has_come() {
            assert!(Instant::now() < deadline, "never seen: {what}\n{self}");
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Waits until the log holds these words
    #[track_caller]
    pub(crate) fn wait_for(&self, words: &str) {
        self.wait_until(words, || self.log().contains(words));
    }

    /// The log so far
    pub(crate) fn log(&self) -> String {
        guarded(&self.log).clone()
    }

    /// How often systemd was told this
    pub(crate) fn told(&self, line: &str) -> usize {
        let told = guarded(&self.told);
        told.iter().filter(|told| *told == line).count()
    }

    /// The last status that systemd was told
    pub(crate) fn status(&self) -> String {
        let told = guarded(&self.told);
        let mut statuses = told.iter().rev();
        statuses
            .find_map(|line| line.strip_prefix("STATUS="))
            .unwrap_or_default()
            .to_owned()
    }

    /// How many passes have ended
    pub(crate) fn passes(&self) -> usize {
        let told = guarded(&self.told);
        let statuses: Vec<&String> = told
            .iter()
            .filter(|line| line.starts_with("STATUS="))
            .collect();
        let is_work = |status: &str| status.starts_with("STATUS=looking at");
        let ended = statuses
            .windows(2)
            .filter(|pair| is_work(pair[0]) && !is_work(pair[1]));
        ended.count()
    }

    /// Waits until another pass than those so far has ended, by what `cause` does
    #[track_caller]
    pub(crate) fn wait_for_a_pass(&self, cause: impl FnOnce()) {
        self.wait_until("it waits", || {
            !self.status().starts_with("looking at") && self.passes() > 0
        });
        let before = self.passes();
        cause();
        self.wait_until("another pass", || self.passes() > before);
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let id = i32::try_from(self.child.id()).expect("a process identifier");
        kill(Pid::from_raw(id), signal).expect("it runs");
    }

    /// Identifier of its process
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal, and waits for the end
    #[track_caller]
    pub(crate) fn ends_by(&mut self, signal: Signal) -> ExitStatus {
        self.signal(signal);
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().expect("it can be asked") {
                return status;
            }
            assert!(Instant::now() < deadline, "it goes on\n{self}");
            thread::sleep(Duration::from_millis(5));
        }
    }
}

impl fmt::Display for Daemon {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let told = guarded(&self.told).join("\n");
        write!(f, "--- log\n{}--- systemd\n{told}", self.log())
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn guarded<T>(value: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    value.lock().unwrap_or_else(PoisonError::into_inner)
}

fn read_log(stderr: impl BufRead, log: &Mutex<String>) {
    for line in stderr.lines().map_while(Result::ok) {
        let mut log = guarded(log);
        log.push_str(&line);
        log.push('\n');
    }
}

fn listen(systemd: &UnixDatagram, told: &Mutex<Vec<String>>) {
    let mut datagram = [0; 4096];
    while let Ok(length) = systemd.recv(&mut datagram) {
        let text = String::from_utf8_lossy(&datagram[..length]);
        guarded(told).extend(text.lines().map(ToOwned::to_owned));
    }
}

const PATIENCE: Duration = Duration::from_secs(30);
