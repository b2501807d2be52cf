//! Which findings of several domains are one: what is wrong with the host, with a CA or with a name
//! server is told once, whatever number of domains it stops.

use std::collections::{BTreeSet, HashMap, HashSet};

use super::DomainReport;
use crate::finding::{Finding, Severity};

/// What was found for one domain
#[derive(Clone, Debug)]
pub struct Findings<'r> {
    /// Its primary name
    pub name: &'r str,
    /// All its names
    pub names: Vec<&'r str>,
    /// Everything that was found
    pub findings: Vec<&'r Finding>,
}

impl<'r> From<&'r DomainReport> for Findings<'r> {
    fn from(domain: &'r DomainReport) -> Self {
        Self {
            name: &domain.name,
            names: domain.names.iter().map(String::as_str).collect(),
            findings: domain.findings.iter().collect(),
        }
    }
}

/// Something wrong that several domains have in common
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cause<'r> {
    /// As it was found for the first of them
    pub finding: &'r Finding,
    /// Their primary names
    pub domains: Vec<&'r str>,
    /// Codes of what is wrong as well and follows from it, each once
    pub consequences: BTreeSet<&'static str>,
}

/// What domains have in common
#[derive(Clone, Debug, Default)]
pub struct Causes<'r> {
    /// In the order in which they were found
    pub causes: Vec<Cause<'r>>,
    /// For each domain what is told by no cause, and followed from none
    pub left: Vec<Vec<&'r Finding>>,
}

/// What makes two findings the same: code, evidence but for own names, cure
type Essence<'r> = (&'static str, String, Option<&'r str>);

impl<'r> Causes<'r> {
    /// What these domains have in common
    ///
    /// Two findings are one where they have the same words, but for the domain's own names in what
    /// was seen, and one cure for all: a cure that names its domain is to be copied, and stays there,
    /// unless another domain was told the very same.
    pub fn of(all: &[Findings<'r>]) -> Self {
        let shared = shared(all);
        let (mut causes, mut places) = (Self::default(), HashMap::new());
        for domain in all {
            let mut common = Vec::new();
            let mut left = Vec::new();
            for finding in &domain.findings {
                let essence = essence(domain, finding);
                match essence.filter(|essence| shared.contains(essence)) {
                    Some(essence) if finding.severity >= Severity::Warning => {
                        common.push((*finding, essence));
                    }
                    _ => left.push(*finding),
                }
            }
            let above: Vec<(&'static str, Essence<'r>)> = common
                .iter()
                .filter(|(finding, _)| finding.severity == Severity::Failure)
                .map(|(finding, essence)| (finding.code, essence.clone()))
                .collect();
            let cause_of = |finding: &Finding| {
                let mut above = above.iter();
                above.find(|(code, _)| follows(code, finding.code))
            };
            for (finding, essence) in &common {
                if cause_of(finding).is_none() {
                    causes.at(&mut places, essence, finding).stop(domain.name);
                }
            }
            // Afterwards: a consequence may stand before its cause, and begins none.
            let mut follow = |finding: &'r Finding| match cause_of(finding) {
                Some((_, above)) => {
                    causes.at(&mut places, above, finding).follow(finding);
                    true
                }
                None => false,
            };
            for (finding, _) in &common {
                follow(finding);
            }
            left.retain(|finding| !follow(finding));
            causes.left.push(left);
        }
        causes
    }

    /// The cause with this essence, which this finding begins if it is new
    fn at(
        &mut self,
        places: &mut HashMap<Essence<'r>, usize>,
        essence: &Essence<'r>,
        finding: &'r Finding,
    ) -> &mut Cause<'r> {
        let next = self.causes.len();
        let place = *places.entry(essence.clone()).or_insert(next);
        if place == next {
            self.causes.push(Cause {
                finding,
                domains: Vec::new(),
                consequences: BTreeSet::new(),
            });
        }
        &mut self.causes[place]
    }
}

