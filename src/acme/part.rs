//! Parts of an order, which are gone on with side by side.
//!
//! instant-acme lends an order to one request at a time. So each part is an order to it, with the same
//! URL and a share of the authorizations: its transport knows what that one looks like, and nothing
//! is sent for it.

use instant_acme::Order;
use serde_json::json;

use super::account::Credentials;
use super::authorization::{Found, answer_at, challenge_problem, set_ready};
use super::problem::{self, AcmeError, Invalid};
use super::repeat;
use super::transport::Transport;

/// An order, or what one of several that share its authorizations has of them
pub(super) struct Part {
    pub(super) order: Order,
    pub(super) transport: Transport,
    /// Positions of its authorizations in the whole order
    positions: Vec<usize>,
}

impl Part {
    /// The whole of an order
    pub(super) fn whole(mut order: Order, transport: Transport) -> Self {
        let positions = (0..order.state().authorizations.len()).collect();
        Self {
            order,
            transport,
            positions,
        }
    }

    /// How many authorizations it has
    pub(super) fn len(&self) -> usize {
        self.positions.len()
    }

    /// So many parts of it, with its authorizations in turn
    pub(super) async fn divided(
        &mut self,
        parts: usize,
        credentials: &Credentials,
    ) -> Result<Vec<Self>, AcmeError> {
        let mut divided = Vec::with_capacity(parts);
        for first in 0..parts {
            let positions: Vec<usize> = (first..self.len()).step_by(parts).collect();
            divided.push(self.share(positions, credentials).await?);
        }
        Ok(divided)
    }

    async fn share(
        &mut self,
        positions: Vec<usize>,
        credentials: &Credentials,
    ) -> Result<Self, AcmeError> {
        let state = self.order.state();
        let authorizations = positions
            .iter()
            .map(|position| &state.authorizations[*position]);
        let urls: Vec<&str> = authorizations.map(|one| one.url.as_str()).collect();
        let document = json!({
            "status": "pending",
            "authorizations": urls,
            "finalize": state.finalize,
        });
        let url = self.order.url().to_owned();
        let transport = self.transport.beside(url.clone(), document.to_string());
        let account = credentials.restore(&transport).await?;
        let order = account.order(url).await;
        let order =
            order.map_err(|error| problem::explain(problem::ORDER, error, transport.hints()))?;
        Ok(Self {
            order,
            transport,
            positions,
        })
    }

    /// Reads each authorization, up to one that cannot be read; each with its position
    pub(super) async fn read(&mut self) -> Vec<(usize, Result<Found, AcmeError>)> {
        let mut all = Vec::with_capacity(self.positions.len());
        for (index, position) in self.positions.iter().enumerate() {
            let order = &mut self.order;
            let found = repeat(async || answer_at(order, index).await).await;
            let found = found.map(|found| found.at(*position)).map_err(|error| {
                problem::explain("an authorization", error, self.transport.hints())
            });
            let is_over = found.is_err();
            all.push((*position, found));
            if is_over {
                break;
            }
        }
        all
    }

    /// Tells the CA that each challenge can be validated, up to one that it refuses at once
    ///
    /// # Errors
    /// That one's, with the position of its authorization.
    pub(super) async fn set_ready(&mut self) -> Result<(), (usize, AcmeError)> {
        for (index, position) in self.positions.iter().enumerate() {
            let order = &mut self.order;
            let ready = repeat(async || set_ready(order, index).await).await;
            ready.map_err(|error| {
                let hints = self.transport.hints();
                (*position, problem::explain("a challenge", error, hints))
            })?;
        }
        Ok(())
    }

    /// Why authorizations are invalid, as far as the CA says it; each with its position
    pub(super) async fn problems(&mut self) -> Vec<(usize, Invalid)> {
        let mut invalid = Vec::new();
        for (index, position) in self.positions.iter().enumerate() {
            let order = &mut self.order;
            let found = repeat(async || challenge_problem(order, index).await).await;
            if let Ok(Some((name, problem))) = found {
                invalid.push((*position, Invalid { name, problem }));
            }
        }
        invalid
    }
}
