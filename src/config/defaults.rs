//! The values that hold where domains.toml is silent. The reference and the help link here.

use std::time::Duration;

use jiff::SignedDuration;

use super::{Check, MinRemaining};
use crate::time::Fraction;

/// `issuer`
pub const ISSUER: &str = "letsencrypt";
/// The issuer of `obtain --staging`
pub const STAGING_ISSUER: &str = "letsencrypt-staging";
/// `webroot`
pub const WEBROOT: &str = "/var/www/certbot";
/// `storage`
pub const STORAGE: &str = "/etc/letsencrypt";
/// `state`
pub const STATE: &str = "/var/lib/certd";
/// `jobs`
pub const JOBS: usize = 4;
/// Most `jobs` that may be asked for
pub const MAX_JOBS: usize = 64;
/// `[domain] ports`
pub const PORT: u16 = 443;
/// `[domain.probe] status`
pub const PROBE_STATUS: u16 = 200;
/// `[nginx] docker`, where `$DOCKER_HOST` is unset too
pub const DOCKER: &str = "unix:///var/run/docker.sock";
/// `[renewal] fraction`
pub const RENEWAL_FRACTION: Fraction = Fraction::new(1, 3);
/// `[renewal] schedule`
pub const SCHEDULE: &str = "0 3,15 * * *";
/// `[renewal] jitter`
pub const JITTER: Duration = Duration::from_secs(3_600);
/// Longest `jitter` that may be asked for
pub const MAX_JITTER: Duration = Duration::from_secs(86_400);
/// Lifetime below which a certificate is renewed with half of it left, at the latest
pub const SHORT_LIFE: SignedDuration = SignedDuration::from_hours(240);
/// The part of a lifetime below [`SHORT_LIFE`] with which it is renewed
pub const SHORT_RESERVE: f64 = 0.5;
/// `[verify] min_remaining` of what certd does not renew itself
pub const MIN_REMAINING: MinRemaining = MinRemaining::Usual(RENEWAL_FRACTION);
/// `[verify] timeout`
pub const VERIFY_TIMEOUT: Duration = Duration::from_secs(10);
/// `[verify] concurrency`
pub const VERIFY_CONCURRENCY: usize = 64;
/// Longest `timeout` that may be asked for
pub const MAX_TIMEOUT: Duration = Duration::from_secs(3_600);
/// `[dns] timeout`
pub const DNS_TIMEOUT: Duration = Duration::from_secs(5);
/// Port of the name servers of a zone
pub const DNS_PORT: u16 = 53;
/// `[preflight] http_port`
pub const HTTP_PORT: u16 = 80;
/// `[preflight] timeout`: what Let's Encrypt gives a connection
pub const PREFLIGHT_TIMEOUT: Duration = Duration::from_secs(10);
/// `[preflight] require`
pub const REQUIRE: [Check; 4] = Check::ALL;
/// Most names in one certificate that any profile of Let's Encrypt allows
pub const MAX_NAMES: usize = 100;
/// `[notify] api` of Telegram
pub const TELEGRAM: &str = "https://api.telegram.org";
/// Port of an SMTP server that takes mail with STARTTLS (RFC 6409)
pub const SUBMISSION_PORT: u16 = 587;
/// Port of one that speaks TLS from the first byte (RFC 8314)
pub const SUBMISSIONS_PORT: u16 = 465;
/// Port of one on this host
pub const SMTP_PORT: u16 = 25;

/// Built-in issuers: their names and directory URLs
pub const ISSUERS: [(&str, &str); 4] = [
    (ISSUER, "https://acme-v02.api.letsencrypt.org/directory"),
    (
        STAGING_ISSUER,
        "https://acme-staging-v02.api.letsencrypt.org/directory",
    ),
    ("zerossl", "https://acme.zerossl.com/v2/DV90"),
    ("google", "https://dv.acme-v02.api.pki.goog/directory"),
];
