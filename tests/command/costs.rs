//! What a run costs, counted: nothing where there is nothing to do, and never all domains over again
//! for each domain.

use std::fs;

use certd_sandbox::acme::Call;
use certd_sandbox::fault::{Answer, Fault, Times};
use certd_sandbox::web::{Asked, HttpInstead};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use serde_json::json;

use crate::support::{Host, Setting, sites};

#[test]
fn a_run_with_nothing_to_do_writes_no_record() {
    let host = Host::new(&Setting::two_domains());
    host.obtain(&[]).exits(0);
    let records = || {
        let mut files = host.place.tree("state");
        // It names the process that held it last.
        files.retain(|(path, _)| !path.ends_with("lock"));
        files
    };
    let before = records();
    let run = host.obtain(&[]).exits(0);
    assert!(run.stdout.contains("nothing to do"), "{run}");
    assert_eq!(records(), before);
}

#[test]
fn a_configuration_that_is_broken_is_told_before_anything_is_due_and_costs_a_timer_nothing() {
    let host = Host::new(&Setting::two_domains());
    host.obtain(&[]).exits(0);
    host.place.write(
        "nginx/sites/z.conf",
        "server { listen 443 ssl; nonsense on; }\n",
    );
    let execs = || {
        let requests = host.engine.requests();
        requests.iter().filter(|one| one.contains("/exec")).count()
    };
    let before = execs();
    let run = host.certd(&["renew"]).exits(0);
    assert_eq!(execs(), before, "{run}");
    let run = host.obtain(&[]).exits(0);
    assert!(
        run.stdout.contains("! target.config_broken: 2 domains"),
        "{run}"
    );
    assert!(run.stdout.contains("no renewal can be deployed"), "{run}");
    // It is made, started, and asked for its exit status.
    assert_eq!(execs(), before + 3, "{run}");
}

#[test]
fn a_probe_for_one_name_opens_no_other_ones() {
    let names = (0..DOMAINS).map(|number| -> &str { format!("d{number}.test").leak() });
    let host = Host::new(&Setting {
        domains: names.map(|name| vec![name]).collect(),
        require: &["http"],
        ..Setting::default()
    });
    let probes = host.place.path("webroot/.well-known/acme-challenge");
    fs::create_dir_all(&probes).expect("the place is writable");
    for arguments in [["check"].as_slice(), &["obtain", "--all"]] {
        let watch = Inotify::init(InitFlags::IN_NONBLOCK).expect("the kernel watches");
        let opened = AddWatchFlags::IN_OPEN;
        watch.add_watch(&probes, opened).expect("it is there");
        host.certd(arguments).exits(0);
        let mut opens = 0;
        while let Ok(events) = watch.read_events() {
            let names = events
                .iter()
                .filter_map(|event| event.name.as_ref()?.to_str());
            opens += names.filter(|name| name.starts_with("certd-")).count();
        }
        assert!(opens >= DOMAINS, "{arguments:?}: {opens} opens");
        // It is written once, and asked for at the public address and at the container's.
        assert!(opens <= 4 * DOMAINS, "{arguments:?}: {opens} opens");
    }
}

#[test]
fn names_that_fail_side_by_side_ask_for_the_configuration_once() {
    let names = (0..DOMAINS).map(|number| -> &str { format!("d{number}.test").leak() });
    let host = Host::new(&Setting {
        domains: names.map(|name| vec![name]).collect(),
        require: &["http"],
        ..Setting::default()
    });
    let asked = || {
        let tokens = Asked::Path("/.well-known/acme-challenge/".to_owned());
        host.web.answer(tokens, HttpInstead::Status(404));
        let before = host.engine.commands(&["nginx", "-T"]);
        let run = host.certd(&["check"]).exits(1);
        assert!(run.stdout.contains("http.not_found"), "{run}");
        host.web.behave();
        host.engine.commands(&["nginx", "-T"]) - before
    };
    // Without the first certificates nginx prints nothing, and is asked again by those who come later.
    assert!(asked() < 5);
    host.obtain(&[]).exits(0);
    assert_eq!(asked(), 1);
}

