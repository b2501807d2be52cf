//! Each kind of channel, at its best and at its worst.

use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{DOMAIN, MESSENGER, SHOP, add, break_down, webhook, without_host};
use crate::support::{
    Authority, CLOSED, Hook, Host, Letter, Manner, Place, Reply, Run, Server, Setting, Smtp, Wish,
    over_80_columns, tls_config,
};

/// One server of each kind, and the channels that lead there
struct Everywhere {
    hook: Hook,
    telegram: Hook,
    smtp: Smtp,
    implicit: Smtp,
    channels: String,
}

impl Everywhere {
    /// Their files are those of the place
    fn of(place: &Place) -> Self {
        let (hook, telegram) = (Hook::start(), Hook::start());
        let tls = Some(protection(place));
        let password = Some(PASSWORD);
        let smtp = Smtp::start(Manner {
            tls: tls.clone(),
            password,
            ..Manner::default()
        });
        let implicit = Smtp::start(Manner {
            tls,
            is_implicit: true,
            hangs_up: true,
            ..Manner::default()
        });
        place.write_secret("password", format!("{PASSWORD}\n"));
        place.write_secret("token", format!("{TOKEN}\n"));
        place.write_secret("url", hook.url("/from-a-file"));
        let channels = format!(
            "[[notify]]\nkind = \"webhook\"\nurl_file = \"url\"\n\
             [[notify]]\nkind = \"telegram\"\ntoken_file = \"token\"\nchat = -1001\napi = \"{}\"\n\
             {}username = \"certd\"\npassword_file = \"password\"\n\
             {}tls = \"tls\"\n\
             [[notify]]\nkind = \"command\"\ncommand = [\"tee\", \"{}\"]\n",
            telegram.url("/"),
            mail(&smtp, &["admin@example.com", "night@example.com"]),
            mail(&implicit, &["other@example.com"]),
            place.path("event.json").display(),
        );
        Self {
            hook,
            telegram,
            smtp,
            implicit,
            channels,
        }
    }
}

const PASSWORD: &str = "c0rrect-horse";
const TOKEN: &str = "123456:AAE-s3cret_token";

/// TLS for localhost, its root in `smtp.pem`
fn protection(place: &Place) -> std::sync::Arc<rustls::ServerConfig> {
    let root = Authority::root("Root of a mail server");
    place.write("smtp.pem", root.pem());
    tls_config(&root.issue(&Wish::names(&["127.0.0.1"])))
}

fn mail(smtp: &Smtp, to: &[&str]) -> String {
    format!(
        "[[notify]]\nkind = \"mail\"\nserver = \"{}\"\nfrom = \"certd@example.com\"\n\
         to = {to:?}\ntrust = \"smtp.pem\"\n",
        smtp.server.address
    )
}

#[test]
fn every_kind_of_channel_is_told() {
    let host = Host::new(&Setting::two_domains());
    let everywhere = Everywhere::of(&host.place);
    add(&host, &everywhere.channels);
    break_down(&host);
    let run = host.certd(&["renew"]).exits(1);
    assert_eq!(run.stderr, "");
    let expected = [format!("failed {MESSENGER}"), format!("failed {SHOP}")];
    assert_eq!(everywhere.hook.told(), [expected]);
    assert_eq!(everywhere.hook.requests()[0].path, "/from-a-file");
    // The command was given the same bytes.
    let event: Value = serde_json::from_str(&host.place.read("event.json")).expect("JSON");
    assert_eq!(event, everywhere.hook.requests()[0].json());

    let [letter] = &everywhere.smtp.letters()[..] else {
        panic!("one mail for all recipients");
    };
    assert!(letter.is_protected);
    assert_eq!(
        letter.login,
        Some(("certd".to_owned(), PASSWORD.to_owned()))
    );
    assert_eq!(letter.sender, "certd@example.com");
    assert_eq!(
        letter.recipients,
        ["admin@example.com", "night@example.com"]
    );
    snapshot!(host.place, "mail", readable(letter, &host.ca.directory()));
    // One that hangs up once it has the mail has it.
    let [letter] = &everywhere.implicit.letters()[..] else {
        panic!("one mail");
    };
    assert!(letter.is_protected && letter.login.is_none());

    let [request] = &everywhere.telegram.requests()[..] else {
        panic!("one message");
    };
    assert_eq!(request.line(), format!("POST /bot{TOKEN}/sendMessage"));
    let message = request.json();
    assert_eq!(message["chat_id"], "-1001");
    assert_eq!(message["text"], event["text"]);
}

