//! What runs in a container: nginx's master and its options, and who gets a signal.

use std::iter::Peekable;
use std::path::Path;

use crate::facts::{Container, Process, User};
use crate::finding::words::quoted;

/// What an engine's `ps` is asked for, in the order in which [`of_table`] reads it
pub const COLUMNS: &str = "-eo pid,ppid,uid,gid,supgid,args";
/// What it is asked for where it knows no more: that of BusyBox has no columns of numbers
pub const FEWER_COLUMNS: &str = "-eo pid,ppid,args";

/// A command to be run in a container
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    /// The program and its arguments
    pub words: Vec<String>,
    /// As whom, as the engine takes it; `None` is the container's own user
    pub user: Option<String>,
}

impl Command {
    /// A command that runs as the container's own user
    pub fn new(words: Vec<String>) -> Self {
        Self { words, user: None }
    }

    /// How a person runs it in a container, to be copied into a shell
    fn by_hand(&self, container: &Container) -> String {
        let user = self.user.iter();
        let user = user.flat_map(|user| ["--user", user]);
        let words = ["docker", "exec"].into_iter().chain(user);
        let words = words.chain([container.name.as_str()]);
        let words: Vec<String> = words
            .chain(self.words.iter().map(String::as_str))
            .map(quoted)
            .collect();
        words.join(" ")
    }
}

/// The processes in a table that was asked for by [`COLUMNS`] or [`FEWER_COLUMNS`], the main one
/// first
///
/// `main` is its identifier as the engine knows it. An engine in a virtual machine may count
/// otherwise than its `ps`: then the first process counts that none of the others started.
/// Empty where the table is not what was asked for.
pub fn of_table(rows: &[Vec<String>], main: u32) -> Vec<Process> {
    let process = |row: &Vec<String>| {
        let (id, parent, user, command) = match row.as_slice() {
            [id, parent, command] => (id, parent, None, command),
            [id, parent, uid, gid, groups, command] => {
                let user = User {
                    uid: uid.parse().ok()?,
                    gid: gid.parse().ok()?,
                    groups: groups
                        .split(',')
                        .filter_map(|one| one.parse().ok())
                        .collect(),
                };
                (id, parent, Some(user), command)
            }
            _ => return None,
        };
        Some(Process {
            id: id.parse().ok()?,
            parent: parent.parse().ok()?,
            command: command.clone(),
            user,
        })
    };
    let mut processes: Vec<Process> = rows.iter().filter_map(process).collect();
    let is_first = |process: &Process| processes.iter().all(|other| other.id != process.parent);
    let first = processes
        .iter()
        .position(|process| process.id == main)
        .or_else(|| processes.iter().position(is_first));
    match first {
        Some(first) => processes[..=first].rotate_right(1),
        None => processes.clear(),
    }
    processes
}

/// Who gets a signal that an engine sends to a container
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Receiver<'c> {
    /// nginx's master: it is the main process, or the one that an init passes signals on to
    Nginx,
    /// Another program, with this command line: to a shell or a supervisor HUP may be the end
    Other(&'c str),
    /// The engine does not tell what runs in the container
    Unknown,
}

/// Who gets a signal that the engine sends to a container
pub fn receiver(container: &Container) -> Receiver<'_> {
    let Some((main, others)) = container.processes.split_first() else {
        return Receiver::Unknown;
    };
    let mut started = others.iter().filter(|other| other.parent == main.id);
    let passes_on = INITS.contains(&program(&main.command)) && started.all(is_nginx);
    match is_nginx(main) || passes_on {
        true => Receiver::Nginx,
        false => Receiver::Other(&main.command),
    }
}

/// `nginx` with arguments, for the configuration that the container's own nginx was started with
///
/// The arguments come first, and then `-c`, `-p` and `-g` as the running master has them. Where
/// the engine does not tell what runs, the command line of the container is read for them: what
/// stands after a word `nginx` there, because the `-c` of a shell is followed by a script.
///
/// It runs as the master does: what nginx tests it also makes, such as the directories of uploads,
/// and gives to its workers, and what root may read says nothing of a master that is not root.
pub fn nginx_command(container: &Container, arguments: &[&str]) -> Command {
    let user = exec_user(container, masters(container).next());
    command_of(&own_words(container), arguments, user)
}

