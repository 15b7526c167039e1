//! What the queen is told at her start: the API, her name, her clock and her periods.

use std::{fmt, sync::Arc, time::Duration};

use jiff::Timestamp;
use rbee_crds::names;

/// Everything that [`crate::run`] needs.
pub struct Config {
    /// The Kubernetes API; the only way that the queen speaks to anybody.
    pub client: kube::Client,
    /// Holder of the leader lease. The same one after a restart takes its lease up again without waiting.
    pub identity: String,
    /// Version of this executable, `MAJOR.MINOR.PATCH`. Hives of another MAJOR.MINOR are refused.
    pub version: String,
    /// Where leases lie.
    pub system_namespace: String,
    pub clock: Clock,
    pub periods: Periods,
}

impl Config {
    /// The defaults of everything but these three.
    pub fn new(client: kube::Client, identity: impl Into<String>, version: impl Into<String>) -> Self {
        Self {
            client,
            identity: identity.into(),
            version: version.into(),
            system_namespace: names::SYSTEM_NAMESPACE.into(),
            clock: Clock::system(),
            periods: Periods::default(),
        }
    }
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("identity", &self.identity)
            .field("version", &self.version)
            .field("system_namespace", &self.system_namespace)
            .field("periods", &self.periods)
            .finish_non_exhaustive()
    }
}

/// How long things may take.
#[derive(Clone, Copy, Debug)]
pub struct Periods {
    /// A leader that did not renew for so long may be succeeded.
    pub leader_lease: Duration,
    /// How often the leader renews.
    pub leader_renew: Duration,
    /// A hive without a heartbeat for so long is lost. A queen that has just begun to lead waits as long before she judges.
    pub hive_lost_after: Duration,
    /// Between looks for what has to be installed first.
    pub setup_retry: Duration,
    /// How long the caches may take to show a write of the queen's own.
    pub echo: Duration,
}

impl Default for Periods {
    fn default() -> Self {
        Self {
            leader_lease: Duration::from_secs(15),
            leader_renew: Duration::from_secs(5),
            hive_lost_after: Duration::from_secs(40),
            setup_retry: Duration::from_secs(2),
            echo: Duration::from_secs(5),
        }
    }
}

/// Where the time of day comes from.
#[derive(Clone)]
pub struct Clock(Arc<dyn Fn() -> Timestamp + Send + Sync>);

impl Clock {
    /// The machine's clock.
    pub fn system() -> Self {
        Self(Arc::new(Timestamp::now))
    }

    /// A clock that begins at `start` and goes as tokio's does, so that paused time stands still here too.
    pub fn tokio(start: Timestamp) -> Self {
        let begun = tokio::time::Instant::now();
        Self(Arc::new(move || start.checked_add(begun.elapsed()).unwrap_or(Timestamp::MAX)))
    }

    /// The time of day.
    pub fn now(&self) -> Timestamp {
        (self.0)()
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Clock")
    }
}