/// A mail without what differs from run to run
fn readable(letter: &Letter, ca: &str) -> String {
    let lines = letter.text.lines().map(|line| match line.split_once(": ") {
        Some((name @ ("Date" | "Message-ID"), _)) => format!("{name}: [...]"),
        _ => line.to_owned(),
    });
    let text = lines.collect::<Vec<_>>().join("\n");
    without_host(&text).replace(ca, "[CA]")
}

#[test]
fn a_test_goes_through_every_channel_and_is_no_sign_of_life() {
    let place = Place::new();
    let everywhere = Everywhere::of(&place);
    let heart = Hook::start();
    let heartbeat = format!("heartbeat = \"{}\"\n", heart.url("/ping"));
    place.write("domains.toml", heartbeat + &everywhere.channels + DOMAIN);
    let run = place.run(&["notify", "--test"]).exits(0);
    snapshot!(place, "test", place.without_directory(&run.to_string()));
    assert_eq!(everywhere.hook.requests()[0].json()["kind"], "test");
    assert_eq!(everywhere.hook.requests()[0].json()["domains"], json!([]));
    assert_eq!(everywhere.smtp.letters().len(), 1);
    assert_eq!(everywhere.telegram.requests().len(), 1);
    assert!(place.read("event.json").contains("\"kind\":\"test\""));
    assert_eq!(heart.requests().len(), 0);
    // Nothing is remembered of it, and nothing is printed where nothing needs attention.
    assert!(!place.path("state").exists());
    assert_eq!(place.run(&["-q", "notify", "--test"]).exits(0).stdout, "");
    let report = place
        .run(&["notify", "--test", "--format", "json"])
        .exits(0)
        .json();
    assert_eq!(report["command"], "notify");
    assert_eq!(report["channels"][1]["channel"], "telegram chat -1001");
    assert_eq!(report["channels"][1]["finding"]["code"], "notify.sent");
}

#[test]
fn an_answer_of_500_twice_is_overcome_by_a_third_attempt() {
    let hook = Hook::answering(|number| match number {
        0 | 1 => Reply::new(500, "text/plain", "not yet"),
        _ => Reply::new(200, "text/plain", "ok"),
    });
    let place = Place::with(&(webhook(&hook.url("/")) + DOMAIN));
    let run = place.run(&["notify", "--test"]).exits(0);
    assert_eq!(hook.requests().len(), 3);
    assert_eq!(run.stderr, "");
}

#[test]
fn what_is_wrong_with_a_channel_is_told_without_its_secrets() {
    let place = Place::new();
    let gone = Hook::answering(|_| Reply::new(404, "text/html", "Cannot POST /s3cret"));
    let moved = Hook::answering(|_| Reply::new(302, "text/plain", "").with("Location", "/s3cret"));
    let telegram = Hook::answering(|_| {
        let problem = json!({"ok": false, "description": format!("no bot {TOKEN}")});
        Reply::json(401, &problem)
    });
    let tls = Some(protection(&place));
    let strict = Smtp::start(Manner {
        tls: tls.clone(),
        password: Some("another"),
        ..Manner::default()
    });
    let choosy = Smtp::start(Manner {
        tls,
        unknown: &["left@example.com"],
        ..Manner::default()
    });
    place.write_secret("password", PASSWORD);
    place.write_secret("token", TOKEN);
    place.write_secret(
        "headers",
        "Authorization: Bearer s3cret\nno header s3cret\n",
    );
    place.write("other.pem", Authority::root("Another root").pem());
    let channels = [
        webhook(&format!("http://{CLOSED}/s3cret")),
        webhook(&gone.url("/s3cret")),
        webhook(&moved.url("/")),
        webhook(&gone.url("/x")) + "headers_file = \"headers\"\n",
        "[[notify]]\nkind = \"webhook\"\nurl_file = \"missing\"\n".to_owned(),
        format!(
            "[[notify]]\nkind = \"telegram\"\ntoken_file = \"token\"\nchat = \"@ops\"\napi = \"{}\"\n",
            telegram.url("")
        ),
        "[[notify]]\nkind = \"telegram\"\ntoken_file = \"headers\"\nchat = \"@all\"\n".to_owned(),
        mail(&strict, &["a@example.com"]) + "username = \"certd\"\npassword_file = \"password\"\n",
        mail(&choosy, &["left@example.com"]),
        mail(&choosy, &["left@example.com", "here@example.com"]),
        mail(&choosy, &["b@example.com"]).replace("smtp.pem", "other.pem"),
        mail(&choosy, &["c@example.com"]).replace(&choosy.server.address.to_string(), CLOSED),
        "[[notify]]\nkind = \"command\"\ncommand = [\"false\"]\n".to_owned(),
        "[[notify]]\nkind = \"command\"\ncommand = [\"cat\", \"/nonexistent\"]\n".to_owned(),
        "[[notify]]\nkind = \"command\"\ncommand = [\"/nonexistent/tell\"]\n".to_owned(),
    ];
    place.write("domains.toml", channels.concat() + DOMAIN);
    let run = place.run(&["notify", "--test"]).exits(1);
    assert_eq!(
        over_80_columns(&place.without_directory(&run.stdout)),
        [""; 0]
    );
    snapshot!(place, "troubles", run.to_string());
    // Who is known has the mail, whoever is not.
    let letters = choosy.letters();
    assert_eq!(letters.len(), 1);
    assert_eq!(letters[0].recipients, ["here@example.com"]);
    let loud = place
        .run(&["-vv", "notify", "--test", "--format", "json"])
        .exits(1);
    for secret in ["s3cret", PASSWORD, TOKEN] {
        assert!(!run.to_string().contains(secret), "{secret}: {run}");
        assert!(!loud.to_string().contains(secret), "{secret}: {loud}");
    }
}

