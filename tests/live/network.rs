//! `certd check` for a public CA: what the zone says, what can be reached and what was spent.
//!
//! Each scene has a network of its own, so that public addresses can be had and nobody is asked.
//! The CA is Let's Encrypt by its directory URL alone: there is no way to it.

use certd_sandbox::dns::Failure;
use libtest_mimic::Trial;
use serde_json::{Value, json};

use crate::support::network::{Network, RESOLVER, in_new_network, record};
use crate::support::process::Process;
use crate::support::world::{Output, World};

pub(crate) fn trials() -> Vec<Trial> {
    crate::trials![
        a_host_that_is_ready_has_no_warning_of_its_names,
        a_private_address_is_of_no_use_to_a_public_ca,
        what_the_zone_says_counts_and_is_probed,
        servers_that_disagree_are_told_of,
        servers_that_nobody_can_ask_are_noted,
        an_address_that_this_host_cannot_reach_is_told_by_how,
        a_hosts_own_address_behind_a_router_is_a_note,
        ipv6_counts_where_this_host_has_it,
        limits_are_told_and_waited_for_unless_that_is_skipped,
        a_damaged_ledger_is_told_and_stops_nothing,
        without_a_dns_server_nothing_is_called_good,
        the_hosts_file_leads_as_it_leads_a_browser,
        a_slip_in_resolv_conf_stops_nothing,
        a_file_system_that_is_full_or_fleeting_is_told_before_an_order,
    ]
}

const ZONE: &str = "rare-books.test";
const SHOP: &str = "shop.rare-books.test";
const HERE: &str = "5.6.7.8";
const HERE_V6: &str = "2606:4700::5678";

/// certd's directory on a host of the network
struct Host<'n> {
    network: &'n Network,
    world: World,
}

impl<'n> Host<'n> {
    /// A host with [`HERE`] as its address, to which the name leads
    fn new(network: &'n Network) -> Self {
        let host = Self {
            network,
            world: World::new(),
        };
        host.network.has(&format!("{HERE}/32"));
        host.network.delegate(ZONE);
        host.network.publish(SHOP, &[HERE]);
        host.configure("", "");
        host
    }

    /// Writes domains.toml with these lines above the tables and in `[preflight]`
    fn configure(&self, top: &str, preflight: &str) {
        let place = |name: &str| self.world.path().join(name);
        self.world.write_text(&format!(
            "terms_of_service_agreed = true\n{top}\nwebroot = {:?}\nstorage = {:?}\nstate = {:?}\n\
             [dns]\nservers = [\"{RESOLVER}\"]\ntimeout = \"500ms\"\n\
             [preflight]\ntimeout = \"1s\"\n{preflight}\n[[domain]]\nname = \"{SHOP}\"\n",
            place("webroot"),
            place("storage"),
            place("state"),
        ));
    }

    fn certd(&self, arguments: &[&str]) -> Output {
        self.world.certd(arguments)
    }

    /// The report of `certd check`
    fn check(&self) -> Value {
        let output = self.certd(&["check", "--format", "json"]);
        serde_json::from_str(&output.stdout).unwrap_or_else(|_| panic!("no JSON: {output:?}"))
    }

    /// What was found of a kind for the name, as `code severity`
    fn found(&self, kind: &str) -> Vec<String> {
        let report = self.check();
        let findings = &report["domains"][0]["names"][0]["checks"][kind];
        words(findings)
    }

    fn serve(&self) -> Process {
        self.network.serve(&self.world.webroot())
    }
}

fn words(findings: &Value) -> Vec<String> {
    let findings = findings.as_array().map(Vec::as_slice).unwrap_or_default();
    let word = |finding: &Value, key: &str| finding[key].as_str().unwrap_or_default().to_owned();
    findings
        .iter()
        .map(|finding| format!("{} {}", word(finding, "code"), word(finding, "severity")))
        .collect()
}

fn a_host_that_is_ready_has_no_warning_of_its_names() {
    in_new_network(|network| {
        let host = Host::new(network);
        let _web = host.serve();
        assert_eq!(host.found("dns"), ["dns.addresses ok"]);
        assert_eq!(host.found("caa"), ["caa.none ok"]);
        assert_eq!(host.found("http"), ["http.served ok"]);
    });
}

