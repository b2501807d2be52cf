//! `[[notify]]` and `heartbeat`.

use std::collections::BTreeSet;
use std::net::IpAddr;

use http::uri::Authority;

use super::Checker;
use crate::config::defaults;
use crate::config::notify::{
    Channel, Command, Event, Login, Mail, MailTls, Means, SecretUrl, Server, Telegram, UrlSource,
    Webhook, WebhookFormat,
};
use crate::config::raw::{Table, Value};
use crate::name::{DnsName, HostName};

impl<'t> Checker<'_, 't> {
    pub(super) fn heartbeat(&self, root: &Table<'_, 't>) -> Option<SecretUrl> {
        self.url(&root.string("heartbeat")?)
    }

    pub(super) fn channels(&self, root: &Table<'_, 't>) -> Vec<Channel> {
        let mut channels: Vec<Channel> = Vec::new();
        for table in root.tables("notify") {
            let (span, path) = (table.span().clone(), table.path().to_owned());
            let Some(channel) = self.channel(table) else {
                continue;
            };
            let identity = channel.identity();
            // What was told is remembered for each, and two would share a memory.
            if channels.iter().any(|known| known.identity() == identity) {
                let message = "tells the same as another [[notify]]: join their `on`";
                self.source.report(&span, &path, message, None);
            }
            channels.push(channel);
        }
        let names: Vec<String> = channels.iter().map(Channel::name).collect();
        for (place, channel) in channels.iter_mut().enumerate() {
            let alike = names.iter().filter(|name| **name == names[place]);
            channel.place = (alike.count() > 1).then_some(place);
        }
        channels
    }

    fn channel(&self, table: Table<'_, 't>) -> Option<Channel> {
        let on = self.events(&table);
        let means = match self.kind(&table)? {
            Kind::Webhook => self.webhook(&table).map(Means::Webhook),
            Kind::Mail => self.mail(&table).map(Means::Mail),
            Kind::Telegram => self.telegram(&table).map(Means::Telegram),
            Kind::Command => self.command(&table).map(Means::Command),
        };
        table.finish(&[]);
        Some(Channel {
            on,
            means: means?,
            place: None,
        })
    }

    fn kind(&self, table: &Table<'_, 't>) -> Option<Kind> {
        let Some(value) = table.string("kind") else {
            if !table.has("kind") {
                self.missing(table, "kind", &format!("one of {}", kinds()));
            }
            return None;
        };
        self.one_of(&value, &KINDS)
    }

    fn events(&self, table: &Table<'_, 't>) -> BTreeSet<Event> {
        let Some(words) = table.strings("on") else {
            return Event::ALL.into();
        };
        if words.is_empty() {
            let message = "names no event, so that nothing would be told";
            let hint = "leave it out to be told of all".to_owned();
            let key = table.key("on");
            self.source
                .report(&table.span_of("on"), &key, message, Some(hint));
        }
        let known = Event::ALL.map(|event| (event.as_str(), event));
        let events = words.iter().filter_map(|word| self.one_of(word, &known));
        events.collect()
    }

    fn webhook(&self, table: &Table<'_, 't>) -> Option<Webhook> {
        let file = table.string("url_file");
        let url = match (table.string("url"), file) {
            (Some(url), None) => self.url(&url).map(UrlSource::Given),
            (None, Some(file)) => Some(UrlSource::File(self.path(&file))),
            (Some(_), Some(file)) => {
                self.mistake(&file, "`url` is there too: one of them is enough", None);
                None
            }
            (None, None) => {
                if !table.has("url") && !table.has("url_file") {
                    self.missing(table, "url", "where to send to, or `url_file`");
                }
                None
            }
        };
        let format = self.format(table);
        let (headers_file, trust) = (self.file(table, "headers_file"), self.file(table, "trust"));
        Some(Webhook {
            url: url?,
            format,
            headers_file,
            trust,
        })
    }

    fn format(&self, table: &Table<'_, 't>) -> WebhookFormat {
        let Some(word) = table.string("format") else {
            return WebhookFormat::default();
        };
        let known = WebhookFormat::ALL.map(|format| (format.as_str(), format));
        self.one_of(&word, &known).unwrap_or_default()
    }

    fn mail(&self, table: &Table<'_, 't>) -> Option<Mail> {
        let server = self.required(table, "server", "the SMTP server, as host or host:port");
        let server = server.and_then(|value| Some((self.server(&value)?, value)));
        let tls = self.mail_tls(table, server.as_ref().and_then(|((_, port), _)| *port));
        let from = self.required(table, "from", "the sender's address");
        from.iter().for_each(|from| self.mailbox(from));
        let to = self.recipients(table);
        let login = self.login(table);
        let trust = self.file(table, "trust");
        let allows = table
            .boolean("allow_plaintext")
            .is_some_and(|allows| allows.value);
        let ((host, port), value) = server?;
        let tls = tls?;
        let server = Server {
            host,
            port: port.unwrap_or_else(|| usual_port(tls)),
        };
        if tls == MailTls::None && !server.is_this_host() {
            self.plaintext(&value, allows, login.is_some());
        }
        Some(Mail {
            server,
            tls,
            from: from?.value,
            to: to?,
            login,
            trust,
        })
    }

    /// Notes mail without TLS to another host, where that is not allowed
    fn plaintext(&self, server: &Value<String>, is_allowed: bool, logs_in: bool) {
        if !is_allowed {
            let message = "without TLS mail is sent to this host alone: localhost or 127.0.0.1";
            let hint = "for a relay in a network of your own there is `allow_plaintext = true`";
            self.mistake(server, message, Some(hint.to_owned()));
        } else if logs_in {
            let message = "without TLS there is no login: its password could be read on the way";
            self.mistake(server, message, None);
        }
    }

    /// Host and port of `host[:port]`
    fn server(&self, value: &Value<String>) -> Option<(String, Option<u16>)> {
        let authority = value.value.parse::<Authority>().ok();
        let parsed = authority.filter(|authority| !authority.as_str().contains('@'));
        let parsed = parsed.and_then(|authority| {
            let host = authority.host().trim_matches(['[', ']']).to_owned();
            // A service of compose may have an underscore in its name.
            let is_host = host.parse::<IpAddr>().is_ok() || HostName::parse(&host).is_ok();
            let port = authority.port_u16().filter(|port| *port > 0);
            let names_port = authority.as_str().len() > authority.host().len();
            (is_host && names_port == port.is_some()).then_some((host, port))
        });
        if parsed.is_none() {
            let message = format!("\"{}\" is neither a host nor host:port", value.value);
            self.mistake(value, message, None);
        }
        parsed
    }

    fn mail_tls(&self, table: &Table<'_, 't>, port: Option<u16>) -> Option<MailTls> {
        let Some(value) = table.string("tls") else {
            return (!table.has("tls")).then_some(match port {
                Some(defaults::SUBMISSIONS_PORT) => MailTls::Implicit,
                _ => MailTls::StartTls,
            });
        };
        let known = [
            ("starttls", MailTls::StartTls),
            ("tls", MailTls::Implicit),
            ("none", MailTls::None),
        ];
        self.one_of(&value, &known)
    }

    fn recipients(&self, table: &Table<'_, 't>) -> Option<Vec<String>> {
        let Some(to) = table.strings("to") else {
            if !table.has("to") {
                self.missing(table, "to", "a list of addresses");
            }
            return None;
        };
        if to.is_empty() {
            let key = table.key("to");
            self.source
                .report(&table.span_of("to"), &key, "names nobody", None);
        }
        to.iter().for_each(|address| self.mailbox(address));
        Some(to.into_iter().map(|address| address.value).collect())
    }

    fn login(&self, table: &Table<'_, 't>) -> Option<Login> {
        let (username, file) = self.pair(table, "username", "password_file")?;
        Some(Login {
            username: username.value,
            password_file: self.path(&file),
        })
    }

    fn telegram(&self, table: &Table<'_, 't>) -> Option<Telegram> {
        let api = match table.string("api") {
            Some(value) => self.url(&value),
            None => SecretUrl::parse(defaults::TELEGRAM),
        };
        let token_file = self.required(table, "token_file", "the file with the bot's token");
        let chat = match table.string_or_integer("chat") {
            Some(chat) => Some(chat.value),
            None if table.has("chat") => None,
            None => {
                self.missing(table, "chat", "the chat's identifier, or \"@channel\"");
                None
            }
        };
        Some(Telegram {
            api: api?,
            token_file: self.path(&token_file?),
            chat: chat?,
        })
    }

    fn command(&self, table: &Table<'_, 't>) -> Option<Command> {
        let Some(arguments) = table.strings("command") else {
            if !table.has("command") {
                let what = "the program and its arguments: [\"/usr/local/bin/tell\", \"-x\"]";
                self.missing(table, "command", what);
            }
            return None;
        };
        match arguments.first() {
            Some(program) if program.value.is_empty() => {
                self.mistake(program, "is empty", None);
            }
            Some(program)
                if !program.value.starts_with('/') && program.value.contains(['/', ' ']) =>
            {
                let message = "expected an absolute path, or a name that is found in $PATH";
                let hint = "each argument is a string of its own: no shell reads them".to_owned();
                self.mistake(program, message, Some(hint));
            }
            Some(_) => {}
            None => {
                let key = table.key("command");
                self.source
                    .report(&table.span_of("command"), &key, "names no program", None);
            }
        }
        let arguments = arguments.into_iter().map(|argument| argument.value);
        Some(Command {
            arguments: arguments.collect(),
        })
    }

    /// Notes what is no e-mail address
    pub(super) fn mailbox(&self, email: &Value<String>) {
        let plausible = email
            .value
            .split_once('@')
            .is_some_and(|(user, host)| !user.is_empty() && DnsName::parse(host).is_ok());
        if !plausible || email.value.contains(char::is_whitespace) {
            let message = format!("\"{}\" is not an e-mail address", email.value);
            self.mistake(email, message, None);
        }
    }

    /// A URL; what is wrong with one is said without showing it
    fn url(&self, value: &Value<String>) -> Option<SecretUrl> {
        let url = SecretUrl::parse(&value.value);
        if url.is_none() {
            let message = "expected an http:// or https:// URL, without a user in it";
            self.mistake(value, message, None);
        }
        url
    }

    /// A string that must be there
    fn required(
        &self,
        table: &Table<'_, 't>,
        key: &'static str,
        what: &str,
    ) -> Option<Value<String>> {
        let value = table.string(key);
        if value.is_none() && !table.has(key) {
            self.missing(table, key, what);
        }
        value
    }

    fn missing(&self, table: &Table<'_, 't>, key: &str, what: &str) {
        let message = format!("missing: {what}");
        self.source
            .report(table.span(), &table.key(key), message, None);
    }
}

#[derive(Clone, Copy)]
enum Kind {
    Webhook,
    Mail,
    Telegram,
    Command,
}

fn kinds() -> String {
    KINDS.map(|(word, _)| word).join(", ")
}

fn usual_port(tls: MailTls) -> u16 {
    match tls {
        MailTls::StartTls => defaults::SUBMISSION_PORT,
        MailTls::Implicit => defaults::SUBMISSIONS_PORT,
        MailTls::None => defaults::SMTP_PORT,
    }
}

const KINDS: [(&str, Kind); 4] = [
    ("webhook", Kind::Webhook),
    ("mail", Kind::Mail),
    ("telegram", Kind::Telegram),
    ("command", Kind::Command),
];