#[test]
fn a_server_is_trusted_by_the_roots_that_are_named_and_no_other() {
    let place = Place::new();
    let hook = Hook::protected(protection(&place));
    let url = format!("https://{}/", hook.address());
    place.write(
        "domains.toml",
        webhook(&url) + "trust = \"smtp.pem\"\n" + DOMAIN,
    );
    place.run(&["notify", "--test"]).exits(0);
    assert_eq!(hook.requests().len(), 1);
    place.write("domains.toml", webhook(&url) + DOMAIN);
    let run = place.run(&["notify", "--test"]).exits(1);
    assert!(
        run.stdout.contains("from a CA that is not trusted here"),
        "{run}"
    );
    assert_eq!(hook.requests().len(), 1);
}

#[test]
fn no_password_and_no_mail_goes_to_a_server_without_tls() {
    let place = Place::new();
    place.write_secret("password", PASSWORD);
    protection(&place);
    let plain = Smtp::start(Manner::default());
    let login = "username = \"certd\"\npassword_file = \"password\"\n";
    let channel = mail(&plain, &["admin@example.com"]) + login;
    place.write("domains.toml", channel.clone() + DOMAIN);
    let run = place.run(&["notify", "--test"]).exits(1);
    assert!(run.stdout.contains("STARTTLS is not supported"), "{run}");
    assert!(plain.letters().is_empty());
    // On this host it may be left out.
    place.write("domains.toml", channel + "tls = \"none\"\n" + DOMAIN);
    place.run(&["notify", "--test"]).exits(0);
    let [letter] = &plain.letters()[..] else {
        panic!("one mail");
    };
    assert!(!letter.is_protected && letter.login.is_some());
    assert!(letter.text.contains("Subject: certd on "), "{letter:?}");
}

#[test]
fn each_format_of_a_webhook_is_what_its_service_takes() {
    let hook = Hook::start();
    let place = Place::new();
    place.write("headers", "X-Gotify-Key: s3cret-key\n");
    let formats = ["slack", "discord", "google_chat", "teams", "gotify", "ntfy"];
    let channels = formats.map(|format| {
        format!(
            "[[notify]]\nkind = \"webhook\"\nurl = \"{}\"\nformat = \"{format}\"\nheaders_file = \"headers\"\n",
            hook.url(&format!("/{format}"))
        )
    });
    place.write("domains.toml", format!("{}{DOMAIN}", channels.concat()));
    place.run(&["notify", "--test"]).exits(0);
    let requests = hook.requests();
    let of = |format: &str| {
        let path = format!("/{format}");
        let request = requests.iter().find(|request| request.path == path);
        request.expect("it was told").clone()
    };
    let text = |value: &Value| value.as_str().expect("a text").contains("a test");
    assert!(text(&of("slack").json()["text"]));
    assert!(text(&of("discord").json()["content"]));
    assert!(text(&of("google_chat").json()["text"]));
    assert!(text(&of("gotify").json()["title"]));
    let card = of("teams").json()["attachments"][0]["content"].clone();
    assert!(text(&card["body"][0]["inlines"][0]["text"]), "{card}");
    let ntfy = of("ntfy");
    assert!(String::from_utf8_lossy(&ntfy.body).starts_with("This channel works"));
    assert!(
        ntfy.header("title")
            .is_some_and(|title| title.contains("a test"))
    );
    assert_eq!(of("gotify").header("x-gotify-key"), Some("s3cret-key"));
}

