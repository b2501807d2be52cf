//! One order, in three steps (RFC 8555 section 7.4): [`Session::begin`] places it,
//! [`Pending::prepare`] reads what must be published, [`Pending::finish`] validates, finalizes and
//! downloads.

use std::sync::Arc;

use futures_util::future::join_all;
use instant_acme::{Identifier, NewOrder, Order, OrderStatus};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep};

use super::account::{Credentials, Registration};
use super::authorization::{Answer, Found};
use super::pace::{Deadline, Pace, bounded};
use super::part::Part;
use super::problem::{self, AcmeError, Invalid, is_of_validation, problem_of};
use super::renewal_info::identifier;
use super::reply::{Hints, RetryAfter};
use super::transport::Transport;
use super::{Session, repeat};
use crate::name::DnsName;
use crate::store::account::StoredAccount;

/// An order that was placed
pub struct Pending {
    whole: Part,
    /// Where there are several, they are gone on with side by side in the place of the whole
    parts: Vec<Part>,
    /// For as long as there are parts
    permit: Option<OwnedSemaphorePermit>,
    lanes: Arc<Semaphore>,
    credentials: Credentials,
    answers: Vec<Answer>,
    deadline: Deadline,
}

/// What an order asks for beside its names
#[derive(Clone, Copy, Debug, Default)]
pub struct Wish<'w> {
    /// ACME profile; `None` for the CA's default
    pub profile: Option<&'w str>,
    /// The certificate that it takes the place of (RFC 9773 section 5): the URL of the account that
    /// ordered it, and its DER
    ///
    /// Left out where the account is another one now, or the CA makes no suggestions.
    pub replaces: Option<(&'w str, &'w [u8])>,
}

impl Session {
    /// Places an order for these names
    ///
    /// The order has [`super::Patience::order`] in all, from here to its certificate.
    ///
    /// # Errors
    /// [`AcmeError`]; an account that the CA does not know is registered anew, once.
    pub async fn begin(
        &self,
        names: &[DnsName],
        wish: Wish<'_>,
        registration: Registration<'_>,
    ) -> Result<Pending, AcmeError> {
        self.check_profile(wish.profile)?;
        let deadline = Deadline::after(self.patience.order);
        bounded(
            deadline,
            "an order",
            self.place(names, wish, registration, deadline),
        )
        .await
    }

    /// Takes up an order that was placed before; `None` where the CA has it no more, or it failed
    ///
    /// # Errors
    /// [`AcmeError`] where the CA cannot be asked: the order may still be there.
    pub async fn resume(
        &self,
        url: &str,
        account_url: Option<&str>,
        registration: Registration<'_>,
    ) -> Result<Option<Pending>, AcmeError> {
        let account = self.account(registration).await?;
        if account_url != Some(account.url.as_str()) {
            return Ok(None);
        }
        let deadline = Deadline::after(self.patience.order);
        bounded(deadline, "an order", async move {
            let transport = self.transport();
            let credentials = self.credentials(account);
            let restored = credentials.restore(&transport).await?;
            let mut order = match repeat(async || restored.order(url.to_owned()).await).await {
                Ok(order) => order,
                Err(error) => {
                    let error = problem::explain(problem::ORDER, error, transport.hints());
                    return match error.ends_order() || error.is_not_found() {
                        true => Ok(None),
                        false => Err(error),
                    };
                }
            };
            Ok(match order.state().status {
                OrderStatus::Invalid => None,
                _ => Some(self.pending(order, transport, credentials, deadline)),
            })
        })
        .await
    }