fn a_private_address_is_of_no_use_to_a_public_ca() {
    in_new_network(|network| {
        let host = Host::new(network);
        let _web = host.serve();
        network.has("10.1.2.3/32");
        network.publish(SHOP, &["10.1.2.3"]);
        let failure = ["dns.private_address failure", "dns.addresses ok"];
        assert_eq!(host.found("dns"), failure);
        // Such an address beside a public one is passed over, and is not probed.
        network.publish(SHOP, &["10.9.9.9", HERE]);
        let warning = ["dns.private_address warning", "dns.addresses ok"];
        assert_eq!(host.found("dns"), warning);
        assert_eq!(host.found("http"), ["http.served ok"]);
    });
}

fn what_the_zone_says_counts_and_is_probed() {
    in_new_network(|network| {
        let host = Host::new(network);
        let _web = host.serve();
        let view = "dns.other_view warning";
        // A cache that holds the old address.
        network.resolver.set(SHOP, [record("9.9.9.9")]);
        assert_eq!(host.found("dns"), [view, "dns.addresses ok"]);
        assert_eq!(host.found("http"), ["http.served ok"]);
        // One that still denies the name.
        network.resolver.remove(SHOP);
        assert_eq!(host.found("dns"), [view]);
        assert_eq!(host.found("http"), ["http.served ok"]);
        // A hosts file or an inner zone, while the world is led elsewhere.
        network.publish(SHOP, &["9.9.9.9"]);
        network.resolver.set(SHOP, [record(HERE)]);
        assert_eq!(host.found("dns"), [view, "dns.addresses ok"]);
        assert_eq!(
            host.found("http"),
            ["http.no_route warning", "http.served ok"]
        );
    });
}

fn servers_that_disagree_are_told_of() {
    in_new_network(|network| {
        let host = Host::new(network);
        let _web = host.serve();
        network.servers[1].set(SHOP, [record("9.9.9.9")]);
        let said = ["dns.disagreement warning", "dns.addresses ok"];
        assert_eq!(host.found("dns"), said);
        // The CA may be led to the other: nobody there has the token.
        network.cannot_reach("9.9.9.9");
        let lost = ["http.unreachable failure", "http.served ok"];
        assert_eq!(host.found("http"), lost);
        host.configure(&format!("addresses = [{HERE:?}]"), "");
        let known = ["dns.disagreement failure", "dns.addresses ok"];
        assert_eq!(host.found("dns"), known);
        // One server that has both is another matter than a change that is on its way.
        network.publish(SHOP, &[HERE, "9.9.9.9"]);
        let several = ["dns.one_of_several failure", "dns.addresses ok"];
        assert_eq!(host.found("dns"), several);
    });
}

fn servers_that_nobody_can_ask_are_noted() {
    in_new_network(|network| {
        let host = Host::new(network);
        let _web = host.serve();
        let note = ["dns.zone_unasked note", "dns.addresses ok"];
        for server in &network.servers {
            server.fail(SHOP, Failure::NoAnswer);
        }
        assert_eq!(host.found("dns"), note);
        network.resolver.remove(ZONE);
        assert_eq!(host.found("dns"), note);
    });
}

fn an_address_that_this_host_cannot_reach_is_told_by_how() {
    in_new_network(|network| {
        let host = Host::new(network);
        let told = |address: &str| {
            network.publish(SHOP, &[address]);
            host.found("http")
        };
        assert_eq!(told("9.9.9.1"), ["http.no_route warning"]);
        network.cannot_reach("9.9.9.2");
        assert_eq!(told("9.9.9.2"), ["http.unreachable failure"]);
        network.swallows("9.9.9.3");
        assert_eq!(told("9.9.9.3"), ["http.connect_timeout failure"]);
        assert_eq!(told(HERE), ["http.refused failure"]);
    });
}

fn a_hosts_own_address_behind_a_router_is_a_note() {
    in_new_network(|network| {
        let host = Host::new(network);
        let _web = host.serve();
        network.swallows("9.9.9.3");
        network.publish(SHOP, &["9.9.9.3"]);
        // nginx answers at loopback. That the address is this host's nobody has said: it may be an
        // old host that is off.
        let silence = ["http.connect_timeout failure", "http.served ok"];
        assert_eq!(host.found("http"), silence);
        host.configure("addresses = [\"9.9.9.3\"]", "");
        let note = ["http.hairpin note", "http.served ok"];
        assert_eq!(host.found("http"), note);
        host.configure("addresses = [\"9.9.9.4\"]", "");
        assert_eq!(host.found("dns")[0], "dns.elsewhere failure");
        assert_eq!(host.found("http")[0], "http.connect_timeout failure");
    });
}

