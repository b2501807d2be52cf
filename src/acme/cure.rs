//! What an operator can do about an error of a CA, under a stable code.

use super::problem::{
    ACCOUNT, ALREADY_REPLACED, AcmeError, BAD_CSR, BAD_PUBLIC_KEY, CAA, COMPOUND, CaaLookup,
    EAB_REQUIRED, INVALID_CONTACT, INVALID_PROFILE, Invalid, NONCE_REFUSED, RATE_LIMITED, REJECTED,
    SERVER_INTERNAL, UNAUTHORIZED, UNSUPPORTED, UNSUPPORTED_CONTACT, USER_ACTION, caa_lookup,
    unpause_link,
};
use super::reply::Hints;
use crate::facts::Problem;
use crate::finding::Explain;
use crate::net::http::{HttpError, PROXY_CURE};
use crate::net::roots;
use crate::store::account::AccountError;

impl Explain for AcmeError {
    fn code(&self) -> &'static str {
        match self {
            Self::Registration(error) => error.code(),
            Self::NotTrusted { .. } => "acme.not_trusted",
            Self::Http(HttpError::NoRoots { .. }) => "acme.no_roots",
            Self::Http(HttpError::OutOfTime { .. }) => "ca.clock",
            Self::Http(_) => "acme.unreachable",
            Self::Status { .. } => "acme.status",
            Self::Refused { problem, hints, .. } if unpause_link(problem, hints).is_some() => {
                "acme.paused"
            }
            Self::Refused { problem, .. } if problem.kind == RATE_LIMITED => "acme.rate_limited",
            Self::Refused { .. } => "acme.refused",
            Self::Validation(_) => "acme.validation",
            Self::NoHttp01 { .. } => "acme.no_http01",
            Self::Deadline { .. } | Self::AtWork { .. } => "acme.deadline",
            Self::Directory { .. } => "acme.directory",
            Self::Trust(_) => "acme.trust",
            Self::Terms { .. } => "acme.terms",
            Self::EabRequired { .. } | Self::EabKey { .. } => "acme.eab",
            Self::Profile { .. } => "acme.profile",
            Self::Account(_) => "acme.account",
            Self::Csr(_) => "acme.csr",
            Self::Crowded { .. } | Self::Protocol { .. } => "acme.protocol",
        }
    }

    fn cure(&self) -> Option<String> {
        match self {
            Self::Registration(error) => error.cure(),
            Self::Http(error) => Some(http_cure(error)),
            Self::Status { status, .. } => Some(status_cure(*status)),
            Self::Refused { .. } if self.is_of_account() => Some(
                "the CA no longer accepts the account: move its file in `state`/accounts away, and a new one is registered"
                    .to_owned(),
            ),
            Self::Refused { what, problem, .. }
                if *what == ACCOUNT && problem.kind == UNAUTHORIZED =>
            {
                Some(
                    "are `eab_kid` and the key in `eab_hmac_file` those that the CA gave you?"
                        .to_owned(),
                )
            }
            Self::Refused { problem, hints, .. } => Some(refusal_cure(problem, hints)),
            Self::Validation(invalid) => Some(validation_cures(invalid)),
            Self::Deadline { .. } => Some(TROUBLE.to_owned()),
            Self::AtWork { .. } => Some(
                "the CA answers and takes its time: run `certd obtain` again later, which goes on with the order"
                    .to_owned(),
            ),
            Self::Directory { .. } => Some(DOCUMENTED.to_owned()),
            Self::NoHttp01 { .. } => Some(
                "this CA or name needs another challenge, which is not supported yet".to_owned(),
            ),
            Self::Account(AccountError::Forbidden { path }) => Some(format!(
                "run certd as the owner of {}, or as root",
                path.display()
            )),
            Self::Account(AccountError::Unreadable { path, .. }) => {
                Some(format!("see what is wrong with {}", path.display()))
            }
            Self::Account(AccountError::Damaged { path, .. }) => Some(format!(
                "put {} back from a backup, or let the next order register anew",
                path.display()
            )),
            Self::Account(AccountError::File(error)) => error.cure(),
            Self::Account(AccountError::Unwritable) | Self::Csr(_) => {
                Some("run it again with `-v`, and report it if it stays".to_owned())
            }
            Self::Crowded { .. } | Self::Protocol { .. } => {
                Some("run `certd obtain` again later, and tell the CA if it stays".to_owned())
            }
            Self::NotTrusted { .. }
            | Self::Trust(_)
            | Self::Terms { .. }
            | Self::EabRequired { .. }
            | Self::EabKey { .. }
            | Self::Profile { .. } => self.configuration_cure(),
        }
    }
}