impl<'r> Cause<'r> {
    /// The first of the domains, and how many more there are
    pub fn some_domains(&self) -> String {
        let shown = self.domains.len().min(NAMED);
        let names = self.domains[..shown].join(", ");
        match self.domains.len() - shown {
            0 => names,
            more => format!("{names} and {more} more"),
        }
    }

    fn stop(&mut self, domain: &'r str) {
        if self.domains.last() != Some(&domain) {
            self.domains.push(domain);
        }
    }

    fn follow(&mut self, finding: &Finding) {
        self.consequences.insert(finding.code);
    }
}

/// What at least two domains have
fn shared<'r>(all: &[Findings<'r>]) -> HashSet<Essence<'r>> {
    let mut counts: HashMap<Essence<'r>, usize> = HashMap::new();
    for domain in all {
        let essences = domain.findings.iter();
        let essences: HashSet<_> = essences
            .filter_map(|finding| essence(domain, finding))
            .collect();
        for essence in essences {
            *counts.entry(essence).or_default() += 1;
        }
    }
    let shared = counts.into_iter().filter(|(_, count)| *count > 1);
    shared.map(|(essence, _)| essence).collect()
}

/// What a finding has in common with one of another domain; `None` for good news
///
/// Where what is to be done names the domain, nothing is masked: it is for all only where it names them
/// all.
fn essence<'r>(domain: &Findings<'_>, finding: &'r Finding) -> Option<Essence<'r>> {
    let names = || domain.names.iter().copied().chain([domain.name]);
    let cure = finding.cure.as_deref();
    if finding.severity == Severity::Ok {
        return None;
    }
    if names().any(|name| cure.is_some_and(|cure| cure.contains(name))) {
        return Some((finding.code, finding.evidence.clone(), cure));
    }
    let mut evidence = finding.evidence.clone();
    let mut longest_first: Vec<&str> = names().collect();
    longest_first.sort_by_key(|name| std::cmp::Reverse(name.len()));
    for name in longest_first {
        if evidence.contains(name) {
            evidence = evidence.replace(name, MASK);
        }
    }
    Some((finding.code, evidence, cure))
}

/// Whether something would not be wrong, or not be told, without that cause
fn follows(cause: &str, code: &str) -> bool {
    CONSEQUENCES
        .iter()
        .any(|(causes, codes)| causes.contains(&cause) && codes.contains(&code))
}

/// Domains that are named of those that have a cause in common
const NAMED: usize = 5;

/// What stands for a domain's own name; no name has such a character
const MASK: &str = "\0";

