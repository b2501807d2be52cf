//! CAs that are not well: what an operator reads, and what it costs.

use std::fmt::Write as _;
use std::io::{Read, Write as _};
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};

use crate::support::{
    Authority, CLOSED, Ca, Place, Reply, Request, Server, codes, over_80_columns,
};

const NAME: &str = "shop.rare-books.test";

fn config(directory: &str, issuer: &str) -> String {
    format!(
        "email = \"admin@rare-books.test\"\nterms_of_service_agreed = true\n\
         issuer = \"test\"\nstorage = \"storage\"\nstate = \"state\"\nwebroot = \"webroot\"\n\
         [issuers.test]\ndirectory = \"{directory}\"\ntrust = \"root.pem\"\n{issuer}\n\
         [preflight]\nrequire = []\n\
         [dns]\nservers = [\"127.0.0.1:1\"]\ntimeout = \"100ms\"\n[[domain]]\nname = \"{NAME}\"\n"
    )
}

const OBTAIN: [&str; 3] = ["obtain", NAME, "--no-deploy"];

/// Runs against CAs, and what was shown of them
#[derive(Default)]
struct Gallery {
    shown: String,
    wrong: Vec<String>,
}

impl Gallery {
    /// A CA that gives this reply where it is asked this must end the run so
    fn check(
        &mut self,
        title: &str,
        asked: &'static str,
        reply: Reply,
        expected: (i32, &str),
    ) -> Vec<String> {
        let place = Place::new();
        let ca = Ca::start(&place, move |request| {
            (request.line() == asked).then(|| reply.clone())
        });
        place.write("domains.toml", config(&ca.directory(), ""));
        self.check_in(title, &place, expected);
        ca.requests()
    }

    fn check_in(&mut self, title: &str, place: &Place, (status, code): (i32, &str)) {
        let run = place.run(&OBTAIN);
        let mut expect = |holds: bool, what: &str| {
            if !holds {
                self.wrong.push(format!("{title}: {what}"));
            }
        };
        expect(run.status == Some(status), &format!("exit {status}"));
        expect(run.stderr.is_empty(), "nothing on stderr");
        expect(run.stdout.contains(code), code);
        // A path or a URL is kept whole.
        let mut long = over_80_columns(&run.stdout);
        long.retain(|line| line.trim().contains(' '));
        expect(long.is_empty(), "80 columns");
        expect(tokens(place) == 0, "no token is left");
        expect(place.tree("storage/archive").len() == 1, "nothing issued");
        let shown = place.without_directory(&run.stdout);
        let _ = writeln!(self.shown, "# {title}\n{shown}");
    }

    /// Everything that was shown is as in the snapshot, and as expected
    #[track_caller]
    fn compare(self, name: &str) {
        snapshot!(Place::new(), name, self.shown);
        assert_eq!(self.wrong, [""; 0]);
    }
}

/// Files below the webroot
fn tokens(place: &Place) -> usize {
    let tree = place.tree("webroot");
    tree.iter().filter(|(path, _)| !path.is_dir()).count()
}

fn problem(status: u16, kind: &str, detail: &str) -> Reply {
    let kind = format!("urn:ietf:params:acme:error:{kind}");
    Reply::new(
        status,
        "application/problem+json",
        json!({"type": kind, "detail": detail, "status": status}).to_string(),
    )
}

#[test]
fn a_ca_that_cannot_be_reached_is_told_apart_from_one_that_is_not_trusted() {
    let mut gallery = Gallery::default();
    let place = Place::new();
    place.write("root.pem", Authority::root("Root").pem());
    place.write(
        "domains.toml",
        config(&format!("https://{CLOSED}/directory"), ""),
    );
    gallery.check_in("nothing listens", &place, (1, "acme.unreachable"));

    let place = Place::new();
    let ca = Ca::start(&place, |_| None);
    place.write("root.pem", Authority::root("Another Root").pem());
    place.write("domains.toml", config(&ca.directory(), ""));
    gallery.check_in("another root is trusted", &place, (1, "acme.not_trusted"));

    let place = Place::new();
    let ca = Ca::start(&place, |_| None);
    let directory = ca.directory().replace("127.0.0.1", "localhost");
    place.write("domains.toml", config(&directory, ""));
    gallery.check_in(
        "its certificate is for another name",
        &place,
        (1, "acme.unreachable"),
    );

    for (title, bytes) in [
        ("no TLS", b"HTTP/1.1 400 Bad Request\r\n\r\n".as_slice()),
        ("garbage", b"\x16\x03\x03\xff\xff\x00\x00\x00\x00"),
        ("an alert", b"\x15\x03\x03\x00\x02\x02\x28"),
        ("nothing", b""),
    ] {
        let server = Server::start(move |mut stream| {
            let _ = stream.read(&mut [0; 4096]);
            let _ = stream.write_all(bytes);
        });
        let place = Place::new();
        place.write("root.pem", Authority::root("Root").pem());
        let directory = format!("https://{}/directory", server.address);
        place.write("domains.toml", config(&directory, ""));
        gallery.check_in(title, &place, (1, "acme.unreachable"));
    }
    gallery.compare("unreachable");
}

