//! The proxy that the environment names: for CAs and notifications, and for nothing else; and hosts
//! without root certificates.

use crate::support::{
    Authority, CLOSED, Hook, Host, Place, Proxy, Run, Server, Setting, Wish, finding,
    over_80_columns, tls_config,
};

const DOMAIN: &str = "[[domain]]\nname = \"rare-books.test\"\n";

fn with_variables(place: &Place, arguments: &[&str], variables: &[(&str, &str)]) -> Run {
    let mut command = place.certd(arguments);
    Run::of(command.envs(variables.iter().copied()))
}

/// Host and port of the CA
fn authority(host: &Host) -> String {
    let directory = host.ca.directory();
    let rest = directory.strip_prefix("https://").expect("https");
    rest.split('/').next().expect("an authority").to_owned()
}

#[test]
fn a_ca_is_asked_through_the_proxy_and_nothing_else_is() {
    for variable in ["HTTPS_PROXY", "https_proxy", "ALL_PROXY"] {
        let (host, proxy) = (Host::new(&Setting::default()), Proxy::start());
        let variables = [(variable, proxy.url()), ("HTTP_PROXY", proxy.url())];
        let variables = variables
            .each_ref()
            .map(|(name, url)| (*name, url.as_str()));
        let run = with_variables(&host.place, &["obtain", "--all"], &variables).exits(0);
        assert!(run.stdout.contains("handshakes"), "{run}");
        assert_eq!(proxy.asked(), [format!("CONNECT {}", authority(&host))]);
        with_variables(&host.place, &["check"], &variables).exits(0);
        assert_eq!(proxy.asked().len(), 1, "{variable}: {:?}", proxy.asked());
    }
}

#[test]
fn no_proxy_and_ignore_proxy_lead_past_it() {
    let host = Host::new(&Setting::default());
    let dead = format!("http://{CLOSED}");
    let arguments = ["obtain", "--all"];
    let variables = [("HTTPS_PROXY", dead.as_str()), ("NO_PROXY", "127.0.0.1")];
    with_variables(&host.place, &arguments, &variables).exits(0);
    let config = host.place.read("domains.toml");
    host.place
        .write("domains.toml", format!("ignore_proxy = true\n{config}"));
    let again = ["obtain", "--all", "--force"];
    with_variables(&host.place, &again, &variables[..1]).exits(0);
}

#[test]
fn a_proxy_that_does_not_lead_to_the_ca_is_named_without_its_login() {
    let host = Host::new(&Setting::default());
    let proxy = Proxy::start();
    let refusing = Server::start(drop);
    let wrong_login = proxy.url().replace("s3cret", "wr0ng");
    for (url, said) in [
        (format!("http://certd:wr0ng@{CLOSED}"), "onnection refused"),
        (wrong_login, "it wants a login (407)"),
        (format!("http://certd:wr0ng@{}", refusing.address), ""),
        (format!("socks5://certd:wr0ng@{CLOSED}"), "http:// alone"),
    ] {
        let variables = [("HTTPS_PROXY", url.as_str())];
        let arguments = ["obtain", "--all", "--format", "json"];
        let run = with_variables(&host.place, &arguments, &variables).exits(1);
        let report = run.json();
        let found = finding(&report, "acme.unreachable");
        let evidence = found["evidence"].as_str().expect("text");
        let address = url.split_once('@').expect("a login").1;
        assert!(evidence.contains(address), "{evidence}");
        assert!(evidence.contains(said), "{evidence}");
        let cure = found["cure"].as_str().expect("text");
        for key in ["HTTPS_PROXY", "NO_PROXY", "ignore_proxy"] {
            assert!(cure.contains(key), "{cure}");
        }
        let text = with_variables(&host.place, &["obtain", "--all"], &variables).exits(1);
        assert_eq!(over_80_columns(&text.stdout), [""; 0]);
        assert!(!format!("{run}{text}").contains("wr0ng"), "{text}");
    }
}

#[test]
fn a_webhook_is_told_through_the_proxy() {
    let (hook, proxy) = (Hook::start(), Proxy::start());
    let place = Place::with(&format!(
        "[[notify]]\nkind = \"webhook\"\nurl = \"{}\"\n{DOMAIN}",
        hook.url("/told")
    ));
    let url = proxy.url();
    let arguments = ["notify", "--test"];
    with_variables(&place, &arguments, &[("HTTP_PROXY", &url)]).exits(0);
    assert_eq!(proxy.asked(), [format!("POST {}", hook.url("/told"))]);
    assert_eq!(hook.requests().len(), 1);
    let dead = [("http_proxy", "http://127.0.0.1:1")];
    let run = with_variables(&place, &arguments, &dead).exits(1);
    assert!(run.stdout.contains("through the proxy"), "{run}");
    assert!(run.stdout.contains("HTTP_PROXY"), "{run}");
}

#[test]
fn a_host_without_roots_is_told_that_and_not_to_pin_one() {
    let host = Host::new(&Setting::default());
    let place = &host.place;
    place.write("empty.pem", "");
    let config = place.read("domains.toml");
    let issuer = config.replace("trust = \"root.pem\"\n[dns]", "[dns]");
    assert_ne!(issuer, config);
    let leaf = Authority::root("Root").issue(&Wish::names(&["localhost"]));
    let server = Server::tls(tls_config(&leaf));
    let channels = format!(
        "[[notify]]\nkind = \"webhook\"\nurl = \"https://localhost:{0}/\"\n\
         [[notify]]\nkind = \"mail\"\nserver = \"localhost:{0}\"\ntls = \"tls\"\n\
         from = \"certd@example.com\"\nto = [\"admin@example.com\"]\n",
        server.address.port()
    );
    place.write("domains.toml", issuer + &channels);
    let variables = [("SSL_CERT_FILE", "empty.pem")];
    let arguments = ["obtain", "--all", "--format", "json"];
    let report = with_variables(place, &arguments, &variables)
        .exits(1)
        .json();
    let found = finding(&report, "acme.no_roots");
    let cure = found["cure"].as_str().expect("text");
    assert!(cure.contains("SSL_CERT_FILE names empty.pem"), "{cure}");
    assert!(!cure.contains("trust"), "{cure}");
    let run = with_variables(place, &["notify", "--test"], &variables).exits(1);
    let told = run.stdout.matches("SSL_CERT_FILE names empty.pem").count();
    assert_eq!(told, 2, "{run}");
    assert!(!run.stdout.contains("`trust`"), "{run}");
}