#[test]
fn all_that_a_check_advises_takes_one_list_of_the_containers() {
    let setting = Setting::two_domains();
    let host = Host::new(&setting);
    host.obtain(&[]).exits(0);
    let mut wrong = sites(&setting);
    wrong[0].lineage = setting.domains[1][0].to_owned();
    host.web.configure(&wrong).expect("files can be written");
    host.web.reload().expect("its files are there");
    let lists = || {
        let requests = host.engine.requests().into_iter();
        requests
            .filter(|one| one.starts_with("GET /containers/json"))
            .count()
    };
    let before = lists();
    let run = host.certd(&["check"]).exits(0);
    assert!(run.stdout.contains("ssl_certificate"), "{run}");
    assert_eq!(lists(), before + 1, "{run}");
}

#[test]
fn an_order_takes_the_nonce_that_the_request_before_it_left() {
    let host = three_domains("jobs = 1");
    host.obtain(&[]).exits(0);
    // For the account, whose nonce is the first order's, and so on.
    assert_eq!(nonces(&host.ca.requests()), 1, "{:#?}", host.ca.requests());
}

#[test]
fn nonces_are_fetched_before_the_orders_begin_and_no_more_than_are_used_at_once() {
    let host = three_domains("jobs = 2");
    host.obtain(&[]).exits(0);
    let before = host.ca.requests().len();
    host.obtain(&["--force"]).exits(0);
    let requests = &host.ca.requests()[before..];
    let order = requests.iter().position(|one| one.contains("new-order"));
    let order = order.expect("an order is placed");
    assert_eq!(nonces(&requests[..order]), 2, "{requests:#?}");
    assert_eq!(nonces(&requests[order..]), 0, "{requests:#?}");
}

#[test]
fn all_names_of_an_order_are_asked_for_side_by_side() {
    let names = ["a.test", "b.test", "c.test", "d.test", "e.test"];
    let host = Host::new(&Setting {
        domains: vec![names.to_vec()],
        ..Setting::default()
    });
    let all = u32::try_from(names.len()).expect("there are few");
    for call in [Call::Authorization, Call::Challenge] {
        let meeting = Fault::meeting(names.len());
        host.ca.fault(call, Times::Next(all), meeting);
    }
    host.obtain(&["--no-deploy"]).exits(0);
    let requests = host.ca.requests();
    for call in ["/authorization/", "/challenge/"] {
        let asked = requests.iter().filter(|one| one.contains(call));
        assert_eq!(asked.count(), names.len(), "{requests:#?}");
    }
}

#[test]
fn names_beyond_what_a_ca_is_asked_at_once_take_their_turns() {
    let names = [
        "a.test", "b.test", "c.test", "d.test", "e.test", "f.test", "g.test", "h.test", "i.test",
        "j.test", "k.test", "l.test",
    ];
    let host = Host::new(&Setting {
        domains: vec![names.to_vec()],
        ..Setting::default()
    });
    host.ca.reject_nonces(20);
    host.obtain(&["--no-deploy"]).exits(0);
    assert_eq!(host.ca.validations(), names.len());
    let asked = nonces(&host.ca.requests());
    assert!(asked <= 1 + 8, "{asked} nonces");
}

#[test]
fn of_names_that_are_refused_at_once_the_first_is_told() {
    let host = Host::new(&Setting {
        domains: vec![vec!["a.test", "b.test", "c.test"]],
        ..Setting::default()
    });
    let problem = json!({
        "type": "urn:ietf:params:acme:error:dns",
        "detail": "no valid A records found",
        "status": 400,
    });
    let answer = Answer::json(400, &problem);
    host.ca.fault(Call::Challenge, Times::Always, answer);
    let report = host.obtain(&["--format", "json"]).exits(1).json();
    let summary = report["domains"][0]["summary"].to_string();
    assert!(
        summary.contains("a.test") && !summary.contains("b.test"),
        "{summary}"
    );
    // The tokens of all are gone.
    let left = host.place.path("webroot/.well-known/acme-challenge");
    assert_eq!(fs::read_dir(left).expect("a directory").count(), 0);
}

/// A host with three domains, and a line for its domains.toml
fn three_domains(line: &str) -> Host {
    let host = Host::new(&Setting {
        domains: vec![vec!["a.test"], vec!["b.test"], vec!["c.test"]],
        ..Setting::default()
    });
    let config = host.place.read("domains.toml");
    host.place
        .write("domains.toml", format!("{line}\n{config}"));
    host
}

fn nonces(requests: &[String]) -> usize {
    let asks = requests.iter().filter(|one| one.contains("nonce"));
    asks.count()
}

const DOMAINS: usize = 20;
