//! A credential that ends and is fetched anew: one fetch in flight a lane, shared by all who wait.
//!
//! It is fetched on first use, fetched again in the background while the old one still serves, and
//! once more when the vendor says it has ended early. Deliberately absent: a clock (time comes in)
//! and any knowledge of how to fetch (see [`Source`]).

use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared};
use tokio::task::AbortHandle;

use super::secret::Secret;
use crate::{Outcome, Reason};

/// The longest a fetch may take; shorter than the 10 s that dispatch gives a call.
const FETCH_TIMEOUT: Duration = Duration::from_secs(8);
/// The pause after a failed fetch that names none, so that a broken endpoint is not hammered.
const BACK_OFF: Duration = Duration::from_secs(2);
/// The same when the endpoint refuses the lane's secret: only a person can mend that.
const BACK_OFF_REFUSED: Duration = Duration::from_secs(30);
/// Forced fetches are at least this far apart: a vendor that refuses every fresh credential would
/// otherwise use up the quota of the token endpoint.
const FORCED_APART: Duration = Duration::from_secs(5);

/// What the vendor's requests carry, and until when.
#[derive(Debug, PartialEq, Eq)]
pub struct Credential {
    /// The value itself.
    pub value: Secret,
    /// From here on it is of no use.
    pub expires_at: SystemTime,
    /// From here on a new one is fetched in the background.
    refresh_at: SystemTime,
}

impl Credential {
    /// A credential fetched at `now` that lives for `lifetime`.
    pub fn new(value: Secret, now: SystemTime, lifetime: Duration) -> Self {
        let ahead = (lifetime / 4).min(Duration::from_secs(300));
        Credential { value, expires_at: now + lifetime, refresh_at: now + lifetime - ahead }
    }
}

/// Where a credential comes from.
pub trait Source: Send + Sync + 'static {
    /// Asks the vendor for a new one; the failure is what it means for the pushes that need it.
    fn fetch(
        &self,
        now: SystemTime,
    ) -> impl Future<Output = Result<Credential, Outcome>> + Send + '_;
}

/// What a caller of [`Cache`] gets.
pub type Fetched = Result<Arc<Credential>, Outcome>;

/// One lane's credential.
pub struct Cache<S> {
    shared: Arc<Inner<S>>,
}

struct Inner<S> {
    source: S,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    current: Option<Arc<Credential>>,
    flight: Option<Flight>,
    /// The last failure, and until when nobody asks again.
    failed: Option<(SystemTime, Outcome)>,
    forced_at: Option<SystemTime>,
}

/// A fetch under way. It runs as a task of its own, because dispatch may drop any caller that
/// waits for it, and because nobody waits for a refresh in the background.
struct Flight {
    landing: Shared<BoxFuture<'static, Fetched>>,
    task: AbortHandle,
}

/// What a caller does next.
enum Step {
    Done(Fetched),
    Wait(Shared<BoxFuture<'static, Fetched>>),
}

impl<S: Source> Cache<S> {
    /// An empty cache; nothing is fetched before the first use.
    pub fn new(source: S) -> Self {
        Cache { shared: Arc::new(Inner { source, state: Mutex::default() }) }
    }

    /// Where the credential comes from, for a probe that must not be answered from the cache.
    pub fn source(&self) -> &S {
        &self.shared.source
    }

    /// When the credential in hand ends, if there is one.
    pub fn expires_at(&self) -> Option<SystemTime> {
        self.shared.lock().current.as_ref().map(|current| current.expires_at)
    }

    /// The credential to use now.
    pub async fn get(&self, now: SystemTime) -> Fetched {
        let step = self.next_step(now);
        Self::finish(step).await
    }

    /// The credential to use after the vendor said that `stale` has ended: the one fetched
    /// meanwhile, or a new one.
    pub async fn refresh(&self, stale: &Credential, now: SystemTime) -> Fetched {
        let step = self.forced_step(stale, now);
        Self::finish(step).await
    }

    async fn finish(step: Step) -> Fetched {
        match step {
            Step::Done(fetched) => fetched,
            Step::Wait(landing) => landing.await,
        }
    }

