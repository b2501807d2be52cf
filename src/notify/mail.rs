//! A mail, handed to an SMTP server.

use std::time::Duration;

use lettre::Address;
use lettre::transport::smtp::Error;
use lettre::transport::smtp::authentication::{Credentials, Mechanism};
use lettre::transport::smtp::client::{
    AsyncSmtpConnection, Certificate, CertificateStore, TlsParameters,
};
use lettre::transport::smtp::commands::{Data, Mail as From, Rcpt};
use lettre::transport::smtp::extension::ClientId;
use tokio::time::timeout;

use super::Delivery;
use super::error::{Kind, Undelivered};
use super::letter::Letter;
use super::message::{Message, host};
use super::redact::Secrets;
use super::secret::secret;
use crate::config::notify::{Login, Mail, MailTls};
use crate::finding::{excerpt, root_cause};
use crate::name::DnsName;
use crate::net::roots;

/// Hands a message to the SMTP server, for every recipient that it takes
pub(super) async fn send(mail: &Mail, message: &Message) -> Result<Delivery, Undelivered> {
    let letter = Letter::new(mail, message)?;
    let (credentials, secrets) = credentials(mail)?.unzip();
    let trouble = Trouble {
        mail,
        secrets: secrets.unwrap_or_default(),
    };
    if mail.tls == MailTls::None && !mail.server.is_this_host() {
        tracing::warn!(
            server = server(mail),
            "mail goes there without TLS, as `allow_plaintext` has it: who is on the way can read it"
        );
    }
    let mut server = connect(&trouble).await?;
    let refused = |what: &str, error: &Error| trouble.refused(what, error);
    if let Some(credentials) = &credentials {
        let login = server.auth(&MECHANISMS, credentials).await;
        login.map_err(|error| refused("the login", &error))?;
    }
    let sender = server
        .command(From::new(Some(letter.from), Vec::new()))
        .await;
    sender.map_err(|error| refused("the sender", &error))?;
    let unknown = recipients(&trouble, &mut server, &letter.to).await?;
    let begun = server.command(Data).await;
    begun.map_err(|error| refused("the mail", &error))?;
    let taken = server.message(letter.text.as_bytes()).await;
    taken.map_err(|error| refused("the mail", &error))?;
    // It is taken: how the server parts changes nothing any more.
    let _ = timeout(PARTING, server.quit()).await;
    Ok(unknown.map_or(Delivery::Whole, Delivery::InPart))
}

/// Names the recipients, and gives the first that the server refuses
///
/// One address that has become invalid must not keep the alert from the others.
async fn recipients(
    trouble: &Trouble<'_>,
    server: &mut AsyncSmtpConnection,
    to: &[Address],
) -> Result<Option<Undelivered>, Undelivered> {
    let (mut unknown, mut taken) = (None, 0);
    for recipient in to {
        let named = server
            .command(Rcpt::new(recipient.clone(), Vec::new()))
            .await;
        match named {
            Ok(_) => taken += 1,
            Err(error) if error.status().is_some() => {
                let refused = trouble.refused(recipient.as_ref(), &error);
                unknown.get_or_insert(refused);
            }
            Err(error) => return Err(trouble.broken(&error)),
        }
    }
    match (taken, unknown) {
        (0, Some(refused)) => Err(refused),
        (_, unknown) => Ok(unknown),
    }
}

async fn connect(trouble: &Trouble<'_>) -> Result<AsyncSmtpConnection, Undelivered> {
    let mail = trouble.mail;
    let broken = |error: Error| trouble.broken(&error);
    let (hello, place) = (hello(), (mail.server.host.as_str(), mail.server.port));
    let (implicit, later) = match mail.tls {
        MailTls::None => (None, None),
        MailTls::Implicit => (Some(protection(trouble)?), None),
        MailTls::StartTls => (None, Some(protection(trouble)?)),
    };
    let connected =
        AsyncSmtpConnection::connect_tokio1(place, Some(CONNECT), &hello, implicit, None).await;
    let mut server = connected.map_err(broken)?;
    if let Some(protection) = later {
        server.starttls(protection, &hello).await.map_err(broken)?;
    }
    Ok(server)
}

/// Whom to trust
fn protection(trouble: &Trouble<'_>) -> Result<TlsParameters, Undelivered> {
    let mail = trouble.mail;
    let broken = |error: Error| trouble.broken(&error);
    let mut parameters = TlsParameters::builder(mail.server.host.clone());
    if mail.trust.is_none() && roots::system_certificates().is_empty() {
        return Err(Undelivered::NoRoots { kind: Kind::Mail });
    }
    if let Some(path) = &mail.trust {
        parameters = parameters.certificate_store(CertificateStore::None);
        for root in roots::certificates(path)? {
            let root = Certificate::from_der(root.to_vec()).map_err(broken)?;
            parameters = parameters.add_root_certificate(root);
        }
    }
    parameters.build().map_err(broken)
}

/// The login, where there is one, and what of it is not to be shown
fn credentials(mail: &Mail) -> Result<Option<(Credentials, Secrets)>, Undelivered> {
    let Some(Login {
        username,
        password_file,
    }) = &mail.login
    else {
        return Ok(None);
    };
    let password = secret(password_file)?;
    let mut secrets = Secrets::default();
    secrets.add(&password);
    Ok(Some((
        Credentials::new(username.clone(), password),
        secrets,
    )))
}

/// What the client calls itself: the host's name where it is a whole one (RFC 5321 section 4.1.4)
fn hello() -> ClientId {
    let name = host();
    match DnsName::parse(&name) {
        Ok(name) if name.as_str().contains('.') => ClientId::Domain(name.to_string()),
        _ => ClientId::default(),
    }
}

fn server(mail: &Mail) -> String {
    format!("{}:{}", mail.server.host, mail.server.port)
}

/// What is said of a server that does not take a mail
struct Trouble<'m> {
    mail: &'m Mail,
    secrets: Secrets,
}

impl Trouble<'_> {
    /// The server said no, or was not to be talked to any more
    fn refused(&self, what: &str, error: &Error) -> Undelivered {
        let Some(status) = error.status() else {
            return self.broken(error);
        };
        Undelivered::Refused {
            server: server(self.mail),
            what: what.to_owned(),
            words: format!("{status} {}", self.words(error)),
        }
    }

    fn broken(&self, error: &Error) -> Undelivered {
        Undelivered::Smtp {
            server: server(self.mail),
            reason: self.words(error),
        }
    }

    /// The server's words, without what they repeat of the login
    fn words(&self, error: &Error) -> String {
        excerpt(&self.secrets.hide(&root_cause(error)), MOST_WORDS)
    }
}

const MECHANISMS: [Mechanism; 2] = [Mechanism::Plain, Mechanism::Login];
const CONNECT: Duration = Duration::from_secs(10);
const PARTING: Duration = Duration::from_secs(2);
const MOST_WORDS: usize = 300;