/// nginx with these arguments and the options with which another one was started
fn command_of(started: &[String], arguments: &[&str], user: Option<String>) -> Command {
    let (program, options) = match started.split_first() {
        Some((program, options)) => (program.as_str(), options),
        None => (NGINX, &[][..]),
    };
    let mut words = vec![program.to_owned()];
    words.extend(arguments.iter().map(|argument| (*argument).to_owned()));
    words.extend(own_options(options));
    Command { words, user }
}

/// [`nginx_command`] as a person runs it, to be copied into a shell
pub fn by_hand(container: &Container, arguments: &[&str]) -> String {
    nginx_command(container, arguments).by_hand(container)
}

/// The same for this one of a container's masters
pub fn by_hand_for(container: &Container, master: &Process, arguments: &[&str]) -> String {
    let title = master.command.split_once(MASTER);
    let started = title.map_or("", |(_, started)| started).split_whitespace();
    let started: Vec<String> = started.map(str::to_owned).collect();
    let user = exec_user(container, Some(master));
    command_of(&started, arguments, user).by_hand(container)
}

/// As whom the engine is to run nginx's own commands; `None` is the container's own user
///
/// That of a container that is not root's is its master's, with all of its groups. An engine that
/// shifts the users of containers (`userns-remap`) tells of the shifted ones, which it does not take.
fn exec_user(container: &Container, master: Option<&Process>) -> Option<String> {
    let own = container.user.split(':').next().unwrap_or_default();
    let user = master
        .and_then(user_of)
        .filter(|_| ["", "0", "root"].contains(&own))?;
    // The engine leaves a process that gets a group by number without any other. What it adds for a
    // user alone are the groups of /etc/group, as those do that change users for a script.
    let has_others = user.groups.iter().any(|group| *group != user.gid);
    Some(match has_others {
        true => user.uid.to_string(),
        false => format!("{}:{}", user.uid, user.gid),
    })
}

/// As whom nginx's master runs, where that is not root and it is known
pub fn user_of_master(container: &Container) -> Option<&User> {
    masters(container).next().and_then(user_of)
}

/// As whom the workers of a container's nginx run, root among them; `None` where that is not known
pub fn user_of_workers(container: &Container) -> Option<&User> {
    let master = masters(container).next()?;
    let is_worker = |one: &&Process| one.parent == master.id && one.command.contains(WORKER);
    container.processes.iter().find(is_worker)?.user.as_ref()
}

fn user_of(master: &Process) -> Option<&User> {
    let user = master.user.as_ref()?;
    (1..FIRST_SHIFTED).contains(&user.uid).then_some(user)
}

/// nginx's masters in a container, without one that is about to replace the one that started it
///
/// The first is the one of which all else here speaks.
pub fn masters(container: &Container) -> impl Iterator<Item = &Process> {
    let is_master = |process: &&Process| process.command.contains(MASTER);
    let all = move || container.processes.iter().filter(is_master);
    all().filter(move |process| all().all(|other| other.id != process.parent))
}

/// What the running nginx was started with that is relative to a directory which nobody tells: its
/// program, or its `-p`
///
/// A command in a container starts in the directory of the image, and a script may have left that.
pub fn relative_start(container: &Container) -> Option<String> {
    masters(container).next()?;
    let words = own_words(container);
    let is_relative = |word: &&String| !word.starts_with('/');
    let program = words.first().filter(|word| word.contains('/'));
    let prefix = || {
        let options = own_options(words.get(1..)?);
        let at = options.iter().position(|option| option == "-p")?;
        options.get(at + 1).filter(is_relative).cloned()
    };
    program.filter(is_relative).cloned().or_else(prefix)
}

/// Whether the options of a container's nginx are guessed: its engine tells of no master, and the
/// command line that it was created with, such as that of a script, has no `nginx` in it
///
/// Then nginx may run with another configuration than one that is asked for shows.
pub fn is_guessed(container: &Container) -> bool {
    own_words(container).is_empty()
}

/// Whether a container runs nginx, or was made to
pub fn runs_nginx(container: &Container) -> bool {
    !own_words(container).is_empty()
}