impl AcmeError {
    /// What to write in domains.toml
    fn configuration_cure(&self) -> Option<String> {
        Some(match self {
            Self::NotTrusted {
                issuer,
                trust: Some(file),
                ..
            } => format!(
                "`trust` in [issuers.{issuer}] must name the root of this CA: {} does not hold it, or it has expired",
                file.display()
            ),
            Self::NotTrusted { issuer, .. } => {
                format!("a private or test CA needs its root: set `trust` in [issuers.{issuer}]")
            }
            Self::Trust(_) => "set `trust` to a PEM file with the CA's root".to_owned(),
            Self::Terms { url: Some(url) } => {
                format!("read {url}, then set terms_of_service_agreed = true")
            }
            Self::Terms { url: None } => "set terms_of_service_agreed = true".to_owned(),
            Self::EabRequired { issuer } => format!(
                "set eab_kid and eab_hmac_file in [issuers.{issuer}] to what the CA gave you"
            ),
            Self::EabKey { .. } => "the file holds nothing but the key, in base64".to_owned(),
            Self::Profile { offered, .. } if offered.is_empty() => {
                "remove `profile`: this CA has none".to_owned()
            }
            Self::Profile { offered, .. } => format!("it offers: {}", offered.join(", ")),
            _ => return None,
        })
    }
}

fn http_cure(error: &HttpError) -> String {
    let cure = match error {
        HttpError::NoRoots { .. } => return roots::cure(),
        HttpError::Proxy { .. } => PROXY_CURE,
        HttpError::OutOfTime { .. } => {
            "is this host's clock right? `timedatectl` shows it, `timedatectl set-ntp true` sets it; if it is, the CA must renew its certificate"
        }
        HttpError::Untrusted { .. } => {
            "the CA must mend its certificate, or `directory` names another host"
        }
        HttpError::TooLarge { .. } => {
            "something else than the CA answers there: a proxy, or `directory` names another server"
        }
        HttpError::Unreachable { reason, .. } if is_of_dns(reason) => {
            "this host's DNS does not find the CA: does /etc/resolv.conf name a server that answers? Until then no other look at DNS counts"
        }
        HttpError::Truncated { .. } | HttpError::TimedOut { .. } => {
            "the CA, or something on the way to it, is in trouble: run `certd obtain` again later"
        }
        _ => "check that this host may connect there, and the `directory` URL",
    };
    cure.to_owned()
}

/// Whether the name of a host could not be looked up, in the words of the standard library
fn is_of_dns(reason: &str) -> bool {
    reason.contains("failed to lookup address")
}

fn status_cure(status: u16) -> String {
    match status {
        429 => "it has had too many requests from here: run `certd obtain` again later".to_owned(),
        500.. => TROUBLE.to_owned(),
        _ => DOCUMENTED.to_owned(),
    }
}

fn refusal_cure(problem: &Problem, hints: &Hints) -> String {
    if let Some(link) = unpause_link(problem, hints) {
        return format!(
            "mend what made the orders fail, then open this page; waiting does not help\n{link}"
        );
    }
    if let Some(lookup) = caa_lookup(&problem.kind, &problem.detail) {
        return caa_lookup_cure("the name", &lookup);
    }
    match (problem.kind.as_str(), hints.link.as_deref()) {
        (RATE_LIMITED, _) => limit_cure(&problem.detail).to_owned(),
        (SERVER_INTERNAL | NONCE_REFUSED, _) => TROUBLE.to_owned(),
        (CAA, _) => caa_cure("the name"),

        (INVALID_CONTACT | UNSUPPORTED_CONTACT, _) => "change `email`".to_owned(),
        (INVALID_PROFILE, _) => {
            "set `profile` to one that the CA documents, or remove it for the CA's default".to_owned()
        }
        (EAB_REQUIRED, _) => {
            "ask the CA for a key, and set `eab_kid` and `eab_hmac_file` in the issuer's table"
                .to_owned()
        }
        (UNAUTHORIZED, _) => "an authorization was lost on the way: run `certd obtain` again".to_owned(),
        (REJECTED | UNSUPPORTED, _) => "the CA does not issue for such a name: is it spelt right, and public? Another `issuer` may".to_owned(),
        (BAD_CSR | BAD_PUBLIC_KEY, _) => "the CA wants another key: set `key_type`".to_owned(),
        (ALREADY_REPLACED, _) => {
            "an earlier order replaces the certificate already: run `certd obtain` again".to_owned()
        }
        (USER_ACTION, Some(link)) => format!("do what {link} asks for"),
        (_, Some(link)) => format!("the CA points to {link}"),
        (_, None) => {
            "its own words are all that is known; `-v` shows the whole answer. Tell the CA if it stays"
                .to_owned()
        }
    }
}