    fn next_step(&self, now: SystemTime) -> Step {
        let mut state = self.shared.lock();
        let usable = state.current.clone().filter(|current| now < current.expires_at);
        match usable {
            Some(current) => {
                if current.refresh_at <= now && state.failure(now).is_none() {
                    // Nobody waits for this one: it runs as a task, and the old one serves.
                    drop(self.flight(&mut state, now));
                }
                Step::Done(Ok(current))
            }
            None => match state.failure(now) {
                Some(failed) => Step::Done(Err(failed)),
                None => Step::Wait(self.flight(&mut state, now)),
            },
        }
    }

    fn forced_step(&self, stale: &Credential, now: SystemTime) -> Step {
        let mut state = self.shared.lock();
        if state.current.as_ref().is_some_and(|current| current.value == stale.value) {
            let again = state.forced_at.map(|at| at + FORCED_APART).filter(|again| now < *again);
            if let Some(again) = again {
                return Step::Done(Err(refused_again(again.duration_since(now).ok())));
            }
            state.forced_at = Some(now);
            state.current = None;
        }
        drop(state);
        self.next_step(now)
    }

    /// The fetch under way, or a new one.
    fn flight(&self, state: &mut State, now: SystemTime) -> Shared<BoxFuture<'static, Fetched>> {
        // A finished task takes its own flight away; one that is still here panicked.
        if let Some(flight) = state.flight.as_ref().filter(|flight| !flight.task.is_finished()) {
            return flight.landing.clone();
        }
        let task = tokio::spawn(Arc::clone(&self.shared).fetch(now));
        let abort = task.abort_handle();
        let landing = task.map(|ended| ended.unwrap_or_else(|_| Err(broken_off()))).boxed();
        let landing = landing.shared();
        state.flight = Some(Flight { landing: landing.clone(), task: abort });
        landing
    }
}

impl<S: Source> Inner<S> {
    async fn fetch(self: Arc<Self>, now: SystemTime) -> Fetched {
        let fetched = tokio::time::timeout(FETCH_TIMEOUT, self.source.fetch(now)).await;
        let fetched = fetched.unwrap_or_else(|_| Err(timed_out())).map(Arc::new);
        let mut state = self.lock();
        state.flight = None;
        match &fetched {
            Ok(credential) => {
                state.current = Some(Arc::clone(credential));
                state.failed = None;
            }
            Err(outcome) => state.failed = Some((now + back_off(outcome), outcome.clone())),
        }
        fetched
    }
}