/// The words with which nginx was started; none where it is not known
fn own_words(container: &Container) -> Vec<String> {
    let is_nginx_word = |word: &&String| program(word) == NGINX;
    let words = container.command.iter();
    let configured: Vec<String> = words
        .skip_while(|word| !is_nginx_word(word))
        .cloned()
        .collect();
    let title = masters(container).find_map(|process| process.command.split_once(MASTER));
    match title {
        // A title is words joined by blanks: where they are known apart, those are better.
        Some((_, title)) if title != configured.join(" ") => {
            title.split_whitespace().map(str::to_owned).collect()
        }
        _ => configured,
    }
}

/// What of nginx's options another nginx needs to read the same configuration
fn own_options(options: &[String]) -> Vec<String> {
    let mut own = Vec::new();
    let mut words = options.iter().peekable();
    while let Some(option) = words.next() {
        let value = match option.as_str() {
            "-c" | "-p" => words.next().cloned(),
            "-g" => Some(directives(&mut words)).filter(|directives| concerns_others(directives)),
            _ => None,
        };
        own.extend(value.into_iter().flat_map(|value| [option.clone(), value]));
    }
    own
}

/// The value of `-g`: in a title nothing but its semicolons holds the words together
fn directives<'w>(words: &mut Peekable<impl Iterator<Item = &'w String>>) -> String {
    let mut directives = String::new();
    while let Some(word) =
        words.next_if(|word| !(word.starts_with('-') && directives.ends_with(';')))
    {
        if !directives.is_empty() {
            directives.push(' ');
        }
        directives.push_str(word);
    }
    directives
}

/// Whether directives say more than how the master itself runs
fn concerns_others(directives: &str) -> bool {
    let mut names = directives
        .split(';')
        .filter_map(|directive| directive.split_whitespace().next());
    names.any(|name| !["daemon", "master_process"].contains(&name))
}

fn is_nginx(process: &Process) -> bool {
    process.command.contains(MASTER) || program(&process.command) == NGINX
}

/// The name of the program at the beginning of a command line
fn program(command: &str) -> &str {
    let path = command.split_whitespace().next().unwrap_or_default();
    let name = Path::new(path).file_name().and_then(|name| name.to_str());
    name.unwrap_or_default()
}

const NGINX: &str = "nginx";
/// What nginx's master has in its title before its command line
const MASTER: &str = ": master process ";
/// What the title of nginx's workers begins with
pub(super) const WORKER: &str = "nginx: worker process";
/// The first user that is given to a namespace of users: SUB_UID_MIN of login.defs(5)
const FIRST_SHIFTED: u32 = 100_000;
/// Inits that pass signals on to the process that they start
const INITS: [&str; 3] = ["tini", "dumb-init", "docker-init"];

#[cfg(test)]
mod tests {
    use super::*;

    fn container(command: &[&str], processes: &[(u32, u32, &str)]) -> Container {
        let processes = processes.iter().map(|(id, parent, command)| Process {
            id: *id,
            parent: *parent,
            command: (*command).to_owned(),
            user: None,
        });
        Container {
            command: command.iter().map(ToString::to_string).collect(),
            processes: processes.collect(),
            ..Container::default()
        }
    }

    #[test]
    fn nginxs_own_configuration_is_asked_for_and_no_script_is_taken_for_it() {
        #[track_caller]
        fn check(command: &[&str], expected: &str) {
            let command = nginx_command(&container(command, &[]), &["-t"]);
            assert_eq!(command.words.join(" "), expected);
        }
        check(&["nginx", "-g", "daemon off;"], "nginx -t");
        check(
            &["/usr/sbin/nginx", "-c", "/x.conf"],
            "/usr/sbin/nginx -t -c /x.conf",
        );
        check(
            &[
                "/docker-entrypoint.sh",
                "nginx",
                "-p",
                "/srv",
                "-g",
                "daemon off;",
            ],
            "nginx -t -p /srv",
        );
        check(
            &["nginx", "-g", "daemon off; pid /x;", "-c", "/x"],
            "nginx -t -g daemon off; pid /x; -c /x",
        );
        check(
            &[
                "sh",
                "-c",
                "while :; do reload; done & nginx -g 'daemon off;'",
            ],
            "nginx -t",
        );
        check(&["/bin/sh", "-c", "exec nginx -c /x.conf"], "nginx -t");
        check(&[], "nginx -t");
    }