/// What an operator can do about each of Let's Encrypt's limits, told by its words for it
fn limit_cure(detail: &str) -> &'static str {
    let says = |words| detail.contains(words);
    if says("exact set") {
        "enough certificates for just these names: wait, and see that `storage` is kept between runs; revoking frees nothing"
    } else if says("failed authorizations") {
        "too many failed validations of the name: let `certd check` show the cause before the next order"
    } else if says("registrations") {
        "too many new accounts: wait, and see that `state` is kept between runs"
    } else if says("new orders") {
        "too many orders of the account: wait; renewals at the time that the CA suggests do not count"
    } else if says("already issued") {
        "too many certificates for the registered domain, whoever ordered them: wait, or ask the CA for a higher limit; renewals do not count"
    } else {
        "a limit of the CA is reached: wait; revoking certificates frees nothing"
    }
}

/// One line for each name; those with the same cure need it once
fn validation_cures(invalid: &[Invalid]) -> String {
    let mut cures: Vec<String> = Vec::new();
    for Invalid { name, problem } in invalid {
        // What went wrong with each name stands below such a problem (RFC 8555 section 6.7.1).
        let parts = problem
            .subproblems
            .iter()
            .filter(|_| problem.kind == COMPOUND);
        let parts = parts.map(|part| {
            let name = part.name.as_deref().unwrap_or(name);
            validation_cure(name, &part.kind, &part.detail)
        });
        let before = cures.len();
        cures.extend(parts);
        if cures.len() == before {
            cures.push(validation_cure(name, &problem.kind, &problem.detail));
        }
    }
    cures.join("\n")
}

fn validation_cure(name: &str, kind: &str, detail: &str) -> String {
    if let Some(lookup) = caa_lookup(kind, detail) {
        return caa_lookup_cure(name, &lookup);
    }
    match kind {
        "dns" => format!(
            "do the name servers of {name} answer, and with an A or AAAA record that points to this host?"
        ),
        "connection" | "tls" if detail.contains("edirect") || kind == "tls" => format!(
            "the CA was redirected and got lost: in the server block for port 80 serve /.well-known/acme-challenge/ of {name} from `webroot` in a location of its own, and redirect in `location /` alone: a `return` beside the locations comes first"
        ),
        "connection" => format!(
            "is port 80 of {name} open to the internet, and does nginx listen on it? A stale AAAA record counts too"
        ),
        CAA => caa_cure(name),
        _ => format!(
            "http://{name}/.well-known/acme-challenge/ must be served from `webroot`: check the location in nginx's server block for port 80"
        ),
    }
}

/// CAA records that could not be looked up are no permission, whether there are any or not
fn caa_lookup_cure(name: &str, lookup: &CaaLookup) -> String {
    let zone = match lookup {
        CaaLookup::Tld(tld) => {
            return format!(
                "the name servers of `{tld}` failed the CA, and they are not yours: that passes by itself, run `certd obtain` again later"
            );
        }
        CaaLookup::Zone(zone) => zone,
        CaaLookup::Somewhere => name,
    };
    format!(
        "the CA could not look up CAA: all name servers of {zone} must answer that question, with no records if there are none, and DNSSEC must hold; `certd check` asks them"
    )
}

fn caa_cure(name: &str) -> String {
    format!("the CAA records of {name} must allow this CA, for this account and for http-01")
}

const TROUBLE: &str =
    "the CA is in trouble: run `certd obtain` again later; what is served is untouched";
const DOCUMENTED: &str = "set `directory` to the URL that the CA documents";