    async fn place(
        &self,
        names: &[DnsName],
        wish: Wish<'_>,
        registration: Registration<'_>,
        deadline: Deadline,
    ) -> Result<Pending, AcmeError> {
        let mut account = self.account(registration).await?;
        let transport = self.transport();
        let replaces = wish
            .replaces
            .filter(|(ordered_by, _)| self.suggests() && *ordered_by == account.url);
        let wish = Wish { replaces, ..wish };
        let mut order = self.new_order(&account, names, wish, &transport).await;
        if order.as_ref().is_err_and(AcmeError::is_account_unknown) {
            account = self.register_again(&account, registration).await?;
            order = self.new_order(&account, names, wish, &transport).await;
        }
        // To name it is a courtesy, and must not keep a certificate from being renewed.
        if wish.replaces.is_some() && order.as_ref().is_err_and(AcmeError::may_be_of_replacement) {
            let wish = Wish {
                replaces: None,
                ..wish
            };
            order = self.new_order(&account, names, wish, &transport).await;
        }
        let credentials = self.credentials(account);
        Ok(self.pending(order?, transport, credentials, deadline))
    }

    fn pending(
        &self,
        order: Order,
        transport: Transport,
        credentials: Credentials,
        deadline: Deadline,
    ) -> Pending {
        Pending {
            whole: Part::whole(order, transport),
            parts: Vec::new(),
            permit: None,
            lanes: Arc::clone(&self.lanes),
            credentials,
            answers: Vec::new(),
            deadline,
        }
    }

    async fn new_order(
        &self,
        account: &StoredAccount,
        names: &[DnsName],
        wish: Wish<'_>,
        transport: &Transport,
    ) -> Result<Order, AcmeError> {
        let replaces = wish.replaces;
        let replaces = replaces.and_then(|(_, certificate)| identifier(certificate));
        let account = self.credentials(account.clone()).restore(transport).await?;
        let identifiers: Vec<Identifier> = names
            .iter()
            .map(|name| Identifier::Dns(name.to_string()))
            .collect();
        let mut request = NewOrder::new(&identifiers);
        if let Some(profile) = wish.profile {
            request = request.profile(profile);
        }
        if let Some(replaces) = replaces {
            request = request.replaces(replaces);
        }
        let placed = repeat(async || account.new_order(&request).await).await;
        let placed = match (placed, transport.hints().location) {
            // The order is there, although the CA does not reflect `replaces` as RFC 9773 section 5
            // has it.
            (Err(error), Some(url)) if wish.replaces.is_some() && problem::is_misread(&error) => {
                repeat(async || account.order(url.clone()).await).await
            }
            (placed, _) => placed,
        };
        placed.map_err(|error| problem::explain(problem::ORDER, error, transport.hints()))
    }
}

impl Pending {
    /// What must be published; empty where the CA still holds every authorization valid
    pub fn answers(&self) -> &[Answer] {
        &self.answers
    }

    /// URL of the order
    pub fn url(&self) -> &str {
        self.whole.order.url()
    }

    /// URL of the account that ordered
    pub fn account_url(&self) -> &str {
        &self.credentials.account.url
    }

    /// Whether the CA has issued, or is about to: nothing but the certificate is missing
    pub fn is_issued(&mut self) -> bool {
        let status = self.whole.order.state().status;
        matches!(status, OrderStatus::Processing | OrderStatus::Valid)
    }

    /// Reads what must be published for these names, where something still must be
    ///
    /// An order with more authorizations than names is refused before one of them is read.
    ///
    /// # Errors
    /// [`AcmeError`]; the order is there, and may be gone on with, unless that ends it
    /// ([`AcmeError::ends_order`]).
    pub async fn prepare(&mut self, names: &[DnsName]) -> Result<(), AcmeError> {
        let (found, names) = (self.whole.len(), names.len());
        if found > names {
            return Err(AcmeError::Crowded { names, found });
        }
        match self.whole.order.state().status {
            OrderStatus::Pending => {
                let deadline = self.deadline;
                bounded(deadline, "its challenges", self.fetch_challenges()).await
            }
            _ => Ok(()),
        }
    }