#[test]
fn a_webhook_that_refuses_says_why_without_the_secret() {
    let words =
        "no webhook /s3cret-path/more with Bearer s3cret-key <!channel>\nsecond\u{202e}line";
    let hook = Hook::answering(move |_| Reply::new(404, "text/plain", words));
    let place = Place::new();
    place.write("headers", "Authorization: Bearer s3cret-key\n");
    let url = hook.url("/s3cret-path/more");
    place.write(
        "domains.toml",
        format!("{}headers_file = \"headers\"\n{DOMAIN}", webhook(&url)),
    );
    let run = place
        .run(&["notify", "--test", "--format", "json"])
        .exits(1);
    let evidence = run.json()["channels"][0]["finding"]["evidence"].clone();
    let evidence = evidence.as_str().expect("a text");
    assert!(
        evidence.contains("answered 404: no webhook /.../more"),
        "{evidence}"
    );
    assert!(evidence.contains("second\\u{202e}line"), "{evidence}");
    assert!(!run.stdout.contains("s3cret"), "{run}");
}

#[test]
fn what_a_webhook_repeats_of_a_secret_in_another_form_is_not_shown() {
    let words = "basic certd:hunter2s3cret is wrong, as is /hooks/s3cret%2Dpath \
                 and Y2VydGQ6aHVudGVyMnMzY3JldA of {\"path\": \"L3MzY3JldC1wYXRo\"}";
    let hook = Hook::answering(move |_| Reply::new(401, "text/plain", words));
    let place = Place::new();
    place.write(
        "headers",
        "Authorization: Basic Y2VydGQ6aHVudGVyMnMzY3JldA==\n",
    );
    let url = hook.url("/hooks/s3cret-path");
    place.write(
        "domains.toml",
        format!("{}headers_file = \"headers\"\n{DOMAIN}", webhook(&url)),
    );
    let run = place
        .run(&["-vv", "notify", "--test", "--format", "json"])
        .exits(1);
    let evidence = run.json()["channels"][0]["finding"]["evidence"].clone();
    let evidence = evidence.as_str().expect("a text");
    let said = "answered 401: basic certd:... is wrong, as is ... and ... of {\"path\": \"...\"}";
    assert!(evidence.contains(said), "{evidence}");
    for secret in ["s3cret", "Y2VydGQ6", "L3MzY3JldC1w"] {
        assert!(!run.to_string().contains(secret), "{secret}: {run}");
    }
}

#[test]
fn a_webhook_that_has_enough_for_now_is_told_later() {
    let hook =
        Hook::answering(|_| Reply::new(429, "text/plain", "slow down").with("Retry-After", "3600"));
    let place = Place::new();
    place.write(
        "domains.toml",
        format!("{}{DOMAIN}", webhook(&hook.url("/"))),
    );
    let run = place.run(&["notify", "--test"]).exits(1);
    assert!(run.stdout.contains("answered 429: slow down"), "{run}");
    assert!(run.stdout.contains("the next run tells it again"), "{run}");
    assert_eq!(hook.requests().len(), 1);
    // A second is waited for.
    let hook = Hook::answering(|number| match number {
        0 => Reply::new(429, "text/plain", "").with("Retry-After", "1"),
        _ => Reply::new(200, "text/plain", ""),
    });
    place.write(
        "domains.toml",
        format!("{}{DOMAIN}", webhook(&hook.url("/"))),
    );
    place.run(&["notify", "--test"]).exits(0);
    assert_eq!(hook.requests().len(), 2);
}