#[test]
fn a_trust_file_that_is_of_no_use_is_named_before_anything_is_sent() {
    for root in [None, Some(""), Some("no PEM")] {
        let place = Place::new();
        let ca = Ca::start(&place, |_| None);
        match root {
            Some(root) => place.write("root.pem", root),
            None => std::fs::remove_file(place.path("root.pem")).unwrap(),
        }
        place.write("domains.toml", config(&ca.directory(), ""));
        let run = place.run(&OBTAIN).exits(1);
        assert!(run.stdout.contains("acme.trust"), "{run}");
        assert!(run.stdout.contains("root.pem"), "{run}");
        assert_eq!(ca.requests(), [""; 0]);
    }
}

#[test]
fn a_directory_that_is_none_is_all_that_is_asked_for() {
    let mut gallery = Gallery::default();
    let mut check = |title: &str, reply: Reply, expected: (i32, &str)| {
        let requests = gallery.check(title, "GET /directory", reply, expected);
        // A connection that breaks is tried again, a bounded number of times.
        assert!((1..=5).contains(&requests.len()), "{title}: {requests:?}");
        assert!(
            requests.iter().all(|line| line == "GET /directory"),
            "{title}: {requests:?}"
        );
    };
    let html = |status: u16, words: &str| {
        let body = format!(
            "<html>\n<head><title>{words}</title></head>\n<body>\n<center><h1>{words}</h1>\
             </center>\n<hr><center>nginx</center>\n</body>\n</html>\n"
        );
        Reply::new(status, "text/html", body)
    };
    let status = (1, "acme.status");
    check("not found", html(404, "404 Not Found"), status);
    check("unavailable", html(503, "503 Service Unavailable"), status);
    check(
        "unavailable for two minutes",
        html(503, "503 Service Unavailable").with("Retry-After", "120"),
        (75, "acme.status"),
    );
    check(
        "too many requests",
        html(429, "429 Too Many Requests").with("Retry-After", "120"),
        (75, "acme.status"),
    );
    check(
        "moved",
        html(301, "301 Moved").with("Location", "https://ca.test/"),
        status,
    );
    check(
        "an internal error as JSON",
        problem(500, "serverInternal", "Error creating new account"),
        (1, "acme.refused"),
    );
    check(
        "empty",
        Reply::new(200, "text/plain", ""),
        (1, "acme.directory"),
    );
    check("a page", html(200, "Welcome"), (1, "acme.directory"));
    check(
        "other JSON",
        Reply::json(200, &json!({"keys": []})),
        (1, "acme.directory"),
    );
    check(
        "larger than a mebibyte",
        Reply::new(200, "application/json", " ".repeat(1024 * 1024 + 1)),
        (1, "acme.unreachable"),
    );
    check(
        "cut short",
        Reply::Raw(b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n{\"newNonce\":".to_vec()),
        (1, "acme.unreachable"),
    );
    check(
        "no HTTP",
        Reply::Raw(b"220 mail.test ESMTP\r\n".to_vec()),
        (1, "acme.unreachable"),
    );
    gallery.compare("directory");
}

#[test]
fn requests_are_counted_even_where_there_is_no_directory() {
    let place = Place::new();
    let ca = Ca::start(&place, |_| Some(Reply::new(404, "text/plain", "")));
    place.write("domains.toml", config(&ca.directory(), ""));
    let report = place
        .run(&["obtain", NAME, "--no-deploy", "--format", "json"])
        .exits(1)
        .json();
    assert_eq!(ca.requests(), ["GET /directory"]);
    assert_eq!(report["ca_requests"], 1);
}

#[test]
fn an_account_or_an_order_that_is_refused_is_told_in_the_cas_own_words() {
    let mut gallery = Gallery::default();
    let refused = (1, "acme.refused");
    gallery.check(
        "a contact that it refuses",
        "POST /account",
        problem(400, "invalidContact", "contact domain has forbidden name"),
        refused,
    );
    gallery.check(
        "a name that it refuses",
        "POST /order",
        Reply::new(
            400,
            "application/problem+json",
            json!({
                "type": "urn:ietf:params:acme:error:rejectedIdentifier",
                "detail": "Cannot issue for \"shop.rare-books.test\"",
                "status": 400,
                "subproblems": [{
                    "type": "urn:ietf:params:acme:error:rejectedIdentifier",
                    "detail": "The ACME server refuses to issue for this domain name",
                    "identifier": {"type": "dns", "value": NAME},
                }],
            })
            .to_string(),
        ),
        refused,
    );
    gallery.check(
        "terms that changed",
        "POST /order",
        problem(403, "userActionRequired", "Terms of service have changed").with(
            "Link",
            "<https://ca.test/terms-2>; rel=\"terms-of-service\"",
        ),
        refused,
    );
    gallery.check(
        "an internal error",
        "POST /order",
        problem(500, "serverInternal", "Error creating new order"),
        refused,
    );
    gallery.check(
        "an internal error as a page",
        "POST /order",
        Reply::new(502, "text/html", "<h1>Bad Gateway</h1>"),
        (1, "acme.status"),
    );
    gallery.check(
        "nonces that cannot be had",
        "HEAD /nonce",
        Reply::new(503, "text/html", "<h1>Unavailable</h1>"),
        (1, "acme.status"),
    );
    gallery.check(
        "an order that is none",
        "POST /order",
        Reply::json(201, &json!({"hello": "world"})).with("Location", "https://ca.test/order/1"),
        (1, "acme.protocol"),
    );
    gallery.compare("refused");
}

#[test]
fn a_rate_limit_is_obeyed_until_it_ends_or_limits_are_skipped() {
    let place = Place::new();
    let ca = Ca::start(&place, |request| {
        (request.line() == "POST /order").then(|| {
            problem(
                429,
                "rateLimited",
                "too many certificates (5) already issued for this exact set of identifiers",
            )
            .with("Retry-After", "86400")
        })
    });
    place.write("domains.toml", config(&ca.directory(), ""));
    let first = place.run(&OBTAIN).exits(75);
    snapshot!(place, "rate_limited", first.stdout);
    let orders = || {
        let requests = ca.requests();
        let orders = requests.iter().filter(|line| *line == "POST /order");
        (requests.len(), orders.count())
    };
    let (requests, 1) = orders() else {
        panic!("{:?}", ca.requests());
    };
    // A second run asks nothing of the CA, and says when it would.
    let second = place.run(&OBTAIN).exits(75);
    snapshot!(place, "backing_off", second.stdout);
    assert_eq!(orders(), (requests, 1));
    let status = place.run(&["status", "--format", "json"]).exits(0).json();
    assert!(status["lineages"][0]["next_try"].is_string());
    // The back-off is certd's own, the time is the CA's.
    let forced = ["obtain", NAME, "--no-deploy", "--force"];
    place.run(&forced).exits(75);
    assert_eq!(orders(), (requests, 1));
    let regardless = [&forced[..], &["--skip-check", "budget"]].concat();
    place.run(&regardless).exits(75);
    assert_eq!(orders().1, 2);
}

#[test]
fn a_refused_order_backs_off_and_a_ca_that_is_down_does_not() {
    #[track_caller]
    fn check(asked: &'static str, reply: Reply, second: i32) {
        let place = Place::new();
        let ca = Ca::start(&place, move |request| {
            (request.line() == asked).then(|| reply.clone())
        });
        place.write("domains.toml", config(&ca.directory(), ""));
        place.run(&OBTAIN).exits(1);
        place.run(&OBTAIN).exits(second);
    }
    let page = Reply::new(503, "text/html", "<h1>Unavailable</h1>");
    check("GET /directory", page.clone(), 1);
    check("POST /order", page, 1);
    check("POST /order", problem(500, "serverInternal", "later"), 1);
    check("POST /order", problem(400, "malformed", "no"), 75);
}

#[test]
fn an_account_is_registered_once_and_kept_for_its_owner_alone() {
    use std::os::unix::fs::PermissionsExt;
    let place = Place::new();
    let ca = Ca::start(&place, |request| {
        (request.line() == "POST /order").then(|| problem(500, "serverInternal", "later"))
    });
    place.write("domains.toml", config(&ca.directory(), ""));
    place.run(&OBTAIN).exits(1);
    let kept = place.read("state/accounts/test.json");
    place.run(&OBTAIN).exits(1);
    assert_eq!(place.read("state/accounts/test.json"), kept);
    let registered = |requests: &[String]| {
        let found = requests.iter().filter(|line| *line == "POST /account");
        found.count()
    };
    assert_eq!(registered(&ca.requests()), 1);
    let file = std::fs::metadata(place.path("state/accounts/test.json")).unwrap();
    assert_eq!(file.permissions().mode() & 0o777, 0o600);
    let state = std::fs::metadata(place.path("state")).unwrap();
    assert_eq!(state.permissions().mode() & 0o777, 0o700);
}

#[test]
fn an_account_that_the_ca_has_forgotten_is_registered_again_once() {
    let place = Place::new();
    let ca = Ca::start(&place, |request| {
        (request.line() == "POST /order")
            .then(|| problem(400, "accountDoesNotExist", "Account is unknown"))
    });
    place.write("domains.toml", config(&ca.directory(), ""));
    place.run(&OBTAIN).exits(1);
    let requests = ca.requests();
    let count = |line: &str| requests.iter().filter(|found| *found == line).count();
    assert_eq!((count("POST /account"), count("POST /order")), (2, 2));
}

#[test]
fn nonces_that_are_refused_for_ever_end() {
    let place = Place::new();
    let ca = Ca::start(&place, |request| {
        (request.line() == "POST /account").then(|| problem(400, "badNonce", "nonce is stale"))
    });
    place.write("domains.toml", config(&ca.directory(), ""));
    let report = place
        .run(&["obtain", NAME, "--no-deploy", "--format", "json"])
        .exits(1)
        .json();
    assert_eq!(codes(&report), ["acme.refused"]);
    let posts = ca
        .requests()
        .iter()
        .filter(|line| *line == "POST /account")
        .count();
    assert!((5..100).contains(&posts), "{posts}");
}

#[test]
fn what_the_directory_asks_for_is_checked_before_an_account_is_made() {
    let mut shown = String::new();
    let mut check = |title: &str, meta: Value, issuer: &str, hmac: Option<&str>, code: &str| {
        let place = Place::new();
        let ca = Ca::start(&place, move |request| {
            (request.line() == "GET /directory").then(|| {
                Reply::json(
                    200,
                    &json!({
                        "newNonce": "https://ca.test/nonce",
                        "newAccount": "https://ca.test/account",
                        "newOrder": "https://ca.test/order",
                        "meta": meta,
                    }),
                )
            })
        });
        place.write("domains.toml", config(&ca.directory(), issuer));
        if let Some(hmac) = hmac {
            place.write_secret("hmac", hmac);
        }
        let run = place.run(&OBTAIN).exits(1);
        assert!(run.stdout.contains(code), "{title}: {run}");
        assert_eq!(ca.requests(), ["GET /directory"], "{title}");
        if let Some(hmac) = hmac.filter(|hmac| !hmac.is_empty()) {
            assert!(!run.stdout.contains(hmac), "{title}: {run}");
        }
        let stdout = place.without_directory(&run.stdout);
        let _ = writeln!(shown, "# {title}\n{stdout}");
    };
    let external = json!({"externalAccountRequired": true});
    let eab = "eab_kid = \"kid-1\"\neab_hmac_file = \"hmac\"";
    check(
        "an external account",
        external.clone(),
        "",
        None,
        "acme.eab",
    );
    check("no HMAC file", external.clone(), eab, None, "acme.eab");
    check(
        "an empty HMAC file",
        external.clone(),
        eab,
        Some(""),
        "acme.eab",
    );
    check("no base64url", external, eab, Some("s3cr*t"), "acme.eab");
    snapshot!(Place::new(), "meta", shown);
}

#[test]
fn a_key_of_an_external_account_may_be_wrapped_once_more() {
    let place = Place::new();
    let tries = AtomicUsize::new(0);
    let ca = Ca::start(&place, move |request| {
        let refused = json!({
            "type": "urn:ietf:params:acme:error:unauthorized",
            "detail": "the binding's signature is wrong",
        });
        let is_first = || tries.fetch_add(1, Ordering::SeqCst) == 0;
        (request.line() == "POST /account" && is_first()).then(|| Reply::json(403, &refused))
    });
    let eab = "eab_kid = \"kid-1\"\neab_hmac_file = \"hmac\"";
    place.write("domains.toml", config(&ca.directory(), eab));
    // `sixteen bytes! ok` in base64, twice, with padding, on two lines.
    place.write("hmac", "YzJsNGRHVmxiaUJp\nZVhSbGN5RWdiMnM9\n");
    place.run(&OBTAIN).exits(1);
    let requests = ca.requests();
    let registered = requests.iter().filter(|line| *line == "POST /account");
    assert_eq!(registered.count(), 2, "{requests:?}");
    assert!(requests.contains(&"POST /order".to_owned()), "{requests:?}");
}

#[test]
fn a_profile_that_the_ca_does_not_have_costs_no_order() {
    for (meta, evidence) in [
        (
            json!({"profiles": {"classic": "a", "tlsserver": "b"}}),
            "classic, tlsserver",
        ),
        (json!({}), "this CA has none"),
    ] {
        let place = Place::new();
        let ca = Ca::start(&place, move |request| {
            (request.line() == "GET /directory").then(|| {
                Reply::json(
                    200,
                    &json!({
                        "newNonce": "https://ca.test/nonce",
                        "newAccount": "https://ca.test/account",
                        "newOrder": "https://ca.test/order",
                        "meta": meta,
                    }),
                )
            })
        });
        let config = config(&ca.directory(), "");
        place.write(
            "domains.toml",
            format!("profile = \"shortlived\"\n{config}"),
        );
        let run = place.run(&OBTAIN).exits(1);
        assert!(run.stdout.contains("acme.profile"), "{run}");
        assert!(run.stdout.contains(evidence), "{run}");
        assert_eq!(ca.requests(), ["GET /directory"]);
    }
}

/// A CA that offers these challenges for the name and finds each invalid once it is answered
fn validating(place: &Place, challenges: Value) -> Ca {
    let answered = AtomicUsize::new(0);
    Ca::start(place, move |request: &Request| {
        // The stub does not know its own port, and a reply needs whole URLs: those of the
        // order's resources are relative to what the JWS of the request names.
        let base = base_of(request)?;
        let url = |path: &str| format!("{base}/{path}");
        let order = |status: &str| {
            json!({
                "status": status,
                "identifiers": [{"type": "dns", "value": NAME}],
                "authorizations": [url("authorization/1")],
                "finalize": url("finalize/1"),
            })
        };
        let error = json!({
            "type": "urn:ietf:params:acme:error:unauthorized",
            "detail": format!("192.0.2.1: Invalid response from http://{NAME}/.well-known/acme-challenge/token: 404"),
            "status": 403,
        });
        let invalid = answered.load(Ordering::SeqCst) > 0;
        let mut challenges = challenges.clone();
        for challenge in challenges.as_array_mut().into_iter().flatten() {
            challenge["url"] = json!(url("challenge/1"));
            challenge["status"] = json!(if invalid { "invalid" } else { "pending" });
            if invalid {
                challenge["error"] = error.clone();
            }
        }
        match request.line().as_str() {
            "POST /order" => {
                Some(Reply::json(201, &order("pending")).with("Location", &url("order/1")))
            }
            "POST /order/1" => {
                let status = if invalid { "invalid" } else { "pending" };
                Some(Reply::json(200, &order(status)))
            }
            "POST /authorization/1" => Some(Reply::json(
                200,
                &json!({
                    "status": if invalid { "invalid" } else { "pending" },
                    "identifier": {"type": "dns", "value": NAME},
                    "challenges": challenges,
                }),
            )),
            "POST /challenge/1" => {
                answered.fetch_add(1, Ordering::SeqCst);
                Some(Reply::json(200, &challenges[0]))
            }
            _ => None,
        }
    })
}

/// `https://HOST:PORT` of the URL in a request's JWS header
fn base_of(request: &Request) -> Option<String> {
    use base64::Engine as _;
    let protected = request.json()["protected"].as_str()?.to_owned();
    let header = base64::prelude::BASE64_URL_SAFE_NO_PAD
        .decode(protected)
        .ok()?;
    let header: Value = serde_json::from_slice(&header).ok()?;
    let url = header["url"].as_str()?;
    let path = url.match_indices('/').nth(2)?.0;
    Some(url[..path].to_owned())
}

#[test]
fn a_challenge_that_the_ca_finds_invalid_is_told_with_its_problem() {
    let place = Place::new();
    let ca = validating(&place, json!([{"type": "http-01", "token": "token"}]));
    place.write("domains.toml", config(&ca.directory(), ""));
    let mut gallery = Gallery::default();
    gallery.check_in("invalid", &place, (1, "acme.validation"));
    gallery.compare("invalid_challenge");
    assert!(ca.requests().contains(&"POST /challenge/1".to_owned()));
    // An attempt was spent: the next one waits.
    place.run(&OBTAIN).exits(75);
}

#[test]
fn what_a_ca_says_no_with_is_shown_whole_with_v() {
    #[track_caller]
    fn check(place: &Place, ca: &Ca, words: &str) {
        place.write("domains.toml", config(&ca.directory(), ""));
        let quiet = place.run(&["obtain", NAME, "--no-deploy"]);
        assert!(!quiet.stderr.contains("says no"), "{quiet}");
        let run = place.run(&["-v", "obtain", NAME, "--no-deploy", "--force"]);
        let line = run.stderr.lines().find(|line| line.contains("says no"));
        let line = line.unwrap_or_else(|| panic!("{run}"));
        assert!(line.replace("\\\"", "\"").contains(words), "{line}");
        assert!(line.contains(&format!("order{{domain={NAME}}}")), "{line}");
    }
    let document = "{\"type\": \"urn:ietf:params:acme:error:rejectedIdentifier\",\n\
        \"instance\": \"https://ca.test/documents/7\"}";
    let place = Place::new();
    let ca = Ca::start(&place, move |request| {
        let refusal = || Reply::new(400, "application/problem+json", document);
        (request.line() == "POST /order").then(refusal)
    });
    check(&place, &ca, &document.replace('\n', " "));
    // An authorization is no refusal: it says that it became invalid.
    let place = Place::new();
    let ca = validating(&place, json!([{"type": "http-01", "token": "token"}]));
    check(&place, &ca, "\"status\":\"invalid\"");
}

#[test]
fn a_token_that_is_a_path_writes_nothing_and_is_not_answered() {
    for token in ["../../../../escaped", "/etc/escaped", "a.b", ""] {
        let place = Place::new();
        let ca = validating(&place, json!([{"type": "http-01", "token": token}]));
        place.write("domains.toml", config(&ca.directory(), ""));
        let run = place.run(&OBTAIN).exits(1);
        assert!(run.stdout.contains("challenge.token"), "{run}");
        assert_eq!(tokens(&place), 0);
        assert!(!place.path("escaped").exists());
        assert!(!ca.requests().contains(&"POST /challenge/1".to_owned()));
    }
}

#[test]
fn a_ca_without_http_01_is_told_with_what_it_offers() {
    let place = Place::new();
    let ca = validating(
        &place,
        json!([
            {"type": "dns-01", "token": "token"},
            {"type": "tls-alpn-01", "token": "token"},
        ]),
    );
    place.write("domains.toml", config(&ca.directory(), ""));
    let mut gallery = Gallery::default();
    gallery.check_in("only others", &place, (1, "acme.no_http01"));
    gallery.compare("no_http01");
}

#[test]
fn words_of_the_ca_cannot_draw_on_the_terminal() {
    let place = Place::new();
    let ca = Ca::start(&place, |request| {
        (request.line() == "POST /order")
            .then(|| problem(400, "malformed", "no\u{1b}[2J\u{7}\r\u{9b}31m way"))
    });
    place.write("domains.toml", config(&ca.directory(), ""));
    let run = place.run(&["obtain", NAME, "--no-deploy", "--color", "never"]);
    assert!(!run.stdout.contains(forbidden), "{:?}", run.stdout);
    let run = place
        .run(&[
            "obtain",
            NAME,
            "--no-deploy",
            "--force",
            "--color",
            "always",
        ])
        .exits(1);
    assert!(!run.stdout.contains("\u{1b}[2J"), "{:?}", run.stdout);
    assert!(
        !run.stdout.contains(['\u{7}', '\r', '\u{9b}']),
        "{:?}",
        run.stdout
    );
}

fn forbidden(c: char) -> bool {
    c.is_control() && c != '\n'
}