    #[test]
    fn what_the_running_master_was_started_with_comes_before_the_containers_command() {
        #[track_caller]
        fn check(command: &[&str], title: &str, expected: &[&str]) {
            let title = format!("nginx: master process {title}");
            let container = container(command, &[(7, 1, "sh /start.sh"), (9, 7, &title)]);
            let command = nginx_command(&container, &["-s", "reload"]);
            assert_eq!(command.words, expected);
        }
        let start = ["sh", "/start.sh"];
        check(
            &start,
            "nginx -c /x.conf",
            &["nginx", "-s", "reload", "-c", "/x.conf"],
        );
        check(
            &start,
            "/opt/nginx -g daemon off; worker_processes 2; -p /srv",
            &[
                "/opt/nginx",
                "-s",
                "reload",
                "-g",
                "daemon off; worker_processes 2;",
                "-p",
                "/srv",
            ],
        );
        check(&start, "nginx -g daemon off;", &["nginx", "-s", "reload"]);
        // Only the container's own command line can tell a blank in a path.
        check(
            &["/entry", "nginx", "-c", "/a b.conf"],
            "nginx -c /a b.conf",
            &["nginx", "-s", "reload", "-c", "/a b.conf"],
        );
    }

    #[test]
    fn the_options_of_an_nginx_that_nobody_tells_of_are_guessed() {
        #[track_caller]
        fn check(command: &[&str], processes: &[(u32, u32, &str)], expected: bool) {
            assert_eq!(is_guessed(&container(command, processes)), expected);
        }
        const MASTER: (u32, u32, &str) = (9, 7, "nginx: master process nginx -c /x.conf");
        check(&["sh", "/start.sh"], &[], true);
        check(&["sh", "-c", "exec nginx -c /x.conf"], &[], true);
        check(&["sh", "/start.sh"], &[(7, 1, "sh /start.sh")], true);
        check(
            &["sh", "/start.sh"],
            &[(7, 1, "sh /start.sh"), MASTER],
            false,
        );
        check(
            &["/docker-entrypoint.sh", "nginx", "-g", "daemon off;"],
            &[],
            false,
        );
        check(&["nginx"], &[], false);
    }

    /// A container whose own user is this one, with a master that `ps` shows so
    fn run_by(own: &str, uid: &str, gid: &str, groups: &str) -> Container {
        let row = [
            "7",
            "1",
            uid,
            gid,
            groups,
            "nginx: master process nginx -c /a b",
        ];
        Container {
            name: "web".to_owned(),
            user: own.to_owned(),
            processes: of_table(&[row.map(str::to_owned).to_vec()], 7),
            ..Container::default()
        }
    }

    #[test]
    fn nginxs_own_commands_run_as_its_master() {
        #[track_caller]
        fn check(own: &str, [uid, gid, groups]: [&str; 3], expected: Option<&str>) {
            let command = nginx_command(&run_by(own, uid, gid, groups), &["-t"]);
            assert_eq!(command.user.as_deref(), expected);
        }
        check("", ["0", "0", "-"], None);
        check("", ["101", "33", "-"], Some("101:33"));
        check("root", ["101", "33", "33"], Some("101:33"));
        check("0:0", ["101", "33", "33,44"], Some("101"));
        // The engine knows the groups of the container's own user.
        check("nginx", ["101", "33", "44"], None);
        check("101:33", ["101", "33", "-"], None);
        // Users of a namespace, as the host counts them.
        check("", ["100000", "100000", "-"], None);
        check("", ["165637", "165637", "-"], None);
        let untold = container(&[], &[(7, 1, "nginx: master process nginx")]);
        assert_eq!(nginx_command(&untold, &["-t"]).user, None);
    }

    #[test]
    fn a_person_types_what_certd_runs() {
        let told = by_hand(&run_by("", "101", "33", "-"), &["-s", "reload"]);
        assert_eq!(told, "docker exec --user 101:33 web nginx -s reload -c /a");
        let mut container = container(&["nginx", "-c", "/a b", "-g", "pid /x;"], &[]);
        container.name = "web".to_owned();
        let told = by_hand(&container, &["-t"]);
        assert_eq!(told, "docker exec web nginx -t -c '/a b' -g 'pid /x;'");
    }

