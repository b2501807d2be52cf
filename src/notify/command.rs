//! A program that reads a message from its standard input. No shell takes part.

use std::io;
use std::pin::pin;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, Command as Process};
use tokio::time::timeout;

use super::error::Undelivered;
use super::message::Message;
use crate::config::notify::Command;
use crate::finding::excerpt;

/// Runs the program with the JSON form of a message on its standard input
///
/// A dropped future kills it, with all that it started.
pub(super) async fn run(command: &Command, message: &Message) -> Result<(), Undelivered> {
    let mut child = start(command).map_err(Undelivered::NotStarted)?;
    let mut group = Group::of(&child);
    let (status, said) = talk(&mut child, &message.json()).await;
    let status = status.map_err(Undelivered::NotStarted)?;
    group.let_go();
    match status.success() {
        true => Ok(()),
        false => Err(Undelivered::Exit {
            how: in_words(status),
            said: Some(said).filter(|said| !said.is_empty()),
        }),
    }
}

fn start(command: &Command) -> io::Result<Child> {
    let mut process = Process::new(command.program());
    process
        .args(command.arguments.iter().skip(1))
        // What certd was started with may hold secrets of its own.
        .env_clear()
        .envs(
            PASSED_ON
                .iter()
                .filter_map(|name| Some((name, std::env::var_os(name)?))),
        )
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true);
    process.spawn()
}

/// The program with what it starts; killed on drop
struct Group(Option<Pid>);

impl Group {
    fn of(child: &Child) -> Self {
        let id = child.id().and_then(|id| i32::try_from(id).ok());
        Self(id.map(Pid::from_raw))
    }

    /// It has ended: what it left running, it left on purpose
    const fn let_go(&mut self) {
        self.0 = None;
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(id) = self.0 {
            // One that has just ended is what was wanted.
            let _ = killpg(id, Signal::SIGKILL);
        }
    }
}

/// Writes to the program, waits for its end, and gives what it said
async fn talk(child: &mut Child, json: &[u8]) -> (io::Result<ExitStatus>, String) {
    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let write = async {
        if let Some(mut stdin) = stdin {
            // A program that does not want to know is no failure: its exit status decides.
            let _ = stdin.write_all(json).await;
        }
    };
    let mut talking = pin!(async { tokio::join!(beginning(stdout), beginning(stderr), write) });
    let mut said = None;
    let status = loop {
        tokio::select! {
            all = &mut talking, if said.is_none() => said = Some(all),
            status = child.wait() => break status,
        }
    };
    if said.is_none() {
        // What it left running may keep its streams open for ever.
        said = timeout(LAST_WORDS, talking).await.ok();
    }
    let (out, err, ()) = said.unwrap_or_default();
    let said = if err.is_empty() { out } else { err };
    (status, excerpt(&String::from_utf8_lossy(&said), MOST_WORDS))
}

/// The first bytes of a stream; the others are read and dropped, so that nobody waits for a reader
async fn beginning(stream: Option<impl AsyncRead + Unpin>) -> Vec<u8> {
    let (mut kept, mut buffer) = (Vec::new(), [0; 4096]);
    let Some(mut stream) = stream else {
        return kept;
    };
    while let Ok(read @ 1..) = stream.read(&mut buffer).await {
        let room = MOST_BYTES.saturating_sub(kept.len()).min(read);
        kept.extend_from_slice(&buffer[..room]);
    }
    kept
}

fn in_words(status: ExitStatus) -> String {
    match status.code() {
        Some(code) => format!("exit status {code}"),
        None => "ended by a signal".to_owned(),
    }
}

/// What a program needs to find others, its home, its language and systemd's credentials
const PASSED_ON: [&str; 6] = [
    "PATH",
    "HOME",
    "USER",
    "LANG",
    "TZ",
    "CREDENTIALS_DIRECTORY",
];
/// Time for what is still in the pipes when the program has ended
const LAST_WORDS: Duration = Duration::from_secs(1);
const MOST_BYTES: usize = 4 * 1024;
const MOST_WORDS: usize = 300;
