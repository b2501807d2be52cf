//! Commands in a container: `cat` and `nginx`, played without running any process.

use std::path::Path;

use super::files::Files;
use crate::web::Web;

/// How a command ended, and what it printed
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Executed {
    /// Exit status
    pub status: i64,
    /// Standard output; bytes that are no UTF-8 are replaced
    pub stdout: String,
    /// Standard error
    pub stderr: String,
}

impl Executed {
    /// A command that fails with words on standard error
    pub fn failure(status: i64, stderr: impl Into<String>) -> Self {
        Self {
            status,
            stderr: stderr.into(),
            ..Self::default()
        }
    }
}

/// What a command comes to, and what it leaves of the container
pub(super) enum Outcome {
    /// It ended
    Ended(Executed),
    /// It made nginx stop, and with it the container
    Stopped(Executed),
}

/// Plays a command; `log` takes what nginx writes to its log meanwhile
pub(super) fn play(command: &[String], files: &Files, web: &Web, log: &mut Vec<String>) -> Outcome {
    let words: Vec<&str> = command.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["cat" | "/bin/cat" | "/usr/bin/cat", paths @ ..] => Outcome::Ended(cat(paths, files)),
        ["nginx" | "/usr/sbin/nginx", arguments @ ..] => nginx(arguments, web, log),
        [program, ..] => Outcome::Ended(unknown(program)),
        [] => Outcome::Ended(unknown("")),
    }
}

fn cat(paths: &[&str], files: &Files) -> Executed {
    let mut executed = Executed::default();
    let mut stdout = Vec::new();
    for path in paths.iter().filter(|path| **path != "--") {
        let room = MAX_OUTPUT.saturating_sub(stdout.len() as u64);
        // Standard input is not attached, and ends at once.
        if *path == "-" {
            continue;
        }
        match files.read(Path::new(path), room) {
            Ok(mut bytes) => stdout.append(&mut bytes),
            Err(error) => {
                executed.status = 1;
                let line = format!("cat: {path}: {}\n", error.desc());
                executed.stderr.push_str(&line);
            }
        }
    }
    executed.stdout = String::from_utf8_lossy(&stdout).into_owned();
    executed
}

/// What nginx is asked for beside being a server
enum Action<'w> {
    Serve,
    Test,
    Dump,
    Signal(&'w str),
}

fn nginx(arguments: &[&str], web: &Web, log: &mut Vec<String>) -> Outcome {
    match parse(arguments) {
        Ok((file, Action::Test)) => Outcome::Ended(test(file, web)),
        Ok((file, Action::Dump)) => Outcome::Ended(dump(file, web)),
        Ok((_, Action::Signal(signal))) => send(signal, web, log),
        Ok((_, Action::Serve)) => Outcome::Ended(Executed::failure(1, ADDRESS_IN_USE)),
        Err(words) => Outcome::Ended(Executed::failure(1, words)),
    }
}

/// The configuration file and what is to be done, or nginx's words against the arguments
fn parse<'w>(arguments: &[&'w str]) -> Result<(&'w str, Action<'w>), String> {
    let (mut file, mut action) = (CONFIGURATION, Action::Serve);
    let mut arguments = arguments.iter();
    while let Some(argument) = arguments.next() {
        let mut value = || {
            let next = arguments.next().copied();
            next.ok_or_else(|| format!("nginx: option \"{argument}\" requires parameter\n"))
        };
        match *argument {
            "-t" => action = Action::Test,
            "-T" => action = Action::Dump,
            "-s" => action = Action::Signal(value()?),
            "-c" => file = value()?,
            "-p" | "-g" => drop(value()?),
            "-q" => {}
            other => return Err(format!("nginx: invalid option: \"{other}\"\n")),
        }
    }
    Ok((file, action))
}

fn test(file: &str, web: &Web) -> Executed {
    match web.test() {
        Ok(()) => Executed {
            stderr: format!(
                "nginx: the configuration file {file} syntax is ok\n\
                 nginx: configuration file {file} test is successful\n"
            ),
            ..Executed::default()
        },
        Err(words) => Executed::failure(1, words),
    }
}

/// The configuration follows a test that passed, and no other
fn dump(file: &str, web: &Web) -> Executed {
    let tested = test(file, web);
    let stdout = if tested.status == 0 {
        web.dump()
    } else {
        String::new()
    };
    Executed { stdout, ..tested }
}

/// `nginx -s` reads the whole configuration before it sends anything
fn send(signal: &str, web: &Web, log: &mut Vec<String>) -> Outcome {
    if !matches!(signal, "reload" | "reopen" | "stop" | "quit") {
        let words = format!("nginx: invalid option: \"-s {signal}\"\n");
        return Outcome::Ended(Executed::failure(1, words));
    }
    if let Err(words) = web.test() {
        return Outcome::Ended(Executed::failure(1, words));
    }
    match signal {
        "reload" => {
            log.extend(web.reload().err());
            Outcome::Ended(Executed::default())
        }
        "reopen" => Outcome::Ended(Executed::default()),
        _ => Outcome::Stopped(Executed::default()),
    }
}

/// What Docker says where a container has no such program
///
/// The words go to standard output. The status is that of present engines; older ones gave 126.
fn unknown(program: &str) -> Executed {
    let reason = if program.contains('/') {
        format!("stat {program}: no such file or directory")
    } else {
        "executable file not found in $PATH".to_owned()
    };
    Executed {
        status: 127,
        stdout: format!(
            "OCI runtime exec failed: exec failed: unable to start container process: exec: \
             \"{program}\": {reason}: unknown\r\n"
        ),
        ..Executed::default()
    }
}

const CONFIGURATION: &str = "/etc/nginx/nginx.conf";
const ADDRESS_IN_USE: &str =
    "nginx: [emerg] bind() to 0.0.0.0:80 failed (98: Address already in use)\n";
/// Bytes that `cat` prints at most
const MAX_OUTPUT: u64 = 16 * 1024 * 1024;