    #[test]
    fn a_second_master_is_reloaded_with_its_own_options() {
        let mut container = run_by("", "0", "0", "-");
        container.processes.push(Process {
            id: 8,
            parent: 1,
            command: "nginx: master process /opt/nginx -c /b.conf -g daemon off;".to_owned(),
            user: Some(User {
                uid: 101,
                gid: 33,
                groups: Vec::new(),
            }),
        });
        let second = masters(&container).nth(1).unwrap();
        let told = by_hand_for(&container, second, &["-s", "reload"]);
        assert_eq!(
            told,
            "docker exec --user 101:33 web /opt/nginx -s reload -c /b.conf"
        );
    }

    #[test]
    fn of_two_masters_neither_is_overlooked_and_one_that_is_replaced_is_no_second() {
        #[track_caller]
        fn check(processes: &[(u32, u32, &str)], expected: &[u32]) {
            let container = container(&[], processes);
            let found: Vec<u32> = masters(&container).map(|one| one.id).collect();
            assert_eq!(found, expected);
        }
        let (one, two) = (
            "nginx: master process nginx",
            "nginx: master process nginx -c /b",
        );
        check(&[(1, 0, "sh"), (7, 1, one), (8, 1, two)], &[7, 8]);
        check(
            &[(7, 1, one), (8, 7, one), (9, 8, "nginx: worker process")],
            &[7],
        );
    }

    #[test]
    fn a_start_from_a_directory_that_nobody_tells_is_noticed() {
        #[track_caller]
        fn check(title: &str, expected: Option<&str>) {
            let title = format!("nginx: master process {title}");
            let found = relative_start(&container(&[], &[(7, 1, &title)]));
            assert_eq!(found.as_deref(), expected);
        }
        check("nginx -g daemon off;", None);
        check("/usr/sbin/nginx -p /srv -c a.conf", None);
        check("./nginx", Some("./nginx"));
        check("nginx -p ./ -c conf/nginx.conf", Some("./"));
        assert_eq!(relative_start(&container(&["./nginx"], &[])), None);
    }

    #[test]
    fn a_signal_is_for_nginx_alone_or_for_an_init_that_passes_it_on() {
        #[track_caller]
        fn check(processes: &[(u32, u32, &str)], expected: Receiver<'_>) {
            assert_eq!(receiver(&container(&[], processes)), expected);
        }
        let master = "nginx: master process nginx -g daemon off;";
        check(
            &[(9, 5, master), (10, 9, "nginx: worker process")],
            Receiver::Nginx,
        );
        check(&[(9, 5, "nginx -g daemon off;")], Receiver::Nginx);
        for init in [
            "/sbin/docker-init -- nginx",
            "/usr/bin/tini -- nginx",
            "dumb-init nginx",
        ] {
            check(
                &[
                    (9, 5, init),
                    (10, 9, master),
                    (11, 10, "nginx: worker process"),
                ],
                Receiver::Nginx,
            );
            check(
                &[(9, 5, init), (10, 9, "sh /start.sh"), (11, 10, master)],
                Receiver::Other(init),
            );
        }
        check(
            &[(9, 5, "sh /start.sh"), (10, 9, master)],
            Receiver::Other("sh /start.sh"),
        );
        check(
            &[(9, 5, "s6-svscan /etc/s6"), (10, 9, master)],
            Receiver::Other("s6-svscan /etc/s6"),
        );
        check(&[], Receiver::Unknown);
    }

    #[test]
    fn the_main_process_comes_first_whatever_the_order_of_the_table() {
        #[track_caller]
        fn check(rows: &[[&str; 3]], main: u32, expected: &[u32]) {
            let rows: Vec<Vec<String>> = rows
                .iter()
                .map(|row| row.map(str::to_owned).to_vec())
                .collect();
            let found: Vec<u32> = of_table(&rows, main)
                .iter()
                .map(|process| process.id)
                .collect();
            assert_eq!(found, expected);
        }
        let rows = [
            ["12", "11", "worker"],
            ["11", "5", "master"],
            ["40", "6", "cat /x"],
        ];
        check(&rows, 11, &[11, 12, 40]);
        check(&rows, 1, &[11, 12, 40]);
        check(&[["?", "5", "master"]], 11, &[]);
        check(&[], 11, &[]);
        let odd = vec![vec!["root".to_owned()]];
        assert_eq!(of_table(&odd, 11), []);
    }
}