    /// Has the names validated, finalizes with `csr`, and downloads the chain as PEM
    ///
    /// Dropping the future abandons the order at the CA, where it expires.
    ///
    /// # Errors
    /// [`AcmeError`]; [`AcmeError::Validation`] with the CA's document for the name at fault.
    pub async fn finish(mut self, csr: &[u8]) -> Result<String, AcmeError> {
        let deadline = self.deadline;
        bounded(deadline, "a certificate", async move {
            self.answer_challenges().await?;
            // Names that fail together are told together, where each has had a moment.
            self.poll_past(OrderStatus::Pending, Instant::now()).await?;
            let asked = Instant::now();
            self.finalize(csr).await?;
            self.poll_past(OrderStatus::Processing, asked).await?;
            let chain = self.download().await?;
            for part in self.parts.iter().chain([&self.whole]) {
                part.transport.leave_nonce();
            }
            Ok(chain)
        })
        .await
    }

    /// Reads each authorization and notes the HTTP-01 challenge of those that are pending
    async fn fetch_challenges(&mut self) -> Result<(), AcmeError> {
        self.divide().await;
        let reading = self.at_once().iter_mut().map(Part::read);
        let mut found: Vec<_> = join_all(reading).await.into_iter().flatten().collect();
        // Of several that go wrong the first name is told.
        found.sort_by_key(|(position, _)| *position);
        for (_, found) in found {
            match found? {
                Found::Valid => {}
                Found::Challenge(answer) => self.answers.push(answer),
                Found::Missing { name, offered } => {
                    return Err(AcmeError::NoHttp01 { name, offered });
                }
            }
        }
        Ok(())
    }

    /// Divides an order with several names, unless others have taken what the CA is asked at once
    ///
    /// What cannot be divided is gone on with as a whole.
    async fn divide(&mut self) {
        let lanes = (2..=parts(self.whole.len())).rev().find_map(|lanes| {
            let count = u32::try_from(lanes).ok()?;
            let permit = Arc::clone(&self.lanes).try_acquire_many_owned(count);
            Some((lanes, permit.ok()?))
        });
        let Some((lanes, permit)) = lanes else {
            return;
        };
        match self.whole.divided(lanes, &self.credentials).await {
            Ok(parts) => (self.parts, self.permit) = (parts, Some(permit)),
            Err(error) => tracing::debug!(%error, "the order is not divided"),
        }
    }

    /// What is gone on with side by side
    fn at_once(&mut self) -> &mut [Part] {
        match self.parts.as_mut_slice() {
            [] => std::slice::from_mut(&mut self.whole),
            parts => parts,
        }
    }

    async fn answer_challenges(&mut self) -> Result<(), AcmeError> {
        if !matches!(self.whole.order.state().status, OrderStatus::Pending) {
            return Ok(());
        }
        let telling = self.at_once().iter_mut().map(Part::set_ready);
        let told = join_all(telling).await;
        let refused = told.into_iter().filter_map(Result::err);
        if let Some((position, error)) = refused.min_by_key(|(position, _)| *position) {
            return Err(self.explain_validation(error, position));
        }
        let hints = self.parts.iter().map(|part| part.transport.hints());
        let longest = hints.max_by_key(|hints| hints.retry_after.map(|RetryAfter(wait)| wait));
        if let Some(hints) = longest {
            self.whole.transport.note(hints);
        }
        Ok(())
    }

    /// The error of a challenge that the CA refused at once
    fn explain_validation(&self, error: AcmeError, position: usize) -> AcmeError {
        let answer = self
            .answers
            .iter()
            .find(|answer| answer.position == position);
        match (error, answer) {
            (AcmeError::Refused { problem, .. }, Some(answer)) if is_of_validation(&problem) => {
                AcmeError::Validation(vec![Invalid {
                    name: answer.name.clone(),
                    problem: *problem,
                }])
            }
            (other, _) => other,
        }
    }

