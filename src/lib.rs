//! certd keeps one separate certificate per domain valid on a host whose nginx runs in Docker,
//! and proves that it is the one that is served.
//!
//! ```text
//! domains.toml -> plan -> for each domain that is due:
//!     target -> check -> order + challenge -> install -> switch + test + reload nginx -> proof -> report
//! ```
//!
//! The question that certd answers is never "was a file written" but "does a browser that opens
//! `https://NAME` now get the certificate that belongs to NAME". A domain is done only when fresh
//! TLS handshakes show the fingerprint that certd installed.
//!
//! # Words
//!
//! | word | meaning |
//! |---|---|
//! | domain | one `[[domain]]` of domains.toml: a primary name and its aliases; it gets one certificate of its own |
//! | name | one DNS name, an A-label; one with underscores can be looked at, and not ordered |
//! | issuer | an ACME CA, known by its directory URL |
//! | lineage | all certificates ever installed for one domain |
//! | generation | one certificate and its key in a lineage, numbered from 1 |
//! | issued, live, proven | a generation is in the archive; `live/<name>` names it; every target was seen to serve it for every name |
//! | due | a new certificate must be ordered, for a reason |
//! | target | the nginx containers that must pick a certificate up |
//! | finding | one judged fact: code, severity, evidence, cure; every code stands in [`finding::codes`] |
//! | check | to look at what an order needs, before a CA does |
//! | ledger | what certd has spent at each CA, from which its rate limits are foretold |
//!
//! # Layers
//!
//! A module uses lower layers only, and stages do not know each other; a test holds every
//! `crate::` path against this table.
//!
//! | layer | modules | job |
//! |---|---|---|
//! | 0 words | [`name`], [`time`], [`chain`], [`finding`], [`facts`], [`input`] | plain data, and how a file is opened that may be anything; no tokio, no tracing |
//! | 1 inputs | [`config`], [`store`] | files in, files out; no network |
//! | 2 decide | [`plan`] | pure functions of data and `now` |
//! | 3 net | [`net`] | bounded, timed access to the network, no decisions |
//! | 4 stages | [`acme`], [`challenge`], [`install`], [`preflight`], [`target`], [`verify`] | one step of the loop each; [`preflight::judge`] and [`preflight::caa`] are pure functions of [`facts`] |
//! | 5 drive | [`pipeline`], [`report`] | the order of the stages; what came of them |
//! | 6 run | [`run`], [`schedule`], [`notify`], [`systemd`] | one pass at a given `now`, under the lock; the daemon; who is told what came of it; what systemd is told |
//! | 7 surface | [`cli`], [`telemetry`] | arguments, stdout, exit statuses, the log |
//! | aside | crate `certd-sandbox` | a CA, DNS, a web server and a Docker API for `certd demo` and for tests; knows nothing of certd, so that it cannot mirror certd's own mistakes |
//!
//! In builds for tests there is `fuzz` too: each parser of bytes from outside, for the targets in
//! `fuzz/`. And every layer passes the points of `crash`, at which a test kills a run: empty
//! functions but for builds with the feature `failpoints`.
//!
//! ACME interleaves order and challenge; it stays one-way by three typed steps:
//! [`acme::Session::begin`] gives a pending order, whose URL the pipeline keeps at once,
//! [`acme::order::Pending::prepare`] its key authorizations, which [`challenge`] publishes, and
//! [`acme::order::Pending::finish`] consumes the pending order and gives the chain.
//!
//! # Contracts
//!
//! **On disk.** See [`store`]. A generation's directory is complete and synced before the live
//! link moves, in one rename; the first one changes places with a placeholder that lets nginx start
//! ([`store::placeholder`]). A generation that is issued and not proven is deployed without an
//! order, even with `--force`: a new one would only repeat what waits in the archive. One that was rolled
//! back, for TLS broke with it, is replaced by `--force`: its content may be to blame. One that browsers
//! refuse for what it says of itself ([`verify::judge::flaw`]), whose certificates have not signed each
//! other, or that came without its issuer where the last one came with it, is not archived; nor is one
//! that this host does not trust where what is live, of the same CA, is trusted and does not end within
//! two days (or a quarter of its life); where one of these is in the archive, it
//! is not deployed: another is ordered, after the back-off of orders or with `--force`. The first certificate of a public CA that
//! comes without its issuer is made live, for there was none before, and is no success. A flaw that what is live and proven has
//! too changes nothing. Five generations are kept; pruning never takes a live or an unproven one; those
//! whose record is lost go once a newer one is live and proven. `key_group` is given to keys that are
//! there already. No symlink below storage, state and webroot is followed ([`store::files`]), and root
//! has the rights of the owner of a directory there, no more.
//!
//! **Whose words.** domains.toml is refused where others than root and the running user could have
//! written it ([`config::Believed`]): every directory and symlink on the way is judged by its descriptor,
//! and the file that is read is the one that was judged. Root does not look for it in the current
//! directory. `verify` and `why`, which do nothing that stands in it, take any; what one that nobody
//! named says of roots and resolvers counts only where it is root's or one's own. No file is waited
//! for, and none is read without end ([`input`]): one that is too long ends its domain.
//!
//! **Before an order.** The containers are found, webroot and storage are proven by exec to be
//! the same directories there, `nginx -t` passes or misses nothing but certificates that this run
//! supplies, and a baseline handshake is taken for every name. A configuration that nginx refuses before
//! certd has done anything stops what is to be deployed, and no order that is due: nginx goes on with
//! what it has loaded, and the checks that follow see whether it answers challenges. It is asked again
//! after the orders; where it still refuses, nothing is switched but first generations, nothing is
//! reloaded, and what was issued is deployed by the first run after it is mended. A rehearsal ends
//! there. Where nothing is due, `obtain` and the daemon's look at all domains ask nginx all the same, and
//! warn; `renew` asks nothing then. Then the limits and the names are
//! checked: an exhausted limit ends the domain with "later" (exit status 75), a failure of a check
//! in `[preflight] require` ends it with a failure, and neither has cost the CA anything, so
//! neither backs off. A clock that is 50 minutes behind the CA's, or a day ahead of it, and a
//! directory without space end it likewise.
//! Failures of a check that is not required are shown as warnings; warnings and notes stop nothing,
//! and no domain stops another. What `--skip-check` names does not decide, in that run. The orders
//! of one run count for the limits of those that follow. A ledger is certd's own reckoning and may
//! be wrong, so `budget` is a check that can be left out of `require`, as the others.
//!
//! **Check.** Facts are gathered first and judged afterwards, as pure data, for each name and
//! alias. DNS: A and AAAA asked for apart, without hosts file, search domains or cache, and the
//! zone's own servers asked directly. CAA: the tree climbed as RFC 8659 says, with the parameters
//! of RFC 8657. HTTP: a token with a random name in the webroot, fetched at each address and at
//! each container by the rules that a CA fetches by; where it is not served, nginx's configuration is
//! read for the server block that answers, for what that obeys before any location, and for the header of
//! a balancer that it awaits; of a block that nobody has read nothing is moved. `certd check` adds the host: directories, the
//! containers by the very steps of `obtain` ([`pipeline::Mode::Check`], which ends before an
//! order; without `[nginx]` it fails as they do, unless with `--no-deploy`), the CA's directory,
//! clock and profile, and the limits; and, as warnings, what an order would not mend: a certificate
//! that does not belong to the name ([`verify`]), an application that answers 5xx. It takes no lock, and orders, registers and reloads nothing; what it writes
//! to be read back it removes. When a CA refused a name all the same, `obtain` looks at it once
//! more and reports what it sees.
//!
//! **What is no failure in a check.** A private address beside a public one is a warning
//! (`dns.private_address`): Let's Encrypt passes over it. Where the zone's own servers say
//! otherwise than the resolver of this host it is a warning (`dns.other_view`), and addresses are
//! held against `addresses` as the zone gives them: a hosts file, an inner zone or a cache is no
//! witness of what a public CA sees; where DNSSEC is broken nobody else's word counts. A public
//! address that does not answer this host at all, while its container answers right, is a note
//! (`http.hairpin`) where `addresses` names it: a router may not turn packets back. Without
//! `addresses` it may as well be another host, and fails; where it is not, `http` is left out of
//! `require`. No record is advised to an address that only `addresses` claims: it may be old. For a CA that is not built in, a private
//! address is a note: it may look from inside.
//!
//! **Why.** `certd why` looks at one name as a browser comes to it: DNS, address, listener, server
//! block, file, what is installed, what is served. The server block is the one that nginx chooses
//! ([`target::choice`]) by its own dump of its configuration, in the order in which it reads that, and
//! the file is read in the container, by exec; keys are read nowhere. Stream servers are followed to
//! the block behind them, and paths with variables through literal maps ([`target::variables`]); what
//! cannot be followed is a note. What is proposed takes nothing from another name: a block that serves
//! others keeps its lines, as does an included file that may be a link to what others include, or that
//! another container mounts; `$server_name` keeps what it stands for, and a key that a variable names
//! may be read by nginx's workers first. It is for all names of the domain, so that one change is
//! enough, and a redirect by the default goes on. It says where a file lies that is to be changed: on
//! the host, or in the container alone, which loses what is changed there. A configuration beyond the
//! bounds of [`target::dump`], or with a line that passes for the header of another file, is not
//! judged. Where the engine does not tell how nginx was started, what was read may not be what runs,
//! and that is said. Without `[nginx]` the container is the one that publishes the port, or whose
//! process the kernel names ([`target::owner`]). Facts come first and are judged afterwards: where a
//! browser gets what it should, an odd link above is a warning, and of several failures the first from
//! the top is the one to mend. Connections that come to nothing because nginx has nothing to take them
//! with are the server block's failure. What cannot be seen (no Docker, no domains.toml, no nginx in
//! the container) is a note and stops no other link. A certificate that browsers accept fails all the
//! same where it contradicts what is installed. Of several addresses those that take connections count,
//! and a dead one beside them is a warning: browsers go on to the next. Where they show different
//! certificates the verdict, its reason and the cure are those of the worst; a good one is blamed only
//! for what is installed and shown beside it. A handshake that certd cannot have and a browser may is
//! no failure. On a machine with neither the storage nor the container, what is served decides alone.
//! Nothing is written, ordered or reloaded, and no lock is taken.
//!
//! **Clock.** `renew`, and the daemon's looks at all domains, hold this host's clock against the
//! `Date` of a CA's answer before they decide anything; where nothing else is to be asked, one CA is
//! asked for its directory. An hour is a warning. A day, or less where a domain is due by one clock
//! and not by the other, is `ca.clock`: nothing is ordered, and the heartbeat is not called. A CA
//! whose certificate is out of time by this clock counts as a day; one that does not answer says
//! nothing of the time. A `Retry-After` that is a date is measured by the `Date` beside it.
//!
//! **Silence.** After an order that the CA did not answer in time one more is placed, and all others
//! of the run wait for it: where it is not answered either they end with "later", in one sentence
//! that counts them. An order is polled every 15 seconds at least, whatever the CA asks for, and once
//! more before its time is over.
//!
//! **Defects.** A panic ends the work for the domain in which it happens, as `run.defect`, and no
//! other; in `verify` and `why` what is said of the endpoint or the link. Outside of any it ends the
//! run, and the daemon makes another.
//!
//! **Ledger.** `ledger.json` and `ledger.log` in the state directory hold each account, order,
//! certificate and failed validation of the last [`store::ledger::MEMORY`]. [`plan::budget`] reckons
//! from them how much of each limit of Let's Encrypt is used; of other CAs no limits are known. They
//! tell only what this certd did: another client's orders are not in them. Ledgers that cannot be
//! read or written stop no order, and a power cut may take the last entries.
//!
//! **After it.** One closing step for each target: all its domains are made live and tested at
//! once, and domain by domain only when that fails, so that a failure takes back only the guilty
//! one; one reload; then every name is proven at `connect` if set, else at every published address
//! of each container, else at those in its networks: in each family in which nginx sees connections
//! come in. In the network of the host loopback stands for the host's own addresses; where nginx listens
//! at some of these in particular, those count, and those to which DNS leads. Where nginx need
//! not listen (one family or network of several) and does not, nothing is to be proven; what this host
//! cannot reach is told. A listener that awaits a balancer (`proxy_protocol`) gets the header of one.
//! nginx's own commands run as its master does, where that is not root and the container's user is.
//! nginx is reloaded from inside its container; a signal through Docker's API makes the engine forget
//! to restart it, and is sent only where the configuration says so and nginx gets it. A container that
//! has ended since the reload fails its domains at once, and nothing goes back for it. Never back to
//! an expired or mismatched
//! generation; a first generation is never switched back to nothing.
//!
//! **Proof.** Three handshakes in a row, [`verify::proof::APART`] from each other, because nginx's
//! old and new workers accept side by side for a moment. A domain with `shared = true` is also
//! proven by the live certificate of another lineage that covers the name.
//!
//! **Verify.** Every name at every address in a handshake of its own; each part of what is shown is
//! judged apart ([`verify::judge`]), so that no problem hides another. A failure is what Chrome or
//! Firefox refuse, or what contradicts the storage or the operator's demand; what only a strict client
//! minds is a warning, what is merely odd a note. Of the certificates above the leaf only
//! those of the verified path count, and of a root that the operator names its own limits. Where the handshake fails for want of a version or a
//! suite in common, a second connection asks what the server would choose; a suite that rustls lacks
//! is no verdict on the server. HTTP is spoken only where the handshake agreed to it, and at port 80;
//! nothing of that fails, but for a domain's `probe`. As in a browser, a name that stands in the hosts
//! file leads where that says, and the report names it. An address to which this host has no way is
//! not looked at, which is no failure for IPv6 beside an address that answers. Files are judged by the same functions. Without
//! a target and without `--chain` it needs domains.toml, and nothing else. What is asked for and cannot
//! be used is a failed endpoint without an address, and keeps no other from being looked at; alone on
//! the command line it is a mistake in the usage.
//!
//! **Renewal.** A CA that suggests windows (RFC 9773) is asked right after issuance and then when it
//! says; one instant of a window is chosen at random and kept. A certificate is due when that
//! instant has come, or when the window has begun and the instant comes before the next run: outside
//! its window a renewal counts for the CA's limits. No window counts where half of the reserve of
//! `[renewal] fraction` would be gone, nor twice in a row for a certificate in the first tenth of its
//! life, 36 hours at most. Without a window the reserve decides, with domains spread over six
//! hundredths of it. A renewal names the certificate that it replaces, and is tried once without where
//! the CA refuses that. `renew` reckons with a next run that is late by `[renewal] jitter`, and touches
//! nothing that is not due.
//!
//! **Orders.** An order is in the record, with its key beside it, before anything else is asked of the
//! CA, and none is placed that could not be kept. What is under way is gone on with: an issued
//! certificate is had, an order that leads nowhere is given up after three tries or a day, and one of
//! which nothing is heard after three looks and a day (a quarter of the life that is left, an hour at
//! least). The authorizations of one order are read and answered side by side, in parts, as far as a
//! CA is asked several things at once; of names that are refused then the first one is told. A record
//! or an account that makes no sense is set aside as `.damaged`.
//!
//! **Daemon.** `run` decides when a domain is looked at; what is done for it is decided by the pass,
//! from the state on disk, as `renew` does. Every pass also looks at what is served: an older
//! generation of the same lineage is mended by a reload; anything else is told
//! ([`report::Outcome::Drifted`]) and nothing is touched, for a reload would make an edit real that
//! its author has not finished. A domain without `[nginx]` is made live. After a pass each domain has an instant of its own
//! ([`plan::agenda`]): its renewal, the next question to its CA, the end of a back-off; what could
//! be done already and was not is tried after 1 and 10 minutes, then every 100, which costs no
//! order. Starts and ends of a container cause one look
//! a minute at most; one that ends has ten seconds to start again, as after `docker restart`, before that
//! is an error and it is looked at. Every domain is looked at in a sweep, at the times of `[renewal] schedule` and up to
//! `jitter` later. The wall clock is looked at every minute at least. The lock is held during a pass
//! alone; `daemon.lock` keeps a second daemon from the same state directory. SIGHUP reads domains.toml again, and one with mistakes changes nothing; SIGTERM gives a
//! pass [`schedule::DRAIN`], then ends it as any signal does, with exit status 0: it is how a
//! daemon ends well.
//!
//! **Simulation.** `renew --simulate` plays the runs of a timer over virtual time
//! ([`plan::simulation`]): what is done in each is decided by the functions that decide for real.
//! Made up are the certificates, the windows and limits of the CA as Let's Encrypt has published
//! them, and orders that fail by a seeded chance. It reads without the lock, asks nobody and writes
//! nothing.
//!
//! **Back-off.** Orders that the CA refused, or that were placed and came to nothing, back off for
//! 1, 10 and 100 minutes, then daily, counted apart by what they are; a `Retry-After` is obeyed, by
//! `--force` too, unless with `--skip-check budget`. No wait is longer than a week, or takes more than
//! a quarter of the life that was left (six hours, if that is more). Failures are forgotten where no
//! order is due, and count for nothing where they lie ahead of now. What never reached an order (a CA
//! that is down, a failed mount) costs the CA nothing and does not back off; once a check has failed
//! since the last order, a run that a person starts looks again at once. A refusal that time does
//! not mend (a paused account, a forbidden name, a key or contact that it will not have) stops: the
//! same is not asked again until issuer, profile, names, key type, contact or account change, or
//! with `--force`. Failed deployments are counted apart, by the same pauses: the daemon waits
//! for them, and a run that a person or a timer starts does not, for something may have been mended;
//! nor does the daemon after SIGHUP. A timer waits too before it tries a generation again that was
//! rolled back: each try may break TLS for a moment. A look that fails where nothing was to be deployed counts for
//! nothing.
//!
//! **Alerts.** See [`notify`] and [`plan::alert`]. A domain is in trouble from the first pass that saw
//! it fail, or wait with half of its reserve gone or for its first certificate, until one that saw it
//! well; to wait is neither else. A run that cannot begin is a failure of all its domains. In a
//! trouble a channel is told each event once, of several the most urgent, then that it lasts, every
//! [`plan::alert::DAILY`], and its end if it was told of its beginning. No event is told twice within
//! that time. What a channel was told is remembered for each channel in `alerts.json`, after the
//! channel has taken it: one that fails gives a warning and is told with the next pass what holds
//! then. One message a pass and channel lists all domains. Nothing of it changes what a pass comes
//! to. The heartbeat is called after a pass over all domains that went well, and never otherwise:
//! what cannot be told (a host that is down, a configuration that is refused) its absence tells.
//! Passes of the daemon that do not come about are told as failures of all their domains, from the
//! second in a row on, from the third where another certd holds the lock.
//!
//! **Words of strangers.** What a certificate, a CA, a web server, nginx's configuration or a path says
//! is made safe where it becomes evidence ([`finding::words`]): what a terminal would obey, what turns
//! the direction of writing round and what nobody sees is shown as an escape. Every stream goes through
//! [`finding::words::Guarded`] besides, so that no line of text, JSON, XML or the log is a command for
//! the runner of a CI job. Chats are sent no markup of others.
//!
//! **Causes.** What is wrong with several domains in the same words, with one cure for all (one that names
//! them all is one, too), is told once in text and in the log ([`report::cause`]), with their number; what follows from it is counted there.
//! JSON has it with every domain. Of many domains those that are well have a line each.
//!
//! **Formats of verify.** Each writer of [`report::verify`] is a pure function of the report. What
//! shows red in CI is what the command fails for, warnings too with `--strict`. Words from outside
//! can neither break a format nor forge a line of it, whatever bytes a certificate holds. A file is
//! named by its path in the checkout ([`report::verify::checkout`]); an endpoint that stands in no
//! file gets none that somebody could be sent to. Alerts and metrics keep their identity from run
//! to run: fingerprints hold neither time nor address, and no two samples have the same labels.
//!
//! **After a crash.** A running order is kept in the domain's record before anything is published,
//! its key in `orders/<name>.key`, and both stay until the record of the generation is on disk, which
//! is written with the result. The next run takes it up where it is still what is wanted, and
//! the CA still has it: a finalized order is downloaded, never ordered again; its tokens are
//! withdrawn. Where the archive has a certificate with its key the order is over, and what it asked
//! for tells where the certificate came from. A key without an order on record, a file without its
//! final name and a probe in a webroot that no process holds locked are removed. `tests/crash.rs`
//! kills a run at every point. One thing can be lost: an order, or an account, that the CA made
//! and whose URL was not on disk yet; it is made again, and no certificate comes of the first.
//! A power cut loses no more than that, and hints ([`store`]).
//!
//! **Exit status.** 0 all is well; 1 a domain failed, or something it needs is unusable; 2 usage
//! or configuration; 75 nothing failed but something must be tried later; 129, 130 and 143 after
//! SIGHUP, SIGINT and SIGTERM (`run`: see Daemon).

pub mod acme;
pub mod chain;
pub mod challenge;
pub mod cli;
pub mod config;
mod crash;
pub mod facts;
pub mod finding;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzz;
pub mod input;
pub mod install;
pub mod name;
pub mod net;
pub mod notify;
pub mod pipeline;
pub mod plan;
pub mod preflight;
pub mod report;
pub mod run;
pub mod schedule;
pub mod store;
pub mod systemd;
pub mod target;
pub mod telemetry;
pub mod time;
pub mod verify;