impl<S> Inner<S> {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<S> Drop for Cache<S> {
    fn drop(&mut self) {
        if let Some(flight) = self.shared.lock().flight.take() {
            flight.task.abort();
        }
    }
}

impl State {
    fn failure(&self, now: SystemTime) -> Option<Outcome> {
        self.failed.as_ref().filter(|(until, _)| now < *until).map(|(_, outcome)| outcome.clone())
    }
}

fn back_off(outcome: &Outcome) -> Duration {
    match outcome {
        Outcome::Throttled { after, .. } | Outcome::Retry { after: Some(after), .. } => *after,
        Outcome::Unauthorized { .. } => BACK_OFF_REFUSED,
        Outcome::Retry { after: None, .. }
        | Outcome::Accepted { .. }
        | Outcome::Unregistered { .. }
        | Outcome::Rejected { .. } => BACK_OFF,
    }
}

fn refused_again(after: Option<Duration>) -> Outcome {
    let hint = "the vendor refuses a credential that was fetched a moment ago";
    Outcome::Retry { after, reason: Reason::new("credential", hint) }
}

fn broken_off() -> Outcome {
    let hint = "fetching the credential was broken off";
    Outcome::Retry { after: None, reason: Reason::new("credential", hint) }
}

fn timed_out() -> Outcome {
    let hint = "the vendor's token endpoint did not answer in time";
    Outcome::Retry { after: None, reason: Reason::new("timeout", hint) }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use futures_util::future::join_all;
    use tokio::sync::Semaphore;

    use super::*;

    /// Hands out `credential-1`, `credential-2`, …, living 1,000 s, each when `open` lets it.
    #[derive(Clone)]
    struct Counter {
        fetches: Arc<AtomicU64>,
        open: Arc<Semaphore>,
        broken: bool,
    }

    impl Source for Counter {
        async fn fetch(&self, now: SystemTime) -> Result<Credential, Outcome> {
            let count = self.fetches.fetch_add(1, Ordering::SeqCst) + 1;
            self.open.acquire().await.expect("never closed").forget();
            if self.broken {
                return Err(timed_out());
            }
            let value = Secret::new(format!("credential-{count}"));
            Ok(Credential::new(value, now, Duration::from_secs(1000)))
        }
    }

    /// A cache whose endpoint answers the first `permits` fetches.
    fn cache(permits: usize, broken: bool) -> (Cache<Counter>, Counter) {
        let open = Arc::new(Semaphore::new(permits));
        let counter = Counter { fetches: Arc::default(), open, broken };
        (Cache::new(counter.clone()), counter)
    }

    fn at(secs: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(secs)
    }

    fn value(fetched: &Fetched) -> &str {
        fetched.as_ref().expect("a credential").value.expose()
    }

    async fn thousand(cache: &Cache<Counter>, secs: u64) -> Vec<Fetched> {
        join_all((0..1000).map(|_| cache.get(at(secs)))).await
    }

    #[tokio::test]
    async fn a_thousand_callers_share_one_fetch_at_the_start_and_one_at_expiry() {
        let (cache, counter) = cache(9, false);
        for fetched in thousand(&cache, 0).await {
            assert_eq!(value(&fetched), "credential-1");
        }
        for fetched in thousand(&cache, 1000).await {
            assert_eq!(value(&fetched), "credential-2");
        }
        assert_eq!(counter.fetches.load(Ordering::SeqCst), 2);
    }

    #[tokio::test]
    async fn the_old_one_serves_while_a_new_one_is_fetched_in_the_background() {
        let (cache, counter) = cache(1, false);
        cache.get(at(0)).await.expect("the first");
        for fetched in thousand(&cache, 800).await {
            assert_eq!(value(&fetched), "credential-1");
        }
        let landing = {
            let mut state = cache.shared.lock();
            cache.flight(&mut state, at(800))
        };
        counter.open.add_permits(1);
        assert_eq!(value(&landing.await), "credential-2");
        assert_eq!(value(&cache.get(at(801)).await), "credential-2");
        assert_eq!(counter.fetches.load(Ordering::SeqCst), 2);
    }

    #[tokio::test]
    async fn a_thousand_callers_refused_with_one_credential_cause_one_fetch() {
        let (cache, counter) = cache(9, false);
        let stale = cache.get(at(0)).await.expect("the first");
        let fetched = join_all((0..1000).map(|_| cache.refresh(&stale, at(1)))).await;
        assert!(fetched.iter().all(|fetched| value(fetched) == "credential-2"));
        assert_eq!(value(&cache.refresh(&stale, at(2)).await), "credential-2");
        assert_eq!(counter.fetches.load(Ordering::SeqCst), 2);
    }

    #[tokio::test]
    async fn a_vendor_that_refuses_every_fresh_credential_does_not_drain_the_endpoint() {
        let (cache, counter) = cache(9, false);
        let first = cache.get(at(0)).await.expect("the first");
        let second = cache.refresh(&first, at(1)).await.expect("the second");
        let refused = cache.refresh(&second, at(2)).await.expect_err("too soon");
        assert_eq!(refused.reason().expect("why").code, "credential");
        assert_eq!(value(&cache.refresh(&second, at(7)).await), "credential-3");
        assert_eq!(counter.fetches.load(Ordering::SeqCst), 3);
    }

    #[tokio::test]
    async fn a_broken_endpoint_is_asked_once_a_back_off() {
        let (cache, counter) = cache(9, true);
        for secs in [0, 1] {
            assert!(thousand(&cache, secs).await.iter().all(Result::is_err));
        }
        assert_eq!(counter.fetches.load(Ordering::SeqCst), 1);
        assert!(cache.get(at(2)).await.is_err());
        assert_eq!(counter.fetches.load(Ordering::SeqCst), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_endpoint_is_given_up() {
        let (cache, _) = cache(0, false);
        let failed = cache.get(at(0)).await.expect_err("no answer");
        assert_eq!(failed.reason().expect("why").code, "timeout");
    }

    #[tokio::test]
    async fn a_caller_that_goes_away_leaves_the_fetch_to_the_others() {
        let (cache, counter) = cache(0, false);
        let gone = cache.get(at(0)).now_or_never();
        assert!(gone.is_none());
        counter.open.add_permits(1);
        assert_eq!(value(&cache.get(at(0)).await), "credential-1");
        assert_eq!(counter.fetches.load(Ordering::SeqCst), 1);
    }
}