fn ipv6_counts_where_this_host_has_it() {
    in_new_network(|network| {
        let host = Host::new(network);
        let _web = host.serve();
        let elsewhere = "2606:4700::9";
        network.publish(SHOP, &[HERE, elsewhere]);
        let blind = ["http.no_ipv6 warning", "http.served ok"];
        assert_eq!(host.found("http"), blind);
        network.has(&format!("{HERE_V6}/128"));
        network.cannot_reach(elsewhere);
        let dead = ["http.dead_ipv6 failure", "http.served ok"];
        assert_eq!(host.found("http"), dead);
        // The CA's own address is as dead.
        let ca = "2606:4700::ca";
        network.resolver.add(LETS_ENCRYPT, record(ca));
        network.cannot_reach(ca);
        assert_eq!(host.found("http"), blind);
        let own = format!("addresses = [{HERE:?}, {elsewhere:?}]");
        host.configure(&own, "");
        let note = ["http.no_ipv6 note", "http.served ok"];
        assert_eq!(host.found("http"), note);
        host.configure("", "");
        network.publish(SHOP, &[HERE, HERE_V6]);
        assert_eq!(host.found("http"), ["http.served ok", "http.served ok"]);
    });
}

/// A ledger in which so many certificates for the name were issued just now
fn spend(host: &Host<'_>, certificates: usize) {
    let entry = json!({
        "at": crate::support::a_minute_ago(),
        "directory": format!("https://{LETS_ENCRYPT}/directory"),
        "account": format!("https://{LETS_ENCRYPT}/acme/acct/1"),
        "spent": {"certificate": [SHOP]},
    });
    let ledger = json!({"version": 1, "entries": vec![entry; certificates]});
    let path = host.world.state().join("ledger.json");
    crate::support::write(path, ledger.to_string());
}

fn limits_are_told_and_waited_for_unless_that_is_skipped() {
    in_new_network(|network| {
        let host = Host::new(network);
        let _web = host.serve();
        let budget = || {
            let report = host.check();
            let groups = report["domains"][0]["groups"].as_array().cloned();
            let groups = groups.unwrap_or_default();
            let budget = groups.iter().find(|group| group["about"] == "budget");
            words(&budget.expect("a group")["findings"]).remove(0)
        };
        assert_eq!(budget(), "budget.left ok");
        spend(&host, 4);
        assert_eq!(budget(), "budget.used note");
        spend(&host, 5);
        assert_eq!(budget(), "budget.exhausted warning");
        let obtain = ["obtain", SHOP, "--no-deploy"];
        let output = host.certd(&obtain).expect_status(75);
        assert!(output.stdout.contains("budget.exhausted"), "{output:?}");
        assert!(output.stdout.contains("no request to a CA"), "{output:?}");
        // Then the CA is asked, to which there is no way.
        let skipped = [obtain.as_slice(), &["--skip-check", "budget"]].concat();
        let output = host.certd(&skipped).expect_status(1);
        assert!(output.stdout.contains("acme.unreachable"), "{output:?}");
        host.configure("", "require = [\"dns\", \"caa\", \"http\"]");
        let output = host.certd(&obtain).expect_status(1);
        assert!(output.stdout.contains("acme.unreachable"), "{output:?}");
    });
}

fn a_damaged_ledger_is_told_and_stops_nothing() {
    in_new_network(|network| {
        let host = Host::new(network);
        let path = host.world.state().join("ledger.json");
        crate::support::write(&path, "{");
        let output = host.certd(&["obtain", SHOP, "--no-deploy"]);
        assert!(output.stdout.contains("! budget.unknown"), "{output:?}");
        assert!(output.stdout.contains("acme.unreachable"), "{output:?}");
        let output = host.certd(&["check"]);
        assert!(output.stdout.contains("! budget.unknown"), "{output:?}");
    });
}

/// Runs certd where the system has changed as these commands of a shell say
fn certd_after(host: &Host<'_>, commands: &str, arguments: &[&str]) -> Output {
    let script = format!("{commands} && exec \"$0\" \"$@\"");
    let wrapper = ["unshare", "--mount", "sh", "-c", &script];
    host.world.start_under(&wrapper, arguments).wait()
}