/// Codes, and those of what follows from them
const CONSEQUENCES: &[(&[&str], &[&str])] = &[
    (
        &[
            "acme.directory",
            "acme.not_trusted",
            "acme.status",
            "acme.unreachable",
        ],
        &["order.retry"],
    ),
    (
        &[
            "dns.failed",
            "dns.no_server",
            "dns.refused",
            "dns.timeout",
            "host.descriptors",
        ],
        &["caa.unread", "http.unasked"],
    ),
    (
        &["files.forbidden", "files.full", "files.missing"],
        &["store.not_writable"],
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn down() -> Finding {
        Finding::failure("acme.unreachable", "cannot reach the CA").with_cure("see to the network")
    }

    fn silent(name: &str) -> Finding {
        Finding::failure("dns.timeout", format!("no answer for {name}")).with_cure("name others")
    }

    /// Code, domains and consequences of a cause
    type Told = (String, usize, Vec<&'static str>);

    /// What is told of domains with these findings: code, domains, consequences of each cause, and
    /// how many findings are left to the domains
    fn told(domains: &[(&str, Vec<Finding>)]) -> (Vec<Told>, usize) {
        let names: Vec<Vec<String>> = domains
            .iter()
            .map(|(name, _)| vec![(*name).to_owned(), format!("www.{name}")])
            .collect();
        let all: Vec<Findings<'_>> = domains
            .iter()
            .zip(&names)
            .map(|((name, findings), names)| Findings {
                name,
                names: names.iter().map(String::as_str).collect(),
                findings: findings.iter().collect(),
            })
            .collect();
        let causes = Causes::of(&all);
        let left = causes.left.iter().map(Vec::len).sum();
        let causes = causes.causes.into_iter().map(|cause| {
            let consequences = cause.consequences.into_iter().collect();
            (
                cause.finding.code.to_owned(),
                cause.domains.len(),
                consequences,
            )
        });
        (causes.collect(), left)
    }

    #[test]
    fn a_ca_that_is_down_is_one_cause_and_what_follows_is_counted() {
        let retry = || Finding::note("order.retry", "nothing was spent");
        let (causes, left) = told(&[
            ("a.test", vec![down(), retry()]),
            ("b.test", vec![down(), retry()]),
            ("c.test", vec![]),
        ]);
        assert_eq!(
            causes,
            [("acme.unreachable".to_owned(), 2, vec!["order.retry"])]
        );
        assert_eq!(left, 0);
    }

    #[test]
    fn a_resolver_that_is_down_is_one_cause_whatever_the_name() {
        let unread =
            |name: &str| Finding::warning("caa.unread", format!("CAA of {name} cannot be read"));
        let of = |name: &str| {
            let www = format!("www.{name}");
            vec![silent(name), silent(&www), unread(name), unread(&www)]
        };
        let (causes, left) = told(&[("a.test", of("a.test")), ("b.test", of("b.test"))]);
        assert_eq!(causes, [("dns.timeout".to_owned(), 2, vec!["caa.unread"])]);
        assert_eq!(left, 0);
    }

    #[test]
    fn what_is_to_be_done_for_each_is_told_of_each() {
        let of = |name: &str| {
            let finding = Finding::failure("dns.nxdomain", format!("no {name}"));
            vec![finding.with_cure(format!("add a record for {name}"))]
        };
        let (causes, left) = told(&[("a.test", of("a.test")), ("b.test", of("b.test"))]);
        assert_eq!((causes.len(), left), (0, 2));
    }

    #[test]
    fn what_is_to_be_done_once_for_all_is_told_once_though_it_names_them() {
        let steps = || {
            let evidence = "nginx cannot start without the first certificate of a.test";
            let finding = Finding::failure("target.first_certificate", evidence);
            vec![finding.with_cure("certd obtain a.test b.test")]
        };
        let (causes, left) = told(&[
            ("a.test", steps()),
            ("b.test", steps()),
            // One that has a certificate, behind the same nginx.
            ("c.test", steps()),
        ]);
        let expected = ("target.first_certificate".to_owned(), 3, vec![]);
        assert_eq!((causes, left), (vec![expected], 0));
    }

    #[test]
    fn what_one_domain_has_is_its_own() {
        let (causes, left) = told(&[("a.test", vec![down()]), ("b.test", vec![silent("b.test")])]);
        assert_eq!((causes.len(), left), (0, 2));
        // Twice with one domain is not two domains.
        let twice = vec![silent("a.test"), silent("www.a.test")];
        assert_eq!(told(&[("a.test", twice)]).1, 2);
    }

    #[test]
    fn two_causes_are_two() {
        let docker = || Finding::failure("docker.no_socket", "no socket").with_cure("start it");
        let (causes, left) = told(&[
            ("a.test", vec![docker(), down()]),
            ("b.test", vec![docker(), down()]),
        ]);
        assert_eq!((causes.len(), left), (2, 0));
    }

    #[test]
    fn notes_and_good_news_are_no_cause() {
        let note = || {
            vec![
                Finding::note("http.hairpin", "a note"),
                Finding::ok("http.ok", "good"),
            ]
        };
        let (causes, left) = told(&[("a.test", note()), ("b.test", note())]);
        assert_eq!((causes.len(), left), (0, 4));
    }

    #[test]
    fn one_that_differs_keeps_what_only_it_has() {
        let (causes, left) = told(&[
            ("a.test", vec![down()]),
            (
                "b.test",
                vec![down(), Finding::warning("dns.alias", "an alias")],
            ),
        ]);
        assert_eq!(causes.len(), 1);
        assert_eq!(left, 1);
    }
}
