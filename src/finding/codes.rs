//! Every code that a finding can have, with its meaning and its cure in a few words.
//!
//! The table is what README.md shows and what tests hold the source against. The words that an
//! operator reads with a finding stand where it is made, because they name what was seen.

/// One code
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Code {
    /// The code, `area.what`
    pub code: &'static str,
    /// What it means
    pub meaning: &'static str,
    /// What to do; `None` for good news
    pub cure: Option<&'static str>,
}

impl Code {
    /// The part before the dot
    pub fn area(&self) -> &'static str {
        self.code.split('.').next().unwrap_or_default()
    }
}

const fn good(code: &'static str, meaning: &'static str) -> Code {
    Code {
        code,
        meaning,
        cure: None,
    }
}

const fn bad(code: &'static str, meaning: &'static str, cure: &'static str) -> Code {
    Code {
        code,
        meaning,
        cure: Some(cure),
    }
}

/// All of them, sorted
// One line for each: a table that is broken into lines of arguments cannot be read as one.
#[rustfmt::skip]
pub const CODES: &[Code] = &[
    bad("acme.account", "the account's file cannot be used", "put it back from a backup, or let the next order register anew"),
    bad("acme.csr", "the key or the signing request could not be made", "run again with `-v`; report it if it stays"),
    bad("acme.deadline", "the CA did not finish in time", "run certd again later"),
    bad("acme.directory", "what answers is no ACME directory", "set `directory` to the URL that the CA documents"),
    bad("acme.eab", "the CA needs an external account, or its key is unusable", "set `eab_kid` and `eab_hmac_file` in the issuer's table"),
    bad("acme.issuer", "no issuer has this name", "use a built-in one, or add it below `[issuers]`"),
    bad("acme.no_http01", "the CA offers no http-01 challenge for the name", "use a CA that does: other challenges are not supported yet"),
    bad("acme.no_roots", "this host has no root certificates to check a CA's API with", "install the package ca-certificates, or set `SSL_CERT_FILE`"),
    bad("acme.not_trusted", "the certificate of the CA's API is not trusted", "set `trust` in the issuer's table to the CA's root"),
    bad("acme.paused", "the CA has paused the account for a name", "mend the cause, open the link shown, then run with `--force`"),
    bad("acme.profile", "the CA does not offer the profile", "set `profile` to one that it offers, or remove it"),
    bad("acme.protocol", "an answer of the CA breaks the protocol", "run certd again later; tell the CA if it stays"),
    bad("acme.rate_limited", "a rate limit of the CA is reached", "wait until the time shown; revoking certificates frees nothing"),
    bad("acme.refused", "the CA refused a request", "do what its words ask for; they are shown"),
    bad("acme.status", "the CA answered with an error and no reason", "run certd again later, or correct `directory`"),
    bad("acme.terms", "the CA's terms are not agreed to", "read them, then set `terms_of_service_agreed = true`"),
    bad("acme.trust", "the file with the CA's root cannot be used", "set `trust` to a PEM file with the root"),
    bad("acme.unreachable", "the CA cannot be reached", "check that this host may connect there, and `directory`"),
    bad("acme.validation", "the CA could not validate a name", "mend what the findings beside it show, or `certd check`"),
    bad("budget.exhausted", "a rate limit leaves no room for an order", "wait until the time shown; `--skip-check budget` orders all the same"),
    good("budget.left", "a rate limit leaves room"),
    bad("budget.unknown", "the ledger cannot be read", "run certd as the owner of `state`; move a damaged ledger away"),
    bad("budget.used", "half of a rate limit or more is used", "nothing yet: place no needless orders"),
    good("ca.account", "the account is known"),
    bad("ca.clock", "this host's clock differs from the CA's", "let NTP set it: `timedatectl set-ntp true`"),
    bad("ca.no_account", "there is no account at the CA yet", "nothing: the first order registers it"),
    good("ca.reachable", "the CA answers"),
    bad("caa.account", "the CAA record is for another account", "set `accounturi` in it to certd's account, or remove it"),
    good("caa.allowed", "a CAA record allows the CA"),
    bad("caa.critical", "a critical CAA record has an unknown tag", "remove the record, or its critical flag"),
    bad("caa.forbidden", "the CAA records do not allow the CA", "add a record that does, or set another `issuer`"),
    bad("caa.method", "the CAA record rules out http-01", "add http-01 to its `validationmethods`"),
    bad("caa.no_identity", "the CA does not say which CAA domain is its own", "ask the CA which domain it looks for"),
    good("caa.none", "no CAA record restricts the name"),
    bad("caa.unknown", "CAA fails with SERVFAIL, and a CA must refuse", "ask the DNS provider to mend the zone or its DNSSEC"),
    bad("caa.unread", "the CAA records cannot be read from here", "name other servers in `[dns] servers`"),
    bad("challenge.token", "the CA sent a token that is none", "nothing was published; tell the CA if it stays"),
    bad("challenge.webroot", "the webroot cannot be used", "make it a plain directory that certd may write to"),
    bad("check.no_cause", "this host sees nothing that made the validation fail", "open port 80 to the whole world; compare DNS answers elsewhere"),
    bad("connect.no_route", "this host has no route to the address: not looked at", "look from a host that has a way there"),
    bad("connect.refused", "nothing listens at the address", "start nginx, and publish the port"),
    bad("connect.reset", "the server closed the connection", "see the server's log"),
    bad("connect.timeout", "the address does not answer", "open the firewall, or correct the record"),
    bad("deploy.backoff", "a deployment that failed waits for its next try", "mend its cause; `certd obtain` deploys at once"),
    good("dns.addresses", "the name has addresses"),
    bad("dns.alias", "the name is an alias", "nothing"),
    bad("dns.alias_chain", "many aliases in a row", "point the name closer to its address"),
    bad("dns.disagreement", "the servers of the zone give different answers", "wait until the change has reached them all"),
    bad("dns.dnssec", "DNSSEC of the name is broken", "mend the signatures, or remove the DS record at the registrar"),
    bad("dns.elsewhere", "the record points to another host", "correct it, or add the address to `addresses`"),
    bad("dns.failed", "DNS failed for another reason", "try again; name other servers in `[dns] servers`"),
    bad("dns.half_answer", "A or AAAA fails, the other has an answer", "ask the DNS provider why"),
    bad("dns.hosts_file", "the hosts file of this host leads the name there", "remove its line, if this host should go where DNS leads"),
    bad("dns.no_address", "the name has neither A nor AAAA", "add an A record that points to this host"),
    bad("dns.no_server", "no DNS server can be asked", "set `[dns] servers`"),
    bad("dns.nxdomain", "DNS knows no such name", "add an A record that points to this host"),
    bad("dns.one_of_several", "one of several addresses is not this host", "remove it: a CA takes any of them"),
    bad("dns.other_view", "the zone's own servers say otherwise than this host's resolver", "wait for the cache, or name other servers in `[dns] servers`"),
    bad("dns.private_address", "nobody on the internet can reach the address", "publish the host's public address alone"),
    bad("dns.refused", "the DNS server refuses to answer", "name other servers in `[dns] servers`"),
    bad("dns.servfail", "the name servers of the zone fail", "ask the DNS provider why"),
    bad("dns.timeout", "DNS gave no answer in time", "name servers that this host can reach in `[dns] servers`"),
    bad("dns.zone_unasked", "the servers of the zone could not be asked", "nothing: after a change wait for its TTL"),
    bad("docker.broken_off", "the output of a command in a container broke off", "mend the engine or its proxy, then run certd again"),
    bad("docker.forbidden", "this user may not use the Docker socket", "run certd as root or in the group `docker`"),
    bad("docker.no_socket", "there is no Docker socket", "start Docker, or set `docker` in `[nginx]` or `$DOCKER_HOST`"),
    bad("docker.none", "no nginx is configured: nothing would be reloaded", "add `[nginx]`, or obtain with `--no-deploy`"),
    bad("docker.not_docker", "what answers is not the Docker API", "set `docker` in `[nginx]` to the engine's socket or URL"),
    good("docker.ready", "containers, mounts and configuration are fit"),
    bad("docker.refused", "the Docker API refused a request", "let a socket proxy allow CONTAINERS, EXEC and POST"),
    bad("docker.starting", "the container's health check has not passed yet", "wait until it has"),
    bad("docker.timeout", "Docker or a command in a container hangs", "see to the engine and the container, then run certd again"),
    bad("docker.unhealthy", "the container's health check fails", "see what `docker inspect` shows of its health"),
    bad("docker.unreachable", "the Docker engine cannot be reached", "start Docker, or set `docker` in `[nginx]` or `$DOCKER_HOST`"),
    bad("docker.url", "the URL of the Docker API is unusable", "write a socket path, or unix://, tcp:// or http://"),
    good("files.fit", "a directory is fit for use"),
    bad("files.fleeting", "a directory lies in memory or in a container's layer", "choose one on a disk, or mount a volume there"),
    bad("files.forbidden", "a directory cannot be written to", "run certd as its owner, or as root"),
    bad("files.full", "a directory has no space left", "make room on its file system"),
    bad("files.missing", "the webroot or the storage does not exist", "create it, and mount it into nginx's container"),
    bad("files.unreadable", "a directory cannot be looked at", "run certd as its owner, or as root"),
    bad("handshake.failed", "the TLS handshake failed", "give the server block a certificate, and current ciphers"),
    bad("handshake.no_starttls", "the mail server does not begin TLS", "switch STARTTLS on, or look at its port for TLS"),
    bad("handshake.not_tls", "the port answers without TLS", "write `listen 443 ssl`"),
    bad("handshake.old_cipher", "no cipher suite that a browser of today has", "offer ECDHE with AES-GCM or ChaCha20"),
    bad("handshake.other_cipher", "no cipher suite in common: certd cannot judge", "offer ECDHE with AES-GCM or ChaCha20"),
    bad("handshake.protocol", "the server has neither TLS 1.2 nor 1.3", "switch them on with `ssl_protocols`"),
    bad("handshake.timeout", "who takes the connection does not answer in time", "is it the right port? Mail may want `--starttls`"),
    bad("handshake.too_large", "the certificates sent are larger than browsers take", "serve the leaf and its intermediates alone"),
    bad("handshake.unrecognized_name", "no server block with TLS serves the name", "add one"),
    bad("http.bad_redirect", "a redirect that no CA follows", "serve challenges before any redirect"),
    bad("http.connect_timeout", "port 80 does not answer", "open it in the firewalls, here and at the provider"),
    bad("http.dead_ipv6", "the published IPv6 address does not answer", "publish port 80 on IPv6, or remove the AAAA record"),
    bad("http.forbidden", "the site forbids the token (403)", "let nginx read the webroot; drop `deny` rules before it"),
    bad("http.hairpin", "this host cannot reach its own public address", "nothing: nginx answers right inside"),
    bad("http.login", "the site asks for a password (401)", "write `auth_basic off;` in the location of challenges"),
    bad("http.no_ipv6", "this host has no IPv6 to look with", "add the address to `addresses`, or remove the AAAA record"),
    bad("http.no_route", "this host has no route to the address", "correct the record, or this host's network"),
    bad("http.not_found", "the token is not found (404)", "give challenges a location with certd's `webroot`"),
    bad("http.not_http", "what answers on port 80 is no HTTP", "map port 80 to the right port of the container"),
    bad("http.redirect_loop", "the redirects lead in a circle", "serve challenges before any redirect"),
    bad("http.redirect_nowhere", "a redirect leads to a host that cannot be reached", "serve challenges before any redirect"),
    bad("http.redirects", "more redirects than a CA follows", "serve challenges before any redirect"),
    bad("http.refused", "nothing listens on port 80", "start nginx, and publish port 80"),
    bad("http.reset", "the connection is closed without an answer", "let nginx speak plain HTTP on port 80; check firewalls and proxies"),
    good("http.served", "the token is served"),
    bad("http.server_error", "the site answers with a server's error (5xx)", "give challenges a location of their own, without an upstream"),
    bad("http.status", "the site answers with another status", "give challenges a location with certd's `webroot`"),
    bad("http.timeout", "the request is taken and not answered", "give challenges a location of their own, without an upstream"),
    bad("http.unasked", "the name has no address at which a CA could ask", "add an A record that points to this host"),
    bad("http.unreachable", "the address cannot be reached", "check the address in DNS, and the route to it"),
    bad("http.wrong_body", "something else than the token is served", "give challenges a location with certd's `webroot`"),
    bad("install.expired", "the certificate that the CA sent has expired", "set this host's clock"),
    bad("install.missing_name", "the certificate that the CA sent lacks a name", "nothing was installed; tell the CA if it stays"),
    bad("install.not_yet_valid", "the certificate that the CA sent is not valid yet", "set this host's clock"),
    bad("install.other_key", "the certificate that the CA sent is for another key", "nothing was installed; tell the CA if it stays"),
    bad("install.unreadable", "the chain that the CA sent is unusable", "nothing was installed; tell the CA if it stays"),
    bad("notify.command", "a command failed to take an alert", "run it by hand with a message on its standard input"),
    bad("notify.file", "a file of a channel cannot be used", "let the user of certd read it, and write into it what belongs there"),
    bad("notify.heartbeat", "the heartbeat URL could not be called", "correct `heartbeat`, or see why the other side fails"),
    bad("notify.mail", "an SMTP server did not take an alert", "do what its words ask for; they are shown"),
    bad("notify.memory", "what was told cannot be remembered", "run certd as the owner of `state`; a damaged file is written anew"),
    good("notify.sent", "a channel has taken a message"),
    bad("notify.telegram", "Telegram did not take an alert", "correct the token or `chat`, as its words ask for"),
    bad("notify.webhook", "a webhook did not take an alert", "correct its `url` and headers, or see why it fails"),
    bad("order.backoff", "orders failed, and the next one waits", "mend the cause; `--force` orders at once"),
    bad("order.interrupted", "a signal ended the order", "run certd again"),
    bad("order.retry", "the order failed, and nothing was spent at the CA", "run certd again, when the cause is mended"),
    bad("order.stopped", "the CA refuses the order until a person has acted", "do what it asks for, then run with `--force`"),
    good("probe.answer", "the application answers its probe"),
    bad("probe.no_answer", "the application does not answer its probe", "start it; nginx's log says what failed"),
    bad("probe.status", "the application answers its probe with another status", "start it: `docker ps` shows it, its log says why"),
    bad("probe.text", "the answer to the probe lacks its text", "see what the application answers, and why"),
    bad("proof.broken", "TLS broke after the reload", "see nginx's log, then run certd again"),
    bad("proof.incomplete_chain", "the certificate is served without its intermediates", "let `ssl_certificate` name fullchain.pem"),
    bad("proof.key_unproven", "the server did not prove that it holds the key", "see nginx's log, then run certd again"),
    bad("proof.no_tls", "the name is not served with TLS", "open and publish nginx's TLS port"),
    bad("proof.not_served_yet", "issued, and no server block serves the name", "add the server block shown, then run certd again"),
    bad("proof.other_lineage", "another domain's certificate is served", "change the lines shown, then run certd again"),
    bad("proof.outdated", "an older certificate was served, though nothing was changed", "see whether another process restarts nginx or copies its files"),
    bad("proof.previous_generation", "the previous certificate is still served", "write `reload = \"exec\"` in `[nginx]`"),
    good("proof.proven", "the new certificate is served"),
    bad("proof.unknown_certificate", "a certificate unknown to certd is served", "change the lines shown, then run certd again"),
    bad("run.busy", "another certd is at work", "wait until it has ended"),
    bad("run.lock", "the lock cannot be taken", "run certd as the owner of `state`, or as root"),
    bad("run.sweep", "what an interrupted run left cannot be removed", "run certd as the owner of `state`, or as root"),
    bad("served.ca_as_leaf", "a CA's own certificate is served", "name the domain's certificate in its server block"),
    bad("served.chain_order", "the certificates are sent in a wrong order", "serve the chain as the CA sends it"),
    bad("served.critical_extension", "a critical extension that nobody knows", "obtain one from a CA that issues for servers"),
    bad("served.critical_policies", "critical policies, with which certd cannot judge it", "obtain one without, to have it judged"),
    bad("served.differs", "addresses of one name serve different certificates", "deploy the same to all; a stale record points elsewhere"),
    bad("served.expired", "the certificate has expired", "renew it, and see that nginx is reloaded"),
    bad("served.expires_soon", "the certificate expires soon", "see in `certd status` why it is not renewed"),
    bad("served.incomplete_chain", "the certificate of the issuer is not sent", "name fullchain.pem; add a private root to `[verify] trust`"),
    good("served.installed", "the installed certificate is served"),
    bad("served.intermediate_expired", "an intermediate certificate is not valid now", "renew, to serve the CA's chain of today"),
    bad("served.intermediate_purpose", "an intermediate is not meant for servers", "obtain one from a CA that issues for servers"),
    good("served.key", "the server proved that it holds the key"),
    bad("served.key_kind", "a key of a kind that browsers do not have", "obtain one with P-256, or RSA of 2048 bits"),
    bad("served.key_mismatch", "the key is not the certificate's", "take both from one generation"),
    bad("served.key_unproven", "the server did not prove that it holds the key", "see the server's log"),
    bad("served.key_usage", "a key may not be used as it has to be", "obtain one from a CA that issues for servers"),
    bad("served.leaf_not_first", "the leaf comes after its issuer in the chain", "put it first: cert.pem, then chain.pem"),
    bad("served.long_life", "valid for longer than public CAs may give", "obtain one with a shorter life"),
    good("served.name", "the certificate is valid for the name"),
    bad("served.needless_certificate", "a certificate is sent that is no part of the chain", "serve the chain as the CA sends it"),
    bad("served.needless_root", "a root is sent, which every client has", "serve the chain as the CA sends it"),
    bad("served.no_san", "the certificate has no SAN: it is for no name", "obtain one from a CA of today"),
    bad("served.not_installed", "a certificate unknown to certd is served", "find the other program or storage that serves the name"),
    bad("served.not_yet_valid", "the certificate is not valid yet", "set the clock that is wrong, here or at the CA"),
    bad("served.other_common_name", "the Common Name is another domain's", "obtain one of its own, or set `shared = true`"),
    bad("served.other_fingerprint", "another certificate than was expected is served", "deploy the one that was expected"),
    bad("served.other_generation", "another generation than the live one is served", "reload nginx by `certd obtain`"),
    bad("served.other_issuer", "another CA than was expected issued the certificate", "obtain one from the CA that was expected"),
    bad("served.other_lineage", "another domain's certificate is served", "let the server block name the domain's own"),
    good("served.path", "a trusted CA issued the certificate"),
    bad("served.purpose", "the certificate is not meant for servers", "obtain one that is"),
    bad("served.root_expired", "the root that is trusted has expired", "trust the CA's root of today, and renew"),
    bad("served.self_signed", "the certificate signed itself", "obtain one from a CA"),
    bad("served.short_intermediate", "an intermediate ends before the leaf does", "renew before that"),
    bad("served.signature", "the chain does not verify", "serve the chain as the CA sends it"),
    bad("served.staple_missing", "must-staple is demanded, and no OCSP response came", "obtain one without must-staple"),
    good("served.time", "the certificate is valid now"),
    bad("served.unknown_issuer", "no trusted CA issued the certificate", "for a private CA add its root to `[verify] trust`"),
    bad("served.unreadable", "what is served is no certificate", "name a PEM file of a CA in the server block"),
    bad("served.weak_key", "a key in the chain is too short", "obtain one with P-256, or RSA of 2048 bits"),
    bad("served.weak_signature", "a signature over SHA-1 or MD5 is in the chain", "obtain a new one"),
    bad("served.wrong_name", "the certificate is for other names", "name the domain's certificate in its server block"),
    bad("site.server_error", "the application behind the certificate is down (5xx)", "start it: `docker ps` shows it, nginx's log says what failed"),
    bad("store.foreign_lineage", "another program's files are where certd's belong", "give certd a `storage` of its own"),
    bad("store.key_group", "`key_group` is no group of this host", "set it to one, or to a number"),
    bad("store.mended", "cert.pem or chain.pem was damaged, and is written again", "nothing; see who changed it"),
    bad("store.not_writable", "a file cannot be written", "run certd as the owner of its directory, or as root"),
    bad("store.prune", "an old generation cannot be removed", "run certd as the owner of `storage`, or as root"),
    bad("store.record", "the record of a domain cannot be used", "run certd as the owner of `state`; a damaged one is set aside"),
    bad("store.state_forbidden", "the state directory may not be read", "run certd as its owner, or as root, to see proofs and last results"),
    bad("store.state_not_writable", "the state directory is not writable", "run certd as its owner, or as root"),
    bad("store.storage_missing", "the storage does not exist or cannot be read", "create the directory that nginx mounts"),
    bad("store.storage_not_writable", "the storage is not writable", "run certd as its owner, or as root"),
    bad("store.unreadable", "an installed certificate cannot be read", "run certd as the owner of `storage`, or as root"),
    bad("target.config_broken", "`nginx -t` fails, and certd has changed nothing", "mend the configuration until it passes"),
    bad("target.no_cat", "the container has no `cat` to prove mounts with", "use an image that has, or set `test = false`"),
    bad("target.no_endpoint", "there is no address to verify at", "publish the TLS port, or set `connect`"),
    bad("target.no_nginx", "the container has no nginx", "name the right container, or set `test = false`"),
    bad("target.no_route", "this host has no way to the container's addresses", "set `connect`, or publish the TLS port"),
    bad("target.none", "no nginx is configured", "add `[nginx]`, or use `--no-deploy`"),
    bad("target.not_found", "there is no such container", "name one that runs in `[nginx]`"),
    bad("target.not_mounted", "webroot or storage is not mounted in the container", "add it to the volumes, and create the container anew"),
    bad("target.not_running", "the container does not run", "start it; `docker logs` shows why it stopped"),
    bad("target.other_directory", "the container sees another directory than this host", "mount the same directory, readable and not covered"),
    bad("target.pinned_mount", "a mount pins one generation until a restart", "mount the storage whole, or set `reload = \"restart\"`"),
    bad("target.reload", "nginx could not be reloaded", "see the container's log, then run certd again"),
    bad("target.state_mounted", "the container sees the state directory", "set `state` to a directory that is not mounted"),
    bad("target.test_failed", "`nginx -t` fails with the new certificate", "mend it, then run certd again: it deploys without an order"),
    bad("why.commas", "`server_name` separates names by commas", "separate them by blanks"),
    bad("why.elsewhere", "the name leads to another host than nginx's", "correct the record, or open the firewall"),
    bad("why.first_block", "an earlier server block lists the name too", "remove the name from it"),
    bad("why.missing_file", "the certificate file of a server block is not there", "obtain it, or correct the path"),
    bad("why.no_block", "no server block lists the name: nginx takes its default", "add the server block shown"),
    bad("why.no_listen", "the block that lists the name lacks a `listen` of others", "add the `listen` shown, then reload nginx"),
    bad("why.no_tls", "no server block listens with TLS at the port", "let one `listen` there with `ssl`"),
    bad("why.not_asked", "nginx is not asked for its configuration", "leave `test` of `[nginx]` out to see it"),
    bad("why.not_here", "neither certd's storage nor the container is on this host", "nothing: what is served says enough"),
    bad("why.not_installed", "certd has no certificate of the domain", "run `certd obtain` for it"),
    bad("why.not_live", "a newer certificate is issued, not live", "run `certd obtain`: it deploys without an order"),
    bad("why.not_loaded", "nginx serves another certificate than its file holds", "reload nginx by `certd obtain`"),
    bad("why.not_published", "no container publishes the port there", "publish it, and create the container anew"),
    bad("why.not_renewed", "the installed certificate has expired", "run `certd obtain`; `certd status` says what failed"),
    bad("why.old_file", "the container sees an old generation of the domain", "mount the storage whole, and create the container anew"),
    bad("why.other_file", "the server block names another certificate than the domain's", "change the lines shown, then reload nginx"),
    bad("why.pattern", "a regular expression may choose the server block", "nothing, if it is served right; else list the name itself"),
    bad("why.unread_file", "the certificate file cannot be judged", "nothing: what is served says enough"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sorted_and_names_no_code_twice() {
        let is_before = |pair: &[Code]| pair[0].code < pair[1].code;
        let wrong = CODES.windows(2).find(|pair| !is_before(pair));
        assert_eq!(wrong, None);
    }

    #[test]
    fn every_row_is_short_and_fits_a_table() {
        for code in CODES {
            let words = |text: &str| text.split_whitespace().count();
            assert!(words(code.meaning) < 12, "{code:?}");
            assert!(words(code.cure.unwrap_or_default()) < 15, "{code:?}");
            let texts = [Some(code.meaning), code.cure];
            for text in texts.into_iter().flatten() {
                assert!(!text.is_empty() && !text.contains(['|', '\n']), "{code:?}");
            }
        }
    }
}