#[test]
fn a_group_that_became_a_supergroup_is_told_under_its_new_identifier() {
    let telegram = Hook::answering(|number| match number {
        0 => Reply::json(
            400,
            &json!({"ok": false, "error_code": 400,
                "description": "Bad Request: group chat was upgraded to a supergroup chat",
                "parameters": {"migrate_to_chat_id": -1_001_234_567_890_i64}}),
        ),
        _ => Reply::json(200, &json!({"ok": true})),
    });
    let place = Place::new();
    place.write("token", TOKEN);
    place.write(
        "domains.toml",
        format!(
            "[[notify]]\nkind = \"telegram\"\ntoken_file = \"token\"\nchat = -5\napi = \"{}\"\n{DOMAIN}",
            telegram.url("/")
        ),
    );
    let run = place.run(&["notify", "--test"]).exits(1);
    assert!(
        run.stdout.contains("set `chat = \"-1001234567890\"`"),
        "{run}"
    );
    let [first, second] = &telegram.requests()[..] else {
        panic!("two messages");
    };
    assert_eq!(first.json()["chat_id"], "-5");
    assert_eq!(second.json()["chat_id"], "-1001234567890");
}

#[test]
fn channels_that_hang_are_given_up_side_by_side() {
    let place = Place::new();
    let silent = Hook::answering(|_| Reply::Silence);
    let mute = Server::start(|mut stream| {
        let _ = std::io::Read::read_to_end(&mut stream, &mut Vec::new());
    });
    // What the command starts holds its end of this as long as it lives.
    let fifo = place.path("fifo");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).expect("it is ours");
    let script = format!("(sleep 300; echo survived) > {} & wait", fifo.display());
    let heard = thread::spawn(move || std::fs::read_to_string(fifo));
    place.write(
        "domains.toml",
        format!(
            "{}[[notify]]\nkind = \"mail\"\nserver = \"{}\"\ntls = \"none\"\n\
             from = \"certd@example.com\"\nto = [\"admin@example.com\"]\n\
             [[notify]]\nkind = \"command\"\ncommand = [\"sh\", \"-c\", {script:?}]\n{DOMAIN}",
            webhook(&silent.url("/")),
            mute.address,
        ),
    );
    let begun = Instant::now();
    let run = place.run(&["notify", "--test"]).exits(1);
    // One after the other they would take 10, 30 and 30 seconds, however idle the machine is.
    let taken = begun.elapsed();
    assert!(taken < Duration::from_secs(70), "{taken:?}");
    for words in [
        "webhook 127.0.0.1: no answer within 10 s",
        "mail to admin@example.com: gave up after 30 s",
        "command sh: gave up after 30 s",
    ] {
        assert!(run.stdout.contains(words), "{run}");
    }
    // A server that was silent may have taken it: it is not sent again.
    assert_eq!(silent.requests().len(), 1);
    // What the command has started is ended with it.
    let heard = heard.join().expect("it reads to the end");
    assert_eq!(heard.expect("it is a file"), "");
}

#[test]
fn a_command_is_given_no_environment_but_what_programs_need() {
    let place = Place::new();
    let script = format!("env > {}", place.path("environment").display());
    place.write(
        "domains.toml",
        format!("[[notify]]\nkind = \"command\"\ncommand = [\"sh\", \"-c\", {script:?}]\n{DOMAIN}"),
    );
    let mut certd = place.certd(&["notify", "--test"]);
    Run::of(
        certd
            .env("S3CRET", "x")
            .env("HOME", "/root")
            .env("TZ", "UTC"),
    )
    .exits(0);
    let environment = place.read("environment");
    let mut names: Vec<&str> = environment
        .lines()
        .filter_map(|line| line.split('=').next())
        // The shell's own.
        .filter(|name| !["PWD", "SHLVL", "_", "OLDPWD"].contains(name))
        .collect();
    names.sort_unstable();
    assert_eq!(names, ["HOME", "PATH", "TZ"]);
}

#[test]
fn without_a_channel_there_is_nothing_to_test() {
    let place = Place::with("[[domain]]\nname = \"shop.test\"\n");
    let run = place.run(&["notify", "--test"]).exits(2);
    insta::assert_snapshot!(run.stderr, @r#"
    error: no [[notify]] is in domains.toml: there is nobody to tell
    hint: for example
          [[notify]]
          kind = "webhook"
          url = "https://..."
    "#);
    let run = place.run(&["notify"]).exits(2);
    assert!(run.stderr.contains("--test"), "{run}");
}