fn without_a_dns_server_nothing_is_called_good() {
    in_new_network(|network| {
        let host = Host::new(network);
        let config = std::fs::read_to_string(host.world.path().join("domains.toml"));
        let servers = format!("servers = [\"{RESOLVER}\"]\n");
        host.world
            .write_text(&config.expect("it was written").replace(&servers, ""));
        let none = "mount --bind /dev/null /etc/resolv.conf";
        let output = certd_after(&host, none, &["check", "--format", "json"]);
        let report: Value = serde_json::from_str(&output.stdout).expect("JSON");
        let checks = &report["domains"][0]["names"][0]["checks"];
        for kind in ["dns", "caa", "http"] {
            assert_eq!(words(&checks[kind]), ["dns.no_server failure"], "{report}");
        }
    });
}

/// A command that puts a file of this text in the place of another
fn replaced(host: &Host<'_>, path: &str, text: &str) -> String {
    let own = host.world.path().join("replaced");
    crate::support::write(&own, text);
    format!("mount --bind {} {path}", own.display())
}

fn the_hosts_file_leads_as_it_leads_a_browser() {
    in_new_network(|network| {
        let host = Host::new(network);
        let _web = host.serve();
        let hosts = replaced(&host, "/etc/hosts", &format!("127.0.0.9 www.test {SHOP}\n"));
        let json = |command: &[&str]| -> Value {
            let arguments = [command, &["--format", "json"]].concat();
            let output = certd_after(&host, &hosts, &arguments);
            serde_json::from_str(&output.stdout).unwrap_or_else(|_| panic!("no JSON: {output:?}"))
        };
        let report = json(&["verify", SHOP]);
        let endpoints = report["endpoints"].as_array().expect("endpoints");
        assert_eq!(endpoints.len(), 1, "{report}");
        assert_eq!(endpoints[0]["address"], "127.0.0.9:443", "{report}");
        let found = words(&endpoints[0]["findings"]);
        assert!(
            found.contains(&"dns.hosts_file note".to_owned()),
            "{report}"
        );
        let report = json(&["why", SHOP]);
        let seen = report["steps"].to_string();
        assert!(seen.contains("by this host's /etc/hosts"), "{report}");
        assert!(seen.contains("127.0.0.9:443"), "{report}");
        // A CA does not read it.
        let report = json(&["check"]);
        let checks = &report["domains"][0]["names"][0]["checks"];
        assert_eq!(words(&checks["dns"]), ["dns.addresses ok"], "{report}");
        assert_eq!(words(&checks["http"]), ["http.served ok"], "{report}");
    });
}

fn a_slip_in_resolv_conf_stops_nothing() {
    in_new_network(|network| {
        let host = Host::new(network);
        let config = std::fs::read_to_string(host.world.path().join("domains.toml"));
        let servers = format!("servers = [\"{RESOLVER}\"]\n");
        host.world
            .write_text(&config.expect("it was written").replace(&servers, ""));
        let slips = "search bad..name .\ndomain a..b\noptions ndots:x\nnameserver gone%eth9\n";
        let text = format!("{slips}nameserver {RESOLVER}\n");
        let resolv = replaced(&host, "/etc/resolv.conf", &text);
        let output = certd_after(&host, &resolv, &["check", "--format", "json"]);
        let report: Value = serde_json::from_str(&output.stdout).expect("JSON");
        let checks = &report["domains"][0]["names"][0]["checks"];
        assert_eq!(words(&checks["dns"]), ["dns.addresses ok"], "{report}");
        assert_eq!(output.stderr, "", "{output:?}");
    });
}

fn a_file_system_that_is_full_or_fleeting_is_told_before_an_order() {
    in_new_network(|network| {
        let host = Host::new(network);
        let state = host.world.state();
        let mount = |size: &str| format!("mount -t tmpfs -o size={size} tmpfs {}", state.display());
        let told = |size, code: &str| {
            let output = certd_after(&host, &mount(size), &["check"]);
            assert!(output.stdout.contains(code), "{code}: {output:?}");
        };
        told("512k", "✗ files.full");
        told("64m", "! files.fleeting");
    });
}

/// Where Let's Encrypt's directory is
const LETS_ENCRYPT: &str = "acme-v02.api.letsencrypt.org";
