//! Who may open a stream now: choosing the least loaded connection, and opening one more when
//! everybody waits.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use super::connection::Connection;
use super::{ConnectError, Shared, State};

/// The right to one stream on one connection, given back on drop.
pub(super) struct Lease {
    pub(super) connection: Arc<Connection>,
    shared: Arc<Shared>,
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.connection.give_back();
        if self.shared.starving() {
            self.shared.freed.notify_one();
        }
    }
}

/// What asking for a lease gives.
pub(super) enum Grant {
    Given(Lease),
    /// Everything is taken; the number counts the failed openings so far.
    Wait(u64),
    /// There is no connection, and the opening that was waited for failed.
    Failed(Arc<ConnectError>),
}

/// Counts itself among the waiting while it lives.
pub(super) struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    pub(super) fn among(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Waiting(count)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Shared {
    /// A lease, if one is free. `since` is what an earlier `Wait` said.
    pub(super) fn grant(self: &Arc<Self>, since: Option<u64>) -> Grant {
        let mut state = self.lock();
        let idlest = state
            .connections
            .iter()
            .filter(|connection| connection.has_room())
            .min_by_key(|connection| connection.busy());
        if let Some(connection) = idlest {
            let connection = connection.clone();
            connection.take();
            let more = connection.has_room() || state.connections.iter().any(|c| c.has_room());
            match (self.starving(), more) {
                (true, true) => self.freed.notify_one(),
                (true, false) => self.grow(&mut state),
                (false, _) => {}
            }
            return Grant::Given(Lease { connection, shared: self.clone() });
        }
        let failed_meanwhile = since.is_some_and(|since| since < state.failures);
        if failed_meanwhile
            && state.connections.is_empty()
            && let Some(failure) = &state.last_failure
        {
            return Grant::Failed(failure.clone());
        }
        self.grow(&mut state);
        Grant::Wait(state.failures)
    }

    /// Starts opening one more connection, unless one is being opened or all are there.
    fn grow(self: &Arc<Self>, state: &mut State) {
        if state.opener.is_none() && state.connections.len() < self.options.max_connections {
            let opener = tokio::spawn(self.clone().open());
            state.opener = Some(opener.abort_handle());
        }
    }

    async fn open(self: Arc<Self>) {
        if let Some(at) = self.next_opening() {
            tokio::time::sleep_until(at.into()).await;
        }
        let number = {
            let mut state = self.lock();
            // What was starving may have been fed while the opener waited its turn.
            if !self.starving() && !state.connections.is_empty() {
                state.opener = None;
                return;
            }
            state.last_opening = Some(Instant::now());
            state.opened += 1;
            state.opened
        };
        let opened = Connection::open(number, &self).await;
        let mut state = self.lock();
        state.opener = None;
        match opened {
            Ok(connection) if state.closed => connection.close(),
            Ok(connection) => {
                state.last_failure = None;
                state.connections.push(connection);
                self.freed.notify_one();
            }
            Err(err) => {
                tracing::warn!(host = %self.origin.host, "could not open a connection: {err}");
                state.failures += 1;
                state.last_failure = Some(Arc::new(err));
                self.freed.notify_waiters();
            }
        }
    }

    /// The first connection is opened at once; further ones, and one after a failure, in turn.
    fn next_opening(&self) -> Option<Instant> {
        let state = self.lock();
        if state.connections.is_empty() && state.last_failure.is_none() {
            return None;
        }
        state.last_opening.map(|last| last + self.options.stagger)
    }
}