    /// Polls the order until it has left a status; an order that became invalid is an error
    ///
    /// `asked` is when the CA was asked for what it is at.
    async fn poll_past(&mut self, status: OrderStatus, asked: Instant) -> Result<(), AcmeError> {
        let mut pace = Pace::after(asked.elapsed());
        let mut failures = 0;
        while self.whole.order.state().status == status {
            let asked = self.whole.transport.hints().retry_after;
            let Some(wait) = pace.wait(asked, self.deadline.until_last_look()) else {
                return Err(self.at_work());
            };
            sleep(wait).await;
            match self.refresh().await {
                Ok(()) => failures = 0,
                Err(error) if self.is_worth_another_look(&error, failures) => failures += 1,
                Err(error) => return Err(error),
            }
        }
        if self.whole.order.state().status == OrderStatus::Invalid {
            return Err(self.why_invalid().await);
        }
        Ok(())
    }

    /// What the CA was doing when the order's time was over
    fn at_work(&mut self) -> AcmeError {
        AcmeError::AtWork {
            doing: match self.whole.order.state().status {
                OrderStatus::Pending => "validating",
                _ => "issuing",
            },
            after: self.deadline.after,
        }
    }

    /// Whether a failed poll of the order may be repeated before the order's time is over
    fn is_worth_another_look(&self, error: &AcmeError, failures: u32) -> bool {
        let left = self.deadline.at.saturating_duration_since(Instant::now());
        error.is_transient() && failures < TRANSIENT && !error.asks_for_more_than(left)
    }

    async fn refresh(&mut self) -> Result<(), AcmeError> {
        let order = &mut self.whole.order;
        repeat(async || order.refresh().await.map(|_| ()))
            .await
            .map_err(|error| {
                problem::explain("the order's state", error, self.whole.transport.hints())
            })
    }

    /// The problems that made the order invalid: they stand in the authorizations, not in the order
    async fn why_invalid(&mut self) -> AcmeError {
        let asking = self.at_once().iter_mut().map(Part::problems);
        let mut invalid: Vec<_> = join_all(asking).await.into_iter().flatten().collect();
        invalid.sort_by_key(|(position, _)| *position);
        let invalid: Vec<Invalid> = invalid.into_iter().map(|(_, invalid)| invalid).collect();
        if !invalid.is_empty() {
            return AcmeError::Validation(invalid);
        }
        match &self.whole.order.state().error {
            Some(problem) => AcmeError::Refused {
                what: "the finalized order",
                problem: Box::new(problem_of(problem)),
                hints: Hints::default(),
            },
            None => AcmeError::Protocol {
                what: "the finalized order",
                reason: "it is invalid without a reason".to_owned(),
            },
        }
    }

    async fn finalize(&mut self, csr: &[u8]) -> Result<(), AcmeError> {
        if self.whole.order.state().status != OrderStatus::Ready {
            return Ok(());
        }
        let order = &mut self.whole.order;
        let finalized = repeat(async || order.finalize_csr(csr).await)
            .await
            .map_err(|error| problem::explain("the CSR", error, self.whole.transport.hints()));
        match finalized {
            // The answer to a first attempt was lost, and the CA is at work already.
            Err(error) if error.is_not_ready() => {
                self.refresh().await?;
                match self.whole.order.state().status {
                    OrderStatus::Processing | OrderStatus::Valid => Ok(()),
                    _ => Err(error),
                }
            }
            outcome => outcome,
        }
    }

    async fn download(&mut self) -> Result<String, AcmeError> {
        let order = &mut self.whole.order;
        let chain = repeat(async || order.certificate().await)
            .await
            .map_err(|error| {
                problem::explain("the certificate", error, self.whole.transport.hints())
            })?;
        chain.ok_or_else(|| AcmeError::Protocol {
            what: "the certificate",
            reason: "the order is processing again".to_owned(),
        })
    }
}

/// How many parts of an order with so many names are gone on with side by side
pub(super) fn parts(names: usize) -> usize {
    match names {
        0 | 1 => 0,
        names => names.min(PARTS),
    }
}

/// Enough for all names of most domains, and half of what a CA is asked at once
const PARTS: usize = 8;
/// Looks at an order that may fail in a row before the order is given up
const TRANSIENT: u32 = 3;
